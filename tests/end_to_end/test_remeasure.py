"""A reader's edited mask comes back: both results side by side, nothing lost."""

import gzip
import hashlib
import json
import re
import shutil
from pathlib import Path

import highdicom as hd
import jsonschema
import nibabel as nib
import numpy as np
import pydicom
import pytest
from delivered import deliver
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from small_results import LESIONS, TruthSegmenter

from volumetry.config import load_config
from volumetry.deliver import result_schema
from volumetry.deliver.dicom import DicomOptions, write_seg_and_sr
from volumetry.domain import ScanRefusedError, Side, TissueMap
from volumetry.errors import InputError, OutputError, UsageError
from volumetry.phantom import SAGITTAL, PhantomSpec, SeriesSpec, make_phantom, tilted, write_series
from volumetry.pipeline import analyse_scan
from volumetry.remeasure import DrawnOn, correction, read_edited_mask, remeasure

BOX = (slice(26, 30), slice(32, 38), slice(60, 65))
"""A block of voxels in the middle of the left lung, away from every lesion: 4 x 6 x 5 = 120 voxels."""
BOX_VOXELS = 4 * 6 * 5


def checked(folder, config, **spec):
    """A scan folder, its result folder and its mask, as `volumetry check` leaves them."""
    drawn = PhantomSpec((60, 80, 80), (5.0, 4.2, 4.2), LESIONS, vessels=False, seed=3, **spec)
    write_series(make_phantom(drawn), folder / "scan", SeriesSpec(names="random"))
    analysis = analyse_scan(folder / "scan", TruthSegmenter(drawn), config, "S1")
    document = deliver(analysis.result, analysis.tissue, config, folder / "result")
    return folder / "scan", folder / "result", analysis, document


@pytest.fixture(scope="module")
def case(tmp_path_factory, config):
    return checked(tmp_path_factory.mktemp("case"), config)


@pytest.fixture
def result(case, tmp_path):
    shutil.copytree(case[1], tmp_path / "result")
    return tmp_path / "result"


def edited_labels(analysis):
    labels = analysis.tissue.labels_kji.copy()
    assert (labels[BOX] == 1).all(), "the block lies in aerated lung"
    labels[BOX] = 3
    return labels


def as_nifti(labels, grid, path, axes="LPS", dtype=np.uint8):
    """As another program may save it: same voxels, another order of axes."""
    image = nib.Nifti1Image(labels.T.astype(dtype), grid.affine_ras)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(axes))
    nib.save(image.as_reoriented(turn), path)
    return path


def digests(folder):
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_a_correction_stands_beside_the_automatic_result(case, result, tmp_path):
    scan, _, analysis, automatic = case
    before = digests(result)
    mask = as_nifti(edited_labels(analysis), analysis.scan.grid, tmp_path / "edited.nii.gz")
    document, folder = remeasure(result, scan, mask, "Dr Reader", "missed consolidation")
    assert folder == result / "corrections" / "1"
    after = digests(result)
    assert {name: after[name] for name in before} == before
    assert document == json.loads((folder / "result.json").read_text("utf-8"))
    jsonschema.validate(document, result_schema())
    more_ml = BOX_VOXELS * 5.0 * 4.2 * 4.2 / 1000
    assert document["volumes_ml"]["solid"] == pytest.approx(automatic["volumes_ml"]["solid"] + more_ml)
    assert document["volumes_ml"]["lung"] == pytest.approx(automatic["volumes_ml"]["lung"])
    assert document["sides"]["left"]["solid"] == pytest.approx(automatic["sides"]["left"]["solid"] + more_ml)
    assert document["sides"]["right"] == pytest.approx(automatic["sides"]["right"])
    assert document["automatic"]["volumes_ml"] == automatic["volumes_ml"]
    assert document["corrected_by"] == "Dr Reader"
    assert document["reason"] == "missed consolidation"
    assert document["corrected_from"] == automatic["provenance"]["mask_sha256"]
    assert document["provenance"]["mask_sha256"] != automatic["provenance"]["mask_sha256"]
    assert document["changed_voxels"] == BOX_VOXELS
    written = np.asarray(nib.load(folder / "mask.nii.gz").dataobj)
    assert np.array_equal(written.T, edited_labels(analysis))
    run = json.loads((folder / "run.json").read_text("utf-8"))
    assert run["files_sha256"]["mask.nii.gz"] == after["corrections/1/mask.nii.gz"]
    page = (folder / "report.html").read_text("utf-8")
    assert "Corrected and automatic result" in page
    assert "missed consolidation" in page


