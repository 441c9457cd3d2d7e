"""SEG and SR as others see them: dciodvfy, dcmqi, dsrdump and highdicom's own reader."""

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, EnhancedCTImageStorage
from small_results import LESIONS, TruthSegmenter, measured_phantom

from volumetry.config import load_config
from volumetry.deliver import as_document
from volumetry.deliver.dicom import DicomOptions, Revision, write_seg_and_sr, write_summary
from volumetry.deliver.dicom.source import _READ, legal_source
from volumetry.deliver.report.summary import summary_of
from volumetry.phantom import HEAD_TO_FEET, rotated, tilted
from volumetry.pipeline import analyse_scan
from volumetry.scan import source_headers

CASES = {
    "lesions": {},
    "clear": {"lesions": ()},
    "head to feet": {"direction_lps": HEAD_TO_FEET},
    "far table": {},
    "oblique": {"direction_lps": rotated(8.0)},
    "tilted": {"direction_lps": tilted(8.0)},
}


def tool(name):
    """Path of an outside program; its absence is a failure where the whole check runs."""
    beside = Path(shutil.which("python") or "").parent / name
    found = shutil.which(name) or (str(beside) if beside.is_file() else None)
    if found is None and os.environ.get("VOLUMETRY_CI") == "1":
        pytest.fail(f"{name} is not installed, and the whole check needs it")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: dicom3tools, dcmtk; pip: dcmqi)")
    return found


def dcmqi(name):
    if os.environ.get("VOLUMETRY_CI") == "1":
        import dcmqi as package
    else:
        package = pytest.importorskip("dcmqi", reason="pip package dcmqi is not installed")
    return str(Path(package.__file__).parent / "bin" / name)


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory, config):
    folder = tmp_path_factory.mktemp("case")
    case = measured_phantom(folder / "in", config, **{"lesions": LESIONS, **CASES[request.param]})
    if request.param == "far table":
        case = moved(case, config, (-171.3, -208.75, -1382.25))
    for kind in ("binary", "binary_deflated", "labelmap"):
        write_seg_and_sr(
            case.document, case.analysis.tissue, case.folder, folder / kind, config, DicomOptions(kind)
        )
    return request.param, case, folder


def moved(case, config, by_mm):
    """The same scan as a table far from its zero states it, measured there."""
    for path in case.folder.iterdir():
        image = pydicom.dcmread(path)
        image.ImagePositionPatient = list(np.add(image.ImagePositionPatient, by_mm).round(4))
        image.save_as(path)
    analysis = analyse_scan(case.folder, TruthSegmenter(case.spec), config, "S1")
    assert analysis.tissue.grid.origin_lps_mm == pytest.approx(
        np.add(case.spec.grid.origin_lps_mm, by_mm), abs=1e-3
    )
    return replace(case, analysis=analysis, document=as_document(analysis.result))


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  validators on our files


def complaints(path, severity):
    """Of dciodvfy, which cannot inflate: a deflated file goes through DCMTK first."""
    if pydicom.filereader.read_file_meta_info(path).TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        inflated = path.with_suffix(".inflated")
        done = run(tool("dcmconv"), "+te", str(path), str(inflated))
        assert done.returncode == 0, done.stderr
        path = inflated
    said = run(tool("dciodvfy"), "-new", str(path))
    lines = said.stderr.splitlines()
    assert lines, "dciodvfy says at least what kind of object it saw"
    return [line for line in lines if line.startswith(severity)]


def test_dciodvfy_finds_no_error(case):
    _, _, folder = case
    for name in ("seg.dcm", "sr.dcm"):
        assert complaints(folder / "binary" / name, "Error") == []
    assert complaints(folder / "binary_deflated" / "seg.dcm", "Error") == []
    assert complaints(folder / "binary" / "seg.dcm", "Warning") == []
    assert all("99VOLUMETRY" in line for line in complaints(folder / "binary" / "sr.dcm", "Warning"))


