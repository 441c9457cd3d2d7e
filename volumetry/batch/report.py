"""``report.html``: the batch on one page that needs nothing but itself. Outliers come first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from volumetry import __version__
from volumetry.batch import records
from volumetry.batch.charts import FEW, LEAST, RUN, TAIL, histogram_picture
from volumetry.batch.current import Current, in_words
from volumetry.batch.report_scanners import CHARTED, Exposure, scanners_of
from volumetry.batch.report_sites import sites_of, sites_picture
from volumetry.batch.status import day_of, visit_states
from volumetry.batch.tables import Rows, scan_states
from volumetry.batch.work import KEY_SLICE
from volumetry.deliver.report import one_file_policy
from volumetry.domain import Status
from volumetry.image.pictures import data_uri

_PICTURES = 600
"""Key slices on the page, the furthest outliers first; at about 25 kB each more would not open in a browser."""
_WORDS = {name: title.lower() for name, title, _ in CHARTED} | {"lung_ml": "lung volume"}
_DISTRIBUTIONS = (
    ("lung_ml", "lung, mL"),
    ("lesion_percent", "lesion, % of lung"),
    ("solid_percent", "solid, % of lung"),
)
_FAR = 3.5
"""Robust z above which a value is called an outlier (Iglewicz and Hoaglin 1993)."""


@dataclass(frozen=True, slots=True)
class Line:
    """What the page needs of one scan."""

    scan_id: str
    status: str
    codes: tuple[str, ...]
    automatic: str
    exposure: Exposure
    values: Mapping[str, float]
    current: Current
    keys: str = ""

    @property
    def is_touched(self) -> bool:
        """Whether a person decided on the scan, or corrected it."""
        return self.current != Current()


def report_page(rows: Rows) -> str:
    """The page as HTML, made from records and log alone: the same results give the same page."""
    lines = [_line(rows, index) for index in range(len(rows))]
    far = _distances(lines)
    order = sorted(range(len(lines)), key=lambda index: (-far[index][0], lines[index].scan_id))
    shown = [index for index in order if (rows.folder(rows.scans[index]) / KEY_SLICE).is_file()][:_PICTURES]

    def card(index: int) -> dict[str, Any]:
        return _card(lines[index], far[index], rows.folder(rows.scans[index]))

    counts = Counter(line.status for line in lines)
    codes = Counter(code for line in lines for code in line.codes)
    states = list(scan_states(rows))
    sites = sites_of(states, visit_states(states, rows.audit.expected))
    picture, beyond = sites_picture(sites, {line.scan_id: line.automatic for line in lines})
    templates = Path(__file__).parent / "templates"
    style = (templates / "report.css").read_text("utf-8")
    environment = Environment(loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined)
    return environment.get_template("report.html.j2").render(
        version=__version__,
        style=style,
        policy=one_file_policy(style),
        total=len(lines),
        questions=rows.questions(),
        counts=[(status.value, counts[status.value]) for status in Status],
        codes=codes.most_common(),
        people=[line for line in lines if line.is_touched],
        in_words=in_words,
        distributions=list(_distributions(lines)),
        sites=sites,
        expected=len(rows.audit.expected),
        sites_picture=picture,
        sites_beyond=beyond,
        scanners=list(scanners_of([line.exposure for line in lines if "lung_ml" in line.values])),
        limits={"least": LEAST, "few": FEW, "run": RUN, "tail": 100 * TAIL},
        outliers=[card(index) for index in shown if far[index][0] > _FAR],
        sheet=(card(index) for index in shown if far[index][0] <= _FAR),
        shown=len(shown),
        unseen=[line for line in lines if line.status in (Status.REFUSED, Status.FAILED)][:_PICTURES],
    )


def _line(rows: Rows, index: int) -> Line:
    scan, document = rows.scans[index], rows[index]
    record = records.read_record(rows.folder(scan))
    values = dict(record["control"])
    if "volumes_ml" in document:
        values["lung_ml"] = document["volumes_ml"]["lung"]
        values |= {f"{name}_percent": share for name, share in document["percent_of_lung"].items()}
    series: Mapping[str, Any] = document.get("series") or {}
    scanner = f"{series.get('manufacturer') or ''} {series.get('model_name') or ''}".strip()
    exposure = Exposure(
        scan.scan_id,
        scan.site,
        scanner or "unknown scanner",
        series.get("kernel") or "",
        day_of(document),
        record["control"],
    )
    codes = [flag["code"] for flag in document["flags"] if flag["severity"] != "look"]
    return Line(
        scan.scan_id,
        document["status"],
        tuple(codes) or ((document["code"],) if document["code"] else ()),
        record["status"],
        exposure,
        values,
        rows.current(scan),
        keys=", ".join(
            f"{name} {text}"
            for name, text in (("site", scan.site), ("subject", scan.subject), ("visit", scan.visit))
            if text
        ),
    )


def _distances(lines: Sequence[Line]) -> list[tuple[float, str]]:
    """How far each scan lies from the others, as its largest robust z, and in which value."""
    furthest = [(0.0, "")] * len(lines)
    for name in sorted({name for line in lines for name in line.values}):
        having = [index for index, line in enumerate(lines) if name in line.values]
        values = np.array([lines[index].values[name] for index in having])
        if name.endswith("_percent"):  # shares of disease are skewed; on a log scale one large one is not a fault
            values = np.log1p(values)
        middle = np.median(values)
        spread = float(np.median(np.abs(values - middle)))
        if spread == 0:
            continue
        for index, z in zip(having, 0.6745 * np.abs(values - middle) / spread, strict=True):
            furthest[index] = max(furthest[index], (float(z), name))
    return furthest


def _distributions(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    for name, title in _DISTRIBUTIONS:
        values = [line.values[name] for line in lines if name in line.values]
        if values:
            yield title, histogram_picture(values, title)


def _card(line: Line, far: tuple[float, str], folder: Path) -> dict[str, Any]:
    z, name = far
    words = _WORDS.get(name, f"{name.removesuffix('_percent').replace('_', ' ')}, share of lung")
    return {
        "line": line,
        "outlier": f"{words}: {z:.1f} robust SD from the median" if z > _FAR else "",
        "picture": data_uri((folder / KEY_SLICE).read_bytes()),
    }
