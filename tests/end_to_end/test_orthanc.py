"""With a real archive: push, pull, and a study that is received, measured and sent back."""

import gc
import shutil
import threading
import time
from contextlib import contextmanager
from functools import partial
from io import BytesIO

import numpy as np
import pydicom
import pytest
import web_scenes
from archive_node import Running
from archive_orthanc import free_port, orthanc
from certificates import certificate
from pydicom.uid import (
    Comprehensive3DSRStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEGLSLossless,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import AE, ALL_TRANSFER_SYNTAXES, evt

from volumetry.archive import outbox
from volumetry.archive.dicomweb import Access, pull, push
from volumetry.archive.receive import Node, Peer, receive, store
from volumetry.case import dicom_objects, measured_folder
from volumetry.deliver import as_document
from volumetry.deliver.dicom import DicomOptions, Export, write_seg_and_sr
from volumetry.errors import InputError, OutputError, UsageError
from volumetry.phantom import SeriesSpec, make_phantom, write_series
from volumetry.pipeline import analyse_scan
from volumetry.segment.hu_segmenter import ThresholdSegmenter

PATIENCE_S = 120

# pynetdicom leaves the socket of a refused connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(autouse=True)
def _collected():
    yield
    gc.collect()


@pytest.fixture(scope="module")
def node_port():
    return free_port()


@pytest.fixture(scope="module")
def archive(tmp_path_factory, node_port):
    with orthanc(tmp_path_factory.mktemp("orthanc"), node_port) as running:
        yield running


@pytest.fixture(scope="module")
def scan(tmp_path_factory):
    how = SeriesSpec(transfer_syntax=JPEGLSLossless, seed=77, subject="SYN-077")
    return write_series(make_phantom(web_scenes.SPEC), tmp_path_factory.mktemp("scan"), how)


def uids(path):
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    return str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)


def by_instance(paths):
    datasets = [pydicom.dcmread(path) for path in paths]
    return {ds.SOPInstanceUID: ds for ds in datasets}


@pytest.fixture(scope="module")
def pushed(archive, scan):
    assert push(archive.dicom_web, scan) == len(scan)
    return uids(scan[0])


def test_what_was_pushed_is_pulled_pixel_for_pixel(archive, scan, pushed, tmp_path):
    study, series = pushed
    assert archive.ask("/statistics")["CountInstances"] == len(scan)
    assert pull(archive.dicom_web, study, series, tmp_path / "out") == len(scan)
    before, after = by_instance(scan), by_instance((tmp_path / "out").iterdir())
    assert before.keys() == after.keys()
    for uid, ds in after.items():
        assert ds.file_meta.TransferSyntaxUID == JPEGLSLossless
        assert np.array_equal(ds.pixel_array, before[uid].pixel_array)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {f"{n:05d}.dcm" for n in range(1, len(scan) + 1)}


def test_a_whole_study_gives_a_folder_for_each_ct_series(archive, scan, pushed, tmp_path):
    assert pull(archive.dicom_web, pushed[0], None, tmp_path / "out") == len(scan)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["1"]


def test_a_series_that_is_not_there_is_said_and_leaves_nothing(archive, pushed, tmp_path):
    with pytest.raises((InputError, OutputError)):
        pull(archive.dicom_web, pushed[0], generate_uid(), tmp_path / "out")
    with pytest.raises((InputError, OutputError)):
        pull(archive.dicom_web, generate_uid(), None, tmp_path / "other")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_archive_that_lists_a_part_of_a_study_is_not_believed(tmp_path):
    """Orthanc caps its answers, whatever page is asked for; each series can still be pulled."""
    series, phantom = [], make_phantom(web_scenes.SPEC)
    for number in ("1", "2", "3", "4", "5"):
        files = write_series(phantom, tmp_path / number, SeriesSpec(seed=10, subject="SYN-1", series=number))
        series.append(files)
    study = uids(series[0][0])[0]
    assert {uids(files[0])[0] for files in series} == {study}
    (tmp_path / "orthanc").mkdir()
    with orthanc(tmp_path / "orthanc", free_port(), LimitFindResults=2, LimitFindInstances=7) as archive:
        for files in series:
            assert push(archive.dicom_web, files) == len(files)
        with pytest.raises(InputError, match="of the 5 series of this study") as stop:
            pull(archive.dicom_web, study, None, tmp_path / "whole")
        assert stop.value.code == "MANIFEST_MISMATCH"
        assert list((tmp_path / "whole").iterdir()) == []
        for number, files in enumerate(series):
            assert pull(archive.dicom_web, *uids(files[0]), tmp_path / f"series-{number}") == len(files)


