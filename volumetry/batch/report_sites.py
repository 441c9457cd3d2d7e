"""What the page says of each site: its numbers, its visits as a grid, and a p-chart of all sites."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from volumetry.batch.charts import shares_chart, shares_picture
from volumetry.batch.status import ScanState, VisitState
from volumetry.domain import Status


@dataclass(frozen=True, slots=True)
class Site:
    """One site of the batch.

    Parameters
    ----------
    name
        Empty for scans and visits whose site is unknown.
    scans, visits
        Of this site.
    names
        Visits in their order, the same for every site.
    """

    name: str
    scans: tuple[ScanState, ...]
    visits: tuple[VisitState, ...]
    names: tuple[str, ...]

    @property
    def numbers(self) -> Mapping[str, int]:
        """Counts by their headings."""
        states = [scan.state for scan in self.scans]
        return {
            "subjects": len({visit.subject for visit in self.visits}),
            "visits missing": sum(visit.state == "missing" for visit in self.visits),
            "scans received": len(states),
            "measured": states.count("measured"),
            "accepted": states.count("accepted"),
            "review": states.count("review"),
            "without a value": states.count("received"),
            "excluded": states.count("excluded"),
            "corrected": sum(scan.current.correction is not None for scan in self.scans),
            "queries open": sum(scan.queries for scan in self.scans),
        }

    @property
    def grid(self) -> Iterator[tuple[str, list[VisitState | None]]]:
        """By subject, a cell for each visit; None where none was expected and none came."""
        by_subject: dict[str, dict[str, VisitState]] = defaultdict(dict)
        for visit in self.visits:
            by_subject[visit.subject][visit.visit] = visit
        for subject, own in by_subject.items():
            yield subject, [own.get(name) for name in self.names]

    @property
    def without_visit(self) -> list[str]:
        """Scans that belong to no cell."""
        return [scan.scan.scan_id for scan in self.scans if not scan.scan.subject or not scan.scan.visit]


@dataclass(frozen=True, slots=True)
class PageNames:
    """Files of one site's pages.

    Parameters
    ----------
    site, scanners
        In the same folder.
    """

    site: str
    scanners: str


def page_names(sites: Sequence[str]) -> dict[str, PageNames]:
    """Names of the sites' pages, safe on every system.

    Parameters
    ----------
    sites
        As people named them; an empty name is a site that is not known.

    Returns
    -------
    dict[str, PageNames]
        By site. A name that is not safe as it is gets a digest behind what is left of it.

    Examples
    --------
    >>> [pages.site for pages in page_names(["01", "Lyon/2", ""]).values()]
    ['site-01.html', 'site-Lyon-2-aa442a.html', 'site-not-known.html']
    """
    found, used = {}, set()
    for name in sites:
        stem = re.sub(r"[^A-Za-z0-9]+", "-", name or "not known").strip("-")[:40]
        if (name and stem != name) or stem.casefold() in used:
            stem = f"{stem}-{hashlib.sha256(name.encode()).hexdigest()[:6]}".strip("-")
        used.add(stem.casefold())
        found[name] = PageNames(f"site-{stem}.html", f"site-{stem}-scanners.html")
    return found


def sites_of(scans: Sequence[ScanState], visits: Sequence[VisitState]) -> list[Site]:
    """Every site, those without a name last.

    Parameters
    ----------
    scans
        Of the batch.
    visits
        From `volumetry.batch.status.visit_states`.

    Returns
    -------
    list[Site]
        A site has what was delivered by it, or is expected from it.
    """
    names = tuple(dict.fromkeys(visit.visit for visit in sorted(visits, key=lambda visit: visit.place)))
    own = {visit.site for visit in visits} | {scan.scan.site for scan in scans}
    return [
        Site(
            name,
            tuple(scan for scan in scans if scan.scan.site == name),
            tuple(visit for visit in visits if visit.site == name),
            names,
        )
        for name in sorted(own, key=lambda name: (not name, name))
    ]


def sites_picture(sites: Sequence[Site], automatic: Mapping[str, str]) -> tuple[str, list[str]]:
    """The share of each site's scans that were refused or need a reader, as a p-chart.

    Parameters
    ----------
    sites
        From `sites_of`.
    automatic
        Status of the automatic result by scan; a failure of the program says nothing of a site.

    Returns
    -------
    tuple
        The picture and the sites beyond their limits; an empty text with fewer than two sites.
    """
    counts, names = [], []
    for site in sites:
        found = [automatic.get(scan.scan.scan_id, "") for scan in site.scans]
        judged = [status for status in found if status in (Status.MEASURED, Status.REVIEW, Status.REFUSED)]
        if site.name and judged:
            counts.append((sum(status != Status.MEASURED for status in judged), len(judged)))
            names.append(site.name)
    if len(names) < 2:
        return "", []
    pooled, points = shares_chart(counts)
    labels = [f"{name} ({point.count} of {point.of})" for name, point in zip(names, points, strict=True)]
    picture = shares_picture(labels, pooled, points, "scans refused or flagged for a reader, %")
    return picture, [name for name, point in zip(names, points, strict=True) if point.is_beyond]
