"""Can a follow-up scan be compared with its baseline? A grade, its reasons, and what breath alone would do.

Nothing is corrected: disease lowers lung volume too, so a correction would remove effect along with error.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import TypeVar

from volumetry.trial.config import Pair as Limits
from volumetry.trial.results import PIXELS, ScanRow

_CUT_LUNG = "LUNG_TRUNCATED"
_ROUNDING = 1e-9
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Check:
    """One question about a pair: its answer's code and grade; grade None means that nobody knows."""

    code: str
    grade: str | None


@dataclass(frozen=True, slots=True)
class PairGrade:
    """How comparable two scans are.

    Parameters
    ----------
    grade
        The worst of what is known: A comparable, B look, C not comparable. What is unknown does not make a pair
        better or worse; it is listed.
    reasons
        Codes of every check that was not passed, with its grade, such as ``KERNEL_CHANGED:B``.
    unknown
        The checks that could not be made.
    volume_ratio
        Lung volume at the visit over lung volume at baseline.
    predicted_shift_percent
        Relative change of every share if only the breath had changed: 100 (V_base / V_visit - 1).
    """

    grade: str
    reasons: tuple[str, ...]
    unknown: tuple[str, ...]
    volume_ratio: float
    predicted_shift_percent: float


def grade_pair(
    baseline: ScanRow, visit: ScanRow, limits: Limits, shared: Container[str] = frozenset()
) -> PairGrade:
    """Grade how comparable two scans are in breath and acquisition.

    Parameters
    ----------
    baseline, visit
        Scans with numbers.
    limits
        Of the grades.
    shared
        Digests of images that stand in several rows of the visits table.

    Returns
    -------
    PairGrade
        With the reasons.

    Examples
    --------
    >>> from volumetry.trial.config import load_trial_config
    >>> from volumetry.domain import Status
    >>> scans = [ScanRow(str(ml), Status.MEASURED, None, ml={"lung": ml}) for ml in (4000.0, 4400.0)]
    >>> pair = grade_pair(*scans, load_trial_config().pair)
    >>> pair.grade, round(pair.predicted_shift_percent, 4)
    ('A', -9.0909)
    """
    checks = (*_images(baseline, visit, shared), *_checks(baseline, visit, limits))
    known = [check for check in checks if check.grade is not None]
    base_ml, visit_ml = baseline.ml["lung"], visit.ml["lung"]
    return PairGrade(
        grade=max((str(check.grade) for check in known), default="A"),
        reasons=tuple(f"{check.code}:{check.grade}" for check in known if check.grade != "A"),
        unknown=tuple(check.code for check in checks if check.grade is None),
        volume_ratio=visit_ml / base_ml,
        predicted_shift_percent=100 * (base_ml / visit_ml - 1),
    )


def _checks(base: ScanRow, visit: ScanRow, limits: Limits) -> Iterator[Check]:
    yield _volume(base.ml["lung"], visit.ml["lung"], limits)
    yield _thickness(base, visit, limits)
    yield _kernel(base, visit, limits)
    yield _number_kept(base, visit, "series.kvp", "KVP", limits.kvp_tolerance, limits.kvp_grade)
    yield _contrast(base, visit, limits)
    yield _scanner(base, visit, limits)
    yield _position(base, visit, limits)
    yield _coverage(base, visit, limits)
    yield _density(base, visit, limits)


def _images(base: ScanRow, visit: ScanRow, shared: Container[str]) -> Iterator[Check]:
    """The same images cannot be of two visits or of two subjects: one of the rows is wrong, whatever it says."""
    pixels = [scan.facts.get(PIXELS) for scan in (base, visit)]
    if pixels[0] is not None and pixels[0] == pixels[1]:
        yield Check("SAME_IMAGES", "C")
    elif any(digest is not None and digest in shared for digest in pixels):
        yield Check("SAME_IMAGES_ELSEWHERE", "C")


def _volume(base_ml: float, visit_ml: float, limits: Limits) -> Check:
    off_ml = abs(visit_ml - base_ml) * (1 - _ROUNDING)  # 10 % off is still A, whatever the last binary digit says
    grade = "C" if off_ml > limits.volume_c * base_ml else "B" if off_ml > limits.volume_b * base_ml else "A"
    return Check("LUNG_VOLUME", grade)


