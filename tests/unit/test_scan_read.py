"""The whole reader: what it gives back, and what never changes it."""

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from scan_series import SLICES, SPACING_KJI_MM, chest_hu, series, uid, write

from volumetry.config import Config, load_config
from volumetry.domain import CtScan, ScanRefusedError
from volumetry.scan import inspect_folder, read_scan


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory, config: Config) -> CtScan:
    return read_scan(write(tmp_path_factory.mktemp("good") / "s", series()), config)


def test_scan_is_the_image_on_its_grid(good: CtScan) -> None:
    assert np.array_equal(good.hu_kji, chest_hu())
    assert good.grid.spacing_kji_mm == SPACING_KJI_MM
    assert good.grid.origin_lps_mm == (-22.0, -21.0, -80.0)
    assert good.no_data_kji is None
    assert good.findings == ()
    assert good.air_hu == pytest.approx(-1000, abs=3)


def test_series_tells_the_acquisition_and_no_identity(good: CtScan) -> None:
    info = good.series
    assert (info.slice_count, info.kernel, info.kvp, info.thickness_mm) == (SLICES, "B50f", 120, 2.5)
    assert (info.acquisition_date, info.patient_position, info.contrast) == ("20260102", "HFS", None)
    assert "ZZPHIZZ" not in repr(info)


def test_order_names_and_numbers_change_no_digest(good: CtScan, tmp_path: Path, config: Config) -> None:
    order = np.random.default_rng(0).permutation(SLICES)
    shuffled = [series()[n] for n in order]

    def edit(ds: Dataset, k: int) -> None:
        ds.InstanceNumber, ds.PatientID = k + 1, "another name of the same"

    scan = read_scan(write(tmp_path / "s", shuffled, edit), config)
    assert np.array_equal(scan.hu_kji, good.hu_kji)
    assert (scan.input_sha256, scan.pixels_sha256) == (good.input_sha256, good.pixels_sha256)


def test_new_identity_changes_the_input_but_not_the_pixels(good: CtScan, tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = uid(5, k)

    scan = read_scan(write(tmp_path / "s", series(), edit), config)
    assert scan.input_sha256 != good.input_sha256
    assert scan.pixels_sha256 == good.pixels_sha256


@pytest.mark.parametrize("what", ["bit", "position", "intercept"])
def test_any_change_of_the_image_changes_both_digests(
    what: str, good: CtScan, tmp_path: Path, config: Config
) -> None:
    def edit(ds: Dataset, k: int) -> None:
        if what == "bit" and k == 3:
            data = bytearray(ds.PixelData)
            data[500] ^= 1
            ds.PixelData = bytes(data)
        elif what == "position":
            x, y, z = ds.ImagePositionPatient
            ds.ImagePositionPatient = [x + 1, y, z]
        elif what == "intercept":
            ds.RescaleIntercept = -1023

    scan = read_scan(write(tmp_path / "s", series(), edit), config)
    assert scan.input_sha256 != good.input_sha256
    assert scan.pixels_sha256 != good.pixels_sha256


def test_inspection_with_pixels_gives_the_readers_verdict(tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.RescaleIntercept = 0

    folder = write(tmp_path / "s", series(), edit)
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(folder, config)
    assert stop.value.code == "HU_IMPLAUSIBLE"
    assert inspect_folder(folder, config).verdict == "measurable"  # headers alone cannot know
    assert inspect_folder(folder, config, pixels=True).verdict == "HU_IMPLAUSIBLE"


def test_configured_outcome_is_obeyed(tmp_path: Path) -> None:
    strict = load_config(overrides={"outcomes": {"LOCALIZER_DROPPED": "refuse"}})
    scout = series(number=2)[0]
    scout.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    folder = write(tmp_path / "s", series())
    write(folder, [scout], prefix="J")
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(folder, strict)
    assert stop.value.code == "LOCALIZER_DROPPED"


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["covid-p001", "normal-001", "pneumonia-001"])
def test_real_scan_is_read(name: str, shared: Path, config: Config) -> None:
    """2 mm chest CT: not refused or flagged, air near -1000 HU, lungs of a plausible size by threshold."""
    folder = shared / "data" / "hrct" / name
    scan = read_scan(folder, config)
    assert scan.grid.shape_kji == (len(list(folder.iterdir())), 512, 512)
    assert scan.grid.spacing_kji_mm[0] == pytest.approx(2.0, abs=1e-6)
    assert {finding.outcome for finding in scan.findings} <= {"repair", "note"}
    assert scan.air_hu == pytest.approx(-1000, abs=15)
    middle = scan.hu_kji[:, 100:412, 100:412]
    assert 1.0 < np.count_nonzero((middle > -950) & (middle < -700)) * scan.grid.voxel_ml / 1000 < 8.0