ODD = {
    "PatientSex": b"Male",
    "StudyDate": b"2026.01.01",
    "StudyTime": b"12:00:00",
    "AccessionNumber": b"A" * 30,
    "PatientID": b"x" * 77,
    "PatientAge": b"60",
    "SpecificCharacterSet": b"ISO IR 192",
    "PatientName": "Wang^X=王=a^b^c^d^e^f".encode(),
    "StudyDescription": b"d" * 100,
    "PatientIdentityRemoved": b"yes",
    "ClinicalTrialProtocolID": b"P-1",
    "StudyInstanceUID": b"896911bf-1143-4c8d-8f04-f3cd1a7f6204",
    "FrameOfReferenceUID": b"",
}
"""No legal value in it."""


@pytest.mark.parametrize("kind", ["one file per slice", "frames of one file"])
def test_dciodvfy_finds_no_error_whatever_the_source_says(kind, config, tmp_path):
    case = measured_phantom(tmp_path / "in", config)
    source = source_headers(case.folder, config, _READ)
    shared = source.slices[0].raw
    pieces = []
    for k, piece in enumerate(source.slices):
        for keyword, raw in ODD.items():
            tag = Tag(tag_for_keyword(keyword))
            piece.raw._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(raw), raw, 0, False, True)
        pieces.append(replace(piece, raw=shared, frame_number=k + 1) if kind == "frames of one file" else piece)
    if kind == "frames of one file":
        shared.SOPClassUID = EnhancedCTImageStorage
    making = load_config(overrides={"export": {"generate_uids": True}})
    source = legal_source(replace(source, slices=tuple(pieces)), "input", making)
    files = write_seg_and_sr(case.document, case.analysis.tissue, source, tmp_path / "out", making)
    assert complaints(files["seg.dcm"], "Error") == []
    assert complaints(files["sr.dcm"], "Error") == []


def test_dciodvfy_finds_no_error_in_a_correction(config, tmp_path):
    case = measured_phantom(tmp_path / "in", config)
    corrected = case.document | {"corrected_by": "Dr M\u00fcller^\\=", "reason": "left base " * 150}
    automatic = write_seg_and_sr(case.document, case.analysis.tissue, case.folder, tmp_path / "0", config)
    options = DicomOptions(revision=Revision(1, (automatic["seg.dcm"].parent,)))
    files = write_seg_and_sr(corrected, case.analysis.tissue, case.folder, tmp_path / "1", config, options)
    for path in files.values():
        assert complaints(path, "Error") == []
        assert all("99VOLUMETRY" in line for line in complaints(path, "Warning"))


def test_dciodvfy_finds_no_error_in_the_summary_page(case, config, tmp_path):
    _, case, _ = case
    summary = summary_of(case.document, case.analysis.tissue, case.analysis.scan)
    options = DicomOptions(pdf=True, secondary_capture=True)
    files = write_summary(summary, case.document, case.folder, tmp_path, config, options)
    assert len(files) == 2
    for path in files.values():
        assert complaints(path, "Error") == []


def test_dcmqi_reads_the_same_voxels_in_the_same_place(case, tmp_path):
    name, case, folder = case
    if name == "tilted":
        pytest.skip("dcmqi puts frames on an orthogonal grid; a sheared stack has none")
    tissue = case.analysis.tissue
    nested = ((1, 2, 3), (2,), (3,))
    kinds = {"binary": nested, "binary_deflated": nested, "labelmap": ((1,), (2,), (3,))}
    for kind, members in kinds.items():
        out = tmp_path / kind
        out.mkdir()
        source = str(folder / kind / "seg.dcm")
        command = [dcmqi("segimage2itkimage"), "--inputDICOM", source, "--outputDirectory", str(out), "-t", "nii"]
        said = run(*command)
        assert said.returncode == 0, said.stdout + said.stderr
        found = {number: np.zeros(tissue.labels_kji.shape, bool) for number in range(1, 4)}
        for file in sorted(out.glob("*.nii.gz")):
            image = nib.load(file)
            values = np.asarray(image.dataobj)
            ours = np.linalg.inv(tissue.grid.affine_ras) @ image.affine
            for number in np.unique(values[values > 0]):
                at = np.rint(nib.affines.apply_affine(ours, np.argwhere(values == number))).astype(int)
                found[int(number)][at[:, 2], at[:, 1], at[:, 0]] = True
                wanted = np.isin(tissue.labels_kji, members[int(number) - 1])
                assert len(at) == np.count_nonzero(wanted), f"{kind} segment {number}"
        for number, tissues in enumerate(members, 1):
            assert np.array_equal(found[number], np.isin(tissue.labels_kji, tissues)), f"{kind} segment {number}"


