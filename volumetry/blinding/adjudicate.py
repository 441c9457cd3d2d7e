"""Two readers' blinded reads: checked, compared, and one accepted value for each reading, with who and why.

Nothing here knows the key: readings stay blinded until `volumetry unblind` joins the accepted values with scans.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from volumetry.blinding.agreement import Estimate, icc_absolute, kappa, limits_of_agreement
from volumetry.blinding.package import READ_COLUMNS
from volumetry.deliver.tables import NAME as DICTIONARY
from volumetry.deliver.tables import dictionary_bytes, headers_of
from volumetry.errors import UsageError
from volumetry.storage.atomic import prepare_folder, write_whole
from volumetry.storage.csv_tables import Cell, Problems, Row, Table, TableError, csv_bytes, number_in, read_table

SHARES = ("lesion_percent", "ground_glass_percent", "solid_percent")
ANSWERS = ("normal_ct", "fibrosis")
SUM_POINTS = 1.0
"""How far ground glass and solid together may be from the lesion: readers round."""
ACCEPTED = ("reading_id", "accepted", "evaluable", *SHARES, *ANSWERS, "accepted_by", "why", "difference_points")
AGREEMENT = (
    *("measure", "reader_a", "reader_b", "n", "statistic", "value", "low", "high"),
    "meaning",
)


@dataclass(frozen=True, slots=True)
class Read:
    """One reader's answers on one reading.

    Parameters
    ----------
    reading, reader
        Which reading, and by whom.
    evaluable
        Whether the reader could read it.
    shares
        Percent of the lung by column; empty if it is not evaluable.
    answers
        Yes or no by column, where given.
    """

    reading: str
    reader: str
    evaluable: bool
    shares: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, bool] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Adjudication:
    """What came of the reads.

    Parameters
    ----------
    accepted, agreement
        Rows of accepted.csv and agreement.csv.
    waiting
        Readings for the adjudicator.
    """

    accepted: Sequence[Mapping[str, Cell]]
    agreement: Sequence[Mapping[str, Cell]]
    waiting: Sequence[str]


def adjudicate(package: Path, reads: Sequence[Path], limit_points: float, adjudicator: str) -> Adjudication:
    """Check and compare two readers' reads, and accept one value for each reading.

    Where the readers differ by no more than the limit in every share, and in no answer, the mean of their shares
    is accepted; otherwise the adjudicator's value, once there is one.

    Parameters
    ----------
    package
        Folder of the reading package: all its readings must have been read by both readers.
    reads
        Tables with the columns of ``reads.csv``; the readers' and, when it is there, the adjudicator's.
    limit_points
        Largest difference in percentage points of the lung that is not a discrepancy.
    adjudicator
        Name of the third reader, as in the column ``reader``.

    Returns
    -------
    Adjudication
        Accepted values, agreement, and what waits.

    Raises
    ------
    UsageError
        If the package cannot be read, the limit is negative, or there are not two readers beside the adjudicator.
    TableError
        Naming row and column of everything wrong: values out of range, shares that do not add up, readings that
        are unknown, missing or read twice, and an adjudicator's read of what needs none.
    """
    if not limit_points >= 0:
        raise UsageError("the limit must be 0 or more percentage points")
    wanted = _readings(package)
    tables = [read_table(path, READ_COLUMNS[:-1]) for path in reads]
    found: dict[str, dict[str, Read]] = {}
    for table in tables:
        _take(table, wanted, found)
    readers = sorted(set(found) - {adjudicator})
    if len(readers) != 2:
        raise UsageError(f"two readers besides the adjudicator are compared, and the reads are by {len(readers)}")
    first, second = (found[reader] for reader in readers)
    last = tables[-1]
    problems = Problems(last.name)
    for reader in readers:
        for reading in sorted(wanted - set(found[reader])):
            problems.add(last.rows[-1].number, "reading_id", f"{reading} was not read by {reader}")
    problems.raise_if_any()
    third = found.get(adjudicator, {})
    discrepant = [reading for reading in sorted(wanted) if _differs(first[reading], second[reading], limit_points)]
    for reading in sorted(set(third) - set(discrepant)):
        problems.add(last.rows[-1].number, "reading_id", f"{reading} needs no adjudicator: the readers agree")
    problems.raise_if_any()
    accepted = [_accepted(first[r], second[r], third.get(r), limit_points) for r in sorted(wanted)]
    return Adjudication(
        accepted,
        list(_agreement([(first[r], second[r]) for r in sorted(wanted)])),
        [reading for reading in discrepant if reading not in third],
    )


def write_adjudication(found: Adjudication, out: Path, adjudicator: str) -> None:
    """Write accepted.csv, agreement.csv, and adjudication.csv: the adjudicator's form, without what others read.

    A form in which somebody has entered something stays as it is: it is the adjudicator's own record.

    Parameters
    ----------
    found
        From `adjudicate`.
    out
        Folder; made if missing.
    adjudicator
        Name for the form.

    Raises
    ------
    UsageError
        If a form that somebody has filled in lacks a reading that waits; nothing is written then.
    """
    prepare_folder(out)
    path = out / "adjudication.csv"
    entered = _entered(path)
    if entered is not None and not set(found.waiting) <= entered:
        raise UsageError(
            f"{path.name} of the output folder is filled in already, and lacks readings that wait now",
            hint="Give another folder by --out; the form that is there is not overwritten.",
        )
    form: list[dict[str, Cell]] = [{"reading_id": reading, "reader": adjudicator} for reading in found.waiting]
    files = {
        "accepted.csv": csv_bytes(ACCEPTED, found.accepted),
        "agreement.csv": csv_bytes(AGREEMENT, found.agreement),
        path.name: csv_bytes(READ_COLUMNS, form),
    }
    files[DICTIONARY] = dictionary_bytes("adjudication", headers_of(files))
    if entered is not None:
        del files[path.name]
    for name, content in files.items():
        write_whole(out / name, content)


def _entered(form: Path) -> frozenset[str] | None:
    """Readings of a form that is not as it was written; None if there is no form, or nothing was entered."""
    if not form.exists():
        return None
    try:
        rows = read_table(form, READ_COLUMNS[:-1]).rows
    except (UsageError, TableError):
        return frozenset()  # a person's, however it was saved
    own = ("reading_id", "reader")
    if not any(text for row in rows for name, text in row.cells.items() if name not in own):
        return None
    return frozenset(row.cells["reading_id"] for row in rows)


def _readings(package: Path) -> frozenset[str]:
    try:
        return frozenset(json.loads((package / "manifest.json").read_text("utf-8"))["readings"])
    except (OSError, ValueError, KeyError, TypeError) as wrong:
        raise UsageError(f"the package's manifest cannot be read ({type(wrong).__name__})") from wrong


def _take(table: Table, wanted: frozenset[str], found: dict[str, dict[str, Read]]) -> None:
    problems = Problems(table.name)
    for row in table.rows:
        reading, reader = row.cells["reading_id"], row.cells["reader"]
        if reading not in wanted:
            problems.add(row.number, "reading_id", "is not a reading of this package")
        if not reader:
            problems.add(row.number, "reader", "is empty")
        own = found.setdefault(reader, {})
        if reading in own:
            problems.add(row.number, "reading_id", "is read twice by one reader")
        own[reading] = _read(row, problems)
    problems.raise_if_any()


def _read(row: Row, problems: Problems) -> Read:
    cells = row.cells
    evaluable = _yes_no(row, "evaluable", problems)
    shares: dict[str, float] = {}
    for name in SHARES:
        value = number_in(cells[name])
        if evaluable is False:
            if cells[name]:
                problems.add(row.number, name, "has a value, but the reading is not evaluable")
        elif value is None or not 0 <= value <= 100:
            problems.add(row.number, name, "is not a number from 0 to 100")
        else:
            shares[name] = value
    if len(shares) == len(SHARES):
        off = abs(shares["ground_glass_percent"] + shares["solid_percent"] - shares["lesion_percent"])
        if off > SUM_POINTS:
            problems.add(row.number, "lesion_percent", f"is {off:g} points off ground glass and solid together")
    answers = {name: answer for name in ANSWERS if (answer := _yes_no(row, name, problems)) is not None}
    if answers.get("normal_ct") and shares.get("lesion_percent", 0) > 0:
        problems.add(row.number, "normal_ct", "is yes, but there is lesion")
    if evaluable is None:
        problems.add(row.number, "evaluable", "must be yes or no")
    return Read(cells["reading_id"], cells["reader"], bool(evaluable), shares, answers)


def _yes_no(row: Row, column: str, problems: Problems) -> bool | None:
    text = row.cells[column].casefold()
    if text not in ("", "yes", "no"):
        problems.add(row.number, column, "must be yes, no or empty")
    return None if text not in ("yes", "no") else text == "yes"


def _differs(a: Read, b: Read, limit_points: float) -> str:
    """What is discrepant, in words; empty if the readers agree."""
    if a.evaluable != b.evaluable:
        return "only one reader found it evaluable"
    for name in SHARES:
        if name in a.shares and abs(a.shares[name] - b.shares[name]) > limit_points:
            return f"{name} differs by {abs(a.shares[name] - b.shares[name]):g} points"
    return next((f"{name} differs" for name in ANSWERS if a.answers.get(name) != b.answers.get(name)), "")


def _accepted(a: Read, b: Read, third: Read | None, limit_points: float) -> dict[str, Cell]:
    why = _differs(a, b, limit_points)
    points = [abs(a.shares[name] - b.shares[name]) for name in SHARES if name in a.shares and name in b.shares]
    row: dict[str, Cell] = {"reading_id": a.reading, "difference_points": max(points, default=None)}
    if why and third is None:
        return row | {"accepted": "no", "why": f"{why}: awaits the adjudicator"}
    if third is not None:
        said = {name: third.shares.get(name) for name in SHARES} | {n: third.answers.get(n) for n in ANSWERS}
        return (
            row
            | said
            | {
                "accepted": "yes",
                "evaluable": third.evaluable,
                "accepted_by": third.reader,
                "why": f"{why}: the adjudicator's value",
            }
        )
    means = {name: (a.shares[name] + b.shares[name]) / 2 for name in SHARES if name in a.shares}
    within = f"readers within {limit_points:g} points: the mean" if means else "neither reader found it evaluable"
    return (
        row
        | means
        | dict(a.answers)
        | {
            "accepted": "yes",
            "evaluable": a.evaluable,
            "accepted_by": f"{a.reader} and {b.reader}",
            "why": within,
        }
    )


def _agreement(pairs: Sequence[tuple[Read, Read]]) -> Iterator[dict[str, Cell]]:
    names: dict[str, Cell] = {"reader_a": pairs[0][0].reader, "reader_b": pairs[0][1].reader}

    def line(measure: str, n: int, statistic: str, found: Estimate | None, meaning: str) -> dict[str, Cell]:
        value = {} if found is None else {"value": found.value, "low": found.low, "high": found.high}
        return {**names, "measure": measure, "n": n, "statistic": statistic, **value, "meaning": meaning}

    for name in SHARES:
        both = [(a.shares[name], b.shares[name]) for a, b in pairs if name in a.shares and name in b.shares]
        first, second = [a for a, _ in both], [b for _, b in both]
        yield line(name, len(both), "icc", icc_absolute(both), "absolute agreement, single reader")
        limits = limits_of_agreement(first, second)
        if limits is not None:
            yield line(name, len(both), "bias", limits.bias, "points, reader b minus reader a")
            yield line(name, len(both), "lower_limit", limits.lower, "bias - 1.96 SD of the differences")
            yield line(name, len(both), "upper_limit", limits.upper, "bias + 1.96 SD of the differences")
    for name in ("evaluable", *ANSWERS):
        said = [(_answer(a, name), _answer(b, name)) for a, b in pairs]
        known = [(a, b) for a, b in said if a is not None and b is not None]
        found = kappa([a for a, _ in known], [b for _, b in known])
        yield line(name, len(known), "kappa", found, "agreement beyond chance on yes or no")


def _answer(read: Read, name: str) -> bool | None:
    return read.evaluable if name == "evaluable" else read.answers.get(name)
