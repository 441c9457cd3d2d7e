"""Results to files: result.json, results.csv, mask.nii.gz, run.json; each whole or not there at all."""

from volumetry.deliver.delivery import deliver, deliver_failure
from volumetry.deliver.result import as_document, result_schema
from volumetry.deliver.row import columns, row_of, write_table

__all__ = ["as_document", "columns", "deliver", "deliver_failure", "result_schema", "row_of", "write_table"]
