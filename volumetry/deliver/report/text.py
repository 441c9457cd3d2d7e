"""What the page says: the verdict, one sentence, tables. Takes the result document and nothing else."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from volumetry.deliver.report.pattern import is_enough
from volumetry.measure import table
from volumetry.measure.components import REGISTERED_CUTS, HuCuts, bin_names, cuts_named, stored_bins
from volumetry.wording import MINUS, solid_name

Document = Mapping[str, Any]

TIMES, NONE = "\u00d7", "\u2013"

_VERDICTS = {
    "measured": (
        "Measured",
        "No flag requires a reader; other findings are noted below.",
    ),
    "review": ("Measured, review needed", "A reader must check the findings below before the result is used."),
    "refused": (
        "Not measured: scan refused",
        "The scan cannot be measured as it was supplied; there is no result.",
    ),
    "failed": ("Not measured: failure", "The program failed, not the scan; there is no result."),
}
_RULES = {
    "network": "Ground glass and consolidation are separated by the network's classes.",
    "hu": "Ground glass and the solid component are separated by {} HU bins within the segmented lesion.",
}
_NAMES = {
    "network": "Consolidation is what the result files and trial tables call solid.",
    "hu": "The solid component is a range of HU within the lesion; most of it is consolidation.",
}
_REGIONS = (
    ("sides", "right", "Right lung"),
    ("sides", "left", "Left lung"),
    ("zones", "upper", "Upper third"),
    ("zones", "middle", "Middle third"),
    ("zones", "lower", "Lower third"),
)
_SHARES = ("lesion", "ground_glass", "solid")
_TRACE_ML = 0.05
_PARTS = {
    "threshold": "Network thresholds changed",
    "augmentation": "Images mirrored",
    "hu_offset": "HU shifted, as by another calibration",
    "boundary": "Outline of the disease shifted",
    "undecided": "Undecided lung",
    "reference": "Model against truth, in calibration",
}
_FLOOR = "floor"
_BINS = ("below {0:g}", "{0:g} to {1:g}", "{1:g} to {2:g}", "above {2:g}")


@dataclass(frozen=True, slots=True)
class Figure:
    """One number of the head line."""

    name: str
    value: str
    unit: str
    below: str
    interval: str = ""


def verdict(document: Document) -> tuple[str, str]:
    """Title and explanation of how the scan ended."""
    return _VERDICTS[document["status"]]


def sentence(document: Document) -> str:
    """The result in one plain sentence."""
    if "volumes_ml" not in document:
        return f"This scan gives no number: {document['message']}"
    ml, percent = document["volumes_ml"], document["percent_of_lung"]
    if ml["lesion"] <= 0:
        none = f"No ground glass and no {solid_name(document)} was segmented"
        return f"{none} in {millilitres(ml['lung'])} mL of lung.{_fluid_found(document)}"
    parts = (
        f"{share(percent['ground_glass'])} % ground glass and {share(percent['solid'])} % {solid_name(document)}"
    )
    rest_ml = ml["lesion"] - ml["ground_glass"] - ml["solid"]
    if ml["lung"] > 0 and rest_ml > _TRACE_ML:
        parts = parts.replace(" and ", ", ") + f" and {share(100 * rest_ml / ml['lung'])} % of neither class"
    return (
        f"{share(percent['lesion'])} % of the lung ({millilitres(ml['lesion'])} of {millilitres(ml['lung'])} mL) "
        f"was segmented as disease: {parts}{_where(document)}.{_fluid_found(document)}{_perhaps_none(document)}"
    )


def name_of(document: Document, key: str) -> str:
    """What a volume or share is called where it heads a column or a row."""
    names = {"lung": "Lung", "lesion": "All disease", "ground_glass": "Ground glass"}
    return names.get(key) or capital(solid_name(document))


def _fluid_found(document: Document) -> str:
    fluid_ml = document["volumes_ml"].get("fluid")
    return f" Pleural fluid: {millilitres(fluid_ml)} mL, neither lung nor disease." if fluid_ml else ""


def _perhaps_none(document: Document) -> str:
    limits = (document.get("interval_percent") or {}).get("lesion")
    return " The interval begins at 0 %." if limits and limits[0] <= 0 else ""


def fluid(document: Document) -> str:
    """That no pleural fluid was found, and how much may be missed; empty where the sentence names some."""
    said = table.fluid_shown(document)
    return f"{said}." if said and not document["volumes_ml"]["fluid"] else ""


def rounding(document: Document) -> str:
    """Says that the shares of the head line do not add up where, rounded, they do not."""
    if "volumes_ml" not in document:
        return ""
    ml, percent = document["volumes_ml"], document["percent_of_lung"]
    rest = 100 * (ml["lesion"] - ml["ground_glass"] - ml["solid"]) / ml["lung"] if ml["lung"] > 0 else 0.0
    parts = [percent["ground_glass"], percent["solid"], rest]
    adds_up = round(sum(round(part, 1) for part in parts), 1) == round(percent["lesion"], 1)
    return "" if adds_up else "The shares are rounded and do not add up exactly."


def figures(document: Document) -> list[Figure]:
    """The numbers of the head line, with intervals where the model is calibrated."""
    ml, percent = document["volumes_ml"], document["percent_of_lung"]
    shown = [
        Figure(
            name_of(document, key),
            share(percent[key]),
            "% of lung",
            f"{millilitres(ml[key])} mL",
            " ".join(_interval(document, key)),
        )
        for key in _SHARES
    ]
    mean = document.get("mean_lung_hu")
    below = f"mean {mean:.0f} HU".replace("-", MINUS) if mean is not None else ""
    shown.append(Figure("Both lungs", millilitres(ml["lung"]), "mL", below))
    score = document.get("severity_score")
    if score is not None:
        low, high = document["severity_score_range"]
        shown.append(Figure("CT severity score", f"{score}", "of 25", f"between {low} and {high}"))
    return shown


def interval(document: Document) -> str:
    """What the interval promises, or why there is none."""
    if "volumes_ml" not in document:
        return ""
    if not document.get("interval_percent"):
        if document.get("corrected_by"):
            return "No interval is given: it would be the model's, and this mask is a reader's."
        return "No interval is given: none was calibrated for this way of measuring."
    if any(flag["code"] == "OUT_OF_CALIBRATION" for flag in document["flags"]):
        return "The intervals do not hold for this scan (OUT_OF_CALIBRATION)."
    level = document.get("interval_level")
    stated = "" if level is None else f", with a stated coverage of {100 * level:.0f} %"
    return f"Intervals apply to scans like those of the calibration{stated}; what a flag describes is not covered."


def interval_parts(document: Document) -> list[tuple[str, list[str]]]:
    """Rows of what the interval is made of: the shares and their limits, then each part in points of lung.

    The least doubt, of every scan, is in `interval_rule`.
    """
    limits, parts = document.get("interval_percent") or {}, document.get("interval_parts") or {}
    if not limits or not parts:
        return []
    spans = [" ".join(_interval(document, key)) or NONE for key in _SHARES]
    rows = [("Interval", spans)]
    for part in sorted(parts.keys() - {_FLOOR}, key=[*_PARTS, *parts].index):
        points = parts[part]
        name = _PARTS.get(part, part.replace("_", " ").capitalize())
        rows.append((name, [f"{points[key]:.2f}" if key in points else NONE for key in _SHARES]))
    return rows


def interval_rule(document: Document) -> str:
    """How the parts make the interval."""
    floor = document["interval_parts"].get(_FLOOR, {}).get("lesion", 0.0)
    if not floor:
        return "The parts are added in quadrature and widened by the model's calibration."
    return f"Added in quadrature, with {floor:g} of any scan, then widened by calibration."


def regions(document: Document) -> Iterator[tuple[str, list[str]]]:
    """Rows of the sides and zones table."""
    yield "Both lungs", cells(document["volumes_ml"])
    for group, key, name in _REGIONS:
        if key in document.get(group, {}):
            yield name, cells(document[group][key])


def hu_bins(document: Document, cuts_hu: HuCuts) -> Iterator[tuple[str, str, str]]:
    """Rows of the HU bins: range, mL, share of the lung."""
    lung = document["volumes_ml"]["lung"]
    for text, ml in zip(_BINS, stored_bins(document["hu_bins_ml"], cuts_hu), strict=True):
        yield (
            text.format(*cuts_hu).replace("-", MINUS),
            millilitres(ml),
            share(100 * ml / lung) if lung > 0 else NONE,
        )


def rule(document: Document) -> str:
    """How the lesion was divided into ground glass and solid, and what the other rule would say."""
    chosen = document["component_rule"]
    other = "hu" if chosen == "network" else "network"
    separated = _RULES[chosen].format(whose_bins(document))
    if document.get("corrected_by") and chosen == "network":
        separated = "Ground glass and consolidation are separated as the reader drew them."
    separated = f"{separated} {_NAMES[chosen]}"
    split = document["components_by_rule"].get(other)
    if split is None:
        return separated
    name = "HU bins" if other == "hu" else "network's classes"
    left_ml = document["volumes_ml"]["lesion"] - split["ground_glass_ml"] - split["solid_ml"]
    left = f"; {millilitres(left_ml)} mL of the disease would be in neither" if left_ml > _TRACE_ML else ""
    return (
        f"{separated} By the {name} they would be {millilitres(split['ground_glass_ml'])} mL "
        f"and {millilitres(split['solid_ml'])} mL{left}."
    )


def whose_bins(document: Document) -> str:
    """Whether the HU bins are those of the trial's registry."""
    registered = cuts_named(document.get("hu_bins_ml") or bin_names(REGISTERED_CUTS)) == REGISTERED_CUTS
    return "the registered" if registered else "the configured"