def _thickness(base: ScanRow, visit: ScanRow, limits: Limits) -> Check:
    pair_mm = _both(base.numbers.get("series.thickness_mm"), visit.numbers.get("series.thickness_mm"))
    if pair_mm is None:
        return Check("THICKNESS", None)
    thinner, thicker = sorted(pair_mm)
    if thicker - thinner <= limits.thickness_tolerance_mm * (1 + _ROUNDING):
        return Check("THICKNESS", "A")
    apart = thinner <= limits.thin_mm and thicker >= limits.thick_mm
    return Check("THICKNESS_CHANGED", "C" if apart else "B")


def _kernel(base: ScanRow, visit: ScanRow, limits: Limits) -> Check:
    names = _both(base.facts.get("series.kernel"), visit.facts.get("series.kernel"))
    if names is None:
        return Check("KERNEL", None)
    one, other = (name.casefold() for name in names)
    families = [{name.casefold() for name in family} for family in limits.kernel_families]
    same = one == other or any({one, other} <= family for family in families)
    return Check("KERNEL", "A") if same else Check("KERNEL_CHANGED", limits.kernel_grade)


def _number_kept(base: ScanRow, visit: ScanRow, column: str, code: str, tolerance: float, grade: str) -> Check:
    pair = _both(base.numbers.get(column), visit.numbers.get(column))
    if pair is None:
        return Check(code, None)
    kept = abs(pair[0] - pair[1]) <= tolerance * (1 + _ROUNDING)
    return Check(code, "A") if kept else Check(f"{code}_CHANGED", grade)


def _contrast(base: ScanRow, visit: ScanRow, limits: Limits) -> Check:
    pair = _both(_yes_no(base.facts.get("series.contrast")), _yes_no(visit.facts.get("series.contrast")))
    if pair is None:
        return Check("CONTRAST", None)
    if pair[0] != pair[1]:
        return Check("CONTRAST_CHANGED", limits.contrast_changed_grade)
    return Check("CONTRAST_IN_BOTH", limits.contrast_both_grade) if pair[0] else Check("CONTRAST", "A")


def _scanner(base: ScanRow, visit: ScanRow, limits: Limits) -> Check:
    pairs = [_both(base.facts.get(n), visit.facts.get(n)) for n in ("series.manufacturer", "series.model_name")]
    if any(pair is not None and pair[0].casefold() != pair[1].casefold() for pair in pairs):
        return Check("SCANNER_CHANGED", limits.scanner_grade)
    return Check("SCANNER", None if None in pairs else "A")


def _position(base: ScanRow, visit: ScanRow, limits: Limits) -> Check:
    pair = _both(base.facts.get("series.patient_position"), visit.facts.get("series.patient_position"))
    if pair is None:
        return Check("POSITION", None)
    # HFS and FFS differ in which end goes first, not in posture
    kept = pair[0].upper()[2:] == pair[1].upper()[2:]
    return Check("POSITION", "A") if kept else Check("POSITION_CHANGED", limits.position_grade)


def _coverage(base: ScanRow, visit: ScanRow, limits: Limits) -> Check:
    flags = (base.flags, visit.flags)
    if any(code.startswith(_CUT_LUNG) for codes in flags for code in codes or ()):
        return Check("LUNG_CUT", limits.coverage_grade)
    return Check("COVERAGE", None if None in flags else "A")


def _density(base: ScanRow, visit: ScanRow, limits: Limits) -> Check:
    pair_hu = _both(base.aerated_hu, visit.aerated_hu)
    if pair_hu is None:
        return Check("LUNG_DENSITY", None)
    kept = abs(pair_hu[0] - pair_hu[1]) <= limits.density_tolerance_hu * (1 + _ROUNDING)
    return Check("LUNG_DENSITY", "A") if kept else Check("LUNG_DENSITY_CHANGED", limits.density_grade)


def _yes_no(text: str | None) -> bool | None:
    return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}.get(
        (text or "").casefold()
    )


def _both(one: T | None, other: T | None) -> tuple[T, T] | None:
    return None if one is None or other is None else (one, other)
