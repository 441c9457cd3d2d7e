"""What a release shows about itself: what it is made of, and under which terms. Read by kept tools."""

from volumetry.evidence.bill import bill_of_materials
from volumetry.evidence.licences import copyleft, licence_table
from volumetry.evidence.parts import Part, installed_parts, shipped_parts

__all__ = ["Part", "bill_of_materials", "copyleft", "installed_parts", "licence_table", "shipped_parts"]
