"""A batch's results in the forms that others read: Parquet, and CDISC's SDTM."""

from volumetry.export.cdisc import export_cdisc
from volumetry.export.parquet import export_parquet
from volumetry.export.source import table_schema

__all__ = ["export_cdisc", "export_parquet", "table_schema"]