def test_a_second_correction_keeps_the_first(case, result, tmp_path):
    scan, _, analysis, automatic = case
    first = as_nifti(edited_labels(analysis), analysis.scan.grid, tmp_path / "edited.nii.gz")
    remeasure(result, scan, first, "A", "one")
    before = digests(result)
    same = result / "mask.nii.gz"
    document, folder = remeasure(result, scan, same, "B", "agree with the automatic mask")
    assert folder.name == "2"
    after = digests(result)
    assert {name: after[name] for name in before} == before
    assert document["volumes_ml"] == automatic["volumes_ml"]
    assert document["changed_voxels"] == 0
    assert sorted(p.name for p in (result / "corrections").iterdir()) == ["1", "2"]


@pytest.mark.parametrize("axes", ["RAS", "LPI", "SRA", "IPL", "ALS"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int16])
def test_any_order_of_axes_of_the_same_grid_is_put_right(case, tmp_path, axes, dtype):
    analysis = case[2]
    labels = edited_labels(analysis)
    mask = as_nifti(labels, analysis.scan.grid, tmp_path / "edited.nii.gz", axes, dtype)
    assert np.array_equal(read_edited_mask(mask, analysis.scan.grid), labels)


@pytest.mark.parametrize("with_ct", [True, False])
def test_a_volume_file_with_its_axes_in_another_order_is_corrected(config, tmp_path, with_ct):
    drawn = PhantomSpec((84, 60, 84), (4.0, 5.0, 4.0), LESIONS, SAGITTAL, vessels=False, seed=3)
    ct = tmp_path / "ct.nii.gz"
    nib.save(nib.Nifti1Image(make_phantom(drawn).hu_kji.T, drawn.grid.affine_ras), ct)
    analysis = analyse_scan(ct, TruthSegmenter(drawn), config, "S1")
    automatic = deliver(analysis.result, analysis.tissue, config, tmp_path / "result")
    document, _ = remeasure(
        tmp_path / "result", ct if with_ct else None, tmp_path / "result/mask.nii.gz", "R", "x"
    )
    assert document["volumes_ml"] == automatic["volumes_ml"]
    assert document["changed_voxels"] == 0
    assert document["series"]["spacing_kji_mm"] == automatic["series"]["spacing_kji_mm"] == [5.0, 4.0, 4.0]


@pytest.mark.parametrize("kind", ["binary", "binary_deflated", "labelmap"])
@pytest.mark.parametrize("lean", [None, 8.0])
def test_an_edited_dicom_seg_comes_back(kind, lean, config, tmp_path):
    more = {} if lean is None else {"direction_lps": tilted(lean)}
    scan, folder, analysis, automatic = checked(tmp_path, config, **more)
    labels = edited_labels(analysis)
    # A SEG of the edited labels, by our writer, whose numbers must be its mask's.
    document = json.loads(json.dumps(automatic))
    more_ml = BOX_VOXELS * analysis.scan.grid.voxel_ml
    document["volumes_ml"]["solid"] += more_ml
    document["volumes_ml"]["aerated"] -= more_ml
    edited = TissueMap(labels, analysis.scan.grid)
    files = write_seg_and_sr(document, edited, scan, tmp_path / "edited", config, DicomOptions(kind))
    corrected, _ = remeasure(folder, scan, files["seg.dcm"], "R", "by SEG")
    assert corrected["volumes_ml"]["solid"] == pytest.approx(automatic["volumes_ml"]["solid"] + more_ml)
    assert corrected["changed_voxels"] == BOX_VOXELS


