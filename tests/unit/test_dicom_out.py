"""SEG and SR: what is refused, what is left behind, and that a difference is noticed."""

import copy
import datetime
import io
from dataclasses import replace

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.sr import _concepts_dict
from pydicom.sr.coding import Code
from small_results import measured_phantom

from volumetry.config import load_config
from volumetry.deliver.dicom import (
    DicomOptions,
    compare,
    concepts,
    delivery,
    regions,
    write_seg_and_sr,
    write_summary,
)
from volumetry.deliver.dicom.concepts import structures
from volumetry.deliver.dicom.source import export_source
from volumetry.deliver.dicom.uids import tracking_uid
from volumetry.deliver.report import Annex, text
from volumetry.deliver.report import summary as summary_module
from volumetry.deliver.report.summary import Summary, summary_of
from volumetry.domain import Tissue, TissueMap
from volumetry.errors import OutputError
from volumetry.phantom import SeriesSpec
from volumetry.remeasure.edited import read_edited_mask


@pytest.fixture(scope="module")
def case(tmp_path_factory, config):
    return measured_phantom(tmp_path_factory.mktemp("series"), config)


@pytest.fixture(scope="module")
def written(case, config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("out")
    return write_seg_and_sr(case.document, case.analysis.tissue, case.folder, folder, config)


def test_files_are_private_whole_and_start_with_zeros(written):
    assert set(written) == {"seg.dcm", "sr.dcm"}
    for path in written.values():
        assert path.read_bytes()[:132] == bytes(128) + b"DICM"
        assert path.stat().st_mode & 0o077 == 0
    assert sorted(p.name for p in written["seg.dcm"].parent.iterdir()) == ["seg.dcm", "sr.dcm"]


def test_a_preamble_of_the_source_is_not_copied(config, tmp_path):
    case = measured_phantom(tmp_path / "in", config)
    for path in (tmp_path / "in").iterdir():
        path.write_bytes(b"#!/bin/sh\n".ljust(128) + path.read_bytes()[128:])
    files = write_seg_and_sr(case.document, case.analysis.tissue, tmp_path / "in", tmp_path / "out", config)
    assert all(path.read_bytes()[:128] == bytes(128) for path in files.values())


def test_a_second_run_keeps_the_first(case, config, tmp_path):
    for _ in range(2):
        write_seg_and_sr(case.document, case.analysis.tissue, case.folder, tmp_path, config)
    assert {p.name for p in (tmp_path / "earlier" / "1").iterdir()} == {"seg.dcm", "sr.dcm"}


def test_a_repeated_run_gives_the_same_objects_and_another_result_joins_their_series(case, config, tmp_path):
    def uids(folder, document):
        files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path / folder, config)
        read = [pydicom.dcmread(path, stop_before_pixels=True) for path in files.values()]
        return [(one.SeriesInstanceUID, one.SOPInstanceUID) for one in read]

    first = uids("first", case.document)
    again = copy.deepcopy(case.document)
    again["timing_s"]["total"] = 5.0
    again["provenance"]["created"] = "2031-01-01T00:00:00+00:00"
    assert uids("first", again) == first
    elsewhere = uids("elsewhere", again)  # the earlier objects are not found: other dates, so other instances
    other = copy.deepcopy(case.document)
    other["provenance"]["model"] = "another-1"
    found = uids("other", other)
    for later in (elsewhere, found):
        assert [series for series, _ in later] == [series for series, _ in first]
    assert len({instance for pairs in (first, elsewhere, found) for _, instance in pairs}) == 6
    assert len({uid for pair in first for uid in pair}) == 4


