"""The result on A4, as PDF and its first page as pixels: for archives that show neither HTML nor segmentations.

With an earlier visit there is a second page, on the change since then.
"""

import textwrap
from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox
from numpy.typing import NDArray
from PIL import Image

from volumetry.deliver.report import change, lobes, text
from volumetry.deliver.report.annex import NOTHING, Annex, page_line
from volumetry.deliver.report.fonts import drawable
from volumetry.deliver.report.images import LUNG_LINE_RGB, LUNG_WINDOW, Chest, Picture, projections
from volumetry.deliver.report.key_slices import chest_with_doubt, key_slices
from volumetry.deliver.report.pattern import pattern
from volumetry.deliver.report.trend import trend_of
from volumetry.domain import FLUID, CtScan, Tissue, TissueMap
from volumetry.image.pictures import TISSUE_RGB
from volumetry.wording import solid_name

_A4_INCHES = (8.27, 11.69)
_DPI = 130
_IN_A_ROW = 3
_BORDERS = (
    (0.02, 0.5, "left", "center"),
    (0.98, 0.5, "right", "center"),
    (0.5, 0.97, "center", "top"),
    (0.5, 0.07, "center", "bottom"),
)
_SOFT = "#4a5563"
_LINES = ("#17202c", "#f5b700", "#d61f69")
_MOST_ROWS = 6
_MOST_FLAGS = 4
_ABOVE_FOOT = 0.108
"""Where the last table of the first page ends, as a share of its height, like all that follows."""
_ABOVE_PAGE_LINE = 0.036
_TABLE_ROW = 0.0142
_LEGEND = 0.02
_CAPTION_LINE, _CAPTION_MARGIN = 0.008, 0.007
_TALLEST, _LEAST = 0.145, 0.072
"""A row of pictures. Where one would be lower than the least, the last row is left out."""
_SIGNS_OF_A_CAPTION = 56


@dataclass(frozen=True, slots=True, eq=False)
class Summary:
    """The pages as PDF, and the first as RGB pixels of shape (rows, columns, 3).

    `names_patient` says whether they show who the patient is.
    """

    pdf: bytes
    rgb: NDArray[np.uint8]
    names_patient: bool = False


def summary_of(document: Mapping[str, Any], tissue: TissueMap, scan: CtScan, annex: Annex = NOTHING) -> Summary:
    """The pages of a measured scan: verdict, sentence, key slices, projections, table, provenance, change.

    They hold no identity unless `annex` does.
    """
    count = 2 if change.visits(document) else 1
    first = Figure(figsize=_A4_INCHES, dpi=_DPI)
    canvas = FigureCanvasAgg(first)
    lowest = _head(first, document, annex.not_compared)
    above_table = _table(first, document)
    chest = chest_with_doubt(document, tissue, scan)
    if chest is not None:
        _pictures(first, chest, document, (above_table + 0.012, lowest))
    _foot(first, document)
    line = page_line(document, annex.patient)
    _page_foot(first, line, 1, count)
    stream = BytesIO()
    # Without dates the same result gives the same bytes.
    with PdfPages(stream, metadata={"CreationDate": None, "Title": "CT lung volumetry"}) as pdf:
        pdf.savefig(first)
        if count > 1:
            pdf.savefig(_change_page(document, annex, line))
    canvas.draw()
    rgb = np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])
    return Summary(stream.getvalue(), rgb, names_patient=bool(annex.patient))


def _page_foot(figure: Figure, line: str, number: int, count: int) -> None:
    """What stands on every page: which scan, of when, and which page of how many."""
    page = figure.text(0.94, 0.012, f"page {number} of {count}", size=7, color=_SOFT, va="bottom", ha="right")
    line, families = drawable(line)
    written = figure.text(0.06, 0.012, line, size=7, color=_SOFT, va="bottom", parse_math=False)
    if families:
        written.set_fontfamily(families)
    box = written.get_window_extent()
    room = page.get_window_extent().x0 - box.x0 - 0.01 * figure.bbox.width
    # A long name is written smaller, so that identity and page number can both be read.
    written.set_fontsize(7 * min(1.0, room / box.width))