@pytest.mark.parametrize("stated", [True, False])
def test_a_seg_of_another_visit_on_the_same_grid_is_refused_where_it_says_so(
    case, result, config, tmp_path, stated
):
    scan, _, analysis, automatic = case
    files = write_seg_and_sr(automatic, analysis.tissue, scan, tmp_path, config)
    other = pydicom.dcmread(files["seg.dcm"])
    if stated:
        other.ReferencedSeriesSequence[0].SeriesInstanceUID = pydicom.uid.generate_uid()
    else:
        del other.ReferencedSeriesSequence
    other.save_as(tmp_path / "other.dcm")
    if not stated:
        assert remeasure(result, scan, tmp_path / "other.dcm", "R", "x")[0]["changed_voxels"] == 0
        return
    with pytest.raises(InputError, match="another series") as refused:
        remeasure(result, scan, tmp_path / "other.dcm", "R", "x")
    assert refused.value.code == "EDITED_MASK"
    assert not (result / "corrections").exists()


def test_a_seg_by_another_writer_from_reversed_slices_is_placed_by_its_affine(case, tmp_path):
    scan, _, analysis, _ = case
    labels = edited_labels(analysis)
    sources = [pydicom.dcmread(p, stop_before_pixels=True) for p in scan.iterdir()]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = analysis.scan.grid.step_lps_mm, analysis.scan.grid.origin_lps_mm
    volume = hd.Volume(labels, affine, "PATIENT", frame_of_reference_uid=sources[0].FrameOfReferenceUID)
    concept = hd.sr.CodedConcept("85756007", "SCT", "Tissue")  # a code we do not know: then the label counts
    described = [
        hd.seg.SegmentDescription(n, label, concept, concept, hd.seg.SegmentAlgorithmTypeValues.MANUAL)
        for n, label in enumerate(("Left and right LUNG", "ground glass (edited)", "Consolidation"), 1)
    ]
    uid = pydicom.uid.generate_uid
    seg = hd.seg.Segmentation(
        sources, volume.flip_spatial(0), "BINARY", described, uid(), 1, uid(), 1, "Other", "Other", "1", "1"
    )
    seg.save_as(tmp_path / "other.dcm")
    assert np.array_equal(read_edited_mask(tmp_path / "other.dcm", analysis.scan.grid), labels)


def save(analysis, path, labels=None, affine=None):
    labels = edited_labels(analysis) if labels is None else labels
    nib.save(nib.Nifti1Image(labels.T, analysis.scan.grid.affine_ras if affine is None else affine), path)
    return path


def without_place(path):
    """Set qform_code and sform_code (int16 at bytes 252 and 254) to 0; nibabel itself would put them back."""
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[252:256] = bytes(4)
    path.write_bytes(gzip.compress(bytes(content)))


def shifted(analysis, voxels):
    affine = analysis.scan.grid.affine_ras.copy()
    affine[:3, 3] += affine[:3, 0] * voxels
    return affine