def test_an_archive_asks_for_user_and_password(tmp_path, scan):
    users = {"AuthenticationEnabled": True, "RegisteredUsers": {"reader": "secret"}}
    (tmp_path / "orthanc").mkdir()
    with orthanc(tmp_path / "orthanc", free_port(), **users) as archive:
        for access in (Access(), Access(user="reader", password="wrong"), Access(token="secret")):  # noqa: S106
            with pytest.raises(OutputError, match="answered 401"):
                push(archive.dicom_web, scan, access)
        access = Access(user="reader", password="secret")  # noqa: S106
        assert push(archive.dicom_web, scan, access) == len(scan)
        assert pull(archive.dicom_web, uids(scan[0])[0], None, tmp_path / "out", access) == len(scan)


def test_an_archive_that_is_not_there_is_said(scan, tmp_path):
    with pytest.raises(OutputError, match="cannot be reached"):
        push(f"http://127.0.0.1:{free_port()}/dicom-web", scan[:1])


def test_nothing_is_pulled_over_other_files(archive, pushed, tmp_path):
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(UsageError, match="not empty"):
        pull(archive.dicom_web, *pushed, tmp_path)


def there_and_back(archive, node, send_back, config, scan, result):
    """Orthanc sends its study to the node; what the node measured must lie in Orthanc, as it was written."""
    said, seen, stop, ready = [], [], threading.Event(), threading.Event()

    def on_study(folder):
        analysis = analyse_scan(folder, ThresholdSegmenter(), config, "received")
        seen.append((len(list(folder.iterdir())), analysis.result.measurement.volumes_ml))
        document = as_document(analysis.result)
        written = write_seg_and_sr(document, analysis.tissue, folder, result, config)
        return list(written.values())

    def say(line):
        said.append(line)
        if line.startswith(("measured", "not measured")):
            stop.set()

    thread = threading.Thread(
        target=receive,
        args=(node, result.parent / "out", on_study, send_back),
        kwargs={"say": say, "stop": stop, "on_ready": lambda _: ready.set()},
        daemon=True,
    )
    thread.start()
    assert ready.wait(PATIENCE_S)
    for modality in ("SEG", "SR"):  # the same result has the same UIDs, and Orthanc keeps the objects that it has
        for series in archive.ask("/tools/find", {"Level": "Series", "Query": {"Modality": modality}}):
            archive.delete(f"/series/{series}")
    (study,) = archive.ask("/studies")
    archive.ask("/modalities/VOL/store", [study])
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), said
    assert [count for count, _ in seen] == [len(scan)], said
    drawn = web_scenes.GROUND_GLASS.shape.volume_ml
    assert seen[0][1].ground_glass == pytest.approx(drawn, rel=0.1)
    for name, modality in (("seg.dcm", "SEG"), ("sr.dcm", "SR")):
        sent = pydicom.dcmread(result / name)
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sent.SOPInstanceUID}}
        (found,) = archive.ask("/tools/find", query)
        back = pydicom.dcmread(BytesIO(archive.fetch(f"/instances/{found}/file")))
        assert (back.Modality, back.StudyInstanceUID) == (modality, uids(scan[0])[0])
        assert back.SeriesInstanceUID != uids(scan[0])[1]
        assert back == sent
    assert not any((result.parent / "out").rglob("*.dcm"))
    assert "SYN-077" not in " ".join(said)