def test_one_uid_means_one_content(case, config, tmp_path):
    """What is written of one result is the same to the last byte, whenever it is written."""
    summary = summary_of(case.document, case.analysis.tissue, case.analysis.scan)
    options = DicomOptions(pdf=True, secondary_capture=True)

    def contents(folder, document):
        files = write_seg_and_sr(document, case.analysis.tissue, case.folder, folder, config)
        files |= write_summary(summary, document, case.folder, folder, config, options)
        return {name: path.read_bytes() for name, path in files.items()}

    document = copy.deepcopy(case.document)
    document["provenance"]["created"] = "2031-01-02T03:04:05+00:00"
    first = contents(tmp_path / "first", document)
    assert contents(tmp_path / "sent again", document) == first
    local = datetime.datetime(2031, 1, 2, 3, 4, 5, tzinfo=datetime.UTC).astimezone()
    for content in first.values():
        file = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True)
        stated = {str(file[tag].value) for tag in file.keys() & DATES_OF_MAKING}
        assert stated == {f"{local:%Y%m%d}"}
    repeated = copy.deepcopy(document)
    repeated["provenance"]["created"] = "2032-01-01T00:00:00+00:00"
    for name in ("first", "first"):  # beside the earlier objects, then with them among the earlier results
        assert contents(tmp_path / name, repeated) == first
    other = {**document, "scan_id": "S2"}
    assert contents(tmp_path / "other", other)["sr.dcm"] == first["sr.dcm"]


@pytest.mark.parametrize(("patient", "stated"), [("", "NO"), ("patient N. N., ID 7", "YES")])
def test_a_page_that_shows_the_patient_says_so_to_those_who_remove_identities(
    case, config, tmp_path, patient, stated
):
    summary = summary_of(case.document, case.analysis.tissue, case.analysis.scan, Annex(patient=patient))
    options = DicomOptions(pdf=True, secondary_capture=True)
    files = write_summary(summary, case.document, case.folder, tmp_path / "out", config, options)
    assert len(files) == 2
    for path in files.values():
        assert pydicom.dcmread(path, stop_before_pixels=True).BurnedInAnnotation == stated


def test_two_contents_never_share_a_uid(case, config, tmp_path):
    """Whatever of an object is changed (dates, mask, patient's name, page), the UID is another one."""
    options = DicomOptions(pdf=True, secondary_capture=True)
    source = export_source(case.folder, case.document["provenance"]["input_sha256"], config)
    renamed = [copy.deepcopy(header) for header in source.headers]
    for header in renamed:
        header.PatientName = "Other^Name"
    labels = case.analysis.tissue.labels_kji.copy()
    one, other = (tuple(np.argwhere(labels == tissue)[0]) for tissue in (2, 3))
    labels[one], labels[other] = 3, 2  # the same volumes, another mask
    later = copy.deepcopy(case.document)
    later["provenance"]["created"] = "2031-01-01T00:00:00+00:00"
    said = copy.deepcopy(case.document)
    said["status"] = "measured" if said["status"] == "review" else "review"
    tissue, plain = case.analysis.tissue, Annex()
    runs = {
        "first": (case.document, tissue, source, plain),
        "later": (later, tissue, source, plain),
        "mask": (case.document, TissueMap(labels, tissue.grid), source, plain),
        "name": (case.document, tissue, replace(source, headers=tuple(renamed)), plain),
        "status": (said, tissue, source, plain),
        "patient on the page": (case.document, tissue, source, Annex(patient="patient N. N.")),
    }
    contents = {}
    for name, (document, mask, headers, annex) in runs.items():
        folder = tmp_path / name
        files = write_seg_and_sr(document, mask, headers, folder, config)
        summary = summary_of(document, mask, case.analysis.scan, annex)
        files |= write_summary(summary, document, headers, folder, config, options)
        for path in files.values():
            uid = pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID
            contents.setdefault(str(uid), set()).add(path.read_bytes())
    assert all(len(different) == 1 for different in contents.values())
    # All four objects differ from the first in every run but those of the status and of the page.
    assert len(contents) == 4 + 4 + 4 + 4 + 3 + 2