def spoil(name, analysis, ct_slice, path):
    """Write a mask that does not fit, in the way that `name` says."""
    affine = analysis.scan.grid.affine_ras
    affines = {
        "shifted": shifted(analysis, 1),
        "half a voxel": shifted(analysis, 0.5),
        "thicker": affine @ np.diag([1, 1, 1.1, 1]),
        "mirrored affine": affine @ np.diag([-1, 1, 1, 1]),
    }
    values = {"label 7": 7, "half labels": 2.5, "not a number": np.nan, "label 4 under the network's rule": 4}
    labels = edited_labels(analysis).astype(np.float32)
    labels[BOX] = values.get(name, 3)
    labels = np.flip(labels, 0) if name == "upside down" else labels
    if name == "text":
        path.write_text("no mask")
    elif name == "a CT slice":
        shutil.copy(ct_slice, path)
    elif name != "missing":
        save(analysis, path, labels, affines.get(name))
    if name == "no place":
        without_place(path)
    if name == "truncated":
        path.write_bytes(path.read_bytes()[:-2000])


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("shifted", "another grid"),
        ("half a voxel", "another grid"),
        ("thicker", "another grid"),
        ("mirrored affine", "another grid"),
        ("label 7", "not labels"),
        ("half labels", "not labels"),
        ("not a number", "not labels"),
        ("no place", "says nowhere"),
        ("label 4 under the network's rule", "label 4"),
        ("text", "cannot be read as NIfTI"),
        ("truncated", "cannot be read as NIfTI"),
        ("a CT slice", "not a BINARY or LABELMAP"),
        ("missing", "cannot read"),
        ("upside down", "mirrored along k of the array"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused_and_nothing_is_written(case, result, tmp_path, name, says):
    scan, _, analysis, _ = case
    path = tmp_path / "edited.nii.gz"
    spoil(name, analysis, next(scan.iterdir()), path)
    before = digests(result)
    with pytest.raises(InputError, match=says) as stop:
        remeasure(result, scan, path, "R", "because")
    assert stop.value.hint
    if says == "another grid":
        assert stop.value.message.count("voxels of") == 2
    assert digests(result) == before
    assert not (result / "corrections").exists()


def test_a_mask_without_lungs_is_refused_by_its_code(case, result, tmp_path):
    scan, _, analysis, _ = case
    mask = save(analysis, tmp_path / "empty.nii.gz", np.zeros_like(analysis.tissue.labels_kji))
    with pytest.raises(ScanRefusedError, match="NO_LUNGS_FOUND"):
        remeasure(result, scan, mask, "R", "because")
    assert not (result / "corrections").exists()


def test_the_scan_must_be_the_one_that_was_measured(case, result, config, tmp_path):
    other = PhantomSpec((60, 80, 80), (5.0, 4.2, 4.2), LESIONS, vessels=False, seed=4)
    write_series(make_phantom(other), tmp_path / "other", SeriesSpec())
    with pytest.raises(InputError, match="does not hold the scan"):
        remeasure(result, tmp_path / "other", result / "mask.nii.gz", "R", "because")


def test_an_automatic_mask_that_was_edited_in_place_is_not_lost_silently(case, result, tmp_path):
    scan, _, analysis, _ = case
    save(analysis, result / "mask.nii.gz")
    with pytest.raises(InputError, match="no longer the automatic mask"):
        remeasure(result, scan, result / "mask.nii.gz", "R", "because")


@pytest.mark.parametrize(("reader", "reason"), [("", "x"), ("R", "  "), ("R", "a\x00b"), ("R" * 500, "x")])
def test_reader_and_reason_must_be_said(case, result, reader, reason):
    with pytest.raises(UsageError):
        remeasure(result, case[0], result / "mask.nii.gz", reader, reason)


def test_an_unfinished_result_is_refused(case, result):
    (result / "run.json").unlink()
    with pytest.raises(InputError, match="a finished, measured result"):
        remeasure(result, case[0], result / "mask.nii.gz", "R", "because")


def test_a_folder_that_cannot_be_written_is_said(case, result, tmp_path):
    (result / "corrections").write_text("in the way")
    with pytest.raises(OutputError):
        remeasure(result, case[0], result / "mask.nii.gz", "R", "because")


def test_under_the_hu_rule_an_unchanged_mask_gives_the_same_numbers(tmp_path):
    config = load_config(Path("default"), overrides={"measure": {"component_rule": "hu"}})
    scan, folder, analysis, automatic = checked(tmp_path, config)
    assert (analysis.tissue.labels_kji == 4).any()
    document, _ = remeasure(folder, scan, folder / "mask.nii.gz", "R", "agree")
    assert document["volumes_ml"] == automatic["volumes_ml"]
    assert document["changed_voxels"] == 0


HU_KEYS = ("hu_bins_ml", "lesion_weight_hu_ml", "lesion_mass_g", "mean_lung_hu")


def said_without_a_ct(document):
    """A correction without CT: its schema, and that nothing made from HU is anywhere in it."""
    jsonschema.validate(document, result_schema())
    assert not set(HU_KEYS) & set(document)
    assert set(document["components_by_rule"]) == {"network"}
    assert "NaN" not in json.dumps(document)
    (note,) = [flag for flag in document["flags"] if flag["code"] == "HU_NOT_MEASURED"]
    assert note["severity"] == "look"


def test_without_the_scan_volumes_and_sides_are_measured_and_nothing_of_hu(case, result, tmp_path):
    _, _, analysis, automatic = case
    before = digests(result)
    mask = as_nifti(edited_labels(analysis), analysis.scan.grid, tmp_path / "edited.nii.gz")
    document, folder = remeasure(result, None, mask, "Dr Reader", "missed consolidation")
    after = digests(result)
    assert {name: after[name] for name in before} == before
    assert document == json.loads((folder / "result.json").read_text("utf-8"))
    said_without_a_ct(document)
    more_ml = BOX_VOXELS * 5.0 * 4.2 * 4.2 / 1000
    for found, was in ((document, automatic), (document["sides"]["left"], automatic["sides"]["left"])):
        ml, ml_was = found.get("volumes_ml", found), was.get("volumes_ml", was)
        assert ml["solid"] == pytest.approx(ml_was["solid"] + more_ml)
        assert ml["aerated"] == pytest.approx(ml_was["aerated"] - more_ml)
        assert ml["lung"] == pytest.approx(ml_was["lung"])
    assert document["sides"]["right"] == pytest.approx(automatic["sides"]["right"])
    share = 100 * document["volumes_ml"]["solid"] / document["volumes_ml"]["lung"]
    assert document["percent_of_lung"]["solid"] == pytest.approx(share)
    assert document["changed_voxels"] == BOX_VOXELS
    for key in (*HU_KEYS, "volumes_ml", "components_by_rule"):
        assert document["automatic"][key] == automatic[key]
    of_the_scan = {flag["code"] for flag in automatic["flags"]}
    assert {flag["code"] for flag in document["flags"]} == of_the_scan | {"HU_NOT_MEASURED"}
    assert document["status"] == automatic["status"]
    page = (folder / "report.html").read_text("utf-8")
    assert "Corrected and automatic result" in page
    assert "From the front" in page
    assert "Hounsfield units of the lung" not in page
    assert not re.search(r"\bnan\b", re.sub(r"data:[^\"]+", "", page), re.I)


@pytest.mark.parametrize("lean", [None, 8.0])
def test_without_the_scan_an_unchanged_mask_gives_the_automatic_volumes(lean, config, tmp_path):
    more = {} if lean is None else {"direction_lps": tilted(lean)}
    _, folder, _, automatic = checked(tmp_path, config, **more)
    document, _ = remeasure(folder, None, folder / "mask.nii.gz", "R", "agree")
    said_without_a_ct(document)
    assert document["changed_voxels"] == 0
    for key in ("volumes_ml", "percent_of_lung"):
        assert document[key] == pytest.approx(automatic[key], rel=1e-6)
    for key in ("sides", "zones"):
        for name, volumes in automatic[key].items():
            assert document[key][name] == pytest.approx(volumes, rel=1e-6)


@pytest.mark.parametrize("kept", [Side.LEFT, Side.RIGHT])
def test_without_the_scan_a_single_lung_keeps_its_side(kept, case, result):
    """As after a pneumonectomy: the middle of what is there is not the middle of the patient."""
    analysis = case[2]
    one = np.where(analysis.tissue.side_kji == kept, analysis.tissue.labels_kji, np.uint8(0))
    mask = save(analysis, result / "one.nii.gz", one)
    document, _ = remeasure(result, None, mask, "R", "the other lung is gone")
    name, other = ("left", "right") if kept is Side.LEFT else ("right", "left")
    assert document["sides"][name]["lung"] == pytest.approx(case[3]["sides"][name]["lung"])
    assert document["sides"][other]["lung"] == 0
    assert "ONE_LUNG" in {flag["code"] for flag in document["flags"]}


def test_without_the_scan_the_hu_rule_cannot_be_followed(tmp_path):
    config = load_config(Path("default"), overrides={"measure": {"component_rule": "hu"}})
    _, folder, _, _ = checked(tmp_path, config)
    with pytest.raises(UsageError, match="need the CT") as stop:
        remeasure(folder, None, folder / "mask.nii.gz", "R", "agree")
    assert "--scan" in stop.value.hint
    assert not (folder / "corrections").exists()


@pytest.mark.parametrize("place", ["beside", "given"])
def test_a_ct_as_nifti_gives_the_hounsfield_figures_too(place, case, result, tmp_path):
    _, _, analysis, automatic = case
    path = result / "ct.nii.gz" if place == "beside" else tmp_path / "ct.nii"
    nib.save(nib.Nifti1Image(analysis.scan.hu_kji.T, analysis.scan.grid.affine_ras), path)
    mask = as_nifti(edited_labels(analysis), analysis.scan.grid, tmp_path / "edited.nii.gz")
    document, _ = remeasure(result, None if place == "beside" else path, mask, "R", "because")
    jsonschema.validate(document, result_schema())
    assert document["mean_lung_hu"] == pytest.approx(automatic["mean_lung_hu"])
    box_hu = analysis.scan.hu_kji[BOX].sum(dtype=float) * analysis.scan.grid.voxel_ml
    assert document["lesion_weight_hu_ml"] == pytest.approx(automatic["lesion_weight_hu_ml"] + box_hu, rel=1e-5)
    assert "HU_NOT_MEASURED" not in {flag["code"] for flag in document["flags"]}


@pytest.mark.parametrize("wrong", ["other values", "other grid", "no NIfTI"])
def test_a_ct_that_is_not_the_scan_is_refused(wrong, case, result, tmp_path):
    analysis = case[2]
    hu = analysis.scan.hu_kji + (10 if wrong == "other values" else 0)
    path = tmp_path / "ct.nii.gz"
    affine = shifted(analysis, 1) if wrong == "other grid" else None
    save(analysis, path, hu, affine)
    if wrong == "no NIfTI":
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match=r"does not give|another grid|cannot be read"):
        remeasure(result, path, result / "mask.nii.gz", "R", "because")
    assert not (result / "corrections").exists()


