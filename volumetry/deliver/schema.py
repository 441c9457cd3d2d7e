"""The JSON Schema of result.json: ``result.base.json``, completed by the table of measures and the HU bins.

Programs in other languages take the whole schema from the documentation, which publishes it as
``result.schema.json``. A measure of the base file without a description has only its place there.
"""

import json
from pathlib import Path
from typing import Any

from volumetry.measure import table
from volumetry.measure.components import REGISTERED_CUTS, HuCuts, bin_names

SCHEMA = 1
FILE = Path(__file__).with_name("result.base.json")
_BEHIND_MEASURES = "blood_pool_hu"


def result_schema(hu_cuts: HuCuts = REGISTERED_CUTS) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) that every result.json satisfies.

    A measure that the table got after schema 1 began is not required, so that older results stay valid.

    Parameters
    ----------
    hu_cuts
        The cuts, in HU, that name the columns of the HU bins. Any result is valid whatever cuts are given here.

    Returns
    -------
    dict[str, Any]
        What json can write.
    """
    schema: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    described = {row.key: _described(row) for row in table.computed()}
    known = list(schema["properties"])
    behind = known[known.index(_BEHIND_MEASURES) :]
    properties = schema["properties"] | described
    properties["hu_bins_ml"] = _bins(properties["hu_bins_ml"], hu_cuts)
    schema["properties"] = {key: properties[key] for key in sorted(properties, key=behind.__contains__)}
    schema["then"]["then"]["properties"] |= dict.fromkeys(table.hu_keys(), False)
    schema["else"]["properties"] |= dict.fromkeys(described, False)
    return schema


def schema_bytes() -> bytes:
    """The file that the documentation publishes: the schema with the registered cuts."""
    return (json.dumps(result_schema(), indent=1, ensure_ascii=False) + "\n").encode("utf-8")


def _described(row: table.Measure) -> dict[str, Any]:
    return {"type": ["number", "null"] if row.nullable else "number", "description": row.meaning}


def _bins(schema: dict[str, Any], cuts: HuCuts) -> dict[str, Any]:
    low, middle, high = (f"{cut:g}" for cut in cuts)
    meaning = f"Whole lung by HU: x < {low}, {low} <= x < {middle}, {middle} <= x <= {high}, x > {high}."
    (bin_schema,) = schema["patternProperties"].values()
    named = dict.fromkeys(bin_names(cuts), bin_schema)
    return {**schema, "description": f"{meaning} The keys name the limits that were used.", "properties": named}