def test_the_seg_is_deflated_and_the_same_instance_as_the_uncompressed_one(case, written, config, tmp_path):
    plainly = load_config(overrides={"export": {"segmentation": "binary"}})
    assert plainly.sha256 == config.sha256, "the form of the SEG does not affect a measurement"
    path = write_seg_and_sr(case.document, case.analysis.tissue, case.folder, tmp_path / "plain", plainly)[
        "seg.dcm"
    ]
    plain, deflated = pydicom.dcmread(path), pydicom.dcmread(written["seg.dcm"])
    assert plain.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert deflated.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1.99"
    assert deflated == plain
    assert written["seg.dcm"].stat().st_size < path.stat().st_size / 5
    assert np.array_equal(hd.seg.segread(written["seg.dcm"]).pixel_array, plain.pixel_array)


def test_a_label_map_is_deflated_too(case, config, tmp_path):
    path = write_seg_and_sr(
        case.document, case.analysis.tissue, case.folder, tmp_path, config, DicomOptions("labelmap")
    )["seg.dcm"]
    seg = pydicom.dcmread(path)
    assert seg.SegmentationType == "LABELMAP"
    assert seg.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1.99"
    labels = case.analysis.tissue.labels_kji
    assert np.array_equal(read_edited_mask(path, case.analysis.tissue.grid), labels)
    assert path.stat().st_size < labels.size / 10


DATES_OF_MAKING = {0x00080012, 0x00080023, 0x00181012}
"""Instance creation, content, secondary capture."""


def test_sides_and_lobes_stand_under_their_standard_codes(case, config, tmp_path):
    document = {**case.document, "flags": []}
    parts = {name: {"lung": 100.0 + n, "lesion": 10.0 + n} for n, name in enumerate(LOBE_CODES)}
    document["lobes"] = {"method": "fissures", "reason": None, **parts}
    document |= {"severity_score": 7, "severity_score_range": [5, 12]}
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    found = {}
    for group in hd.sr.srread(files["sr.dcm"]).content.get_image_measurement_groups():
        (site,) = group.finding_sites
        values = {m.name.value: m.value for m in group.get_measurements()}
        found[site.value.value, site.laterality.value] = values
    for name, codes in LOBE_CODES.items():
        assert found[codes]["118565006"] == parts[name]["lung"]
        assert found[codes]["LESION_VOL"] == parts[name]["lesion"]
        percent = 100 * parts[name]["lesion"] / parts[name]["lung"]
        assert found[codes]["LESION_REGION_PCT"] == pytest.approx(percent, abs=0.051)
    assert found["39607008", "24028007"]["118565006"] == round(document["sides"]["right"]["lung"])
    assert len(found) == 7
    assert "CT_SEVERITY" in pydicom.dcmread(files["sr.dcm"]).to_json()
    document["flags"] = [{"code": "SIDE_CONFLICT", "severity": "review", "message": "m"}]
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path / "unsure", config)
    assert not hd.sr.srread(files["sr.dcm"]).content.get_image_measurement_groups()
    said = pydicom.dcmread(files["sr.dcm"]).to_json()
    assert "CT_SEVERITY" not in said, "the score is made from the lobes"
    assert "fissures" not in said


LOBE_CODES = {
    "right_upper": ("45653009", "24028007"),
    "right_middle": ("72481006", "24028007"),
    "right_lower": ("90572001", "24028007"),
    "left_upper": ("45653009", "7771000"),
    "left_lower": ("90572001", "7771000"),
}
"""SNOMED CT: upper lobe of lung, middle lobe of right lung, lower lobe of lung; right, left."""


def test_every_source_slice_is_referred_to(case, written):
    sources = {pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in case.folder.iterdir()}
    seg = pydicom.dcmread(written["seg.dcm"])
    (series,) = seg.ReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in series.ReferencedInstanceSequence} == sources
    report = pydicom.dcmread(written["sr.dcm"])
    evidence = {
        item.ReferencedSOPInstanceUID
        for study in report.CurrentRequestedProcedureEvidenceSequence
        for group in study.ReferencedSeriesSequence
        for item in group.ReferencedSOPSequence
    }
    assert evidence == sources | {seg.SOPInstanceUID}