def test_a_calibration_of_the_model_is_not_said_of_a_readers_mask(case, result):
    document = json.loads((result / "result.json").read_text("utf-8"))
    document["interval_percent"] = {"lesion": [1.0, 9.0]}
    (result / "result.json").write_text(json.dumps(document))
    corrected, _ = remeasure(result, None, result / "mask.nii.gz", "R", "agree")
    assert "interval_percent" not in corrected
    assert corrected["automatic"]["interval_percent"] == {"lesion": [1.0, 9.0]}


def test_a_deviation_from_the_charter_is_not_corrected_away(tmp_path):
    config = load_config(Path("default"), overrides={"charter": {"kvp": [80.0, 100.0]}})
    scan, folder, _, automatic = checked(tmp_path, config)
    codes = {flag["code"] for flag in automatic["flags"] if flag["code"].startswith("CHARTER")}
    assert codes
    for given in (scan, None):
        document, _ = remeasure(folder, given, folder / "mask.nii.gz", "R", "agree")
        assert codes <= {flag["code"] for flag in document["flags"]}


def test_a_correction_is_written_as_seg_and_sr_of_the_readers_mask(case, result, tmp_path):
    scan, _, analysis, _ = case
    labels = edited_labels(analysis)
    mask = as_nifti(labels, analysis.scan.grid, tmp_path / "edited.nii.gz")
    document, folder = remeasure(result, scan, mask, "R", "because", dicom=DicomOptions())
    assert np.array_equal(read_edited_mask(folder / "seg.dcm", analysis.scan.grid), labels)
    seg = pydicom.dcmread(folder / "seg.dcm")
    assert {segment.SegmentAlgorithmType for segment in seg.SegmentSequence} == {"SEMIAUTOMATIC"}
    run = json.loads((folder / "run.json").read_text("utf-8"))
    assert {"seg.dcm", "sr.dcm", "mask.nii.gz", "report.html", "result.json"} == set(run["files_sha256"])
    assert document["corrected_by"] == "R"
    with pytest.raises(UsageError, match="own files"):
        remeasure(result, None, mask, "R", "because", dicom=DicomOptions())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("frames", "more voxels than the scan"),
        ("bomb", "more than a mask of this scan can hold"),
        ("cut", "ends early"),
    ],
)
def test_a_seg_that_would_fill_the_memory_is_refused(case, config, tmp_path, change, says):
    scan, _, analysis, automatic = case
    path = write_seg_and_sr(automatic, analysis.tissue, scan, tmp_path / "seg", config)["seg.dcm"]
    seg = pydicom.dcmread(path)
    if change == "frames":
        seg.NumberOfFrames = 2**31 - 1
    else:
        seg.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
        seg.PixelData = bytes(2**27 if change == "bomb" else len(seg.PixelData))
    seg.save_as(tmp_path / "hostile.dcm")
    if change == "cut":
        content = (tmp_path / "hostile.dcm").read_bytes()
        (tmp_path / "hostile.dcm").write_bytes(content[:-400])
    with pytest.raises(InputError, match=says):
        read_edited_mask(tmp_path / "hostile.dcm", analysis.scan.grid)