def _change_page(document: Mapping[str, Any], annex: Annex, line: str) -> Figure:
    """The change since earlier visits: sentence, plot, table, reasons, and slices beside each other."""
    figure = Figure(figsize=_A4_INCHES, dpi=_DPI)
    FigureCanvasAgg(figure)
    figure.text(0.06, 0.965, "Change since earlier scans of this patient", size=14, weight="bold", va="top")
    at = _paragraph(figure, change.sentence(document), 0.935, 11, 84) - 0.01
    _plot(figure, document, at - 0.16)
    rows = [[name, *cells] for name, cells in change.rows(document)][-_MOST_ROWS:]
    height = 0.022 * (len(rows) + 1)
    at -= 0.215 + height
    widths = [0.12, 0.07, 0.09, *(0.09, 0.07, 0.06) * 3, 0.06]
    _listed(figure, rows, _change_heads(document), widths, (0.06, at, 0.88, height))
    if (known := len(change.visits(document))) > len(rows):
        note = f"{len(rows)} of {known} earlier results shown, the latest; report.html and result.json list all."
        at = _paragraph(figure, note, at - 0.006, 7.5, 132)
    for said in ("The interval of a change is not known.", *change.reasons(document)[-_MOST_ROWS:]):
        at = _paragraph(figure, said, at - 0.006, 7.5, 132)
    height = min(0.16, (at - _ABOVE_PAGE_LINE) / max(1, len(annex.pictures)))
    for shown in annex.pictures:
        at -= height
        for n, picture in enumerate((shown.then, shown.now)):
            _drawn(figure, picture, (0.06 + 0.45 * n, at, 0.43, height - 0.015))
        figure.text(
            0.06,
            at - 0.006,
            f"{shown.caption}. Left: earlier; right: now.",
            size=7,
            color=_SOFT,
            va="top",
            parse_math=False,
        )
    _page_foot(figure, line, 2, 2)
    return figure


def _change_heads(document: Mapping[str, Any]) -> tuple[str, ...]:
    solid = "Consol." if solid_name(document) == "consolidation" else "Solid"
    shares = (head for name in ("All", "GGO", solid) for head in (f"{name} %", "points", "mL"))
    return ("Earlier", "Days", "Lung mL", *shares, "Grade")


