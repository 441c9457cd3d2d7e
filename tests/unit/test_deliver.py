"""Files are whole, the row equals the mask, and the schema is the contract."""

import csv
import gzip
import hashlib
import io
import json
import stat

import jsonschema
import nibabel as nib
import numpy as np
import pytest
from delivered import deliver, deliver_failure
from scenes import AXIAL, chest, scan_of

from volumetry.codes import Outcome
from volumetry.config import load_config
from volumetry.deliver import as_document, columns, result_schema, row_of
from volumetry.domain import (
    Finding,
    Grid,
    Provenance,
    ScanFailure,
    ScanResult,
    SeriesInfo,
    Status,
    Tissue,
    TissueMap,
)
from volumetry.errors import OutputError
from volumetry.image.nifti import labels_bytes, mask_bytes
from volumetry.measure import measure
from volumetry.segment.postprocess import tidy
from volumetry.storage.atomic import prepare_folder, write_whole

CONFIG = load_config()


@pytest.fixture
def measured():
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    labels[18:22, 28:36, 14:20] = Tissue.GROUND_GLASS
    labels[19:21, 30:34, 42:48] = Tissue.SOLID
    scan = scan_of(hu)
    tissue = tidy(TissueMap(labels, AXIAL), scan, CONFIG.tidy)
    result = ScanResult(
        scan_id="s1",
        status=Status.REVIEW,
        findings=(Finding("THICK_SLICES", Outcome.FLAG, "slices are 5.0 mm thick", 5.0),),
        measurement=measure(tissue, scan, CONFIG.measure),
        series=scan.series,
        provenance=Provenance("0", "threshold-1", None, "c", "i", "p", "m", "cpu", "fp32", {"numpy": "2"}, "now"),
        dropped_ml=tissue.dropped_ml,
        timing_s={"read": 1.0, "segment": 2.0, "measure": 0.5},
        peak_memory_mb=100.0,
    )
    return result, tissue


REFUSED = ScanFailure("s2", Status.REFUSED, "NO_RESCALE", "RescaleSlope (0028,1053) is missing", "Ask.")


def test_documents_satisfy_the_published_schema(measured):
    jsonschema.Draft202012Validator.check_schema(result_schema())
    for outcome in (measured[0], REFUSED):
        jsonschema.validate(as_document(outcome), result_schema())


def test_the_schema_lets_no_number_into_a_refusal(measured):
    document = as_document(REFUSED) | {"volumes_ml": as_document(measured[0])["volumes_ml"]}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document, result_schema())


def test_the_row_equals_the_delivered_mask(tmp_path, measured):
    result, tissue = measured
    deliver(result, tissue, CONFIG, tmp_path)
    image = nib.load(tmp_path / "mask.nii.gz")
    counts = np.bincount(np.asarray(image.dataobj).ravel(), minlength=5)
    ml = counts * abs(np.linalg.det(image.affine[:3, :3])) / 1000
    (row,) = csv.DictReader(io.StringIO((tmp_path / "results.csv").read_text("utf-8")))
    assert float(row["volumes_ml.lung"]) == pytest.approx(ml[1:].sum())
    assert float(row["volumes_ml.ground_glass"]) == pytest.approx(ml[2])
    assert float(row["volumes_ml.solid"]) == pytest.approx(ml[3])
    assert float(row["percent_of_lung.solid"]) == pytest.approx(100 * ml[3] / ml[1:].sum())
    assert row["flags"] == "THICK_SLICES"
    document = json.loads((tmp_path / "result.json").read_text("utf-8"))
    assert float(row["volumes_ml.lesion"]) == document["volumes_ml"]["lesion"]
    assert document["timing_s"]["total"] == pytest.approx(3.5 + document["timing_s"]["deliver"], abs=2e-3)


def test_a_refused_scan_has_a_row_with_a_code_and_no_number():
    row = row_of(as_document(REFUSED))
    assert (row["status"], row["code"]) == ("refused", "NO_RESCALE")
    assert set(row) == set(columns())
    assert not any(
        cell for name, cell in row.items() if name.startswith(("volumes_ml", "percent", "sides", "hu_bins"))
    )


def test_the_record_holds_the_digest_of_every_file(tmp_path, measured):
    deliver(*measured, CONFIG, tmp_path)
    record = json.loads((tmp_path / "run.json").read_text("utf-8"))
    assert set(record["files_sha256"]) == {"mask.nii.gz", "result.json", "results.csv"}
    for name, sha256 in record["files_sha256"].items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == sha256
    assert record["config"]["measure"]["component_rule"] == "network"


def test_an_earlier_result_is_kept(tmp_path, measured):
    deliver(*measured, CONFIG, tmp_path)
    first = (tmp_path / "result.json").read_bytes()
    deliver_failure(REFUSED, CONFIG, tmp_path)
    assert (tmp_path / "earlier" / "1" / "result.json").read_bytes() == first
    assert not (tmp_path / "mask.nii.gz").exists()


def test_files_are_for_this_user_alone(tmp_path, measured):
    deliver(*measured, CONFIG, tmp_path)
    for path in tmp_path.glob("*"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path.name


def test_a_failed_write_leaves_the_old_file_and_no_half_file(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_whole(path, b"old")

    def full_disk(_descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OutputError, match=r"result\.json: No space left"):
        write_whole(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]
    assert path.read_bytes() == b"old"


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="output folder"):
        prepare_folder(tmp_path / "file" / "below")


def test_the_mask_holds_a_tilted_affine_exactly_and_the_same_bytes_every_time():
    angle = np.deg2rad(15)
    grid = Grid(
        (4, 5, 6), (2.0, 0.7, 0.8), (1.0, 2.0, 3.0), ((0, np.sin(angle), np.cos(angle)), (0, 1, 0), (1, 0, 0))
    )
    labels = np.arange(120).reshape(grid.shape_kji).astype(np.uint8) % 4
    content = mask_bytes(TissueMap(labels, grid))
    assert content == mask_bytes(TissueMap(labels, grid))
    image = nib.Nifti1Image.from_bytes(gzip.decompress(content))
    assert image.affine == pytest.approx(grid.affine_ras, abs=1e-5)
    assert image.header["qform_code"] == 0
    assert np.array_equal(np.asarray(image.dataobj), labels.T)


@pytest.mark.parametrize("view", [np.s_[:, ::-1], np.s_[::2], np.s_[:, :, 1:4]])
def test_the_mask_file_does_not_depend_on_how_labels_lie_in_memory(view):
    labels = (np.arange(120).reshape(4, 5, 6).astype(np.uint8) % 4)[view]
    grid = Grid(labels.shape, (2.0, 0.7, 0.8))
    for stored in (labels, np.asfortranarray(labels)):
        assert labels_bytes(stored, grid) == labels_bytes(np.ascontiguousarray(labels), grid)


@pytest.mark.parametrize("kernel", ["=cmd()", "+1", "-B70", "@x", "\tB"])
def test_a_text_that_a_spreadsheet_would_run_is_disarmed(kernel):
    series = SeriesInfo("1.2", 20, (1.0, 1.0, 1.0), kernel=kernel)
    row = row_of(as_document(ScanFailure("s", Status.REFUSED, "NO_RESCALE", "m", "h", series=series)))
    assert row["series.kernel"] == "'" + kernel


def test_negative_numbers_stay_numbers(measured):
    assert float(row_of(as_document(measured[0]))["mean_lung_hu"]) < 0