def test_seg_and_sr_of_a_correction_name_reader_and_reason_and_what_they_supersede(case, result, config, tmp_path):
    """PS3.3: predecessors of a report C.17.2, references of an image C.12.4, content creator C.8.20.1."""
    scan, _, analysis, automatic = case
    write_seg_and_sr(automatic, analysis.tissue, scan, result, config)
    written = [result]
    for reader in ("Dr M\u00fcller", "B^\\Second"):
        _, folder = remeasure(
            result, scan, result / "mask.nii.gz", reader, "left base " * 20, dicom=DicomOptions()
        )
        written.append(folder)
    segs, reports = ([pydicom.dcmread(folder / name) for folder in written] for name in ("seg.dcm", "sr.dcm"))
    for objects in (segs, reports):
        assert len({o.SeriesNumber for o in objects}) == len({o.SeriesInstanceUID for o in objects}) == 3
    assert str(segs[1].ContentCreatorName) == str(reports[1].ContentSequence[2].PersonName) == "Dr M\u00fcller^"
    assert str(segs[2].ContentCreatorName) == "B Second^"
    assert segs[1].ContentDescription.startswith("Corrected by Dr M\u00fcller: left base")
    assert len(segs[1].ContentDescription.encode()) <= 64
    assert segs[1].DerivationDescription == ("Corrected by Dr M\u00fcller: " + "left base " * 20).strip()
    comments = [item.TextValue for item in reports[1].ContentSequence if item.ValueType == "TEXT"]
    assert segs[1].DerivationDescription in comments
    assert "ReferencedImageSequence" not in segs[0]
    assert "PredecessorDocumentsSequence" not in reports[0]
    for n in (1, 2):
        earlier = [seg.SOPInstanceUID for seg in segs[:n]]
        assert [item.ReferencedSOPInstanceUID for item in segs[n].ReferencedImageSequence] == earlier
        series = {item.SeriesInstanceUID for item in segs[n].ReferencedSeriesSequence}
        assert {seg.SeriesInstanceUID for seg in segs[:n]} <= series
        named = {
            sop.ReferencedSOPInstanceUID
            for study in reports[n].PredecessorDocumentsSequence
            for own in study.ReferencedSeriesSequence
            for sop in own.ReferencedSOPSequence
        }
        assert named == {report.SOPInstanceUID for report in reports[:n]}