def test_seg_and_sr_share_tracking_uids_and_name_the_algorithm(written):
    seg, text = pydicom.dcmread(written["seg.dcm"]), pydicom.dcmread(written["sr.dcm"]).to_json()
    assert len({segment.TrackingUID for segment in seg.SegmentSequence}) == 3
    for segment in seg.SegmentSequence:
        assert segment.TrackingUID in text
        assert segment.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "volumetry truth-1"
        assert "RecommendedDisplayCIELabValue" in segment
    assert "volumetry truth-1" in text


def test_the_report_carries_status_flags_model_and_that_it_is_research(case, config, tmp_path):
    document = copy.deepcopy(dict(case.document))
    document["status"] = "review"
    document["flags"] = [
        {"code": "METAL", "severity": "review", "message": "streaks", "hint": "look"},
        {"code": "REORDERED", "severity": "look", "message": "sorted by position", "hint": ""},
    ]
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    said = comments(files["sr.dcm"])
    assert said[:5] == [
        "Status: review",
        # Both lesions are drawn behind the middle of the chest, and at half the height of the lungs.
        "Distribution: bilateral, predominantly dorsal and in the middle third.",
        "Flag METAL (requires a reader): streaks",
        "Flag REORDERED (note): sorted by position",
        "No interval is given: none was calibrated for this way of measuring.",
    ]
    assert document["provenance"]["model"] in said[-2]
    assert said[-1] == "Research use only. Not a medical device."


def comments(path):
    return [
        item.TextValue
        for item in pydicom.dcmread(path).ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeValue == "121106"  # DCM: Comment
    ]


@pytest.mark.parametrize(
    ("method", "reason", "stated"),
    [
        ("fissures", None, "The lobes follow the fissures that the CT shows."),
        ("approximate", "slices are 5 mm apart", "The lobes are approximate: slices are 5 mm apart."),
        ("none", "the lungs touch", "The lungs were not divided into lobes: the lungs touch."),
    ],
)
def test_the_report_says_how_the_lobes_were_found(case, config, tmp_path, method, reason, stated):
    document = {**case.document, "lobes": {"method": method, "reason": reason}}
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    assert any(stated in words for words in comments(files["sr.dcm"]))


def test_the_severity_score_is_stated_with_its_range(case, config, tmp_path):
    document = {**case.document, "severity_score": 7, "severity_score_range": [5, 12]}
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    lung, *others = hd.sr.srread(files["sr.dcm"]).content.get_volumetric_roi_measurement_groups()
    name = hd.sr.CodedConcept("CT_SEVERITY", "99VOLUMETRY", "-")
    assert not any(group.get_measurements(name) for group in others)
    (score,) = lung.get_measurements(name)
    assert (score.value, score.unit.value, score.unit.scheme_designator) == (7, "1", "UCUM")
    assert {code: float(item.NumericValue) for code, item in uncertainty_items(score).items()} == {
        "371886008": 12 - 7,  # SCT: upper and lower range of uncertainty
        "371885007": 7 - 5,
    }
    assert any("CT severity score 7 of 25; 5 to 12 " in words for words in comments(files["sr.dcm"]))


def uncertainty_items(measurement):
    return {
        child.ConceptNameCodeSequence[0].CodeValue: child.MeasuredValueSequence[0]
        for child in measurement[0].get("ContentSequence", [])
        if child.ValueType == "NUM"
    }


