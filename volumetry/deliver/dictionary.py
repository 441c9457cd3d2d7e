"""The result dictionary: every column of results.csv with unit, meaning and short names, as a page of the docs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

from volumetry.deliver.row import kind_of, leaves
from volumetry.deliver.schema import result_schema
from volumetry.measure import table
from volumetry.measure.components import REGISTERED_CUTS, HuCuts

_UNITS = {"ml": "mL", "hu": "HU", "g": "g", "mm": "mm", "mb": "MB", "s": "s", "deg": "degrees", "kvp": "kV"}
_UNITS |= {"percent": "%", "parts": "percentage points", "sides": "mL", "zones": "mL"}
_UNITS |= {"lobes": "mL", "lobe": "%", "span": "%", "method": "", "reason": ""}
"""By the last word of a key, or of the key above it."""
_WORDS = {
    "solid": "consolidation",
    "lesion_below": "lesion below the lowest limit",
    "lesion_above": "lesion above the highest limit",
    "outside_lungs": "segmented volume outside the two lungs",
    "lesion_specks": "small lesion islands",
    "class_specks": "small islands of one lesion class in the other",
}
"""What a reader calls a key that is not its own name in words."""
_SAS = """
interval_percent=IV interval_parts= boundary=IB threshold=IT augmentation=IA hu_offset=IH reference=IR sides=
left=L right=R zones= upper=U middle=M lower=B components_by_rule= network=N hu=H hu_bins_ml=HUBIN dropped_ml=D
series= provenance= timing_s=T interval_level=IVLEVEL component_rule=COMPRULE aerated=AER ground_glass=GGO
lesion=LES ground_glass_ml=GGO solid_ml=SOLID lesion_below_ml=BELOW lesion_above_ml=ABOVE outside_lungs_ml=OUT
lesion_outside_lungs_ml=LESOUT lesion_beside_lungs_ml=LESBES holes_filled_ml=HOLES lesion_specks_ml=LESSPK
class_specks_ml=CLSSPK lesion_in_organs_ml=LESORG lesion_in_fluid_ml=LESFLU blood_pool_hu=BLOODHU series_uid=SERUID
slice_count=NSLICES spacing_kji_mm=SPACING thickness_mm=SLCTHICK manufacturer=MANUF
model_name=MODELNAM acquisition_date=ACQDATE patient_position=PATPOS
transfer_syntax=SYNTAX tilt_deg=TILT software_version=SFTWRVER model_sha256=MODELSHA config_sha256=CONFSHA
input_sha256=INPUTSHA pixels_sha256=PIXELSHA mask_sha256=MASKSHA patient_digest=PATDIG precision=PRECISN
lesion_probability=LESPROB peak_memory_mb=PEAKMEM automatic=A volumes_ml=V percent_of_lung=P
lobes= left_upper=LU left_lower=LL right_upper=RU right_middle=RM right_lower=RL
percent_of_lobe=P lesion_percent_span=SPAN method=LOBEMETH reason=LOBERSN severity_score=CTSS
severity_score_range=CTSSRNG lesion_shallow_ml=LESSHA undecided=IU floor=IF
"""
_SHORT = dict(pair.split("=") for pair in _SAS.split())
"""Parts of SAS names by key; a key that is not here is its own name in capitals."""
_STATA = (
    *(("components_by_rule", "rule"), ("interval_parts", "parts"), ("dropped_ml", "dropped")),
    *(("automatic.", "aut."), ("lobes.right", "right"), ("lobes.left", "left"), ("percent_of_lobe", "pct")),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One column: its name, type, unit and meaning, and its name in SAS (8 characters) and Stata (32)."""

    key: str
    kind: str
    unit: str
    meaning: str
    sas: str
    stata: str


def result_dictionary(hu_cuts: HuCuts = REGISTERED_CUTS) -> tuple[Entry, ...]:
    """Every column of results.csv, in order.

    Parameters
    ----------
    hu_cuts
        HU cuts that name the columns of the HU bins.

    Returns
    -------
    tuple[Entry, ...]
        One for each column.

    Raises
    ------
    ValueError
        If a short name is too long or not unique.
    """
    schema = result_schema(hu_cuts)
    entries = tuple(_entry(column, path, leaf, schema) for column, (path, leaf) in leaves(hu_cuts).items())
    for names, longest in (([e.sas for e in entries], 8), ([e.stata for e in entries], 32)):
        wrong = [name for name in names if len(name) > longest or names.count(name) > 1]
        if wrong:
            raise ValueError(f"short names too long or not unique: {', '.join(wrong)}")
    return entries


def result_dictionary_markdown() -> str:
    """The dictionary as a Markdown table."""
    rows = [("Column", "Type", "Unit", "Meaning", "SAS", "Stata"), ("---",) * 6]
    rows += [(f"`{e.key}`", e.kind, e.unit, e.meaning, e.sas, e.stata) for e in result_dictionary()]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _entry(column: str, path: tuple[str, ...], leaf: Mapping[str, Any], schema: Mapping[str, Any]) -> Entry:
    short = "".join(_SHORT.get(key, key.replace("_", "").upper()) for key in path)
    words = (part.rpartition("_")[2] for part in reversed(path))
    unit, meaning = next((_UNITS[word] for word in words if word in _UNITS), ""), _meaning(schema, path)
    bins = list(schema["properties"]["hu_bins_ml"]["properties"])
    if path[-1] in bins:
        short = f"{_SHORT['hu_bins_ml']}{bins.index(path[-1]) + 1}"
    for measure in table.MEASURES:
        if measure.key == column:
            unit, meaning, short = measure.unit, measure.meaning, measure.code
        elif column == f"automatic.{measure.key}":
            unit = measure.unit
    stata = reduce(lambda name, pair: name.replace(*pair), _STATA, column)
    return Entry(column, kind_of(leaf), unit, meaning, short, re.sub(r"\W", "_", stata.replace("-", "m")))


def _meaning(schema: Mapping[str, Any], path: tuple[str, ...]) -> str:
    """The nearest description, with the keys below it in words."""
    says, since = "", 0
    for depth, key in enumerate(path, 1):
        schema = schema["properties"][key]
        if "description" in schema:
            says, since = schema["description"], depth
    words = ", ".join(_WORDS.get(name := key.removesuffix("_ml"), name.replace("_", " ")) for key in path[since:])
    return f"{says} {words[:1].upper()}{words[1:]}.".replace("Hu", "HU") if words else says
