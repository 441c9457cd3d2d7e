"""HU and geometry of good series against readers written by others."""

from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut
from scan_series import SPACING_KJI_MM, Edit, series, write

from volumetry.config import Config, load_config
from volumetry.domain import CtScan
from volumetry.scan import read_scan
from volumetry.scan.headers.codestream import codestream_size


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


def _oblique(ds: Dataset, k: int) -> None:
    angle = np.radians(11.0)
    row, column = np.array([1.0, 0, 0]), np.array([0, np.cos(angle), np.sin(angle)])
    ds.ImageOrientationPatient = [f"{x:.12g}" for x in (*row, *column)]
    position = np.array([3.0, 5.0, -40.0]) + np.cross(row, column) * SPACING_KJI_MM[0] * k
    ds.ImagePositionPatient = [f"{x:.12g}" for x in position]


def _sloped(ds: Dataset, k: int) -> None:
    ds.RescaleSlope, ds.RescaleIntercept = 0.5, -1024.5
    ds.PixelData = (np.frombuffer(ds.PixelData, "<u2") * 2).astype("<u2").tobytes()
    ds.BitsStored, ds.HighBit = 16, 15


def _prone(ds: Dataset, k: int) -> None:
    ds.ImageOrientationPatient, ds.PatientPosition = [-1, 0, 0, 0, -1, 0], "HFP"


SERIES: dict[str, Edit] = {"axial": lambda ds, k: None, "oblique": _oblique, "sloped": _sloped, "prone": _prone}


@pytest.fixture(scope="module", params=SERIES)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, config: Config
) -> tuple[Path, CtScan]:
    folder = write(tmp_path_factory.mktemp(request.param) / "s", series(), SERIES[request.param])
    return folder, read_scan(folder, config)


def _same_grid(scan: CtScan, origin: object, steps_kji: object) -> None:
    assert np.allclose(scan.grid.origin_lps_mm, origin, atol=1e-4)
    assert np.allclose(scan.grid.step_lps_mm, steps_kji, atol=1e-4)


def test_equals_simpleitk(pair: tuple[Path, CtScan]) -> None:
    folder, scan = pair
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)), sitk.sitkFloat32)
    steps_ijk = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    _same_grid(scan, image.GetOrigin(), steps_ijk[:, ::-1])
    assert np.array_equal(scan.hu_kji, sitk.GetArrayFromImage(image))


def test_equals_highdicom(pair: tuple[Path, CtScan]) -> None:
    folder, scan = pair
    volume = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in sorted(folder.iterdir())])
    hu = volume.array
    affine = volume.affine.copy()
    if affine[:3, 0] @ np.asarray(scan.grid.direction_lps[0]) < 0:  # its slices may run the other way
        hu, affine[:3, 3] = hu[::-1], affine[:3, 3] + affine[:3, 0] * (len(hu) - 1)
        affine[:3, 0] *= -1
    _same_grid(scan, affine[:3, 3], affine[:3, :3])
    assert np.array_equal(scan.hu_kji, hu.astype(np.float32))


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90"])
def test_codestream_size_is_what_encoders_write(syntax: str) -> None:
    ds = series()[0]
    ds.compress(syntax, generate_instance_uid=False)
    stated = codestream_size(next(pydicom.encaps.generate_frames(ds.PixelData, number_of_frames=1)))
    assert stated is not None
    assert (stated.rows, stated.columns, stated.components) == (ds.Rows, ds.Columns, 1)
    assert 12 <= stated.precision <= 16


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["covid-p001", "pneumonia-001"])
def test_real_scan_equals_other_decoders(name: str, shared: Path, config: Config) -> None:
    """Some slices through SimpleITK, and through pydicom where it has a decoder: both apply the rescale pair."""
    folder = shared / "data" / "hrct" / name
    scan = read_scan(folder, config)
    for path in sorted(folder.iterdir())[::40]:
        header = pydicom.dcmread(path)
        k = round(
            (float(header.ImagePositionPatient[2]) - scan.grid.origin_lps_mm[2]) / scan.grid.spacing_kji_mm[0]
        )
        theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]
        assert np.array_equal(scan.hu_kji[k], theirs)
        if name == "pneumonia-001":
            assert np.array_equal(scan.hu_kji[k], apply_modality_lut(header.pixel_array, header))