def test_numbers_have_the_digits_of_the_page(case, config, tmp_path):
    """Below 100 mL a decimal, whole mL above: as the page prints them, and parts add up as far as rounded."""
    document = case.document
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    (groups,) = (
        item.ContentSequence
        for item in pydicom.dcmread(files["sr.dcm"]).ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Imaging Measurements"
    )
    written = {
        (group.ContentSequence[0].TextValue, item.ConceptNameCodeSequence[0].get("CodeValue")): str(
            item.MeasuredValueSequence[0].NumericValue
        )
        for group in groups
        for item in group.ContentSequence
        if item.ValueType == "NUM"
    }
    ml, percent = document["volumes_ml"], document["percent_of_lung"]
    volume, lesion = "118565006", "LESION_VOL"
    assert written["Lung", volume] == f"{ml['lung']:.0f}"
    assert written["Lung", lesion] == f"{ml['lesion']:.1f}"
    assert written["Lung", "LESION_PCT"] == f"{percent['lesion']:.1f}"
    assert written["Consolidation", volume] == f"{ml['solid']:.1f}"
    sides = document["sides"]
    assert written["Left lung", volume] == f"{sides['left']['lung']:.0f}"
    for parts in (("Left lung", "Right lung"), LOBE_NAMES):
        for code, half_digit in ((volume, 0.5), (lesion, 0.05)):
            total = sum(float(written[part, code]) for part in parts)
            assert total == pytest.approx(float(written["Lung", code]), abs=half_digit * (len(parts) + 1) + 1e-9)


LOBE_NAMES = ("Right upper lobe", "Right middle lobe", "Right lower lobe", "Left upper lobe", "Left lower lobe")


def test_uncertainties_have_two_significant_digits_and_none_reaches_below_zero(case, config, tmp_path):
    percent = case.document["percent_of_lung"]
    points = 1234.567 / case.document["volumes_ml"]["lung"] * 100
    limits = {name: [0.0, value + points] for name, value in percent.items()}
    document = {**case.document, "interval_percent": limits, "interval_level": 0.95}
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    seen = 0
    for group in hd.sr.srread(files["sr.dcm"]).content.get_volumetric_roi_measurement_groups():
        for measurement in group.get_measurements():
            items = uncertainty_items(measurement)
            if not items or measurement.name.value == "CT_SEVERITY":
                continue
            upper, lower = (str(items[code].NumericValue) for code in ("371886008", "371885007"))
            assert upper == ("1200" if measurement.unit.value == "ml" else f"{points:.2g}")
            assert measurement.value * 0.9 < float(lower) <= measurement.value
            seen += 1
    assert seen == 6
    assert any("a stated coverage of 95 %" in words for words in comments(files["sr.dcm"]))


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_a_scan_without_lesions_is_delivered(kind, config, tmp_path):
    case = measured_phantom(tmp_path / "in", config, lesions=())
    files = write_seg_and_sr(
        case.document, case.analysis.tissue, case.folder, tmp_path / "out", config, DicomOptions(kind)
    )
    assert pydicom.dcmread(files["sr.dcm"]).to_json().count('"GGO_PCT"') == 1
    assert len(pydicom.dcmread(files["seg.dcm"]).SegmentSequence) >= 3


def test_lesion_of_neither_class_has_its_own_segment(tmp_path):
    config = load_config(overrides={"measure": {"component_rule": "hu"}})
    case = measured_phantom(tmp_path / "in", config)
    assert (case.analysis.tissue.labels_kji == 4).any()
    for kind in ("binary", "labelmap"):
        out = tmp_path / kind
        files = write_seg_and_sr(case.document, case.analysis.tissue, case.folder, out, config, DicomOptions(kind))
        labels = [s.SegmentLabel for s in pydicom.dcmread(files["seg.dcm"]).SegmentSequence]
        assert "Lesion of neither class" in labels
        assert "Solid component" in labels


