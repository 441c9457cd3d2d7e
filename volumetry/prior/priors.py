"""Earlier results around the measurement of a scan: read before it, compared after it, shown in its report."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from volumetry.config import Config
from volumetry.deliver import as_document
from volumetry.deliver.report.beside import Beside, beside
from volumetry.deliver.report.images import Chest
from volumetry.deliver.report.key_slices import chest_with_doubt
from volumetry.domain import CtScan, PriorVisit, ScanResult, TissueMap
from volumetry.errors import InputError, UsageError, VolumetryError
from volumetry.prior.compared import (
    Document,
    require_older,
    require_one_result_a_day,
    require_same_person,
    visit_of,
)
from volumetry.prior.earlier import Earlier, read_earlier
from volumetry.remeasure.automatic import read_automatic
from volumetry.remeasure.source import source_of


def require_prior(result: Path, prior: Path) -> None:
    """Stop unless one result may be shown beside another as its prior.

    Parameters
    ----------
    result, prior
        Folders of results.

    Raises
    ------
    InputError
        If one of them is not a measured result, they are not known to be of one person, or the prior is not older.
    """
    now, earlier = (read_earlier(path).document for path in (result, prior))
    require_same_person(now, earlier)
    require_older(now, earlier)


class Priors:
    """Earlier results of the same person.

    Whatever is wrong with a prior is found before the scan is measured, or costs the comparison alone: `noted`
    gives the result back without it, and `stop` says why.

    Parameters
    ----------
    paths
        Folders of results, or files result.json, in any order.
    latest_scan
        The scan of the latest of them, for pictures of it.
    config
        For reading that scan.

    Attributes
    ----------
    stop
        Why there is no comparison; None until `noted` met something.

    Raises
    ------
    InputError
        If one of them is not a measured result that states its patient, or two are of the same day.
    UsageError
        If a scan is given without the folder of its result.
    """

    def __init__(self, paths: Sequence[Path], latest_scan: Path | None, config: Config) -> None:
        found = [read_earlier(path) for path in paths]
        require_one_result_a_day(one.document for one in found)
        self._earlier = sorted(
            found, key=lambda one: str((one.document.get("series") or {}).get("acquisition_date"))
        )
        self._config = config
        self.stop: VolumetryError | None = None
        self._then = self._read_latest(self._earlier[-1], latest_scan)

    def noted(self, result: ScanResult) -> ScanResult:
        """The result with its priors, or as it is, with the reason in `stop`.

        Parameters
        ----------
        result
            Of the present scan.

        Returns
        -------
        ScanResult
            With `priors`, the oldest first.
        """
        try:
            return replace(result, priors=self.compared(as_document(result)))
        except InputError as stop:
            self.stop = stop
            return result

    def compared(self, now: Document) -> tuple[PriorVisit, ...]:
        """How far a result is from each prior.

        Parameters
        ----------
        now
            result.json of the present scan.

        Returns
        -------
        tuple[PriorVisit, ...]
            The oldest first.

        Raises
        ------
        InputError
            If a prior is not known to be of the same person, or is not older.
        """
        for one in self._earlier:
            require_same_person(now, one.document)
        return tuple(visit_of(now, one.document) for one in self._earlier)

    def pictures(self, document: Document, tissue: TissueMap, scan: CtScan | None) -> list[Beside]:
        """Slices of the latest prior and of the present scan at the same places in the lungs.

        Parameters
        ----------
        document, tissue, scan
            The present ones; without the scan the present slices show the mask alone.

        Returns
        -------
        list[Beside]
            Empty where the comparison was refused, or the prior is a document alone.
        """
        if self.stop is not None or self._then is None:
            return []
        now = chest_with_doubt(document, tissue, scan)
        return [] if now is None else beside(self._then, now)

    def _read_latest(self, latest: Earlier, scan: Path | None) -> Chest | None:
        if latest.folder is None:
            if scan is not None:
                raise UsageError("a prior scan needs the folder of its result, with the mask")
            return None
        automatic = read_automatic(latest.folder)
        # Cropped to the lungs at once: the rest of the earlier scan is not held while the present one is measured.
        ct = None if scan is None else source_of(automatic, scan, self._config).scan
        return chest_with_doubt(latest.document, automatic.tissue, ct)
