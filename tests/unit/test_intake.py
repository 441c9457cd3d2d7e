"""From what sites send to a list that a person confirms and a batch measures."""

import csv
import shutil
import zipfile

import pydicom
import pytest

from volumetry.batch import list_scans, run_batch
from volumetry.config import load_config
from volumetry.errors import UsageError
from volumetry.intake import intake
from volumetry.phantom import PhantomSpec, SeriesSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter

LAYOUT = "Site {site}/{subject}/{visit}"
NAME = ("Phantom", "Synthetic", "SYN-001", "SYN001")
"""What the headers of a phantom call the patient."""
SPEC = {"shape_kji": (44, 64, 72), "spacing_kji_mm": (6.0, 5.0, 5.0)}


def _series(folder, seed, **series):
    """Phantoms of different noise are different images, and those of one noise the same."""
    write_series(
        make_phantom(PhantomSpec(SPEC["shape_kji"], SPEC["spacing_kji_mm"], seed=seed)),
        folder,
        SeriesSpec(**series),
    )
    return folder


def _zipped(path, folder, below=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{below}{file.relative_to(folder)}")
    return path


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """Deliveries of two sites: two kernels and two thicknesses, a study twice, images under a second subject."""
    work = tmp_path_factory.mktemp("intake")
    root, packed = work / "in", work / "packed"
    first = root / "Site 01" / "Jörg 1"
    _series(first / "base line", 1)
    _zipped(first / "week 4.zip", _series(packed / "a", 2, series="2"), f"{NAME[0]}^{NAME[1]}/")
    _series(packed / "cd" / "B31", 3, series="3", kernel="B31f")
    _series(packed / "cd" / "B70", 4, series="4", kernel="B70f")
    (packed / "outer").mkdir()
    _zipped(packed / "outer" / "cd.zip", packed / "cd", "MEDIA/")
    second = root / "Site 02" / "K2"
    second.mkdir(parents=True)
    _zipped(second / "base line.zip", packed / "outer")  # a medium's export in a courier's ZIP
    shutil.copytree(first / "base line", second / "week 4")
    shutil.copytree(first / "base line", first / "base line again" / "copy")
    (root / "Site 02" / "K3" / "week 4").mkdir(parents=True)
    _series(root / f"{NAME[0]} {NAME[1]}", 5, series="6")
    expected = work / "expected.csv"
    expected.write_text("SUBJID;VISIT\nJörg 1;Base Line\nK2;base line\nK3;week 4\nK4;base line\n", "utf-8")
    return intake(root, work / "out", load_config(), layout=LAYOUT, expected=expected), work


def _table(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


def test_every_series_of_every_delivery_has_a_line(taken):
    found, work = taken
    rows = {row["scan_id"]: row for row in _table(found.manifest)}
    assert {name: (row["site"], row["subject"], row["visit"], row["use"]) for name, row in rows.items()} == {
        "Jörg_1_base_line": ("01", "Jörg 1", "base line", "yes"),
        "Jörg_1_base_line_again": ("01", "Jörg 1", "base line again", "yes"),
        "Jörg_1_week_4": ("01", "Jörg 1", "week 4", "yes"),
        "K2_base_line": ("02", "K2", "base line", "tie"),
        "K2_base_line_2": ("02", "K2", "base line", "tie"),
        "K2_week_4": ("02", "K2", "week 4", "yes"),
        "K3_week_4": ("02", "K3", "week 4", "yes"),
        **{name: ("", "", "", "yes") for name in rows if name.startswith("scan-")},
    }
    assert sum(name.startswith("scan-") for name in rows) == 1, "the folder that is named after the patient"
    tied = [rows["K2_base_line"], rows["K2_base_line_2"]]
    assert {row["kernel"] for row in tied} == {"B31f", "B70f"}
    assert all("tie" in row["reason"] and "B31f" in row["reason"] for row in tied)
    again = {"Jörg_1_base_line", "Jörg_1_base_line_again", "K2_week_4"}
    for name in again:
        assert set(rows[name]["same_images_as"].split(";")) == again - {name}
        assert "under another subject or visit" in rows[name]["reason"]
    assert rows["K3_week_4"]["verdict"] == "EMPTY_INPUT"
    assert [(v["subject"], v["state"]) for v in _table(work / "out" / "expected.csv")][:4] == [
        ("Jörg 1", "delivered"),
        ("K2", "delivered"),
        ("K3", "delivered without images"),
        ("K4", "missing"),
    ]
    assert rows["Jörg_1_base_line"]["expected"] == "delivered"


def test_the_list_names_nobody_and_leads_back_to_the_delivery(taken):
    found, work = taken
    text = found.manifest.read_text("utf-8")
    assert not [name for name in NAME if name.casefold() in text.casefold()]
    assert not [name for name in NAME for path in (work / "out").rglob("*") if name in path.name]
    sources = {row["scan_id"]: row["folder"] for row in _table(work / "out" / "sources.csv")}
    assert sources["K2_base_line_2"] == "Site 02/K2/base line.zip"
    assert len({row["patient_digest"] for row in _table(found.manifest)} - {""}) == 1
    assert found.subjects_of_one_patient() == [("Jörg 1", "K2")]


def test_a_delivery_without_ct_is_listed_without_the_patients_name_and_refused_as_before(tmp_path, config):
    series = _series(tmp_path / "ct", 1)
    report = pydicom.dcmread(sorted(series.iterdir())[0])
    report.Modality, report.SOPClassUID = "SR", "1.2.840.10008.5.1.4.1.1.88.33"
    report.PatientName = "Huber^Josef"
    root = tmp_path / "in" / "Site 01"
    for folder in (root / "S1" / "Huber Josef", root / "Josef_Huber" / "v1", tmp_path / "packed"):
        folder.mkdir(parents=True)
        report.save_as(folder / "1")
    (root / "S2" / "v1").mkdir(parents=True)
    _zipped(root / "S2" / "v1" / "HUBER.zip", tmp_path / "packed")
    found = intake(tmp_path / "in", tmp_path / "out", config, layout=LAYOUT)
    text = found.manifest.read_text("utf-8")
    assert "huber" not in text.casefold()
    rows = _table(found.manifest)
    assert {row["verdict"] for row in rows} == {"NOT_CT"}
    assert [(row["subject"], row["visit"]) for row in rows if row["subject"]] == [("S2", "v1")]
    documents = run_batch(list_scans(found.manifest), tmp_path / "results", ThresholdSegmenter(), config)
    assert [document["code"] for document in documents] == ["NOT_CT"] * 3
    tables = [path.read_text("utf-8") for path in (tmp_path / "results").glob("*.*")]
    assert not [text for text in tables if "huber" in text.casefold()]


def test_a_batch_takes_the_list_as_it_is(taken, config):
    found, work = taken
    scans = list_scans(found.manifest)
    rows = run_batch(scans[:3], work / "results", ThresholdSegmenter(), config)
    assert all("volumes_ml" in document for document in rows)
    listed = found.manifest.read_text("utf-8").replace("B31f, 44 slices", "B31f").splitlines(keepends=True)
    left_out = [line.replace(",tie,", ",no,") for line in listed]
    found.manifest.with_name("confirmed.csv").write_text("".join(left_out), "utf-8")
    assert len(list_scans(found.manifest.with_name("confirmed.csv"))) == len(scans) - 2


def test_a_list_that_is_there_is_never_overwritten(taken, config):
    found, work = taken
    before = found.manifest.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        intake(work / "in", work / "out", config)
    with pytest.raises(UsageError, match="must not contain"):
        intake(work / "in", work / "in" / "out", config)
    assert found.manifest.read_bytes() == before


def test_of_two_thicknesses_the_thinnest_is_proposed_and_a_study_sent_twice_is_named(tmp_path, config):
    """The second series has every other slice of the first: 12 mm instead of 6 mm."""
    thin = _series(tmp_path / "in" / "S1" / "v1" / "thin", 1)
    thick = _series(tmp_path / "in" / "S1" / "v1" / "thick", 1, series="2", names="numbered")
    for path in sorted(thick.iterdir())[1::2]:
        path.unlink()
    _zipped(tmp_path / "in" / "S1" / "v1" / "once more.zip", thin)
    (thick / "EXPORT").mkdir()
    _zipped(thick / "EXPORT" / "NONAME", thin)  # a ZIP without its suffix, below a folder that is a scan
    (thin / "lost.dcm").write_bytes(bytes(5000))
    found = intake(tmp_path / "in", tmp_path / "list.csv", config, layout="{subject}/{visit}")
    rows = _table(tmp_path / "list.csv")
    assert found.manifest == tmp_path / "list.csv"
    assert all((tmp_path / row["path"]).is_dir() for row in rows), "paths are relative to the list"
    assert [row["spacing_mm"] for row in rows if row["use"] == "yes"] == ["6.0"]
    reasons = [row["reason"] for row in rows if row["use"] == "no"]
    assert sum("thicker" in reason for reason in reasons) == 1
    assert sum("delivered twice" in reason for reason in reasons) == 2
    sizes = sorted(len(list((tmp_path / row["path"]).iterdir())) for row in rows)
    assert sizes == [22, 44, 44, 45], "a file that may be a slice goes with the series of its folder"


def test_the_trials_own_code_is_kept_also_where_the_headers_have_it_as_the_patients(tmp_path, config):
    for subject in ("SYN-001", "Phantom"):  # PatientID and PatientName of every phantom
        _series(tmp_path / "in" / "Site 01" / subject / "baseline", 1)
    expected = tmp_path / "expected.csv"
    expected.write_text("USUBJID;VISIT\nSYN 001;Baseline\n", "utf-8")
    for name, given, kept in (("a", None, ["", ""]), ("b", expected, ["", "SYN-001"])):
        found = intake(tmp_path / "in", tmp_path / name, config, layout=LAYOUT, expected=given)
        assert sorted(line.series.place.subject for line in found.lines) == kept
        assert all("--expected" in fault for fault in found.key_faults.values())
    assert "SYN-001_baseline" in {line.scan_id for line in found.lines}
    expected.write_text("USUBJID;VISIT\nphantom;Baseline\n", "utf-8")
    found = intake(tmp_path / "in", tmp_path / "c", config, layout=LAYOUT, expected=expected)
    assert {line.scan_id for line in found.lines} >= {"Phantom_baseline"}
