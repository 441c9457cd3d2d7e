"""What a release shows about itself: what it is made of, and under which terms. Read by kept tools."""

from volumetry.assurance.bill_of_materials.bill import bill_of_materials
from volumetry.assurance.bill_of_materials.licences import copyleft, licence_table
from volumetry.assurance.bill_of_materials.parts import Part, installed_parts, shipped_parts

__all__ = ["Part", "bill_of_materials", "copyleft", "installed_parts", "licence_table", "shipped_parts"]
