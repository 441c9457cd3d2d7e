"""A repeated run must update what the archive holds, and must not add a second copy."""

import time
from datetime import UTC, datetime
from io import BytesIO

import pydicom
import pytest
from small_results import TruthSegmenter, measured_phantom

from volumetry.case import dicom_objects, measured_folder
from volumetry.deliver.dicom import DicomOptions, Export

NAMES = {"seg.dcm", "sr.dcm", "report-pdf.dcm", "report-image.dcm"}


@pytest.fixture(scope="module")
def phantom(tmp_path_factory, config):
    return measured_phantom(tmp_path_factory.mktemp("series"), config)


def run(phantom, out, config, scan_id="S1"):
    """What `check --dicom --pdf --capture` does; the bytes of the four objects, and the result's own date."""
    export = Export(phantom.folder, config, DicomOptions(pdf=True, secondary_capture=True))
    segmenter = TruthSegmenter(phantom.spec)
    analysis, document = measured_folder(phantom.folder, out, scan_id, segmenter, config, export=export)
    written = dicom_objects(export, analysis, document, out)
    return {path.name: path.read_bytes() for path in written}, document["provenance"]["created"]


def wait_for_another_second(created):
    while datetime.now(UTC).isoformat(timespec="seconds") == created:
        time.sleep(0.05)


def uids(out):
    return {name: pydicom.dcmread(out / name, stop_before_pixels=True).SOPInstanceUID for name in NAMES}


def test_a_repeated_run_writes_the_same_objects(phantom, config, tmp_path):
    """The first run wrote no summary: the page of the next belongs to the report that is in the archive."""
    export = Export(phantom.folder, config, DicomOptions())
    segmenter = TruthSegmenter(phantom.spec)
    analysis, document = measured_folder(phantom.folder, tmp_path, "S1", segmenter, config, export=export)
    before = {path.name: path.read_bytes() for path in dicom_objects(export, analysis, document, tmp_path)}
    created = document["provenance"]["created"]
    when, runs = datetime.fromisoformat(created).astimezone(), []
    for _ in range(2):
        wait_for_another_second(created)
        written, created_again = run(phantom, tmp_path, config)
        assert created_again > created
        runs.append(written)
    assert set(runs[0]) == NAMES
    assert runs[0] == runs[1]
    assert before.items() <= runs[0].items()
    for content in runs[0].values():
        file = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        assert (file.ContentDate, file.ContentTime) == (f"{when:%Y%m%d}", f"{when:%H%M%S}")


def test_another_page_is_another_object(phantom, config, tmp_path):
    run(phantom, tmp_path, config)
    before = uids(tmp_path)
    run(phantom, tmp_path, config, scan_id="S2")  # printed on the page, in neither SEG nor SR
    after = uids(tmp_path)
    assert {name for name in NAMES if after[name] == before[name]} == {"seg.dcm", "sr.dcm"}
