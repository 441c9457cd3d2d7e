"""The tables that a paper has beside its endpoint: participants, baseline, events, subgroups, reader agreement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from volumetry.storage.csv_tables import Cell, csv_bytes
from volumetry.trial import adverse, characteristics, consort, hu_bins, people, subgroups
from volumetry.trial.adverse import EventCount, EventTable
from volumetry.trial.change import Change
from volumetry.trial.characteristics import Characteristic
from volumetry.trial.compare import Comparison
from volumetry.trial.config import TrialConfig
from volumetry.trial.consort import Count
from volumetry.trial.hu_bins import BinShare
from volumetry.trial.layout import TITLES, number
from volumetry.trial.models import Seen
from volumetry.trial.printed import Printed, PrintedRow
from volumetry.trial.results import ScanRow
from volumetry.trial.subgroups import SubgroupRow
from volumetry.trial.visit_windows import Placement
from volumetry.trial.visits import Visits


@dataclass(frozen=True, slots=True)
class Paper:
    """Every number of these tables.

    Parameters
    ----------
    flow
        Rows of consort.csv.
    characteristics
        Rows of baseline.csv.
    events
        Rows of adverse_events.csv; empty unless the settings name a table.
    subgroups
        Rows of subgroups.csv; empty unless the settings name a column.
    agreement
        Rows of agreement.csv; empty unless a reader corrected scans.
    bins
        Rows of hu_bins.csv; empty unless the results hold HU bins.
    """

    flow: Sequence[Count]
    characteristics: Sequence[Characteristic]
    events: Sequence[EventCount]
    subgroups: Sequence[SubgroupRow]
    agreement: Sequence[Mapping[str, Cell]]
    bins: Sequence[BinShare]

    def files(self) -> dict[str, bytes]:
        """Their CSV files; a table without rows is not written."""
        found = {
            "consort.csv": csv_bytes(consort.COLUMNS, (row.row() for row in self.flow)),
            "baseline.csv": csv_bytes(characteristics.COLUMNS, (row.row() for row in self.characteristics)),
        }
        if self.events:
            found["adverse_events.csv"] = csv_bytes(adverse.COLUMNS, (row.row() for row in self.events))
        if self.subgroups:
            found["subgroups.csv"] = csv_bytes(subgroups.COLUMNS, (row.row() for row in self.subgroups))
        if self.agreement:
            found["agreement.csv"] = csv_bytes(people.AGREEMENT_COLUMNS, self.agreement)
        if self.bins:
            found["hu_bins.csv"] = csv_bytes(hu_bins.COLUMNS, (row.row() for row in self.bins))
        return found

    def before_endpoint(self) -> list[Printed]:
        """Tables that a reader sees before the endpoint."""
        return [
            consort.printed_flow(self.flow),
            characteristics.printed_characteristics(self.characteristics),
        ]

    def after_endpoint(self, level: float) -> list[Printed]:
        """Tables that follow it."""
        printed = hu_bins.printed_bins(self.bins)
        printed += [*subgroups.printed_subgroups(self.subgroups, level), *adverse.printed_events(self.events)]
        return printed + ([_agreement(self.agreement)] if self.agreement else [])


def paper_of(  # noqa: PLR0913  one argument per table that is read
    *,
    everyone: Visits,
    analysed: Visits,
    scans: Mapping[str, ScanRow],
    placements: Sequence[Placement],
    changes: Sequence[Change],
    seen: Mapping[tuple[str, str], Sequence[Seen]],
    endpoint: Sequence[Comparison],
    events: Sequence[EventTable],
    config: TrialConfig,
) -> Paper:
    """Every table beside the endpoint.

    Parameters
    ----------
    everyone, analysed
        The whole table of visits, and the subjects of the primary analysis set.
    scans
        From `read_results`.
    placements, changes
        Of the analysed.
    seen
        From `volumetry.trial.models.observations`.
    endpoint
        From `volumetry.trial.compare.endpoint`.
    events
        From `volumetry.trial.adverse.read_events`.
    config
        All settings.

    Returns
    -------
    Paper
        Every number.
    """
    primary = [row for row in endpoint if row.primary]
    of = seen.get((config.endpoint.primary_measure, config.endpoint.primary_scale), ())
    at_visit = [one for one in of if primary and one.visit == primary[0].visit]
    return Paper(
        flow=consort.flow(everyone, analysed, changes, config),
        characteristics=characteristics.characteristics(analysed, placements, changes, config),
        events=adverse.event_counts(events, everyone, config),
        subgroups=subgroups.subgroup_rows(at_visit, primary, analysed, config),
        agreement=people.reader_agreement(analysed, scans),
        bins=hu_bins.bin_shares(changes, config.statistics.quartiles),
    )


def _agreement(rows: Sequence[Mapping[str, Cell]]) -> Printed:
    lines = []
    for row in rows:
        mean, sd, low, high = (number(float(row[name] or 0)) for name in people.AGREEMENT_COLUMNS[2:6])
        lines.append(PrintedRow((TITLES[str(row["measure"])], str(row["n"]), mean, sd, f"{low} to {high}")))
    head = ("", "scans", "mean difference, points", "SD", "95 % limits of agreement")
    note = "Readers correct the scans that need it, so this is not a sample of all scans."
    return Printed("Reader minus automatic measurement, % of lung", head, tuple(lines), (note,))