def _plot(figure: Figure, document: Mapping[str, Any], bottom: float) -> None:
    trend = trend_of(document)
    if trend is None:
        return
    axes = figure.add_axes((0.1, bottom, 0.8, 0.15))
    for drawn, colour in zip(trend.lines, _LINES, strict=True):
        xs, ys = [point.x for point in drawn.points], [trend.height - point.y for point in drawn.points]
        axes.plot(xs, ys, "o-", color=colour, ms=4, lw=1.4, label=drawn.name.lower())
        for point in drawn.points:
            if point.low is not None and point.high is not None:
                axes.plot(
                    [point.x] * 2, [trend.height - point.low, trend.height - point.high], color=colour, lw=0.7
                )
    axes.set_xticks([x for x, _ in trend.dates], [text for _, text in trend.dates], size=7)
    axes.set_yticks([trend.height - y for y, _ in trend.shares], [text for _, text in trend.shares], size=7)
    axes.set_ylabel("% of lung", size=7)
    axes.legend(fontsize=7, frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _head(figure: Figure, document: Mapping[str, Any], not_compared: str) -> float:
    """Title, verdict, sentence and flags; returns where they end."""
    title, explained = text.verdict(document)
    figure.text(0.06, 0.965, "CT lung volumetry", size=14, weight="bold", va="top")
    figure.text(
        0.94,
        0.963,
        f"Scan {document['scan_id']}"[:60],
        size=9,
        color=_SOFT,
        ha="right",
        va="top",
        parse_math=False,
    )
    figure.text(0.06, 0.938, f"{title}. {explained}", size=9, color=_SOFT, va="top")
    at = _paragraph(figure, f"{text.sentence(document)} {pattern(document)}".strip(), 0.915, 11, 84)
    spans = [f"{f.name.lower()} {f.interval}" for f in text.figures(document) if f.interval]
    if spans:
        line = f"Intervals: {', '.join(spans)}. {text.interval(document)} {text.rounding(document)}"
        at = _paragraph(figure, line, at - 0.003, 7.5, 132)
    for line in filter(None, (lobes.note(document), text.fluid(document))):
        at = _paragraph(figure, line, at - 0.003, 7.5, 132)
    if not_compared:
        line = f"Not compared with the earlier result that was given: {not_compared}"
        at = _paragraph(figure, line, at - 0.003, 7.5, 132)
    to_look_at = [flag for flag in document["flags"] if flag["severity"] == "review"]
    for flag in to_look_at[:_MOST_FLAGS]:
        at = _paragraph(figure, f"Look: {flag['message']}. {flag['hint']} [{flag['code']}]", at - 0.003, 7.5, 132)
    if further := [flag["code"] for flag in to_look_at[_MOST_FLAGS:]]:
        line = f"{len(further)} more to look at, in the full report: {', '.join(further)}"
        at = _paragraph(figure, line, at - 0.003, 7.5, 132)
    if noted := dict.fromkeys(flag["code"] for flag in document["flags"] if flag["severity"] == "look"):
        line = f"Noted without asking for a reader, explained in the full report: {', '.join(noted)}"
        at = _paragraph(figure, line, at - 0.003, 7.5, 132)
    return at


def _paragraph(figure: Figure, text: str, top: float, size: float, width: int) -> float:
    lines = textwrap.wrap(text.replace(" %", "\u00a0%"), width)
    figure.text(0.06, top, "\n".join(lines), size=size, va="top", linespacing=1.3, parse_math=False)
    return top - len(lines) * size * 1.42 / 72 / _A4_INCHES[1]


def _pictures(figure: Figure, chest: Chest, document: Mapping[str, Any], space: tuple[float, float]) -> None:
    """Rows of pictures and their legend between two heights of the page, as large as they fit."""
    pairs = key_slices(chest, solid_name(document))
    thirds, further = pairs[:_IN_A_ROW], [masked for _, masked in pairs[_IN_A_ROW:]]
    rows = [
        _Row([plain for plain, _ in thirds], False),
        _Row([masked for _, masked in thirds]),
        _Row(further),
        _Row(projections(chest)),
    ]
    rows = [row for row in rows if row.pictures]
    low, high = space
    height = _row_height(rows, high - low - _LEGEND)
    whole = len(rows)
    while height < _LEAST and len(rows) > 2:
        rows.pop()
        height = _row_height(rows, high - low - _LEGEND)
    at = high
    for row in rows:
        at -= height + 0.003
        for n, picture in enumerate(row.pictures):
            _drawn(figure, picture, (0.06 + 0.297 * n, at, 0.286, height))
            if row.captioned:
                left = 0.203 + 0.297 * n
                caption = _caption(picture)
                figure.text(left, at - 0.003, caption, size=5.6, color=_SOFT, ha="center", va="top")
        at -= row.caption_height
    _legend(figure, document, low + _LEGEND / 2, left_out=whole > len(rows))


@dataclass(frozen=True, slots=True)
class _Row:
    """Pictures beside each other, with or without captions."""

    pictures: list[Picture]
    captioned: bool = True

    @property
    def caption_height(self) -> float:
        """Of the longest caption, as a share of the page."""
        if not self.captioned:
            return 0.0
        lines = max(_caption(picture).count("\n") + 1 for picture in self.pictures)
        return _CAPTION_MARGIN + _CAPTION_LINE * lines


def _caption(picture: Picture) -> str:
    return textwrap.fill(picture.caption.removesuffix(", with the mask"), _SIGNS_OF_A_CAPTION)


def _row_height(rows: list[_Row], room: float) -> float:
    """Of each row, so that all of them and their captions fill the room."""
    captions = sum(row.caption_height for row in rows) + 0.003 * len(rows)
    return min(_TALLEST, (room - captions) / len(rows))


def _drawn(figure: Figure, picture: Picture, box: tuple[float, float, float, float]) -> Axes:
    axes = figure.add_axes(box)
    image = Image.open(BytesIO(b64decode(picture.uri.partition(",")[2])))
    axes.imshow(np.asarray(image.convert("RGB")), aspect="equal", interpolation="bilinear")
    axes.set_facecolor("black")
    axes.set_axis_off()
    for letter, (x, y, ha, va) in zip(picture.borders, _BORDERS, strict=True):
        drawn = axes.text(x, y, letter, color="white", size=7, ha=ha, va=va, transform=axes.transAxes)
        drawn.set_path_effects([withStroke(linewidth=1.6, foreground="black")])
    return axes


def _legend(figure: Figure, document: Mapping[str, Any], bottom: float, *, left_out: bool) -> None:
    at = 0.06
    names: dict[int, str] = {Tissue.GROUND_GLASS: "ground glass", Tissue.SOLID: solid_name(document)}
    if document["volumes_ml"].get("fluid"):
        names[FLUID] = "pleural fluid"
    for label, name in names.items():
        colour = "#" + "".join(f"{level:02x}" for level in TISSUE_RGB[label])
        figure.text(at, bottom, "\u25a0", size=9, color=colour, va="center")
        figure.text(at + 0.016, bottom, name, size=7, color=_SOFT, va="center")
        at += 0.026 + 0.0062 * len(name)
    edge = "#" + "".join(f"{level:02x}" for level in LUNG_LINE_RGB)
    figure.text(at, bottom, "\u25a1", size=9, color=edge, va="center")
    figure.text(at + 0.016, bottom, "edge of the lung", size=7, color=_SOFT, va="center")
    at += 0.026 + 0.0062 * len("edge of the lung")
    note = f"Lung window {LUNG_WINDOW.text} unless stated; bar 5 cm."
    note += " More pictures: full report." if left_out else " Cropped to the lungs."
    figure.text(at, bottom, note, size=6.5, color=_SOFT, va="center")


def _table(figure: Figure, document: Mapping[str, Any]) -> float:
    """Sides, thirds and lobes, above the foot of the page; returns where the table begins."""
    rows = [[name, *cells] for name, cells in (*text.regions(document), *lobes.volumes(document))]
    names = [text.name_of(document, key) for key in ("ground_glass", "solid", "lesion")]
    heads = ("", "Lung mL", "Aerated mL", *(head for name in names for head in (f"{name} mL", "%")))
    widths = [0.15, 0.1, 0.12, 0.15, 0.07, 0.16, 0.07, 0.14, 0.07]
    height = _TABLE_ROW * (len(rows) + 1)
    _listed(figure, rows, heads, widths, (0.06, _ABOVE_FOOT, 0.88, height))
    return _ABOVE_FOOT + height


def _listed(
    figure: Figure,
    rows: list[list[str]],
    heads: tuple[str, ...],
    widths: list[float],
    box: tuple[float, float, float, float],
) -> None:
    axes = figure.add_axes(box)
    axes.set_axis_off()
    table = axes.table(rows, colLabels=list(heads), colWidths=widths, bbox=Bbox.unit(), edges="horizontal")
    table.auto_set_font_size(False)
    table.set_fontsize(7.5)
    for (row, column), cell in table.get_celld().items():
        cell.set_linewidth(0.4)
        cell.set_edgecolor("#b5bdc8")
        cell.set_text_props(ha="left" if column == 0 else "right", color=_SOFT if row == 0 else "black")


def _foot(figure: Figure, document: Mapping[str, Any]) -> None:
    facts = [f"{name}: {value}" for name, value in text.provenance(document)]
    foot = "\n".join(["   ".join(facts[:4]), *facts[4:], "Research software; not a medical device."])
    figure.text(0.06, 0.03, foot, size=6, color=_SOFT, va="bottom", linespacing=1.4, parse_math=False)