def acquisition(document: Document) -> list[tuple[str, str]]:
    """What the header says of the acquisition."""
    series = document.get("series") or {}
    spacing = series.get("spacing_kji_mm")
    rows = (
        ("Scanner", " ".join(filter(None, (series.get("manufacturer"), series.get("model_name"))))),
        ("Slices", _text(series.get("slice_count"))),
        ("Voxel", f" {TIMES} ".join(f"{mm:.3g}" for mm in reversed(spacing)) + " mm" if spacing else ""),
        ("Slice thickness", _text(series.get("thickness_mm"), " mm")),
        ("Matrix", f"{series['columns']} {TIMES} {series['rows']}" if series.get("rows") else ""),
        ("Kernel", _text(series.get("kernel"))),
        ("Tube voltage", _text(series.get("kvp"), " kV")),
        ("Contrast", _yes_no(series.get("contrast"))),
        ("Position", _text(series.get("patient_position"))),
        ("Gantry tilt", _text(series.get("tilt_deg") or None, "°")),
        ("Acquired", _date(series.get("acquisition_date"))),
    )
    return [(name, text) for name, text in rows if text]


def density(document: Document) -> list[tuple[str, str]]:
    """Densitometry and what tidying changed."""
    rows = table.shown(document)
    dropped = document.get("dropped_ml") or {}
    names = {
        "lesion_in_organs_ml": "Left out: in organs, not disease",
        "lesion_in_fluid_ml": "Left out: in pleural fluid, not disease",
        "outside_lungs_ml": "Left out: outside lungs",
        "lesion_outside_lungs_ml": "Left out: disease outside lungs",
        "holes_filled_ml": "Holes filled",
        "lesion_specks_ml": "Left out: small islands",
        "lesion_shallow_ml": "Left out: at the edge of the lung",
        "class_specks_ml": "Small islands relabelled",
    }
    rows += [(names[key], f"{millilitres(dropped[key])} mL") for key in names if key in dropped]
    return [(name, text.replace("-", MINUS)) for name, text in rows if text]


