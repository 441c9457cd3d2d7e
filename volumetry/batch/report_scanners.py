"""What the page says of each scanner: control charts of figures that depend on the scanner and not on the patient.

A chart needs one process: scans of one site, scanner and kernel. Another kernel has another noise, and a shared
chart would have limits for neither.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from volumetry.batch.charts import FEW, LEAST, chart_figure, individuals_chart, picture_of

CHARTED = (
    ("tracheal_air_hu", "Tracheal air", "HU"),
    ("noise_hu", "Noise in the trachea", "HU"),
    ("outside_air_hu", "Air around the body", "HU"),
)


@dataclass(frozen=True, slots=True)
class Exposure:
    """What a chart needs of one scan.

    Parameters
    ----------
    scan_id
        Of the scan.
    site, scanner, kernel
        The process that it belongs to.
    day
        Of the acquisition; None where the header states none.
    values
        Control figures by name.
    """

    scan_id: str
    site: str
    scanner: str
    kernel: str
    day: date | None
    values: Mapping[str, float]

    @property
    def process(self) -> str:
        """Site, scanner and kernel in words."""
        kernel = f"kernel {self.kernel}" if self.kernel else "kernel not stated"
        return ", ".join(text for text in (self.site and f"site {self.site}", self.scanner, kernel) if text)


def scanners_of(scans: Sequence[Exposure]) -> Iterator[dict[str, Any]]:
    """Charts by site, scanner and kernel; scans without a date have no place in them, and are counted.

    Parameters
    ----------
    scans
        Of the batch.

    Yields
    ------
    dict
        For the template: number and title, site, number of scans, first and last day, scans without a date,
        charts, and how many of their points are marked.
    """
    by_process: dict[str, list[Exposure]] = defaultdict(list)
    for scan in scans:
        by_process[scan.process].append(scan)
    for number, (title, own) in enumerate(sorted(by_process.items()), 1):
        dated = sorted((scan.day, scan.scan_id, scan) for scan in own if scan.day is not None)
        charts = list(_charts([scan for _, _, scan in dated]))
        yield {
            "number": number,
            "title": title,
            "site": own[0].site,
            "marked": sum(len({*chart["beyond"], *chart["runs"]}) for chart in charts),
            "scans": len(own),
            "first": dated[0][0] if dated else None,
            "last": dated[-1][0] if dated else None,
            "undated": len(own) - len(dated),
            "charts": charts,
        }


def _charts(scans: Sequence[Exposure]) -> Iterator[dict[str, Any]]:
    for name, title, unit in CHARTED:
        having = [(scan, scan.day) for scan in scans if name in scan.values and scan.day is not None]
        if len(having) < 2:
            continue
        days, values = [day for _, day in having], [scan.values[name] for scan, _ in having]
        chart = individuals_chart(values, days)
        yield {
            "title": title,
            "picture": picture_of(chart_figure(days, values, chart, unit)),
            "count": len(values),
            "limited": chart.centre is not None,
            "provisional": LEAST <= len(values) < FEW,
            "beyond": [having[index][0].scan_id for index in chart.beyond],
            "runs": [having[index][0].scan_id for index in chart.runs],
        }