@pytest.mark.parametrize(
    ("rule", "name", "kind"),
    [
        ("network", "Consolidation", ("95436008", "SCT", "Lung consolidation")),
        ("hu", "Solid component", ("SOLID", "99VOLUMETRY", "Solid component, by HU")),
    ],
)
def test_seg_and_sr_call_the_solid_component_as_the_page_does(case, config, tmp_path, rule, name, kind):
    document = {**case.document, "component_rule": rule}
    assert text.name_of(document, "solid") == name
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    segment = pydicom.dcmread(files["seg.dcm"]).SegmentSequence[2]
    groups = hd.sr.srread(files["sr.dcm"]).content.get_volumetric_roi_measurement_groups()
    assert (segment.SegmentLabel, segment.TrackingID, groups[2].tracking_identifier) == (name, name, name)
    (stated,) = segment.SegmentedPropertyTypeCodeSequence
    assert (stated.CodeValue, stated.CodingSchemeDesignator, stated.CodeMeaning) == kind
    assert groups[2].finding_type == hd.sr.CodedConcept(*kind)
    # Followed over all results of the scan, whichever rule they were made by.
    source = pydicom.dcmread(next(case.folder.iterdir()), stop_before_pixels=True)
    assert segment.TrackingUID == groups[2].tracking_uid == tracking_uid(source, "Solid")
    assert np.array_equal(
        read_edited_mask(files["seg.dcm"], case.analysis.tissue.grid) == Tissue.SOLID,
        case.analysis.tissue.labels_kji == Tissue.SOLID,
    )


def test_standard_codes_have_the_meaning_of_the_standard():
    """Ours, in pydicom's tables of the context groups (PS3.16); the rest is written by highdicom."""
    ours = [one for module in (concepts, regions) for one in vars(module).values() if isinstance(one, Code)]
    known = {}
    for scheme, names in _concepts_dict.concepts.items():
        for value, (meaning, _) in (item for values in names.values() for item in values.items()):
            known.setdefault((value, scheme), set()).add(meaning)
    standard = {
        (code.value, code.scheme_designator): code.meaning
        for code in ours
        if code.scheme_designator != "99VOLUMETRY"
    }
    assert {key: meaning for key, meaning in standard.items() if meaning not in known.get(key, {meaning})} == {
        ("24627-2", "LN"): "CT Chest",  # in the tables as the title of a report; this is LOINC's own name
    }
    # SNOMED CT has consolidation, no context group does; of UCUM the tables know a few units.
    assert standard.keys() - known == {("95436008", "SCT"), ("ml", "UCUM"), ("%{lung}", "UCUM")}
    assert all(len(code.meaning) <= 64 for code in ours), "a long string (LO) holds no more"


def test_another_series_in_the_folder_is_no_source(case, config, tmp_path):
    other = measured_phantom(tmp_path / "in", config, series=SeriesSpec(series="2"))
    with pytest.raises(OutputError, match="another series"):
        write_seg_and_sr(case.document, case.analysis.tissue, other.folder, tmp_path / "out", config)
    assert not (tmp_path / "out").exists()


def test_a_header_without_a_frame_of_reference_is_refused_by_name(config, tmp_path):
    case = measured_phantom(tmp_path / "in", config)
    for path in case.folder.iterdir():
        header = pydicom.dcmread(path)
        del header.FrameOfReferenceUID
        header.save_as(path)
    with pytest.raises(OutputError, match="FrameOfReferenceUID"):
        write_seg_and_sr(case.document, case.analysis.tissue, case.folder, tmp_path / "out", config)


def test_headers_that_lack_what_may_be_empty_still_make_valid_objects(config, tmp_path):
    case = measured_phantom(tmp_path / "in", config)
    for path in case.folder.iterdir():
        header = pydicom.dcmread(path)
        for name in (
            "PatientName",
            "PatientID",
            "PatientBirthDate",
            "PatientSex",
            "AccessionNumber",
            "StudyID",
            "StudyTime",
            "ReferringPhysicianName",
            "PositionReferenceIndicator",
            "SliceThickness",
        ):
            if name in header:
                del header[name]
        header.save_as(path)
    files = write_seg_and_sr(case.document, case.analysis.tissue, case.folder, tmp_path / "out", config)
    for path in files.values():
        header = pydicom.dcmread(path)
        assert header.PatientName == ""
        assert header.PatientBirthDate == ""


def test_a_corrected_mask_is_called_semiautomatic(case, written, config, tmp_path):
    corrected = {**case.document, "corrected_by": "Dr Reader", "reason": "a reason"}
    files = write_seg_and_sr(corrected, case.analysis.tissue, case.folder, tmp_path, config)
    for file, kind in ((files, "SEMIAUTOMATIC"), (written, "AUTOMATIC")):
        segments = pydicom.dcmread(file["seg.dcm"]).SegmentSequence
        assert {segment.SegmentAlgorithmType for segment in segments} == {kind}


