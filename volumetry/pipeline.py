"""The straight line: a scan folder in, a result out. Nothing else decides a number."""

import contextlib
import hashlib
import logging
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import perf_counter

import numpy as np

from volumetry import __version__
from volumetry.codes import CATALOGUE, Outcome
from volumetry.config import Config, load_config
from volumetry.domain import (
    CtScan,
    Finding,
    Interval,
    LobeMap,
    LobeMeasurement,
    NoLobes,
    Provenance,
    ScanFailure,
    ScanRefusedError,
    ScanResult,
    Segmenter,
    Status,
    TissueMap,
    most_severe_first,
)
from volumetry.errors import InputError, VolumetryError
from volumetry.measure import (
    by_component_rule,
    check_identities,
    check_lobes,
    distribution_of,
    measure,
    measure_lobes,
)
from volumetry.memory import PeakMemory, give_back_freed_memory, peak_memory
from volumetry.quality import blood_pool_hu, charter_findings, lung_findings
from volumetry.scan import read_scan
from volumetry.segment.factory import SHIPPED, segmenter_from
from volumetry.segment.lobes import divide
from volumetry.segment.postprocess import tidy

PACKAGES = ("SimpleITK", "monai", "nibabel", "numpy", "pydicom", "scikit-image", "torch")
STAGES = ("read", "segment", "measure")

_LOG = logging.getLogger(__name__)
"""Stages, seconds and codes; never a value of a header, a name or a path."""

OnStage = Callable[[str], None]


def unheard(_: str) -> None:
    """Nobody follows the stages."""


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """A measured scan.

    Parameters
    ----------
    result
        The numbers, the findings and the provenance.
    tissue
        The delivered map, on which the numbers were counted.
    scan
        What was measured.
    config
        The settings used.
    """

    result: ScanResult
    tissue: TissueMap
    scan: CtScan
    config: Config


def analyse_scan(
    path: str | Path,
    segmenter: Segmenter | None = None,
    config: Config | None = None,
    scan_id: str = "scan",
    on_stage: OnStage = unheard,
) -> Analysis:
    """Read the one CT volume in an input and measure it.

    Parameters
    ----------
    path
        What `volumetry.scan.read_scan` takes: a folder of DICOM files in any order and at any depth, an archive,
        one file of a series, or a volume in HU.
    segmenter
        Labels the tissue; the shipped model if None.
    config
        Every setting that decides a number; the defaults if None.
    scan_id
        The name under which the result is known; never a patient's.
    on_stage
        Called with the name of each stage as it begins.

    Returns
    -------
    Analysis
        Numbers, delivered mask on the scanner's own grid, scan and settings.

    Raises
    ------
    ScanRefusedError
        If the scan cannot be measured; every reason is in it.
    ScanFailedError
        If reading ran out of time or memory.
    SegmentationError
        If the numbers do not add up.
    ModelError
        If `segmenter` is None and the model cannot be used.
    """
    config = config or load_config()
    with peak_memory() as memory:
        clock = _Clock(on_stage)
        clock.begin("read")
        load = getattr(segmenter, "begin_loading", None)  # a model may be loaded while another process decodes
        scan = read_scan(path, config, on_decoding=load) if load else read_scan(path, config)
        return _analysed(scan, segmenter, config, scan_id, clock, memory)


def analyse(
    scan: CtScan,
    segmenter: Segmenter | None = None,
    config: Config | None = None,
    scan_id: str = "scan",
    on_stage: OnStage = unheard,
) -> Analysis:
    """Measure a scan that was read before.

    Parameters
    ----------
    scan
        From `read_scan` or `scan_from_array`.
    segmenter
        Labels the tissue; the shipped model if None.
    config
        Every setting that decides a number; the defaults if None.
    scan_id
        The name under which the result is known; never a patient's.
    on_stage
        Called with the name of each stage as it begins.

    Returns
    -------
    Analysis
        Numbers, delivered mask on the scanner's own grid, scan and settings.

    Raises
    ------
    ScanRefusedError
        If the scan cannot be measured; every reason is in it.
    SegmentationError
        If the numbers do not add up.
    ModelError
        If `segmenter` is None and the model cannot be used.
    """
    with peak_memory() as memory:
        return _analysed(scan, segmenter, config or load_config(), scan_id, _Clock(on_stage), memory)


