"""What people decided and corrected, as far as the trial's values depend on it: readings.csv and its warnings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean, stdev

from volumetry.deliver.people import EXCLUDED, EXCLUSION_OUTDATED, NAMES, READER
from volumetry.storage.csv_tables import Cell, number_in
from volumetry.trial.results import MEASURES, ScanRow
from volumetry.trial.visits import Visits

_VALUES = tuple(f"percent_of_lung.{measure}" for measure in MEASURES)
_AUTOMATIC = tuple(f"automatic.{name}" for name in _VALUES)
COLUMNS = ("subject", "visit", "scan_id", "left_out", "reading", *_VALUES, *_AUTOMATIC, *NAMES)
AGREEMENT_COLUMNS = ("measure", "n", "mean_difference", "sd", "limit_low", "limit_high", "smallest", "largest")
_LEFT_OUT = (EXCLUDED, EXCLUSION_OUTDATED)
_MOST_NAMED = 10
_LIMIT = 1.96  # standard deviations to the limits of agreement, as Bland and Altman (1986) have them


def readings(visits: Visits, scans: Mapping[str, ScanRow]) -> list[dict[str, Cell]]:
    """Rows of readings.csv: every scan of the trial that a person decided on or corrected, with both values.

    Parameters
    ----------
    visits
        From `read_visits`.
    scans
        From `read_results`.

    Returns
    -------
    list[dict[str, Cell]]
        By column, in the order of the visits table.
    """
    rows: list[dict[str, Cell]] = []
    for subject, visit, scan in _touched(visits, scans):
        left_out = "yes" if scan.code in _LEFT_OUT else "no"
        rows.append(
            {**scan.said, "subject": subject, "visit": visit, "scan_id": scan.scan_id, "left_out": left_out}
        )
    return rows


def reader_agreement(visits: Visits, scans: Mapping[str, ScanRow]) -> list[dict[str, Cell]]:
    """Rows of agreement.csv: the reader's share less the automatic one, over the scans that a reader corrected.

    Parameters
    ----------
    visits
        From `read_visits`.
    scans
        From `read_results`.

    Returns
    -------
    list[dict[str, Cell]]
        A row for each measure with three such scans or more, in percentage points: mean, SD and 95 % limits of
        agreement of Bland and Altman. Readers correct the scans that need it, so this is no sample of all scans.
    """
    rows: list[dict[str, Cell]] = []
    corrected = [scan for _subject, _visit, scan in _touched(visits, scans) if scan.is_of_reader]
    for measure in MEASURES:
        pairs = [
            (s.percent.get(measure), number_in(s.said.get(f"automatic.percent_of_lung.{measure}", "")))
            for s in corrected
        ]
        differences = [
            reader - automatic for reader, automatic in pairs if reader is not None and automatic is not None
        ]
        if len(differences) < 3:
            continue
        mean, sd = fmean(differences), stdev(differences)
        figures = (
            len(differences),
            mean,
            sd,
            mean - _LIMIT * sd,
            mean + _LIMIT * sd,
            min(differences),
            max(differences),
        )
        rows.append(dict(zip(AGREEMENT_COLUMNS, (measure, *figures), strict=True)))
    return rows


def warnings_of_people(visits: Visits, scans: Mapping[str, ScanRow]) -> list[str]:
    """What a reader must know of decisions and corrections before believing the table."""
    touched = [scan for _subject, _visit, scan in _touched(visits, scans)]

    def named(sentence: str, column: str, wanted: Callable[[ScanRow], object]) -> Iterator[str]:
        found = [scan for scan in touched if wanted(scan)]
        listed = [f"{scan.scan_id} ({_words(scan, column)})" for scan in found[:_MOST_NAMED]]
        more = [f"and {len(found) - _MOST_NAMED} more in readings.csv"] if len(found) > _MOST_NAMED else []
        if found:
            yield f"{sentence}: {', '.join([*listed, *more])}."

    return [
        *named("Left out, because the scan was excluded by decision", "decision", lambda s: s.code == EXCLUDED),
        *named(
            "Left out, because the scan was excluded and nobody has decided on what is there now",
            "outdated_decision",
            lambda s: s.code == EXCLUSION_OUTDATED,
        ),
        *named("The reader's value is used instead of the automatic one", "corrected", lambda s: s.is_of_reader),
        *named(
            "Marked for repeat measurement, not yet repeated; the present value is used",
            "decision",
            lambda s: s.said.get("decision") == "repeat" and s.code not in _LEFT_OUT,
        ),
        *named(
            "The value was measured again after a person had decided on it, and is used without a decision",
            "outdated_decision",
            lambda s: s.said.get("outdated_decision") and s.code != EXCLUSION_OUTDATED,
        ),
        *named("A reader must look at the correction", "correction_note", lambda s: s.said.get("correction_note")),
    ]


def notes_on_people(scans: Sequence[ScanRow]) -> Iterator[str]:
    """What stands below the table: how many of the scans have a reader's value, and how many were excluded."""
    corrected = sum(scan.is_of_reader and scan.is_evaluable for scan in scans)
    if corrected:
        yield f"Measured on a mask corrected by a reader: {corrected} of {len(scans)} scans."
    excluded = sum(scan.code in _LEFT_OUT for scan in scans)
    if excluded:
        yield f"Excluded by decision: {excluded} of {len(scans)} scans."


def _touched(visits: Visits, scans: Mapping[str, ScanRow]) -> Iterator[tuple[str, str, ScanRow]]:
    """Subject, visit and scan of what people said something of."""
    for subject, rows in visits.rows.items():
        for row in rows:
            scan = scans[row.scan_id] if row.scan_id is not None else None
            if scan is not None and (scan.is_of_reader or any(scan.said.get(name) for name in NAMES)):
                yield subject, row.visit, scan


def _words(scan: ScanRow, column: str) -> str:
    said = scan.said
    if column == "decision":
        return f"{said.get('decided_by', '')}: {said.get('decision_reason', '')}"
    if column == "corrected":
        return f"{said.get('corrected_by', READER)}: {said.get('correction_reason', '')}"
    return said[column]
