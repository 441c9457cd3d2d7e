"""The change since earlier visits by a reader's mask: a correction of a result that has priors.

A result keeps the numbers of its priors, and neither their masks nor the place where they lie. The numbers are
enough for the change; what else the automatic mask decided of the comparison is judged again, or is stated to be
unknown.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from volumetry.config import Config, load_config
from volumetry.deliver.people import READER
from volumetry.deliver.report.beside import Beside
from volumetry.deliver.result import as_plain
from volumetry.domain import CtScan, Status, TissueMap
from volumetry.errors import UsageError
from volumetry.prior.compared import MEASURES, Document, rule_of, scan_row
from volumetry.prior.priors import Priors
from volumetry.trial.comparability import grade_pair
from volumetry.trial.config import load_trial_config
from volumetry.trial.results import ScanRow

_CUT = "LUNG_TRUNCATED"
_OF_THE_LUNG_MASK = ("LUNG_VOLUME", "LUNG_CUT", "COVERAGE")
_OF_THE_DENSITY = ("LUNG_DENSITY", "LUNG_DENSITY_CHANGED")
_OF_THE_READING = ("READER_IN_ONE", "MODEL_CHANGED")
"""A reader's mask is no model's, and `READER_IN_ONE` depends on the earlier reading alone."""


class CorrectedPriors:
    """Earlier visits of a result that a reader corrects.

    Parameters
    ----------
    paths
        Folders of earlier results, or files result.json: they replace what the result states of the same days, and
        the latest of them is shown in pictures. Without any, the change is computed from what the result states.
    latest_scan
        The scan of the latest of them.
    config
        For reading that scan.

    Raises
    ------
    InputError
        If one of them is not a measured result that states its patient, or two are of the same day.
    UsageError
        If a scan is given without the folder of its result.
    """

    def __init__(
        self, paths: Sequence[Path] = (), latest_scan: Path | None = None, config: Config | None = None
    ) -> None:
        if latest_scan is not None and not paths:
            raise UsageError("a prior scan was given without its result", hint="Give the result with --prior.")
        self._given = Priors(paths, latest_scan, config or load_config()) if paths else None

    def visits(self, automatic: Document, corrected: Document) -> list[dict[str, Any]]:
        """What the correction states under ``prior``.

        Parameters
        ----------
        automatic, corrected
            result.json of the result that was corrected, and of the correction.

        Returns
        -------
        list[dict[str, Any]]
            The oldest first.

        Raises
        ------
        InputError
            If a prior that was given is not known to be of the same person, or is not older.
        """
        stated = (automatic.get("prior") or {}).get("visits") or []
        found = {visit["acquisition_date"]: restated(visit, automatic, corrected) for visit in stated}
        if self._given is not None:
            found |= {visit.acquisition_date: as_plain(visit) for visit in self._given.compared(corrected)}
        return [found[day] for day in sorted(found)]

    def pictures(self, document: Document, tissue: TissueMap, scan: CtScan | None) -> list[Beside]:
        """Slices of the latest prior that was given beside the corrected ones.

        Parameters
        ----------
        document, tissue, scan
            The correction: result.json, the mask, and its scan if that is at hand.

        Returns
        -------
        list[Beside]
            Empty where no folder of a prior was given.
        """
        return [] if self._given is None else self._given.pictures(document, tissue, scan)


def restated(visit: Document, automatic: Document, corrected: Document) -> dict[str, Any]:
    """An earlier visit as the corrected result states it.

    Parameters
    ----------
    visit
        As the result that was corrected states it.
    automatic, corrected
        result.json of that result, and of the correction.

    Returns
    -------
    dict[str, Any]
        The change by the corrected numbers. Reasons that the scans give are kept. The density of the aerated lung,
        which a result does not keep of its priors, is not known once the correction has changed it.
    """
    now, before = scan_row(corrected), scan_row(automatic)
    then = ScanRow(
        visit["scan_id"],
        Status.MEASURED,
        None,
        percent=visit["percent_of_lung"],
        ml=visit["volumes_ml"],
        flags=_earlier_flags(visit, before),
    )
    pair = grade_pair(then, now, load_trial_config().pair)
    kept_density = now.aerated_hu is not None and now.aerated_hu == before.aerated_hu
    again = (*_OF_THE_LUNG_MASK, *(() if kept_density else _OF_THE_DENSITY))
    kept = [reason for reason in visit["reasons"] if _code(reason) not in (*again, *_OF_THE_READING)]
    reasons = [reason for reason in pair.reasons if _code(reason) in again] + kept
    for code in _decided_otherwise(visit, automatic, corrected):
        if code not in reasons:
            reasons.append(code)
    compared = MEASURES if "RULE_CHANGED:B" not in reasons else ("lesion",)
    return {
        **visit,
        "change_ml": {name: now.ml[name] - then.ml[name] for name in ("lung", *compared)},
        "change_points": {name: now.percent[name] - then.percent[name] for name in compared},
        "grade": max((reason.rpartition(":")[2] for reason in reasons), default="A"),
        "reasons": reasons,
        "unknown": [code for code in visit["unknown"] if code not in again]
        + [code for code in pair.unknown if code in again],
        "lung_volume_ratio": pair.volume_ratio,
        "predicted_shift_percent": pair.predicted_shift_percent,
    }


def _earlier_flags(visit: Document, before: ScanRow) -> tuple[str, ...] | None:
    """Whether a lung of the earlier scan is truncated, as far as the comparison with the first result tells."""
    if "LUNG_CUT" not in map(_code, visit["reasons"]):
        return None if "COVERAGE" in visit["unknown"] else ()
    cut_now = any(code.startswith(_CUT) for code in before.flags or ())
    return None if cut_now else (_CUT,)


def _decided_otherwise(visit: Document, automatic: Document, corrected: Document) -> list[str]:
    """What differs from the earlier result by the correction: its reader, and its settings if they are others."""
    made, now = automatic["provenance"], corrected["provenance"]
    found = [] if visit["reading"] == READER else ["READER_IN_ONE:B"]
    if made.get("config_sha256") != now.get("config_sha256"):
        found.append("SETTINGS_CHANGED:B")
    if rule_of(automatic) != rule_of(corrected):
        found.append("RULE_CHANGED:B")
    return found


def _code(reason: str) -> str:
    return reason.partition(":")[0]
