"""Which series of a study to measure: a proposal with its reason, for a person to confirm."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from volumetry.config import Config
from volumetry.intake.series import MEASURABLE, Series
from volumetry.scan.findings import plural

YES, NO, TIE = "yes", "no", "tie"


@dataclass(frozen=True, slots=True)
class Line:
    """One series with what is proposed for it.

    Parameters
    ----------
    series
        As delivered.
    use
        ``yes``, ``no``, or ``tie`` where several are alike and a person decides.
    reason
        Why.
    scan_id
        Name of the scan, if it is measured.
    same_images
        Scan ids of other lines with the same images.
    """

    series: Series
    use: str
    reason: str
    scan_id: str = ""
    same_images: tuple[str, ...] = ()


def proposals(series: Sequence[Series], config: Config) -> list[Line]:
    """A line for each series, study by study.

    Parameters
    ----------
    series
        Of every delivery.
    config
        ``[select]`` may prefer kernels. Beyond that the thinnest series is proposed.

    Returns
    -------
    list[Line]
        Studies in the order of their first series; within a study the proposed one first. Ids are not yet given.
    """
    studies: dict[object, list[Series]] = defaultdict(list)
    for one in series:
        place = one.place
        studies[place.site, place.subject, place.visit, one.patient, one.study or place.folder].append(one)
    return [line for study in studies.values() for line in _of_study(study, config)]


def _of_study(study: Sequence[Series], config: Config) -> list[Line]:
    seen: set[object] = set()
    again: list[Line] = []
    own: list[Series] = []
    for one in study:
        same = (one.pixels_sha256, one.info.kernel, one.thickness_mm) if one.pixels_sha256 and one.info else one
        if same in seen:
            again.append(Line(one, NO, "delivered twice, with the same images"))
        else:
            own.append(one)
        seen.add(same)
    measurable = [one for one in own if one.verdict == MEASURABLE]
    if not measurable:
        largest = max(own, key=lambda one: one.images)
        why = "no series can be measured; the largest is listed" if largest.images else "it contains no CT image"
        rest = [one for one in own if one is not largest]
        kept = Line(largest, YES, f"{why}: {largest.verdict}")
        return [kept, *(Line(one, NO, f"cannot be measured: {one.verdict}") for one in rest)]
    chosen, why = _chosen(measurable, config)
    lines = [Line(one, YES if len(chosen) == 1 else TIE, why) for one in chosen]
    lines += [Line(one, NO, _passed_over(one, chosen[0])) for one in measurable if one not in chosen]
    lines += [Line(one, NO, f"cannot be measured: {one.verdict}") for one in own if one.verdict != MEASURABLE]
    return [*lines, *again]


def _chosen(measurable: Sequence[Series], config: Config) -> tuple[list[Series], str]:
    """The series to measure, several where nothing decides between them; and the reason in words."""
    if len(measurable) == 1:
        return list(measurable), f"the only series that can be measured: {words(measurable[0])}"
    left, by = list(measurable), []
    if config.select.rule.startswith("kernel"):
        best = next((k for k in config.select.kernel_preference if any(k in _kernels(one) for one in left)), None)
        if best is not None:
            left = [one for one in left if best in _kernels(one)]
            by.append(f"kernel {best} is preferred by the settings")
    if len(left) > 1:
        # Where no volume states a thickness, it may be the thinnest or not: it stays beside the thinnest known.
        thinnest = min((one.thickness_mm for one in left if one.thickness_mm is not None), default=None)
        if any(one.thickness_mm is not None and one.thickness_mm != thinnest for one in left):
            by.append("the thinnest")
        left = [one for one in left if one.thickness_mm in (None, thinnest)]
    if len(left) == 1:
        return left, f"{' and '.join(by)} of {len(measurable)} series: {words(left[0])}"
    listed = "; ".join(words(one) for one in left)
    return left, f"a tie between {len(left)} series, decide between them: {listed}"


def _passed_over(one: Series, chosen: Series) -> str:
    both = one.thickness_mm is not None and chosen.thickness_mm is not None
    compared = "thicker" if both and one.thickness_mm != chosen.thickness_mm else "another kernel"
    return f"{compared}: {words(one)}; proposed is {words(chosen)}"


def words(one: Series) -> str:
    """Thickness, kernel and number of slices of a series.

    Parameters
    ----------
    one
        With or without a volume.

    Returns
    -------
    str
        Such as ``1.00 mm, kernel B70f, 320 slices``.
    """
    kernel = (one.info.kernel if one.info else None) or "not stated"
    thickness = "thickness not stated" if one.thickness_mm is None else f"{one.thickness_mm:.2f} mm"
    slices = one.info.slice_count if one.info else one.images
    return f"{thickness}, kernel {kernel}, {plural(slices, 'slice')}"


def _kernels(one: Series) -> tuple[str, ...]:
    return one.info.kernel_names if one.info else ()


def with_same_images(lines: Sequence[Line]) -> list[Line]:
    """The lines with the scan ids of others that have the same images.

    Parameters
    ----------
    lines
        With their ids.

    Returns
    -------
    list[Line]
        In their order; where subject or visit differ, the reason says so.
    """
    by_pixels: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        if line.series.pixels_sha256:
            by_pixels[line.series.pixels_sha256].append(line)
    found = []
    for line in lines:
        others = [other for other in by_pixels.get(line.series.pixels_sha256, ()) if other is not line]
        reason = line.reason
        if any(_keys(other) != _keys(line) for other in others):
            reason = f"{reason}; the same images occur under another subject or visit"
        found.append(replace(line, reason=reason, same_images=tuple(other.scan_id for other in others)))
    return found


def _keys(line: Line) -> tuple[str, str, str]:
    place = line.series.place
    return place.site, place.subject, place.visit