def provenance(document: Document) -> list[tuple[str, str]]:
    """Program, model and digests, so that the number can be traced."""
    facts = document.get("provenance") or {}
    rows = (
        ("Program", _text(facts.get("software_version") and f"volumetry {facts['software_version']}")),
        ("Model", _text(facts.get("model"))),
        ("Device", " ".join(filter(None, (facts.get("device"), facts.get("precision"))))),
        ("Lesion threshold", _text(facts.get("lesion_probability"))),
        ("Created", _text(facts.get("created"))),
        ("Model sha256", _text(facts.get("model_sha256"))),
        ("Settings sha256", _text(facts.get("config_sha256"))),
        ("Input sha256", _text(facts.get("input_sha256"))),
        ("Mask sha256", _text(facts.get("mask_sha256"))),
    )
    return [(name, text) for name, text in rows if text]


def correction(document: Document) -> list[tuple[str, str, str]]:
    """Rows of a corrected result: what, corrected, automatic. Empty for an automatic one."""
    automatic = document.get("automatic")
    if not automatic or "volumes_ml" not in automatic:
        return []
    return [(name_of(document, key), _both(document, key), _both(automatic, key)) for key in ("lung", *_SHARES)]


def millilitres(ml: float) -> str:
    """A volume for people: whole mL, with a decimal below 100 mL; a trace is not written as nothing."""
    if 0 < ml < 0.05:
        return "<0.1"
    return f"{ml:,.1f}" if ml < 100 else f"{ml:,.0f}"