def _analysed(
    scan: CtScan,
    segmenter: Segmenter | None,
    config: Config,
    scan_id: str,
    clock: "_Clock",
    memory: PeakMemory,
) -> Analysis:
    charter = charter_findings(scan.series, config)
    _stop_if_refused(most_severe_first([*scan.findings, *charter]), scan)
    clock.begin("segment")
    give_back_freed_memory(scan.hu_kji.nbytes)
    segmenter = segmenter or segmenter_from(SHIPPED, config)  # torch is imported only here
    tissue = tidy(_segmented(scan, segmenter), scan, config.tidy)
    clock.begin("measure")
    give_back_freed_memory(scan.hu_kji.nbytes)
    delivered = by_component_rule(tissue, scan, config.measure)
    with ThreadPoolExecutor(1) as beside:  # the lobes take as long as all the rest
        dividing = beside.submit(divide, tissue, scan)
        digesting = beside.submit(mask_digest, delivered)
        measurement = measure(tissue, scan, config.measure, config.interval)
        check_identities(measurement, delivered)
        blood_hu = blood_pool_hu(tissue, scan)
        of_the_lungs = lung_findings(tissue, scan, measurement, config, blood_hu)
        distribution = distribution_of(delivered)
        lobes = measured_lobes(dividing.result, delivered, measurement.interval)
    give_back_freed_memory(scan.hu_kji.nbytes)
    findings = most_severe_first([*scan.findings, *charter, *of_the_lungs])
    _stop_if_refused(findings, scan)
    clock.end()
    _LOG.info(
        "measured in %.1f s: %s", sum(clock.seconds.values()), ", ".join(f.code for f in findings) or "no code"
    )
    result = ScanResult(
        scan_id=scan_id,
        status=Status.REVIEW if any(f.outcome is Outcome.FLAG for f in findings) else Status.MEASURED,
        findings=findings,
        measurement=measurement,
        series=scan.series,
        provenance=_provenance(scan, segmenter, config, digesting.result()),
        dropped_ml=tissue.dropped_ml,
        timing_s=clock.seconds,
        peak_memory_mb=memory.mb,
        blood_pool_hu=blood_hu,
        lobes=lobes,
        distribution=distribution,
    )
    return Analysis(result, delivered, scan, config)


def _segmented(scan: CtScan, segmenter: Segmenter) -> TissueMap:
    """The segmenter's map; no name is kept for it, as a long scan has no room for its labels twice."""
    tissue = segmenter(scan)
    give_back_freed_memory(scan.hu_kji.nbytes)
    return tissue


def measured_lobes(
    divided: Callable[[], LobeMap | NoLobes], delivered: TissueMap, interval: Interval | None = None
) -> LobeMeasurement:
    """The lungs divided into lobes and measured; whatever goes wrong costs the lobes alone.

    Parameters
    ----------
    divided
        Divides the lungs, or waits until they are.
    delivered
        The map that is counted.
    interval
        Of the shares of both lungs; None where there is none.

    Returns
    -------
    LobeMeasurement
        With the reason where there are no lobes.
    """
    try:
        measured = measure_lobes(delivered, divided(), interval)
    except Exception as bug:  # noqa: BLE001  a scan is measured even if its lobes are not
        _LOG.exception("lobes")
        return LobeMeasurement("none", f"the program failed to divide the lungs ({type(bug).__name__})")
    check_lobes(measured, delivered)
    return measured


