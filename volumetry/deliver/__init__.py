"""Results to files: result.json, results.csv, mask.nii.gz, run.json; each whole or not there at all."""

from volumetry.deliver.delivery import NAMES, fill, fill_failure
from volumetry.deliver.result import as_document
from volumetry.deliver.row import columns, row_of
from volumetry.deliver.schema import result_schema
from volumetry.storage.placing import new_result, settle

__all__ = [
    "NAMES",
    "as_document",
    "columns",
    "fill",
    "fill_failure",
    "new_result",
    "result_schema",
    "row_of",
    "settle",
]
