"""The files of a bridge: tables, the numbers as JSON, and a page."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from volumetry import __version__
from volumetry.assurance.bridge.adopted import NAME as ADOPTED
from volumetry.assurance.bridge.adopted import adopted_bytes
from volumetry.assurance.bridge.conclusions import Conclusion, conclusions
from volumetry.assurance.bridge.pairs import QUANTITIES, Pair, Shift, changes_of, pairs_of, shifts_of
from volumetry.assurance.validation.agreement import Agreement, bland_altman
from volumetry.assurance.validation.figures import draw_agreement, drawing, finished
from volumetry.deliver.tables import NAME as DICTIONARY
from volumetry.deliver.tables import dictionary_bytes, headers_of
from volumetry.storage.atomic import prepare_folder, write_json, write_whole
from volumetry.storage.csv_tables import Cell, csv_bytes
from volumetry.storage.digests import file_sha256
from volumetry.trial import run_trial
from volumetry.trial.results import PROVENANCE, ScanRow, results_file

NAMES = {
    "lesion": "All disease, share of lung",
    "ground_glass": "Ground glass, share of lung",
    "solid": "Solid, share of lung",
    "lung": "Lung volume",
}
SHIFTS = ("scan_id", "quantity", "unit", "old", "new", "difference", "beyond_limit")
AGREEMENT = (
    *("quantity", "unit", "n", "bias", "bias_low", "bias_high"),
    *("lower", "lower_low", "lower_high", "upper", "upper_low", "upper_high", "beyond_limit"),
)
CHANGED = ("scan_id", "what", "old", "new")
CONCLUSIONS = (
    *("measure", "scale", "visit", "arm_a", "arm_b", "primary", "shift_old", "ci_low_old", "ci_high_old", "p_old"),
    *("shift_new", "ci_low_new", "ci_high_new", "p_new", "flips"),
)


@dataclass(frozen=True, slots=True)
class Limits:
    """From which shift of one scan it is listed.

    Parameters
    ----------
    points
        Of each share, in points of lung.
    lung_percent
        Of the lung volume.
    """

    points: float = 1.0
    lung_percent: float = 2.0

    def exceeded_by(self, shift: Shift) -> bool:
        """Whether a shift lies beyond its limit.

        Parameters
        ----------
        shift
            Of one number of one scan.

        Returns
        -------
        bool
            False on the limit itself.
        """
        return abs(shift.difference) > (self.points if shift.unit == "points" else self.lung_percent)


@dataclass(frozen=True, slots=True)
class BridgeOutcome:
    """What a bridge found.

    Parameters
    ----------
    folder
        With ``bridge.html``, ``bridge.json``, ``agreement.csv``, ``shifts.csv``, ``changed.csv`` and, with a
        trial, ``conclusions.csv``, the trial's own tables in ``trial-old`` and ``trial-new``, and, if people
        excluded or corrected scans, ``results-adopted.csv``, from which ``trial-new`` is computed.
    compared
        Scans with numbers in both batches.
    beyond
        Shifts beyond their limit.
    changed
        Rows of changed.csv.
    flipped
        Conclusions of which something flips; None without a trial.
    """

    folder: Path
    compared: int
    beyond: Sequence[Shift]
    changed: Sequence[tuple[str, str, str, str]]
    flipped: Sequence[Conclusion] | None


def compare_batches(
    old: Path,
    new: Path,
    out: Path,
    limits: Limits | None = None,
    visits: Path | None = None,
    trial_config: Path | None = None,
) -> BridgeOutcome:
    """Compare two batches of the same scans, and the trial's conclusions from each. Neither batch is changed.

    Parameters
    ----------
    old, new
        Folders of batches, or tables with the columns of results.csv.
    out
        Folder for the files; those of an earlier run are replaced.
    limits
        From which shift of one scan it is listed.
    visits
        visits.csv of a trial; without it no conclusions are compared.
    trial_config
        Settings of that trial.

    Returns
    -------
    BridgeOutcome
        The findings, and where the files lie.

    Raises
    ------
    UsageError, TableError
        If a table is missing or wrong.
    ConfigError
        If a setting of the trial is wrong.
    OutputError
        If the files cannot be written.
    """
    limits = limits or Limits()
    pairs = pairs_of(old, new)
    shifts, changed = list(shifts_of(pairs)), list(changes_of(pairs))
    prepare_folder(out)
    adopted = None if visits is None else adopted_bytes(old, new)
    (out / ADOPTED).unlink(missing_ok=True)
    if adopted is not None:
        write_whole(out / ADOPTED, adopted)
    sides = old, new if adopted is None else out / ADOPTED
    concluded = None if visits is None else _concluded(sides, visits, out, trial_config)
    beyond = [shift for shift in shifts if limits.exceeded_by(shift)]
    flipped = None if concluded is None else [c for c in concluded if c.flips]
    outcome = BridgeOutcome(out, len({shift.scan_id for shift in shifts}), beyond, changed, flipped)
    changes = [dict(zip(CHANGED, row, strict=True)) for row in changed]
    files = {
        "shifts.csv": csv_bytes(SHIFTS, (_row_of(s, limits) for s in shifts)),
        "agreement.csv": csv_bytes(AGREEMENT, agreement_rows(shifts, limits)),
        "changed.csv": csv_bytes(CHANGED, changes),
    }
    if concluded is not None:
        files["conclusions.csv"] = csv_bytes(CONCLUSIONS, map(_conclusion_row, concluded))
    if adopted is not None:
        files[ADOPTED] = adopted
    files[DICTIONARY] = dictionary_bytes("bridge", headers_of(files))
    for name, content in files.items():
        write_whole(out / name, content)
    document = _document(outcome, pairs, (old, new), limits, shifts)
    write_whole(out / "bridge.html", _page(document, outcome, shifts, concluded, limits).encode("utf-8"))
    write_json(out / "bridge.json", document)
    return outcome


def _concluded(batches: tuple[Path, Path], visits: Path, out: Path, config: Path | None) -> list[Conclusion]:
    """The trial from the old batch, and from the new one as it is once adopted, and how the two conclude."""
    old, new = (
        run_trial(batch, visits, out / f"trial-{name}", config).analysis
        for batch, name in zip(batches, ("old", "new"), strict=True)
    )
    return list(conclusions(old.endpoint, new.endpoint, 1 - old.config.statistics.ci_level))


def agreement_rows(shifts: Sequence[Shift], limits: Limits) -> Iterator[dict[str, Cell]]:
    """Rows of agreement.csv: bias and limits of agreement of each quantity, new minus old, and scans beyond."""
    for quantity, unit in QUANTITIES:
        of_it = [shift for shift in shifts if shift.quantity == quantity]
        row: dict[str, Cell] = {"quantity": quantity, "unit": unit, "n": len(of_it)}
        found = _agreement(of_it)
        if found is not None:
            row |= {name: value for name, value in asdict(found).items() if name != "n"}
        yield row | {"beyond_limit": sum(limits.exceeded_by(shift) for shift in of_it)}


def _agreement(shifts: Sequence[Shift]) -> Agreement | None:
    return bland_altman([shift.difference for shift in shifts], [0.0] * len(shifts))


def _row_of(shift: Shift, limits: Limits) -> dict[str, Cell]:
    return asdict(shift) | {"beyond_limit": limits.exceeded_by(shift)}


def _conclusion_row(conclusion: Conclusion) -> dict[str, Cell]:
    old, new = conclusion.old.row(), conclusion.new.row()
    row = {name: old[name] for name in ("measure", "scale", "visit", "arm_a", "arm_b", "primary")}
    for side, cells in (("old", old), ("new", new)):
        row |= {f"{name}_{side}": cells.get(name) for name in ("shift", "ci_low", "ci_high", "p")}
    return row | {"flips": ";".join(conclusion.flips)}


def _document(
    outcome: BridgeOutcome,
    pairs: Sequence[Pair],
    batches: tuple[Path, Path],
    limits: Limits,
    shifts: Sequence[Shift],
) -> dict[str, Any]:
    sides = ([pair.old for pair in pairs], [pair.new for pair in pairs])
    return {
        "schema": 1,
        "software_version": __version__,
        "limits": asdict(limits),
        "old": _measured_by(batches[0], sides[0]),
        "new": _measured_by(batches[1], sides[1]),
        "compared": outcome.compared,
        "agreement": list(agreement_rows(shifts, limits)),
        "changed": len(outcome.changed),
        "flipped": None if outcome.flipped is None else len(outcome.flipped),
    }


def _measured_by(batch: Path, rows: Sequence[ScanRow | None]) -> dict[str, Any]:
    """Digest of a batch's table, and every model, version and setting that its rows name."""
    facts = {
        name: sorted({row.facts[name] for row in rows if row is not None and name in row.facts})
        for name in PROVENANCE
    }
    return {
        "results_sha256": file_sha256(results_file(batch)),
        "scans": sum(row is not None for row in rows),
    } | facts