def test_a_scan_without_a_number_is_not_written(case, config, tmp_path):
    refused = {"status": "refused", "code": "NO_LUNGS_FOUND", "series": case.document["series"]}
    with pytest.raises(OutputError, match="without a number"):
        write_seg_and_sr(refused, case.analysis.tissue, case.folder, tmp_path, config)


def test_numbers_that_are_not_the_masks_are_not_delivered(case, config, tmp_path):
    other = copy.deepcopy(case.document)
    other["volumes_ml"]["solid"] += 2 * case.analysis.tissue.grid.voxel_ml
    with pytest.raises(OutputError, match="not that of the mask"):
        write_seg_and_sr(other, case.analysis.tissue, case.folder, tmp_path, config)
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_shifts_the_mask_is_caught(case, config, tmp_path, monkeypatch):
    real = delivery.segmentation

    def shifted(headers, tissue, *rest):
        labels = np.roll(tissue.labels_kji, 1, axis=0)
        return real(headers, TissueMap(labels, tissue.grid), *rest)

    monkeypatch.setattr(delivery, "segmentation", shifted)
    with pytest.raises(OutputError, match="differs from the mask"):
        write_seg_and_sr(case.document, case.analysis.tissue, case.folder, tmp_path, config)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("position", "says"), [((0, 0, 1.9), "no slice"), ((3.0, 0, 0), "beside it"), ((0, 0, 900.0), "no slice")]
)
def test_a_frame_in_a_wrong_place_is_noticed(case, written, tmp_path, position, says):
    file = pydicom.dcmread(written["seg.dcm"])
    plane = file.PerFrameFunctionalGroupsSequence[5].PlanePositionSequence[0]
    plane.ImagePositionPatient = [float(p) + d for p, d in zip(plane.ImagePositionPatient, position, strict=True)]
    file.save_as(tmp_path / "moved.dcm")
    with pytest.raises(OutputError, match=says):
        compare.compare_seg(tmp_path / "moved.dcm", case.analysis.tissue, structures(True, unclassed=False))


def test_one_changed_number_in_the_report_is_noticed(case, written):
    other = copy.deepcopy(case.document)
    other["percent_of_lung"]["lesion"] += 0.11  # one decimal is written
    seg = pydicom.dcmread(written["seg.dcm"])
    segments = structures(True, unclassed=False)
    compare.compare_sr(written["sr.dcm"], seg, segments, case.analysis.tissue, case.document)
    with pytest.raises(OutputError, match="not those of the result"):
        compare.compare_sr(written["sr.dcm"], seg, segments, case.analysis.tissue, other)


def with_interval(document):
    percent = document["percent_of_lung"]
    limits = {name: [max(0.0, share - 1.0), share + 2.5] for name, share in percent.items()}
    return {**document, "interval_percent": limits, "interval_level": 0.9}