def test_a_class_that_the_edited_mask_has_lost_is_said(case, result, tmp_path):
    analysis = case[2]
    labels = analysis.tissue.labels_kji.copy()
    lost = int((labels == 3).sum())
    labels[labels == 3] = 1
    mask = as_nifti(labels, analysis.scan.grid, tmp_path / "edited.nii.gz")
    document, _ = remeasure(result, None, mask, "R", "no consolidation")
    (flag,) = [flag for flag in document["flags"] if flag["code"] == "CLASS_REMOVED"]
    assert f"the edited mask has no consolidation ({lost} voxels" in flag["message"]
    assert flag["severity"] == "look"
    document, _ = remeasure(result, None, result / "mask.nii.gz", "R", "agree")
    assert "CLASS_REMOVED" not in {flag["code"] for flag in document["flags"]}


def test_a_correction_is_written_where_seg_and_sr_cannot_be(config, tmp_path):
    scan, result, analysis, _ = checked(tmp_path / "case", config)
    for path in scan.iterdir():
        header = pydicom.dcmread(path)
        header.FrameOfReferenceUID = ""
        header.save_as(path)
    mask = as_nifti(edited_labels(analysis), analysis.scan.grid, tmp_path / "edited.nii.gz")
    with pytest.raises(OutputError, match=r"correction 1 is written.*FrameOfReferenceUID") as stop:
        remeasure(result, scan, mask, "R", "because", dicom=DicomOptions())
    assert stop.value.code == "DICOM_NOT_POSSIBLE"
    made = {path.name for path in (result / "corrections" / "1").iterdir()}
    assert {"result.json", "mask.nii.gz", "run.json", "report.html"} <= made
    assert not {"seg.dcm", "sr.dcm"} & made
    document = json.loads((result / "corrections" / "1" / "result.json").read_text("utf-8"))
    assert "DICOM_NOT_POSSIBLE" in {flag["code"] for flag in document["flags"]}


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_an_edit_takes_no_number_that_another_took_meanwhile(case, result, monkeypatch, when):
    """CORRECTED_MEANWHILE: nothing of the second is written, and nothing of the first is touched."""
    automatic = case[3]["provenance"]["mask_sha256"]
    first = result / "corrections" / "1"

    def other_reader(path, record):
        if not first.exists():
            first.mkdir()
            (first / "mask.nii.gz").write_bytes(b"of another reader")
        return write_json(path, record)

    if when == "before":
        remeasure(result, None, result / "mask.nii.gz", "R1", "agree", drawn_on=DrawnOn(automatic, 0))
    else:
        write_json = correction.write_json
        monkeypatch.setattr(correction, "write_json", other_reader)
    before = digests(first) if first.exists() else None
    with pytest.raises(UsageError, match="correction 1 was written while") as stop:
        remeasure(result, None, result / "mask.nii.gz", "R2", "agree", drawn_on=DrawnOn(automatic, 0))
    assert stop.value.code == "CORRECTED_MEANWHILE"
    assert "further correction" in stop.value.hint
    assert [path.name for path in first.parent.iterdir()] == ["1"]
    assert before in (None, digests(first))
    monkeypatch.undo()
    document, folder = remeasure(
        result, None, result / "mask.nii.gz", "R2", "agree", drawn_on=DrawnOn(automatic, 1)
    )
    assert (folder.name, document["drawn_on"], document["corrected_from"]) == ("2", automatic, automatic)