def _page(
    document: Mapping[str, Any],
    outcome: BridgeOutcome,
    shifts: Sequence[Shift],
    concluded: Sequence[Conclusion] | None,
    limits: Limits,
) -> str:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, undefined=StrictUndefined
    )
    worst = sorted(outcome.beyond, key=lambda shift: -abs(shift.difference))
    return environment.get_template("bridge.html.j2").render(
        document=document,
        outcome=outcome,
        names=NAMES,
        worst=worst,
        limits=limits,
        pictures=[_picture([s for s in shifts if s.quantity == name], unit) for name, unit in QUANTITIES],
        concluded=None if concluded is None else [_conclusion_row(c) for c in concluded if c.flips],
        conclusions=None if concluded is None else len(concluded),
    )


def _picture(shifts: Sequence[Shift], unit: str) -> str:
    """Difference against the mean of both, with bias and limits of agreement and their intervals."""
    figure, axes = drawing(4.2)
    draw_agreement(axes, [(s.old + s.new) / 2 for s in shifts], [s.difference for s in shifts])
    axes.axhline(0, color="#777777", linewidth=0.8)
    across = f"mean of both, {'% of lung' if unit == 'points' else 'mL'}"
    title = NAMES[shifts[0].quantity] if shifts else "nothing to compare"
    return finished(figure, axes, (across, f"new minus old, {unit}", title))