@pytest.mark.usefixtures("pushed")
@pytest.mark.parametrize("way", ["c-store", "dicomweb"])
def test_a_study_sent_to_the_node_comes_back_measured(archive, scan, node_port, config, tmp_path, way):
    send = partial(store, Peer("127.0.0.1", archive.dimse, archive.ae_title))
    send_back = send if way == "c-store" else partial(push, archive.dicom_web)
    there_and_back(archive, Node(port=node_port, quiet_s=1.0), send_back, config, scan, tmp_path / "result")


def test_a_study_in_three_associations_survives_an_archive_that_is_down_and_a_restart(
    scan, config, tmp_path, monkeypatch
):
    """Nobody listens at the archive's address; then it takes the SEG and refuses the SR; then it is back."""
    monkeypatch.setattr(outbox, "FIRST_S", 0.4)
    port, result = free_port(), tmp_path / "result"
    seen = []

    def on_study(folder):
        analysis = analyse_scan(folder, ThresholdSegmenter(), config, "received")
        seen.append(len(list(folder.glob("*.dcm"))))
        document = as_document(analysis.result)
        return list(write_seg_and_sr(document, analysis.tissue, folder, result, config).values())

    def started():
        send_back = partial(store, Peer("127.0.0.1", port, "ORTHANC"))
        return Running(Node(port=0, quiet_s=2.0, late_s=0.0), tmp_path / "out", on_study, send_back)

    node = started()
    for part in (scan[0::3], scan[1::3], scan[2::3]):
        assert store(node.peer(), part) == len(part)
        time.sleep(0.5)  # each association has ended before the next begins
    node.wait_for("measured;")
    node.wait_for("not sent: the DICOM node cannot be reached")
    node.stop()
    assert seen == [len(scan)]

    node = started()  # what waits is known after a restart
    with half_an_archive(port) as asked:
        node.wait_for("not sent: the DICOM node refused file 2 of 2")
    assert asked[:2] == [SegmentationStorage, Comprehensive3DSRStorage]

    folder = tmp_path / "orthanc"
    folder.mkdir()
    with orthanc(folder, free_port(), DicomPort=port) as archive:
        node.wait_for("2 files sent back")
        time.sleep(3 * outbox.FIRST_S)
        assert len([line for line in node.said if "sent back" in line]) == 1
        assert archive.ask("/statistics")["CountInstances"] == 2
        for name in ("seg.dcm", "sr.dcm"):
            sent = pydicom.dcmread(result / name)
            query = {"Level": "Instance", "Query": {"SOPInstanceUID": sent.SOPInstanceUID}}
            (found,) = archive.ask("/tools/find", query)
            assert pydicom.dcmread(BytesIO(archive.fetch(f"/instances/{found}/file"))) == sent
    node.stop()
    assert seen == [len(scan)]  # measured once
    assert not list((tmp_path / "out" / "outbox").glob("*.json"))
    assert not list((tmp_path / "out").rglob("*.dcm"))


@contextmanager
def half_an_archive(port):
    """A node that stores segmentations and has no room for reports; what it was asked to store."""
    asked = []

    def stored(event):
        asked.append(event.request.AffectedSOPClassUID)
        return 0x0000 if asked[-1] == SegmentationStorage else 0xA700

    ae = AE(ae_title="ORTHANC")
    for sop_class in (SegmentationStorage, Comprehensive3DSRStorage):
        ae.add_supported_context(sop_class, ALL_TRANSFER_SYNTAXES)
    server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, stored)])
    try:
        yield asked
    finally:
        server.shutdown()