def mask_digest(delivered: TissueMap) -> str:
    """SHA-256 of a delivered mask, as the provenance states it.

    Parameters
    ----------
    delivered
        The map that is counted.

    Returns
    -------
    str
        Of the voxels alone, in the order k, j, i.
    """
    digest = hashlib.sha256()
    for plane in delivered.mask_planes():
        digest.update(np.ascontiguousarray(plane).data)
    return digest.hexdigest()


def failure_of(stop: VolumetryError, scan_id: str) -> ScanFailure:
    """A known error as the row of its scan.

    Parameters
    ----------
    stop
        The error.
    scan_id
        Name of the scan in the results.

    Returns
    -------
    ScanFailure
        Refused if the scan is at fault, failed if the program or the machine is.
    """
    refused = isinstance(stop, InputError) and not (stop.code in CATALOGUE and CATALOGUE[stop.code].ours)
    findings = stop.findings if isinstance(stop, ScanRefusedError) else ()
    series = stop.series if isinstance(stop, ScanRefusedError) else None
    status = Status.REFUSED if refused else Status.FAILED
    hint = stop.hint or (CATALOGUE[stop.code].hint if stop.code in CATALOGUE else "")
    return ScanFailure(scan_id, status, stop.code, stop.message, hint, findings, series)


def failure_of_bug(bug: Exception, scan_id: str) -> ScanFailure:
    """An unforeseen exception as the row of its scan: out of memory, or a fault of this program.

    Parameters
    ----------
    bug
        The exception; its text, which may hold values of a header, is not used.
    scan_id
        Name of the scan in the results.

    Returns
    -------
    ScanFailure
        Failed, with the class of the exception and the line of this program where it happened.
    """
    code = CATALOGUE["MEMORY_LIMIT" if isinstance(bug, MemoryError) else "INTERNAL_ERROR"]
    text = f"{type(bug).__name__} in {_where(bug)}"
    _LOG.error("%s: %s", code.name, text)
    return ScanFailure(scan_id, Status.FAILED, code.name, text, code.hint)


def _where(bug: Exception) -> str:
    """Module and line of the last frame of ours; the exception's own text may hold values of the header."""
    frames = [f for f in traceback.extract_tb(bug.__traceback__) if "volumetry" in Path(f.filename).parts]
    last = frames[-1] if frames else traceback.extract_tb(bug.__traceback__)[-1]
    return f"{Path(last.filename).name}:{last.lineno} ({last.name})"


def _stop_if_refused(findings: tuple[Finding, ...], scan: CtScan) -> None:
    if any(f.outcome is Outcome.REFUSE for f in findings):
        raise ScanRefusedError(findings, scan.series)


def _provenance(scan: CtScan, segmenter: Segmenter, config: Config, mask_sha256: str) -> Provenance:
    facts = segmenter.facts
    return Provenance(
        software_version=__version__,
        model=f"{facts.name}-{facts.version}",
        model_sha256=facts.sha256,
        config_sha256=config.sha256,
        input_sha256=scan.input_sha256,
        pixels_sha256=scan.pixels_sha256,
        mask_sha256=mask_sha256,
        device=facts.device,
        precision=facts.precision,
        lesion_probability=facts.lesion_probability,
        packages=package_versions(),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def package_versions() -> dict[str, str]:
    """Versions of the packages that decide a number.

    Returns
    -------
    dict[str, str]
        By name, of those installed: another segmenter may need no torch.
    """
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


class _Clock:
    """Seconds by stage."""

    def __init__(self, on_stage: OnStage) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage
        self._stage: str | None = None
        self._since = 0.0

    def begin(self, stage: str) -> None:
        self.end()
        self._on_stage(stage)
        self._stage, self._since = stage, perf_counter()

    def end(self) -> None:
        if self._stage is not None:
            self.seconds[self._stage] = perf_counter() - self._since
            _LOG.debug("%s took %.2f s", self._stage, self.seconds[self._stage])
            self._stage = None
