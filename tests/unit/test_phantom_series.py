"""The writer: attributes, encodings, determinism, and the sample that ships with the project."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import JPEG2000, CTImageStorage, JPEGBaseline8Bit, JPEGLSNearLossless
from tools.data_sample import write_data_sample

from volumetry.domain import Grid
from volumetry.phantom import PhantomSpec, SeriesSpec, make_phantom, write_phantoms, write_series
from volumetry.phantom.sample import phantom_set
from volumetry.phantom.series import outside_circle, stored_values, uid

_SAMPLE = Path(__file__).parents[2] / "data-sample"
_GRID = Grid((3, 8, 10), (2.0, 0.5, 0.25), (-10.0, 20.0, -30.0))
_HU = np.linspace(-1024, 800, 240, dtype=np.float32).reshape(_GRID.shape_kji)

# PS3.3 table A.3-1 and the modules it names: type 1 and 2 attributes of every CT image
_TYPE_1 = (
    "SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID FrameOfReferenceUID Modality ImageType "
    "SamplesPerPixel PhotometricInterpretation Rows Columns BitsAllocated BitsStored HighBit PixelRepresentation "
    "PixelData PixelSpacing ImageOrientationPatient ImagePositionPatient RescaleIntercept RescaleSlope"
)
_TYPE_2 = (
    "PatientName PatientID PatientBirthDate PatientSex StudyDate StudyTime ReferringPhysicianName StudyID "
    "AccessionNumber SeriesNumber PatientPosition PositionReferenceIndicator Manufacturer InstanceNumber "
    "SliceThickness KVP AcquisitionNumber"
)


def _written(folder, **how):
    return [dcmread(path) for path in write_series((_HU, _GRID), folder, SeriesSpec(**how))]


def test_every_attribute_that_a_ct_image_must_have_is_there(tmp_path):
    for ds in _written(tmp_path):
        assert ds.SOPClassUID == CTImageStorage
        assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
        assert ds.preamble == bytes(128)
        assert [name for name in _TYPE_1.split() if ds.get(name) in (None, "")] == []
        assert [name for name in _TYPE_2.split() if name not in ds] == []


def test_geometry_is_written_row_column_position(tmp_path):
    slices = _written(tmp_path)
    assert list(slices[0].PixelSpacing) == [0.5, 0.25]
    assert list(slices[0].ImageOrientationPatient) == [1, 0, 0, 0, 1, 0]
    assert [list(ds.ImagePositionPatient) for ds in slices] == [[-10, 20, z] for z in (-30, -28, -26)]
    assert [ds.SliceThickness for ds in slices] == [2, 2, 2]


@pytest.mark.parametrize(
    ("slope", "intercept", "signed"), [(1, -1024, False), (2.0002442, -4047, False), (1, 0, True)]
)
def test_stored_values_give_the_hu_back(slope, intercept, signed):
    spec = SeriesSpec(slope=slope, intercept=intercept, signed=signed, bits_stored=16 if signed else 12)
    stored = stored_values(_HU[0], spec)
    assert stored.dtype == (np.int16 if signed else np.uint16)
    assert np.abs(stored.astype(float) * slope + intercept - _HU[0]).max() <= slope / 2 + 1e-3


def test_values_are_clipped_to_the_bits():
    wild = np.array([[-5000.0, 9000.0]], np.float32)
    assert stored_values(wild, SeriesSpec()).tolist() == [[0, 4095]]
    assert stored_values(wild, SeriesSpec(signed=True, intercept=0)).tolist() == [[-2048, 2047]]


def test_padding_lies_outside_the_circle(tmp_path):
    ds = _written(tmp_path, signed=True, intercept=0.0, bits_stored=16, padding_stored=-2000)[1]
    assert ds.PixelPaddingValue == -2000
    assert np.array_equal(ds.pixel_array == -2000, outside_circle(ds.pixel_array.shape))


@pytest.mark.parametrize(("order", "numbers"), [("up", [1, 2, 3]), ("down", [3, 2, 1]), ("absent", [None] * 3)])
def test_numbering(order, numbers, tmp_path):
    assert [ds.InstanceNumber for ds in _written(tmp_path, order=order)] == numbers


@pytest.mark.parametrize("syntax", [JPEG2000, JPEGLSNearLossless, JPEGBaseline8Bit])
def test_lossy_series_admit_it(syntax, tmp_path):
    grid = replace(_GRID, shape_kji=(3, 40, 48))
    hu_kji = np.linspace(-1024, 800, 3 * 40 * 48, dtype=np.float32).reshape(grid.shape_kji)
    for path in write_series((hu_kji, grid), tmp_path, SeriesSpec(transfer_syntax=syntax)):
        ds = dcmread(path)
        assert ds.LossyImageCompression == "01"
        assert ds.LossyImageCompressionMethod.startswith("ISO_")
        assert ds.ImageType[0] == "DERIVED"


def test_same_arguments_same_bytes_other_seed_other_identity(tmp_path):
    kwargs = {"names": "random", "seed": 4}
    one, two = (write_series((_HU, _GRID), tmp_path / name, SeriesSpec(**kwargs)) for name in "ab")
    assert [p.name for p in one] == [p.name for p in two]
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    other = _written(tmp_path / "c", seed=5)
    uids = {ds.SOPInstanceUID for ds in other} | {dcmread(p).SOPInstanceUID for p in one}
    assert len(uids) == 6


def test_random_names_tell_nothing(tmp_path):
    paths = write_series((_HU, _GRID), tmp_path, SeriesSpec(names="random"))
    assert all(len(path.name) == 8 and int(path.name, 16) >= 0 for path in paths)
    assert [p.name for p in paths] != sorted(p.name for p in paths) or len(paths) < 3


@pytest.mark.parametrize("wrong", [{"order": "sideways"}, {"names": "pretty"}, {"bits_stored": 4}, {"slope": 0.0}])
def test_impossible_series_are_refused(wrong):
    with pytest.raises(ValueError, match=r"no such|cannot store"):
        SeriesSpec(**wrong)


def test_syntax_without_an_encoder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no encoder"):
        _written(tmp_path, transfer_syntax="1.2.840.10008.1.2.4.201")


def test_uids_depend_on_their_parts_alone():
    assert uid(1, "a") == uid(1, "a") != uid(1, "b")
    assert len(uid(1, "a")) <= 64


def test_phantom_set_writes_what_its_truth_says(tmp_path, monkeypatch):
    coarse = (7.5, 3.6, 3.6)
    truth = write_phantoms(tmp_path, seed=3, spacing_kji_mm=coarse)
    assert json.loads((tmp_path / "truth.json").read_text("utf-8")) == truth
    assert sorted(truth) == ["ground-glass", "mixed", "normal", "thick", "tilted"]
    for name, told in truth.items():
        files = list((tmp_path / name).iterdir())
        assert len(files) == told["shape_kji"][0]
        ds = dcmread(files[0])
        assert list(ds.PixelSpacing) == told["spacing_kji_mm"][1:]
    assert truth["normal"]["lesion_ml"] == 0
    assert truth["mixed"]["solid_ml"] > 0
    assert truth["tilted"]["voxel_ml"] < 7.5 * 3.6 * 3.6 / 1000


def test_default_phantoms_fit_their_grids():
    assert all(spec.grid.shape_kji[0] >= 50 for spec in phantom_set(1, (2.5, 0.9, 0.9)).values())


def test_sample_is_small_and_carries_its_truth():
    truth = json.loads((_SAMPLE / "truth.json").read_text("utf-8"))
    assert set(truth) <= {path.name for path in _SAMPLE.iterdir() if path.is_dir()}
    sizes = [path.stat().st_size for name in truth for path in (_SAMPLE / name).iterdir()]
    assert sum(sizes) < 6e6


def test_sample_is_made_again_by_its_command(tmp_path):
    """Names, identities and truth exactly; pixels to one HU, since another processor may round another way."""
    truth = write_data_sample(tmp_path)
    assert json.loads((_SAMPLE / "truth.json").read_text("utf-8")) == truth
    committed = sorted((_SAMPLE / "phantom-001").iterdir())
    made = sorted((tmp_path / "phantom-001").iterdir())
    assert [path.name for path in committed] == [path.name for path in made]
    for old, new in list(zip(committed, made, strict=True))[::9]:
        ours, again = dcmread(old), dcmread(new)
        assert ours.SOPInstanceUID == again.SOPInstanceUID
        assert np.abs(ours.pixel_array.astype(int) - again.pixel_array.astype(int)).max() <= 1


def test_phantom_and_array_are_written_alike(tmp_path):
    phantom = make_phantom(replace(PhantomSpec((20, 24, 24), (12.0, 12.0, 12.0), allow_cut=True), vessels=False))
    one = write_series(phantom, tmp_path / "a")
    two = write_series((phantom.hu_kji, phantom.grid), tmp_path / "b")
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
