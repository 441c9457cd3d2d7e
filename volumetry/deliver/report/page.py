"""The report: a document, and for a measured scan its mask and HU, as one self-contained page."""

import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from volumetry.config import Config
from volumetry.deliver.report import change, lobes, text
from volumetry.deliver.report.annex import NOTHING, Annex, page_line, page_style
from volumetry.deliver.report.crowding import crowding
from volumetry.deliver.report.flags import by_advice
from volumetry.deliver.report.histogram import lung_histogram
from volumetry.deliver.report.images import LUNG_WINDOW, projections
from volumetry.deliver.report.key_slices import chest_with_doubt, key_slices
from volumetry.deliver.report.pattern import pattern
from volumetry.deliver.report.policy import one_file_policy
from volumetry.deliver.report.trend import trend_of
from volumetry.domain import CtScan, TissueMap
from volumetry.storage.atomic import prepare_folder, write_whole
from volumetry.wording import MINUS, solid_name

NAME = "report.html"


def write_report(
    document: Mapping[str, Any],
    folder: Path,
    config: Config,
    tissue: TissueMap | None = None,
    scan: CtScan | None = None,
    annex: Annex = NOTHING,
) -> Path:
    """Write ``report.html`` into a result's folder.

    Parameters
    ----------
    document
        result.json of the scan, measured or not.
    folder
        Made if missing; an earlier page there is replaced, since the result beside it says the same.
    config
        For the HU cuts drawn into the histogram.
    tissue, scan
        The delivered mask and its scan; without the scan the page has projections alone, without both no picture.
    annex
        What the page holds beyond the result.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    OutputError
        If the page cannot be written.
    """
    prepare_folder(folder)
    write_whole(folder / NAME, report_page(document, config, tissue, scan, annex))
    return folder / NAME


def report_page(
    document: Mapping[str, Any],
    config: Config,
    tissue: TissueMap | None = None,
    scan: CtScan | None = None,
    annex: Annex = NOTHING,
) -> bytes:
    """The page as bytes: same result, same bytes. Values of the document are text and never markup.

    Parameters
    ----------
    document, config, tissue, scan, annex
        As for `write_report`.

    Returns
    -------
    bytes
        HTML in UTF-8.
    """
    measured = "volumes_ml" in document
    cuts = config.measure.hu_cuts
    chest = chest_with_doubt(document, tissue, scan) if tissue is not None and measured else None
    with ThreadPoolExecutor(1) as beside:  # drawn at the same time as the slices
        masks = beside.submit(projections, chest) if chest else None
        slices = key_slices(chest, solid_name(document)) if chest else []
        histogram = lung_histogram(scan, tissue, cuts) if chest and scan and tissue else None
    flags = document["flags"]
    foot = page_style(page_line(document, annex.patient))
    context: dict[str, Any] = {
        "document": document,
        "crowding": crowding(document),
        "words": text,
        "csp": content_security_policy(foot),
        "style": _style(),
        "foot": foot,
        "verdict": text.verdict(document),
        "sentence": text.sentence(document),
        "pattern": pattern(document),
        "by_advice": by_advice,
        "review": [flag for flag in flags if flag["severity"] in ("review", "refuse")],
        "notes": [flag for flag in flags if flag["severity"] == "look"],
        "measured": measured,
        "solid": solid_name(document) if measured else "",
        "has_fluid": bool(measured and document["volumes_ml"].get("fluid")),
        "slices": slices,
        "window": LUNG_WINDOW.text,
        "projections": masks.result() if masks else [],
        "histogram": histogram,
        "cuts": cuts,
        "change": change,
        "lobes_text": lobes,
        "trend": trend_of(document) if measured else None,
        "beside": annex.pictures,
        "not_compared": annex.not_compared,
        "patient": annex.patient,
    }
    return _template().render(context).encode("utf-8")


def content_security_policy(foot: str) -> str:
    """What a page may load: its own two styles and pictures inside it.

    Parameters
    ----------
    foot
        The second style, from `volumetry.deliver.report.annex.page_style`.

    Returns
    -------
    str
        As from `one_file_policy`.
    """
    return one_file_policy(_style(), foot)


def _style() -> str:
    return _resource("report.css")


def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_unbroken
    )
    environment.filters |= {"minus": _minus, "capital": text.capital}
    return environment.from_string(_resource("report.html.jinja"))


def _unbroken(value: Any) -> Any:  # noqa: ANN401  whatever the template shows
    """A number and its unit stay on one line, and so does the axis of a position."""
    if not isinstance(value, str) or hasattr(value, "__html__"):  # the styles are as they are
        return value
    return re.sub(r"(?<=\d) (?=(?:%|mL|cm²|mm|HU|kV)(?!\w))|(?<=\b[xyz]) (?=[-\u2212]?\d)", "\u00a0", value)


def _minus(message: str) -> str:
    """Numbers below zero with the sign that they have elsewhere on the page."""
    return re.sub(r"(?<![\w-])-(?=\d)", MINUS, message)


def _resource(name: str) -> str:
    text = resources.files("volumetry.deliver.report").joinpath(name).read_text("utf-8")
    return re.sub(r"\r\n?", "\n", text)
