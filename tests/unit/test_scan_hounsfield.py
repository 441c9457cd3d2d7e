"""Numbers that are no HU are refused; true HU pass however noisy, cropped, padded, diseased or coarse they are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from scan_series import SLICES, Edit, chest_hu, series, uid, write

from volumetry.config import Config, load_config
from volumetry.domain import ScanRefusedError
from volumetry.scan import read_scan
from volumetry.scan.contents import contents_of
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.inputs.opening import opened
from volumetry.scan.pixels.hounsfield import HuVolume, hounsfield

Volume = NDArray[np.int64]
HU = chest_hu().astype(np.int64)
STORED = HU + 1024
LUNG = HU < -700
OUTSIDE = np.hypot(*np.ogrid[-1:1:48j, -1:1:56j]) > 1
AIR = HU < -950


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture(scope="module")
def headers(tmp_path_factory: pytest.TempPathFactory, config: Config) -> tuple[SliceHeader, ...]:
    with opened(write(tmp_path_factory.mktemp("s") / "s", series()), config) as given:
        return contents_of(given, config).stacks[0].slices


def _judged(stored: Volume, headers: tuple[SliceHeader, ...], config: Config, **facts: object) -> HuVolume:
    signed_hu = {"signed": True, "bits_stored": 16, "slope": 1.0, "intercept": 0.0}
    slices = [replace(h, **(signed_hu | facts)) for h in headers]  # type: ignore[arg-type]  # fields of the noun
    return hounsfield(stored.astype(np.int32), slices, config)


def _codes(volume: HuVolume) -> set[str]:
    return {finding.code for finding in volume.findings}


def _noise(sigma: float) -> Volume:
    return np.rint(HU + np.random.default_rng(1).normal(0, sigma, HU.shape)).astype(np.int64)


def _where(mask: NDArray[np.bool_], values: Volume | int) -> Volume:
    return np.where(mask, values, HU)


def _window(low: int, high: int, top: int) -> Volume:
    return np.rint((HU.clip(low, high) - low) * top / (high - low)).astype(np.int64)


def _slices(k: int | slice, change: Callable[[Volume], Volume]) -> Volume:
    out = HU.copy()
    out[k] = change(out[k])
    return out


UNSIGNED = {"signed": False, "bits_stored": 12, "intercept": -1024.0}
GOOD: dict[str, tuple[Volume, dict[str, object]]] = {
    "as it is": (HU, {}),
    "unsigned 12 bit": (STORED, UNSIGNED),
    "odd slope": (np.rint((HU + 4047) / 2.0002442).astype(np.int64), {"slope": 2.0002442, "intercept": -4047.0}),
    "noise of 60 HU": (_noise(60), {}),
    "noise of 60 HU cut at -1024": (_noise(60).clip(-1024, 3071) + 1024, UNSIGNED),
    "no outside air": (HU[:, 8:-8, 8:-8], {}),
    "diffuse disease": (_where(LUNG & ~AIR, np.rint(HU * 0.3 - 120).astype(np.int64)), {}),
    "emphysema": (_where(LUNG & ~AIR, HU - 90), {}),
    "consolidated lungs": (_where(LUNG & ~AIR, HU + 880), {}),
    "contrast": (_where((HU > 20) & (np.arange(56) % 5 == 0), HU + 260), {}),
}
BAD: dict[str, tuple[Volume, dict[str, object]]] = {
    "signed read as unsigned": (HU % 2**16, {"signed": False}),
    "signed 12 bit read as unsigned": (HU % 2**12, {"signed": False, "bits_stored": 12}),
    "no intercept": (STORED, UNSIGNED | {"intercept": 0.0}),
    "intercept twice": (STORED, UNSIGNED | {"intercept": -2048.0}),
    "slope 2": (STORED, UNSIGNED | {"slope": 2.0}),
    "slope 0.5": (STORED, UNSIGNED | {"slope": 0.5}),
    "HU doubled": (HU, {"slope": 2.0}),
    "HU halved": (HU, {"slope": 0.5}),
    "100 HU too high": (HU + 100, {}),
    "60 HU too low": (HU - 60, {}),
    "inverted": (STORED.max() - STORED, UNSIGNED),
    "sign turned": (-HU, {}),
    "lung window in 8 bit": (_window(-1350, 150, 255), UNSIGNED),
    "soft-tissue window in 12 bit": (_window(-160, 240, 4095), UNSIGNED),
    "8 bit spread over HU": (_window(-1024, 1024, 255), {"slope": 2048 / 255, "intercept": -1024.0}),
    "constant": (np.full_like(HU, 40), {}),
    "noise alone": (np.random.default_rng(2).integers(0, 4096, HU.shape), UNSIGNED),
    "bytes swapped": (STORED.astype("<u2").byteswap().astype(np.int64), UNSIGNED | {"bits_stored": 16}),
    "one slice blank": (_slices(30, np.zeros_like), {}),
    "one slice off by 1024": (_slices(30, lambda plane: plane + 1024), {}),
    "first slice inverted": (_slices(0, np.negative), {}),
    "every second slice off": (_slices(slice(None, None, 2), lambda planes: planes + 1024), {}),
    "upper half off": (_slices(slice(31, None), lambda planes: planes + 1024), {}),
    "one slice of noise": (_slices(30, lambda p: np.random.default_rng(3).integers(-1024, 800, p.shape)), {}),
}


@pytest.mark.parametrize("name", GOOD)
def test_true_hu_pass(name: str, headers: tuple[SliceHeader, ...], config: Config) -> None:
    stored, facts = GOOD[name]
    volume = _judged(stored, headers, config, **facts)
    assert "HU_IMPLAUSIBLE" not in _codes(volume), [f.message for f in volume.findings]


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_hu_is_refused(name: str, headers: tuple[SliceHeader, ...], config: Config) -> None:
    stored, facts = BAD[name]
    assert "HU_IMPLAUSIBLE" in _codes(_judged(stored, headers, config, **facts))


@pytest.mark.parametrize("shift", [-32, 32])
def test_drift_near_the_limit_is_flagged(shift: int, headers: tuple[SliceHeader, ...], config: Config) -> None:
    volume = _judged(HU + shift, headers, config)
    assert _codes(volume) == {"HU_DRIFT"}
    assert volume.air_hu == pytest.approx(-1000 + shift, abs=3)


def test_unsigned_bone_read_as_signed_is_noticed(headers: tuple[SliceHeader, ...], config: Config) -> None:
    """Only what lies above the middle of the range wraps: the lungs look right, the bones turn darker than air."""
    stored = STORED.copy()
    stored[:, 22:28, 26:32] = 1024 + 700
    stored[:, 24:26, 28:30] = 1024 + 1300
    wrapped = np.where(stored >= 2048, stored - 4096, stored)
    facts = {"bits_stored": 12, "intercept": -1024.0}
    assert "HU_IMPLAUSIBLE" in _codes(_judged(wrapped, headers, config, **facts))
    assert "HU_IMPLAUSIBLE" not in _codes(_judged(stored, headers, config, **(facts | {"signed": False})))


@pytest.mark.parametrize("value", [-2000, -1500, -3024, -32768])
@pytest.mark.parametrize("tagged", [True, False])
def test_padding_becomes_air_and_is_masked(
    value: int, tagged: bool, headers: tuple[SliceHeader, ...], config: Config
) -> None:
    stored = _where(OUTSIDE[None], value)
    volume = _judged(stored, headers, config, padding=(value,) if tagged else ())
    assert _codes(volume) == {"PADDING_MASKED"}
    assert volume.no_data_kji is not None
    assert np.array_equal(volume.no_data_kji, np.broadcast_to(OUTSIDE, HU.shape))
    assert np.array_equal(volume.hu_kji, np.where(OUTSIDE, -1000, HU))


def test_padding_range_is_masked(headers: tuple[SliceHeader, ...], config: Config) -> None:
    stored = _where(OUTSIDE[None], np.where(np.arange(56) % 2, -2000, -1800)[None, None])
    volume = _judged(stored, headers, config, padding=(-2000, -1700))
    assert volume.no_data_kji is not None
    assert np.array_equal(volume.no_data_kji, np.broadcast_to(OUTSIDE, HU.shape))


def test_padding_value_that_is_a_density_takes_no_lung_away(
    headers: tuple[SliceHeader, ...], config: Config
) -> None:
    """Stored 0 is padding and the darkest noise at once: only pixels that hold it in every slice are padding."""
    stored = STORED.copy()
    stored[:, OUTSIDE] = 0
    stored[::7, 20:24, 20:24] = 0
    volume = _judged(stored, headers, config, padding=(0,), **UNSIGNED)
    assert volume.no_data_kji is not None
    assert np.array_equal(volume.no_data_kji, np.broadcast_to(OUTSIDE, HU.shape))


def test_circle_filled_with_water_is_padding_too(headers: tuple[SliceHeader, ...], config: Config) -> None:
    volume = _judged(_where(OUTSIDE[None], 0), headers, config)
    assert "PADDING_MASKED" in _codes(volume)


def test_rescale_is_applied_slice_by_slice(headers: tuple[SliceHeader, ...], config: Config) -> None:
    slices = [replace(h, intercept=-1024.0 - k % 3) for k, h in enumerate(headers)]
    stored = STORED + (np.arange(SLICES) % 3)[:, None, None]
    volume = hounsfield(stored.astype(np.uint16), slices, config)
    assert np.array_equal(volume.hu_kji, HU)
    assert volume.hu_kji.dtype == np.float32


def test_field_without_lungs_is_left_to_the_search_for_lungs(
    headers: tuple[SliceHeader, ...], config: Config, tmp_path: Path
) -> None:
    """A head or an abdomen holds true HU: it is no chest, but nothing is wrong with its numbers."""
    stored = _where(LUNG & ~AIR, np.random.default_rng(4).integers(10, 70, HU.shape))
    assert _codes(_judged(stored, headers, config)) == set()


def _joined_with_another(folder: Path, edit: Edit | None = None) -> Path:
    """The lower half of one chest and the upper half of another, as a folder that was half overwritten."""
    other = np.roll(chest_hu(seed=1), (4, -3), axis=(1, 2))
    both = np.concatenate([chest_hu()[: SLICES // 2], other[SLICES // 2 :]])
    return write(folder, series(both), edit)


def test_two_scans_joined_at_one_slice_are_flagged_and_refused_where_no_uid_tells_them_apart(
    tmp_path: Path, config: Config
) -> None:
    findings = {f.code: f for f in read_scan(_joined_with_another(tmp_path / "s"), config).findings}
    assert findings["SEAM"].outcome == "flag"
    assert f"images {SLICES // 2} to {SLICES // 2 + 1}, z " in findings["SEAM"].message
    own_uids = _joined_with_another(tmp_path / "u", lambda ds, k: setattr(ds, "StudyInstanceUID", uid(9, k)))
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(own_uids, config)
    assert stop.value.code == "SEAM"


@pytest.mark.parametrize("off_hu", [-60, 60, 140])
def test_a_wrong_intercept_in_part_of_a_stack_is_refused(off_hu: int, tmp_path: Path, config: Config) -> None:
    def wrong(ds: Dataset, k: int) -> None:
        if 20 <= k < 35:
            ds.RescaleIntercept = -1024 + off_hu

    with pytest.raises(ScanRefusedError) as stop:
        read_scan(write(tmp_path / "s", series(), wrong), config)
    assert stop.value.code == "HU_IMPLAUSIBLE"


def test_right_pairs_that_differ_are_a_note(tmp_path: Path, config: Config) -> None:
    """HU = stored x slope + intercept: stored numbers lowered by 24 where the intercept is raised by 24."""

    def own_pair(ds: Dataset, k: int) -> None:
        if k % 3 == 0:
            stored = np.frombuffer(ds.PixelData, "<u2").astype(np.int32) - 24
            ds.PixelData = np.clip(stored, 0, None).astype("<u2").tobytes()
            ds.RescaleIntercept = -1000

    findings = {f.code: f.outcome for f in read_scan(write(tmp_path / "s", series(), own_pair), config).findings}
    assert findings == {"VARYING_RESCALE": "note"}
