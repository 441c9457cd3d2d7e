"""``report.html`` and the pages of the sites, each of which needs nothing but itself. Outliers come first."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from volumetry import __version__
from volumetry.batch import records
from volumetry.batch.audit import REPORT, SITES
from volumetry.batch.charts import FEW, LEAST, RUN, TAIL, histogram_picture
from volumetry.batch.current import Current, in_words
from volumetry.batch.report_scanners import CHARTED, Exposure, scanners_of
from volumetry.batch.report_sites import PageNames, page_names, sites_of, sites_picture
from volumetry.batch.status import day_of, visit_states
from volumetry.batch.tables import Rows, scan_states
from volumetry.batch.work import KEY_SLICE
from volumetry.deliver.report import one_file_policy
from volumetry.domain import Status
from volumetry.image.pictures import data_uri

_PICTURES, _OUTLIERS = 600, 24
"""Key slices on one page, and outliers on that of all sites; at 25 kB each more would not open in a browser."""
_MOST_ON_ONE_PAGE = 100
"""Scans of a batch without sites, or of one site, whose report is one page."""
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


def report_pages(rows: Rows) -> dict[str, str]:
    """The report as HTML, made from records and log alone: the same results give the same pages.

    Parameters
    ----------
    rows
        Of the batch.

    Returns
    -------
    dict[str, str]
        By name of the file: report.html alone where the batch is small and of one site; otherwise report.html with
        what concerns all sites, and for each site a page of its visits and scans and one of its scanners.
    """
    lines = [_line(rows, index) for index in range(len(rows))]
    by_id = {line.scan_id: line for line in lines}
    states = list(scan_states(rows))
    sites = sites_of(states, visit_states(states, rows.audit.expected))
    names = {} if len(sites) < 2 and len(lines) <= _MOST_ON_ONE_PAGE else page_names([site.name for site in sites])
    cards = _Cards(rows, lines)
    exposures = [line.exposure for line in lines if "lung_ml" in line.values]
    scanners = list(scanners_of(exposures))
    page = _Pages(len(rows.audit.expected))
    outliers, others = cards.parted(lines)
    shown_here = outliers[:_OUTLIERS] if names else outliers
    picture, beyond = sites_picture(sites, {line.scan_id: line.automatic for line in lines})
    counts = Counter(line.status for line in lines)
    made = {
        REPORT: page.of(
            "report",
            total=len(lines),
            pages={name: PageNames(f"{SITES}/{n.site}", f"{SITES}/{n.scanners}") for name, n in names.items()},
            questions=rows.questions(),
            counts=[(status.value, counts[status.value]) for status in Status],
            codes=Counter(code for line in lines for code in line.codes).most_common(),
            people=[line for line in lines if line.is_touched],
            in_words=in_words,
            distributions=list(_distributions(lines)),
            sites=sites,
            sites_picture=picture,
            sites_beyond=beyond,
            scanners=scanners,
            outliers=[cards.card(scan_id) for scan_id in shown_here],
            outliers_left=len(outliers) - len(shown_here),
            sheet=[] if names else [cards.card(scan_id) for scan_id in others[:_PICTURES]],
            unseen=[line for line in lines if line.status in (Status.REFUSED, Status.FAILED)][:_PICTURES],
        )
    }
    for site in sites if names else ():
        own, title = names[site.name], f"Site {site.name}" if site.name else "Site not known"
        of_site = [scanner for scanner in scanners if scanner["site"] == site.name]
        shown = [id_ for part in cards.parted([by_id[s.scan.scan_id] for s in site.scans]) for id_ in part]
        made[f"{SITES}/{own.site}"] = page.of(
            "site",
            title=title,
            site=site,
            scanners=own.scanners if of_site else "",
            cards=[cards.card(scan_id) for scan_id in shown[:_PICTURES]],
            left=max(0, len(shown) - _PICTURES),
        )
        if of_site:
            made[f"{SITES}/{own.scanners}"] = page.of("scanners", title=title, back=own.site, scanners=of_site)
    return made


class _Pages:
    """Makes pages of one style."""

    def __init__(self, expected: int) -> None:
        templates = Path(__file__).parent / "templates"
        style = (templates / "report.css").read_text("utf-8")
        self._templates = Environment(
            loader=FileSystemLoader(templates), autoescape=True, undefined=StrictUndefined
        )
        self._templates.globals |= {
            "version": __version__,
            "style": style,
            "policy": one_file_policy(style),
            "expected": expected,
            "limits": {"least": LEAST, "few": FEW, "run": RUN, "tail": 100 * TAIL},
        }

    def of(self, template: str, **facts: Any) -> str:  # noqa: ANN401  what the template shows
        return self._templates.get_template(f"{template}.html.j2").render(**facts)


class _Cards:
    """Key slices of the scans, by how far each lies from the others of the batch."""

    def __init__(self, rows: Rows, lines: Sequence[Line]) -> None:
        self._lines = {line.scan_id: line for line in lines}
        self._far = dict(zip(self._lines, _distances(lines), strict=True))
        self._folders = {scan.scan_id: rows.folder(scan) for scan in rows.scans}

    def parted(self, lines: Sequence[Line]) -> tuple[list[str], list[str]]:
        """Outliers, and the other scans that have a picture, the furthest first."""
        there = [line.scan_id for line in lines if (self._folders[line.scan_id] / KEY_SLICE).is_file()]
        order = sorted(there, key=lambda scan_id: (-self._far[scan_id][0], scan_id))
        outliers = [scan_id for scan_id in order if self._far[scan_id][0] > _FAR]
        return outliers, order[len(outliers) :]

    def card(self, scan_id: str) -> dict[str, Any]:
        """What the contact sheet shows of a scan."""
        z, name = self._far[scan_id]
        words = _WORDS.get(name, f"{name.removesuffix('_percent').replace('_', ' ')}, share of lung")
        return {
            "line": self._lines[scan_id],
            "outlier": f"{words}: {z:.1f} robust SD from the median" if z > _FAR else "",
            "picture": data_uri((self._folders[scan_id] / KEY_SLICE).read_bytes()),
        }


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
