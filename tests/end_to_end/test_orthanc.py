"""With a real archive: push, pull, and a study that is received, measured and sent back."""

import gc
import threading
from functools import partial
from io import BytesIO

import numpy as np
import pydicom
import pytest
import web_scenes
from archive_orthanc import free_port, orthanc
from certificates import certificate
from pydicom.uid import JPEGLSLossless, generate_uid

from volumetry.archive.dicomweb import pull, push
from volumetry.archive.receive import Node, Peer, receive, store
from volumetry.deliver import as_document
from volumetry.deliver.dicom import write_seg_and_sr
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