def test_an_interval_is_the_uncertainty_of_its_share_and_of_nothing_else(case, config, tmp_path):
    document = with_interval(case.document)
    files = write_seg_and_sr(document, case.analysis.tissue, case.folder, tmp_path, config)
    report = hd.sr.srread(files["sr.dcm"])
    shares = {"LESION_PCT": "lesion", "GGO_PCT": "ground_glass", "SOLID_PCT": "solid"}
    seen = set()
    for group in report.content.get_volumetric_roi_measurement_groups():
        for measurement in group.get_measurements():
            children = uncertainty_items(measurement)
            if measurement.name.value == "CT_SEVERITY":
                continue  # has a range of its own
            # The volume of all lesions has a name of its own; that of a class is the volume of its group.
            own = {"Ground glass": "ground_glass", "Consolidation": "solid"}.get(group.tracking_identifier)
            of_volume = {"LESION_VOL": "lesion", "118565006": own}.get(measurement.name.value)
            name = shares.get(measurement.name.value) or of_volume
            if name is None:
                assert children == {}
                continue
            seen.add((name, bool(of_volume)))
            low, high = document["interval_percent"][name]
            share = document["percent_of_lung"][name]
            scale, unit = (document["volumes_ml"]["lung"] / 100, "ml") if of_volume else (1.0, "%{lung}")
            # Codes of TID 310: upper and lower range of measurement uncertainty.
            upper, lower = children["371886008"], children["371885007"]
            # Two significant digits are off by a twentieth of the first at most.
            assert float(upper.NumericValue) == pytest.approx((high - share) * scale, rel=0.05)
            assert float(lower.NumericValue) == pytest.approx((share - low) * scale, rel=0.05)
            assert {n.MeasurementUnitsCodeSequence[0].CodeValue for n in (upper, lower)} == {unit}
    assert seen == {(name, volume) for name in shares.values() for volume in (True, False)}
    other = copy.deepcopy(document)
    other["interval_percent"]["solid"][1] += 0.2
    seg = pydicom.dcmread(files["seg.dcm"])
    with pytest.raises(OutputError, match="intervals of group"):
        compare.compare_sr(files["sr.dcm"], seg, structures(True, unclassed=False), case.analysis.tissue, other)


def test_the_summary_page_comes_as_pdf_and_as_image(case, config, tmp_path):
    summary = summary_of(case.document, case.analysis.tissue, case.analysis.scan)
    options = DicomOptions(pdf=True, secondary_capture=True)
    files = write_summary(summary, case.document, case.folder, tmp_path, config, options)
    assert {p.name for p in tmp_path.iterdir()} == set(files) == {"report-pdf.dcm", "report-image.dcm"}
    sources = {pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in case.folder.iterdir()}
    document = pydicom.dcmread(files["report-pdf.dcm"])
    assert document.EncapsulatedDocument.startswith(b"%PDF-")
    assert {item.ReferencedSOPInstanceUID for item in document.SourceInstanceSequence} == sources
    image = pydicom.dcmread(files["report-image.dcm"])
    assert {item.ReferencedSOPInstanceUID for item in image.SourceImageSequence} == sources
    assert image.pixel_array.shape == summary.rgb.shape
    assert {document.StudyInstanceUID, image.StudyInstanceUID} == {
        pydicom.dcmread(next(case.folder.iterdir()), stop_before_pixels=True).StudyInstanceUID
    }


def test_the_summary_page_is_the_same_every_time_and_names_nobody(case):
    first, second = (summary_of(case.document, case.analysis.tissue, case.analysis.scan) for _ in range(2))
    assert first.pdf == second.pdf
    assert np.array_equal(first.rgb, second.rgb)
    assert b"SYN-001" not in first.pdf
    assert b"CreationDate" not in first.pdf


def test_the_summary_page_names_every_finding_for_a_reader(case, monkeypatch):
    """Four in full, of the others the codes: a page that leaves findings out looks better than the scan."""
    said: list[str] = []
    draw = summary_module._paragraph
    monkeypatch.setattr(
        summary_module, "_paragraph", lambda figure, text, *at: said.append(text) or draw(figure, text, *at)
    )
    codes = [f"CODE_{letter}" for letter in "ABCDEFG"]
    flags = [{"code": code, "severity": "review", "message": "m", "hint": "h", "value": 1} for code in codes]
    summary_of({**case.document, "flags": flags}, case.analysis.tissue, case.analysis.scan)
    page = " ".join(said)
    assert all(code in page for code in codes)
    assert "3 more to look at" in page


def test_nothing_is_written_that_was_not_asked_for(case, config, tmp_path):
    summary = Summary(b"%PDF-", np.zeros((4, 4, 3), np.uint8))
    assert write_summary(summary, case.document, case.folder, tmp_path, config, DicomOptions()) == {}
    assert list(tmp_path.iterdir()) == []