def test_a_deflated_segmentation_is_stored_and_read_back_as_it_was_written(scan, config, tmp_path):
    analysis = analyse_scan(scan[0].parent, ThresholdSegmenter(), config, "deflated")
    options, document = DicomOptions("binary_deflated"), as_document(analysis.result)
    written = write_seg_and_sr(document, analysis.tissue, scan[0].parent, tmp_path / "result", config, options)
    path = written["seg.dcm"]
    sent = pydicom.dcmread(path)
    assert sent.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    (tmp_path / "orthanc").mkdir()
    with orthanc(tmp_path / "orthanc", free_port()) as archive:
        send = partial(store, Peer("127.0.0.1", archive.dimse, archive.ae_title))
        for way in (send, partial(push, archive.dicom_web)):
            way([path])
            (instance,) = archive.ask("/instances")
            assert pull(archive.dicom_web, *uids(path), tmp_path / "back") == 1
            as_stored = BytesIO(archive.fetch(f"/instances/{instance}/file"))
            for back in map(pydicom.dcmread, (as_stored, tmp_path / "back" / "00001.dcm")):
                assert back.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
                assert back == sent
                assert np.array_equal(back.pixel_array, sent.pixel_array)
            archive.delete(f"/instances/{instance}")
            shutil.rmtree(tmp_path / "back")


def test_an_archive_that_refuses_deflated_objects_gets_the_segmentation_uncompressed(scan, config, tmp_path):
    analysis = analyse_scan(scan[0].parent, ThresholdSegmenter(), config, "refused")
    document = as_document(analysis.result)
    files = write_seg_and_sr(document, analysis.tissue, scan[0].parent, tmp_path / "result", config)
    sent = pydicom.dcmread(files["seg.dcm"])
    assert sent.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian
    (tmp_path / "orthanc").mkdir()
    refusing = {"DeflatedTransferSyntaxAccepted": False, "RleTransferSyntaxAccepted": False}
    with orthanc(tmp_path / "orthanc", free_port(), **refusing) as archive:
        assert store(Peer("127.0.0.1", archive.dimse, archive.ae_title), list(files.values())) == 2
        query = {"Level": "Instance", "Query": {"SOPInstanceUID": sent.SOPInstanceUID}}
        (found,) = archive.ask("/tools/find", query)
        back = pydicom.dcmread(BytesIO(archive.fetch(f"/instances/{found}/file")))
    assert back.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert back == sent


def test_a_repeated_run_adds_nothing_to_the_archive(scan, config, tmp_path):
    options, created = DicomOptions(pdf=True, secondary_capture=True), set()
    (tmp_path / "orthanc").mkdir()
    with orthanc(tmp_path / "orthanc", free_port()) as archive:
        for _ in range(2):
            export = Export(scan[0].parent, config, options)
            segmenter, out = ThresholdSegmenter(), tmp_path / "result"
            analysis, document = measured_folder(scan[0].parent, out, "S1", segmenter, config, export=export)
            assert push(archive.dicom_web, dicom_objects(export, analysis, document, out)) == 4
            assert archive.ask("/statistics")["CountInstances"] == 4
            created.add(document["provenance"]["created"])
            time.sleep(1)  # results are dated to the second
    assert len(created) == 2


def test_over_tls_too(scan, config, tmp_path):
    """Orthanc's DICOM side speaks TLS alone, and both sides want the other's certificate."""
    authority = certificate(tmp_path, "hospital")
    own, ours = certificate(tmp_path, "orthanc", authority), certificate(tmp_path, "node", authority)
    port, folder = free_port(), tmp_path / "orthanc"
    folder.mkdir()
    secured = {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(own.certificate),
        "DicomTlsPrivateKey": str(own.key),
        "DicomTlsTrustedCertificates": str(authority.certificate),
        "DicomTlsRemoteCertificateRequired": True,
        "DicomModalities": {"VOL": {"AET": "VOLUMETRY", "Host": "127.0.0.1", "Port": port, "UseDicomTls": True}},
    }
    with orthanc(folder, **secured) as archive:
        assert push(archive.dicom_web, scan) == len(scan)
        peer = Peer("127.0.0.1", archive.dimse, archive.ae_title, ours)
        node = Node(port=port, quiet_s=1.0, tls=ours)
        there_and_back(archive, node, partial(store, peer), config, scan, tmp_path / "result")