def share(percent: float) -> str:
    """A percentage for people, with one decimal; a trace is not written as nothing."""
    return "<0.1" if 0 < percent < 0.05 else f"{percent:.1f}"


def _both(document: Document, key: str) -> str:
    text = f"{millilitres(document['volumes_ml'][key])} mL"
    return text if key == "lung" else f"{text} · {share(document['percent_of_lung'][key])} %"


def _interval(document: Document, key: str) -> list[str]:
    limits = (document.get("interval_percent") or {}).get(key)
    return [f"{share(limits[0])} to {share(limits[1])} %"] if limits else []


def _where(document: Document) -> str:
    """Which side holds more of it, where that is plain and there is enough to say so."""
    left, right = (_lesion_share(document["sides"][side]) for side in ("left", "right"))
    sides_hold = all(flag["code"] != "SIDE_CONFLICT" for flag in document["flags"])
    if not (sides_hold and is_enough(document) and max(left, right) > 1.5 * min(left, right)):
        return ""
    more, less = ("right", "left") if right > left else ("left", "right")
    return f"; the {more} lung more ({share(max(left, right))} %) than the {less} ({share(min(left, right))} %)"


def _lesion_share(volumes: Mapping[str, float]) -> float:
    return 100 * volumes["lesion"] / volumes["lung"] if volumes["lung"] > 0 else 0.0


def cells(volumes: Mapping[str, float]) -> list[str]:
    """A row of the tables of regions: lung, aerated lung, and each share in mL and percent."""
    row = [millilitres(volumes["lung"]), millilitres(volumes["aerated"])]
    for key in ("ground_glass", "solid", "lesion"):
        percent = share(100 * volumes[key] / volumes["lung"]) if volumes["lung"] > 0 else NONE
        row += [millilitres(volumes[key]), percent]
    return row


def capital(text: str) -> str:
    """A text as the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def _text(value: object, unit: str = "") -> str:
    if value is None or value == "":
        return ""
    return f"{value:g}{unit}" if isinstance(value, float) else f"{value}{unit}"


def _yes_no(value: object) -> str:
    return "" if value is None else "yes" if value else "no"


def _date(text: str | None) -> str:
    """DICOM's YYYYMMDD with dashes."""
    return f"{text[:4]}-{text[4:6]}-{text[6:]}" if text and len(text) == 8 and text.isdigit() else text or ""