@pytest.mark.parametrize(
    ("reader", "reason", "says"),
    [
        (" ", "x", "the reader is empty"),
        ("R1", "\n", "the reason is empty"),
        ("\u200d \u200c", "x", "the reader is empty"),
        ("R1\u202e", "x", "the reader contains characters that cannot be printed"),
        ("R" * 121, "x", "the reader has 121 characters"),
        ("R1", "x\x07y", "the reason contains characters that cannot be printed"),
    ],
)
def test_what_is_wrong_with_reader_or_reason_is_said_of_the_one_that_is_wrong(result, reader, reason, says):
    with pytest.raises(UsageError, match=says) as stop:
        remeasure(result, None, result / "mask.nii.gz", reader, reason)
    assert stop.value.hint
    assert "--help" not in stop.value.hint
    assert not (result / "corrections").exists()


@pytest.mark.parametrize("reader", ["\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0930\u094d\u200d\u092f"])
def test_a_name_whose_letters_are_shaped_by_a_joiner_is_kept_as_it_was_typed(result, reader):
    """Persian writes U+200C in names, Indic scripts U+200C and U+200D; neither has a glyph of its own."""
    document, folder = remeasure(result, None, result / "mask.nii.gz", f" {reader} ", "agree")
    assert document["corrected_by"] == reader
    assert f"Corrected by {reader}: agree" in (folder / "report.html").read_text("utf-8")
