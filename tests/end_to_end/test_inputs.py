"""One phantom in every form that people have: the same volumes, and a mask on the file's own grid."""

import csv
import gzip
import json
import shutil
import zipfile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from volumetry.cli import main
from volumetry.domain import CtScan, Grid, TissueMap
from volumetry.phantom import Lesion, PhantomSpec, SeriesSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter

LESIONS = (
    Lesion("ground_glass", (-85.3, 10.2, 10.1), (20.0, 18.0, 22.0)),
    Lesion("solid", (88.3, 12.2, 8.7), (15.0, 16.0, 14.0)),
)
VOLUMES = {
    "axial.nii.gz": "LPS",
    "turned.nii.gz": "RAS",
    "feet-down.nii": "LPI",
    "sagittal.nii.gz": "PSR",
    "coronal.nrrd": "RSA",
    "mirrored.mha": "LAI",
}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """The same HU as a DICOM folder, a ZIP, gzipped files and volumes in several orientations."""
    root = tmp_path_factory.mktemp("inputs")
    made = make_phantom(PhantomSpec((92, 96, 112), (3.0, 3.2, 3.0), LESIONS, vessels=False, seed=3))
    write_series(made, root / "dicom", SeriesSpec(intercept=-1024.0))
    (root / "gz").mkdir()
    with zipfile.ZipFile(root / "cd.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted((root / "dicom").iterdir()):
            archive.write(path, f"CD/{path.name}")
            (root / "gz" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    image = sitk.GetImageFromArray(np.clip(np.rint(made.hu_kji), -1024, 3071).astype(np.int16))
    grid = made.grid
    image.SetSpacing(grid.spacing_kji_mm[::-1])
    image.SetOrigin(grid.origin_lps_mm)
    image.SetDirection(np.asarray(grid.direction_lps)[::-1].T.ravel().tolist())
    for name, orientation in VOLUMES.items():
        sitk.WriteImage(sitk.DICOMOrient(image, orientation), str(root / name), useCompression=True)
    return root


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command with a segmenter by threshold in the network's place; exit code and what was said."""
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: AnyWay())

    def call(*arguments):
        with pytest.raises(SystemExit) as end:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    return call


class AnyWay:
    """The threshold segmenter, which wants axial slices, on a scan whose axes run any way."""

    facts = ThresholdSegmenter().facts

    def __call__(self, scan):
        body = int(np.argmax(np.abs(np.asarray(scan.grid.direction_lps)[:, 2])))
        order = (body, *(axis for axis in range(3) if axis != body))
        grid = Grid(*(tuple(part[n] for n in order) for part in (scan.grid.shape_kji, scan.grid.spacing_kji_mm)))
        axial = CtScan(np.ascontiguousarray(scan.hu_kji.transpose(order)), grid, scan.series)
        labels = ThresholdSegmenter()(axial).labels_kji.transpose(np.argsort(order))
        return TissueMap(np.ascontiguousarray(labels), scan.grid)


def result_of(folder):
    return json.loads((folder / "result.json").read_text("utf-8"))


def test_every_form_gives_the_same_volumes(run, phantom, tmp_path):
    code, said = run("check", phantom / "dicom", "--out", tmp_path / "dicom", "--quiet")
    assert code == 0, said
    expected = result_of(tmp_path / "dicom")
    for name in ("cd.zip", "gz", "dicom/0007.dcm", *VOLUMES):
        out = tmp_path / name.replace("/", "-")
        code, said = run("check", phantom / name, "--out", out, "--quiet")
        assert code == 0, said
        found = result_of(out)
        for region in (found["volumes_ml"], *found["sides"].values(), *found["zones"].values()):
            assert all(np.isfinite(ml) for ml in region.values())
        for key in ("volumes_ml", "percent_of_lung"):
            assert found[key] == pytest.approx(expected[key], rel=1e-5), (name, key)
        assert found["sides"]["left"] == pytest.approx(expected["sides"]["left"], rel=1e-5), name
        if name in VOLUMES:
            assert {flag["code"] for flag in found["flags"]} - {flag["code"] for flag in expected["flags"]} == {
                "NO_HEADER"
            }, name
        else:
            assert found["provenance"]["input_sha256"] == expected["provenance"]["input_sha256"], name


@pytest.mark.parametrize("name", ["sagittal.nii.gz", "feet-down.nii"])
def test_the_mask_lies_on_the_files_own_grid(name, run, phantom, tmp_path):
    assert run("check", phantom / name, "--out", tmp_path, "--quiet")[0] == 0
    ct, mask = nib.load(phantom / name), nib.load(tmp_path / "mask.nii.gz")
    assert mask.shape == ct.shape
    np.testing.assert_allclose(mask.affine, ct.affine, atol=1e-4)
    labels, hu = np.asarray(mask.dataobj), np.asarray(ct.dataobj)
    # The phantom's lung is at -850 HU and its dense lesion at +40, so that a mask laid otherwise is found out.
    assert np.median(hu[labels == 1]) == pytest.approx(-850, abs=15)
    assert np.median(hu[labels == 3]) == pytest.approx(40, abs=30)


@pytest.mark.parametrize("name", ["cd.zip", "gz", "dicom/0007.dcm"])
def test_seg_and_sr_are_made_of_every_form_of_dicom(name, run, phantom, tmp_path):
    assert run("check", phantom / name, "--out", tmp_path, "--dicom", "--quiet")[0] == 0
    assert (tmp_path / "seg.dcm").is_file()
    assert (tmp_path / "sr.dcm").is_file()


def test_of_a_volume_the_measurement_is_delivered_and_the_export_says_why_not(run, phantom, tmp_path):
    code, said = run("check", phantom / "axial.nii.gz", "--out", tmp_path, "--dicom", "--quiet")
    assert code == 7
    assert "no DICOM header" in said
    assert result_of(tmp_path)["status"] in ("measured", "review")
    assert result_of(tmp_path)["scan_id"] == "axial"
    assert not (tmp_path / "seg.dcm").exists()


def test_a_batch_of_forms_has_one_row_for_each_and_is_replayed(run, phantom, tmp_path):
    tree = tmp_path / "tree"
    (tree / "S1").mkdir(parents=True)
    shutil.copy(phantom / "cd.zip", tree / "S1" / "visit1.zip")
    shutil.copy(phantom / "axial.nii.gz", tree / "S1" / "visit2.nii.gz")
    shutil.copytree(phantom / "gz", tree / "S2")
    code, said = run("batch", tree, "--out", tmp_path / "out", "--quiet")
    assert code == 0, said
    with (tmp_path / "out" / "results.csv").open(encoding="utf-8", newline="") as stream:
        rows = {row["scan_id"]: row for row in csv.DictReader(stream)}
    assert set(rows) == {"S1_visit1", "S1_visit2", "S2"}
    assert len({round(float(row["volumes_ml.lung"]), 1) for row in rows.values()}) == 1
    assert run("verify", tmp_path / "out")[0] == 0
    code, said = run("replay", tmp_path / "out", "--scans", tree)
    assert code == 0, said
    assert said.count("identical") == 3
