"""A folder -> one CT series in Hounsfield units, or every reason why not."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from volumetry.config import Config, load_config
from volumetry.domain import CtScan, Finding, Grid, ScanRefusedError, most_severe_first
from volumetry.scan.checks.gate import GatedStack
from volumetry.scan.choice import choose
from volumetry.scan.contents import contents_of
from volumetry.scan.findings import found, plural, refuses
from volumetry.scan.headers.files import FileRef
from volumetry.scan.inputs.opening import Given, opened
from volumetry.scan.inputs.volume_header import VolumeHeader
from volumetry.scan.inputs.volume_stack import VolumeStack
from volumetry.scan.inputs.volumes import decode_volume, judged_stack, require_ct_numbers
from volumetry.scan.pixels.decode import DecoderDiedError, SliceFault, Stored, decode
from volumetry.scan.pixels.digests import input_digests
from volumetry.scan.pixels.hounsfield import HuVolume, hounsfield


def read_scan(
    path: str | Path, config: Config | None = None, *, on_decoding: Callable[[], object] = lambda: None
) -> CtScan:
    """Read the one CT volume in an input.

    Parameters
    ----------
    path
        A folder, searched to any depth the limits allow: files are recognised by their content, and links are
        not followed. Or a ZIP archive, one file of a series, or a NIfTI, NRRD or MetaImage volume in HU: see
        `volumetry.scan.inputs.opening`.
    config
        Tolerances, limits, the selection rule, and what follows from each code; the defaults if None.
    on_decoding
        Called once the headers speak for the scan and its pixels are about to be decoded, in another process.

    Returns
    -------
    CtScan
        HU as float32 on the scanner's own grid, axes (k, j, i).

    Raises
    ------
    ScanRefusedError
        With every finding, the most severe first.
    ScanFailedError
        If the decoding ran out of time or memory, or failed by a fault of ours.
    """
    config = config or load_config()
    with opened(Path(path), config) as given:
        return _read(given, config, on_decoding)


def scan_from_array(hu_kji: NDArray[np.floating | np.integer], grid: Grid, config: Config | None = None) -> CtScan:
    """A scan from numbers in memory, judged as a volume file without a DICOM header is.

    Parameters
    ----------
    hu_kji
        Hounsfield units, any real type, axes (k, j, i) and shape as in `grid`; converted to float32.
    grid
        Where the voxels are.
    config
        Tolerances, limits, and what follows from each code; the defaults if None.

    Returns
    -------
    CtScan
        On `grid`, without a series UID.

    Raises
    ------
    ScanRefusedError
        If the geometry cannot be measured, or the numbers are not those of a chest CT in HU.
    ValueError
        If the array does not have the shape of the grid, holds no real numbers, or is masked: what a mask hides
        has no HU, and would be measured as if it had.
    """
    config = config or load_config()
    if isinstance(hu_kji, np.ma.MaskedArray):
        raise ValueError("the array is masked: fill it, with the HU of air or of padding where it hides numbers")
    if hu_kji.dtype.kind not in "iuf":
        raise ValueError(f"an array of {hu_kji.dtype} does not hold Hounsfield units")
    if hu_kji.shape != grid.shape_kji:
        raise ValueError(f"the array has shape {hu_kji.shape}, the grid {grid.shape_kji}")
    affine_lps = np.eye(4)
    affine_lps[:3, :3] = grid.step_lps_mm[:, ::-1]
    affine_lps[:3, 3] = grid.origin_lps_mm
    nowhere = FileRef(Path("array"), 0, 0, 0, "array")
    stack = judged_stack(VolumeHeader("NumPy", grid.shape_kji, affine_lps, "<f4"), nowhere, nowhere, config)
    if refuses(stack.findings):
        raise ScanRefusedError(stack.findings, stack.series)
    filed = np.ascontiguousarray(hu_kji, np.float32)
    require_ct_numbers(filed, stack, config)
    scan = _scan_of(stack, stack.judged(filed), stack.findings, config)
    return replace(scan, grid=grid)


def _read(given: Given, config: Config, on_decoding: Callable[[], object]) -> CtScan:
    contents = contents_of(given, config)
    stack, findings = choose(contents, config)
    on_decoding()
    stored = decoded(stack, findings, given, config)
    return _scan_of(stack, stored, findings, config, given)


def _scan_of(
    stack: GatedStack, stored: Stored, findings: tuple[Finding, ...], config: Config, given: Given | None = None
) -> CtScan:
    """Stored numbers of a measurable stack as a scan in HU.

    Raises ScanRefusedError if they are not HU, or if the files of `given` changed until reading ended.
    """
    if stack.geometry is None or stack.series is None:
        raise AssertionError("the gate lets no stack pass without a grid")
    with ThreadPoolExecutor(1) as beside:
        digests = beside.submit(input_digests, stored, stack.slices, stack.geometry.grid)
        volume = hu_of(stack, stored, config)
    changes = _changes(given, config) if given else []
    findings = most_severe_first([*findings, *volume.findings, *changes])
    if refuses(findings):
        raise ScanRefusedError(findings, stack.series)
    input_sha256, pixels_sha256 = digests.result()
    hu_kji, no_data_kji, grid = volume.hu_kji, volume.no_data_kji, stack.geometry.grid
    if isinstance(stack, VolumeStack):
        hu_kji, grid = stack.filed(hu_kji), stack.grid
        no_data_kji = None if no_data_kji is None else stack.filed(no_data_kji)
    first = stack.slices[0]
    return CtScan(
        hu_kji=hu_kji,
        grid=grid,
        series=stack.series,
        findings=findings,
        no_data_kji=no_data_kji,
        input_sha256=input_sha256,
        pixels_sha256=pixels_sha256,
        air_hu=volume.air_hu,
        image_numbers=tuple(h.instance_number for h in stack.slices if h.has_header),
        patient=first.patient if first.has_header else None,
        patient_issuer=first.patient_issuer if first.has_header else None,
    )


def decoded(stack: GatedStack, findings: tuple[Finding, ...], given: Given, config: Config) -> Stored:
    """Stored numbers of a stack in its order; raises with `findings` and the decoder's own if it fails."""
    try:
        if isinstance(stack, VolumeStack):
            stored, faults = decode_volume(stack, given, config)
        else:
            stored, faults = decode(stack.slices, config.limits)
    except DecoderDiedError as died:
        message = f"the decoder died of signal {died.signal_number}, twice"
        more = [found(config, "DECODER_DIED", message, died.signal_number)]
        raise ScanRefusedError([*findings, *more], stack.series) from died
    if faults:
        raise ScanRefusedError([*findings, *_fault_findings(faults, stack, config)], stack.series)
    return stored


def hu_of(stack: GatedStack, stored: Stored, config: Config) -> HuVolume:
    """HU of a measurable stack."""
    if stack.geometry is None:
        raise AssertionError("the gate lets no stack pass without a grid")
    return hounsfield(stored, stack.slices, config)


def _fault_findings(faults: tuple[SliceFault, ...], stack: GatedStack, config: Config) -> list[Finding]:
    """One finding per code; the decoder's exception is named by its class alone."""
    findings = []
    for code in sorted({fault.code for fault in faults}):
        same = [fault for fault in faults if fault.code == code]
        reason = f" ({same[0].detail})" if same[0].detail else ""
        message = f"{plural(len(same), 'slice')} cannot be decoded{reason}, the first is slice {same[0].index}"
        findings.append(found(config, code, message, len(same)))
    return findings


def _changes(given: Given, config: Config) -> list[Finding]:
    changed = given.changed()
    if not changed:
        return []
    message = (
        f"{plural(changed, 'file')} appeared, vanished or changed during the reading: half a series was there"
    )
    return [found(config, "INPUT_CHANGED", message, changed)]