def test_dcmqi_reads_the_report(case, tmp_path):
    _, case, folder = case
    command = [dcmqi("tid1500reader"), "--inputDICOM", str(folder / "binary" / "sr.dcm")]
    command += ["--outputMetadata", str(tmp_path / "sr.json")]
    said = run(*command)
    assert said.returncode == 0, said.stdout + said.stderr
    groups = json.loads((tmp_path / "sr.json").read_text("utf-8"))["Measurements"]
    ml, percent = case.document["volumes_ml"], case.document["percent_of_lung"]
    wanted = {
        "Lung": {"118565006": ml["lung"], "LESION_VOL": ml["lesion"], "LESION_PCT": percent["lesion"]},
        "Ground glass": {"118565006": ml["ground_glass"], "GGO_PCT": percent["ground_glass"]},
        "Consolidation": {"118565006": ml["solid"], "SOLID_PCT": percent["solid"]},
    }
    for name in ("right", "left"):
        side = case.document["sides"][name]
        wanted[f"{name.capitalize()} lung"] = {"118565006": side["lung"], "LESION_VOL": side["lesion"]}
    for group in groups:
        found = {m["quantity"]["CodeValue"]: float(m["value"]) for m in group["measurementItems"]}
        for code, value in wanted.pop(group["TrackingIdentifier"], {}).items():
            # Of percentages and below 100 mL one decimal is written, above whole mL.
            assert found[code] == pytest.approx(value, abs=0.051 if value < 100 else 0.51)
    assert not wanted


def test_a_report_with_intervals_is_valid_and_dcmqi_reads_its_shares(case, config, tmp_path):
    _, case, _ = case
    limits = {name: [0.0, share + 2.5] for name, share in case.document["percent_of_lung"].items()}
    document = {**case.document, "interval_percent": limits}
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    assert complaints(files["sr.dcm"], "Error") == []
    command = [dcmqi("tid1500reader"), "--inputDICOM", str(files["sr.dcm"])]
    said = run(*command, "--outputMetadata", str(tmp_path / "sr.json"))
    assert said.returncode == 0, said.stdout + said.stderr
    items = [
        item
        for group in json.loads((tmp_path / "sr.json").read_text("utf-8"))["Measurements"]
        for item in group["measurementItems"]
    ]
    values = {item["quantity"]["CodeValue"]: float(item["value"]) for item in items}
    assert values["LESION_PCT"] == pytest.approx(document["percent_of_lung"]["lesion"], abs=0.051)


def test_dsrdump_reads_the_report(case):
    # DCMTK of Debian 12 does not know the label map's class and refuses a reference to its segments.
    _, _, folder = case
    said = run(tool("dsrdump"), str(folder / "binary" / "sr.dcm"))
    assert said.returncode == 0, said.stderr
    assert "Imaging Measurement Report" in said.stdout
    assert "Ground glass as percentage of lung volume" in said.stdout


def test_highdicom_reads_back_the_mask_by_affine(case):
    name, case, folder = case
    if name == "tilted":
        pytest.skip("a highdicom volume is orthogonal; the tilted SEG is compared frame by frame on writing")
    tissue = case.analysis.tissue
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = tissue.grid.step_lps_mm, tissue.grid.origin_lps_mm
    uid = hd.seg.segread(folder / "labelmap" / "seg.dcm").FrameOfReferenceUID
    grid = hd.VolumeGeometry(affine, tissue.grid.shape_kji, "PATIENT", uid)
    back = hd.seg.segread(folder / "labelmap" / "seg.dcm").get_volume(combine_segments=True)
    assert np.array_equal(back.match_geometry(grid).array, tissue.labels_kji)
