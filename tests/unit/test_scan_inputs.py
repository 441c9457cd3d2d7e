"""One series as a folder, a ZIP, gzipped files or one of its files: one digest; hostile siblings are refused."""

import gzip
import io
import stat
import tarfile
import zipfile
import zlib

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian
from scan_series import SLICES, codes_of, findings_of, series, uid, write

from volumetry.batch.find import find_scans, is_scan_file, safe_scan_id
from volumetry.batch.manifest import list_scans
from volumetry.batch.records import content_of, listing_of
from volumetry.config import load_config
from volumetry.domain import ScanRefusedError
from volumetry.errors import ScanFailedError
from volumetry.scan import files_of_input, inspect_folder, read_scan, source_headers
from volumetry.scan.inputs import opening as room
from volumetry.scan.inputs.unpack import append_private

MEASURABLE = "measurable"


@pytest.fixture
def folder(tmp_path):
    return write(tmp_path / "series", series())


@pytest.fixture
def private(tmp_path, monkeypatch):
    """Where private folders are made; empty again after every reading."""
    made = tmp_path / "private"
    made.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(made))
    yield made
    assert list(made.iterdir()) == []


def zipped(path, folder, top="CD/DICOM/ST1/"):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{top}{file.relative_to(folder)}")
    return path


def gzipped(folder):
    for path in list(folder.iterdir()):
        path.with_name(f"{path.name}.dcm.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
        path.unlink()
    return folder


def refusal(path, config):
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(path, config)
    return codes_of(stop.value)


def test_one_series_has_one_digest_however_it_is_given(folder, tmp_path, config, private):
    whole = read_scan(folder, config)
    one = read_scan(folder / "I0031", config)
    archive = read_scan(zipped(tmp_path / "a.zip", folder), config)
    packed = read_scan(gzipped(folder), config)
    one_packed = read_scan(folder / "I0031.dcm.gz", config)
    of_packed = read_scan(zipped(tmp_path / "b.zip", folder), config)
    assert {s.input_sha256 for s in (whole, one, archive, packed, one_packed, of_packed)} == {whole.input_sha256}
    assert whole.findings == archive.findings == packed.findings == of_packed.findings == ()
    assert [f.code for f in one.findings] == [f.code for f in one_packed.findings] == ["SERIES_OF_ONE_FILE"]


def _uids_behind(given, config):
    return [one.raw["SOPInstanceUID"].value for one in source_headers(given, config, ("SOPInstanceUID",)).slices]


def test_the_headers_behind_it_are_read_again_from_each(folder, tmp_path, config, private):
    expected = _uids_behind(folder, config)
    archive = zipped(tmp_path / "a.zip", folder)
    givens = [folder / "I0000", archive, gzipped(folder)]
    for given in givens[1:]:
        assert _uids_behind(given, config) == expected
    assert len(expected) == SLICES


def test_of_one_file_its_series_is_taken_and_nothing_else(folder, tmp_path, config):
    write(folder, series(number=2), prefix="J")
    write(folder / "below", series(number=3))
    assert inspect_folder(folder, config).verdict == "AMBIGUOUS_VOLUMES"
    scan = read_scan(folder / "J0007", config)
    assert scan.series.series_uid == uid(800, 2)
    (note,) = scan.findings
    assert note.code == "SERIES_OF_ONE_FILE"
    assert note.value == SLICES
    assert f"{SLICES} images of other series" in note.message
    assert refusal(folder / "below" / "..", config)[0] == "AMBIGUOUS_VOLUMES"


def test_a_lost_slice_beside_the_one_file_is_no_less_lost(folder, config):
    (folder / "I0030").unlink()
    assert refusal(folder / "I0007", config)[0] == "MISSING_SLICES"
    (folder / "I0010").write_bytes((folder / "I0010").read_bytes()[:900])
    assert "TRUNCATED_FILE" in refusal(folder / "I0007", config)
    (folder / "I0011").write_bytes(b"")
    assert findings_of(folder / "I0007", config)["UNREADABLE_FILES"].value == 1


def test_one_file_that_is_no_image_is_refused_alone(folder, config):
    (folder / "note.txt").write_text("sent on Monday")
    (folder / "empty").write_bytes(b"")
    assert refusal(folder / "note.txt", config) == ["EMPTY_INPUT", "JUNK_FILES_SKIPPED"]
    assert refusal(folder / "empty", config) == ["EMPTY_INPUT", "UNREADABLE_FILES"]
    assert refusal(folder / "nowhere", config) == ["EMPTY_INPUT"]


def test_the_directory_of_a_medium_means_the_medium(folder, config):
    medium = folder.parent / "cd"
    (medium / "DICOM").mkdir(parents=True)
    folder.rename(medium / "DICOM" / "S1")
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.1.3.10", uid(5)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    directory = Dataset()
    directory.file_meta, directory.FileSetID = meta, "CD"
    directory.save_as(medium / "DICOMDIR", enforce_file_format=True)
    scan = read_scan(medium / "DICOMDIR", config)
    assert scan.input_sha256 == read_scan(medium, config).input_sha256
    assert len(files_of_input(medium / "DICOMDIR")) == SLICES + 1


def test_a_link_to_one_file_means_the_file(folder, tmp_path, config):
    (tmp_path / "link").symlink_to(folder / "I0003")
    assert read_scan(tmp_path / "link", config).findings[0].value == SLICES


@pytest.mark.parametrize("given", ["folder", "file", "zip", "gz"])
def test_a_change_during_the_reading_is_noticed(given, folder, tmp_path, config, monkeypatch, private):
    import volumetry.scan.read as reading

    path = {"folder": folder, "file": folder / "I0005", "zip": tmp_path / "a.zip", "gz": folder}[given]
    touched = folder / "I0009"
    if given == "zip":
        touched = zipped(path, folder)
    if given == "gz":
        gzipped(folder)
        touched = folder / "I0009.dcm.gz"
    real = reading.hu_of

    def disturb(*args):
        with touched.open("ab") as stream:
            stream.write(b"x")
        return real(*args)

    monkeypatch.setattr(reading, "hu_of", disturb)
    assert refusal(path, config)[0] == "INPUT_CHANGED"


def test_an_archive_that_lies_in_the_folder_says_to_give_itself(folder, tmp_path, config):
    alone = tmp_path / "alone"
    alone.mkdir()
    zipped(alone / "scan.zip", folder)
    with pytest.raises(ScanRefusedError, match="ZIP") as stop:
        read_scan(alone, config)
    assert stop.value.code == "ZIP_REJECTED"
    assert "Give the archive itself" in stop.value.hint
    assert inspect_folder(alone / "scan.zip", config).verdict == MEASURABLE


@pytest.mark.parametrize("kind", ["jar beside", "macOS", "links", "bomb", "up", "damaged", "nested alone"])
def test_archives_with_more_in_them_are_measured_or_refused(kind, folder, tmp_path, config, private):
    path = zipped(tmp_path / "a.zip", folder)
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as jar:
        jar.writestr("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        if kind == "jar beside":
            archive.writestr("CD/VIEWER/viewer.jar", inner.getvalue())
        elif kind == "macOS":
            archive.writestr("__MACOSX/CD/._I0001", b"\x00\x05\x16\x07" + bytes(100))
        elif kind == "links":
            member = zipfile.ZipInfo("CD/link")
            member.create_system, member.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
            archive.writestr(member, "/etc/passwd")
        elif kind == "bomb":
            archive.writestr("CD/zeros", bytes(64 * 2**20))
        elif kind == "up":
            archive.writestr("../../up.dcm", b"x")
    if kind == "damaged":
        path.write_bytes(path.read_bytes()[:-40])
    if kind == "nested alone":
        with zipfile.ZipFile(tmp_path / "outer.zip", "w") as outer:
            outer.write(path, "a.zip")
        path = tmp_path / "outer.zip"
    if kind in ("jar beside", "macOS"):
        assert read_scan(path, config).grid.shape_kji[0] == SLICES
    else:
        assert refusal(path, config)[0] == "ZIP_REJECTED"
    assert not (tmp_path.parent / "up.dcm").exists()


def test_a_manifest_at_the_top_of_an_archive_counts(folder, tmp_path, config):
    (folder / "manifest.csv").write_text(f"SOPInstanceUID\n{uid(1, 1)}\n{uid(1, 999)}\n")
    assert refusal(folder, config)[0] == "MANIFEST_MISMATCH"
    assert refusal(zipped(tmp_path / "a.zip", folder), config)[0] == "MANIFEST_MISMATCH"


def test_gzip_bombs_and_damage_are_refused(folder, tmp_path, private):
    small = load_config(overrides={"limits": {"max_file_mb": 20.0}})
    path = folder / "I0030"
    data = path.read_bytes()
    squeezed = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = (
        squeezed.compress(data) + b"".join(squeezed.compress(bytes(2**20)) for _ in range(64)) + squeezed.flush()
    )
    cases = {
        "LIMIT_EXCEEDED": bomb,
        "TRUNCATED_FILE": gzip.compress(data)[:-200],
        "MALFORMED": gzip.compress(data)[:-8] + bytes(8),
    }
    for code, content in cases.items():
        path.write_bytes(content)
        assert code in refusal(folder, small), code


@pytest.mark.parametrize(
    "content",
    [b"\x1f\x8b", b"\x1f\x8b\x08\x00" + bytes(40), gzip.compress(gzip.compress(b"x", mtime=0), mtime=0)],
    ids=["two bytes", "no stream", "gzip in gzip"],
)
def test_gzip_that_cannot_be_looked_into_may_be_a_slice(content, folder, config):
    (folder / "extra.gz").write_bytes(content)
    assert findings_of(folder, config)["UNREADABLE_FILES"].value == 1


def test_gzip_of_something_else_is_junk(folder, config):
    (folder / "notes.gz").write_bytes(gzip.compress(b"sent on Monday"))
    assert set(findings_of(folder, config)) == {"JUNK_FILES_SKIPPED"}


def test_all_that_is_unpacked_of_one_input_is_bounded(folder, tmp_path, private):
    tight = load_config(overrides={"limits": {"max_unpacked_gb": 1e-4}})
    assert "LIMIT_EXCEEDED" in refusal(gzipped(folder), tight)
    assert refusal(zipped(tmp_path / "a.zip", folder), tight)[0] in {"ZIP_REJECTED", "LIMIT_EXCEEDED"}


def test_a_full_disk_is_no_fault_of_the_scan(folder, tmp_path, config, monkeypatch):
    def full(*_args, **_more):
        raise OSError(28, "No space left on device")

    gzipped(folder)
    monkeypatch.setattr(room, "inflate", full)
    with pytest.raises(ScanFailedError, match="No space left") as stop:
        read_scan(folder, config)
    assert "TMPDIR" in stop.value.hint
    assert stop.value.__cause__ is None  # else the command line calls it a bug
    archive = zipped(tmp_path / "a.zip", folder)
    monkeypatch.setattr(room, "unpack_safely", lambda *_: append_private(tmp_path / "missing" / "file", b"x"))
    with pytest.raises(ScanFailedError, match="cannot write a temporary file") as stop:
        read_scan(archive, config)
    assert "TMPDIR" in stop.value.hint


def test_a_refused_archive_is_not_advised_to_be_given_itself(tmp_path, config):
    (tmp_path / "a.zip").write_bytes(b"PK\3\4 and nothing more")
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(tmp_path / "a.zip", config)
    assert stop.value.code == "ZIP_REJECTED"
    assert stop.value.hint.startswith("Unpack the archive")


def test_a_process_that_ends_at_once_can_take_its_private_folders_along(folder, config, private):
    gzipped(folder)
    with room.opened(folder, config):
        assert len(list(private.iterdir())) == 1
        room.remove_private_folders()
        assert list(private.iterdir()) == []


VIEWER = {
    "help.chm": b"ITSF\x03\0\0\0",
    "font.ttf": b"\0\1\0\0\0\x10\1\0",
    "tour.mp4": b"\0\0\0\x18ftypmp42",
    "ct.nii": b"\x5c\1\0\0",
    "seg.nrrd": b"NRRD0004\ntype: uchar\n\n",
    "index.dat": bytes(range(255, 0, -1)),
    "cache.bin": bytes([200, 3, 17, 5]) * 50,
}


def test_a_viewer_beside_the_images_is_no_slice(folder, config):
    (folder.parent / "cd" / "VIEWER").mkdir(parents=True)
    folder.rename(folder.parent / "cd" / "IMAGES")
    for name, content in VIEWER.items():
        (folder.parent / "cd" / "VIEWER" / name).write_bytes(content + bytes(3000))
    found = findings_of(folder.parent / "cd", config)
    assert set(found) == {"JUNK_FILES_SKIPPED"}
    assert found["JUNK_FILES_SKIPPED"].value == len(VIEWER)


@pytest.mark.parametrize("content", [b"", bytes(5000), bytes([200, 3, 17, 5]) * 900])
@pytest.mark.parametrize(
    ("name", "flagged"), [("IMAGES/x.bin", True), ("B/I0100", True), ("B/1.2.3.77", True), ("B/x.bin", False)]
)
def test_what_may_be_a_lost_slice_is_told_by_place_and_name(name, flagged, content, folder, config):
    cd = folder.parent / "cd"
    (cd / "B").mkdir(parents=True)
    folder.rename(cd / "IMAGES")
    (cd / name).write_bytes(content)
    assert set(findings_of(cd, config)) == {"UNREADABLE_FILES" if flagged else "JUNK_FILES_SKIPPED"}


def test_a_batch_tree_leaves_no_archive_and_no_volume_out(folder, tmp_path, config):
    tree = tmp_path / "tree"
    (tree / "S01").mkdir(parents=True)
    (tree / "mixed" / "S02").mkdir(parents=True)
    (tree / "volumes").mkdir()
    (tree / "alone").mkdir()
    folder.rename(tree / "S01" / "series")
    zipped(tree / "mixed" / "S03.v1.zip", tree / "S01" / "series")
    zipped(tree / "alone" / "S04.ZIP", tree / "S01" / "series")
    for path in (tree / "S01" / "series").iterdir():
        (tree / "mixed" / "S02" / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), 1))
    for name in ("a.nii.gz", "b.nii"):
        data = b"\x5c\1\0\0" + bytes(400)
        (tree / "volumes" / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    (tree / "volumes" / "list.txt").write_text("two volumes")
    found = {scan.scan_id: scan.path.relative_to(tree).as_posix() for scan in find_scans(tree)}
    assert found == {
        "S01_series": "S01/series",
        "alone_S04": "alone/S04.ZIP",
        "mixed_S02": "mixed/S02",
        "mixed_S03.v1": "mixed/S03.v1.zip",
        "volumes_a": "volumes/a.nii.gz",
        "volumes_b": "volumes/b.nii",
    }


def test_a_batch_takes_one_scan_in_one_file(folder, tmp_path):
    archive = zipped(tmp_path / "S9.zip", folder)
    assert is_scan_file(archive)
    (scan,) = list_scans(archive)
    assert (scan.scan_id, scan.path) == ("S9", archive)
    (scan,) = list_scans(folder / "I0001")
    assert scan.scan_id == "I0001"


def test_an_id_never_carries_what_the_header_in_the_file_says_of_the_patient(folder, tmp_path):
    names = ("ZZPHIZZ.zip", "zz-phizz_1.dcm.gz")
    archive = zipped(tmp_path / names[0], folder)
    (folder / names[1]).write_bytes(gzip.compress((folder / "I0001").read_bytes()))
    for path in (archive, folder / names[1]):
        assert safe_scan_id(path).startswith("scan-")
    inside = zipped(tmp_path / "zzphizz 2.zip", gzipped(folder))
    assert safe_scan_id(inside).startswith("scan-")


def test_a_record_of_one_file_covers_what_was_read(folder, tmp_path):
    archive = zipped(tmp_path / "a.zip", folder)
    (scan,) = list_scans(archive)
    before = listing_of(scan), content_of(scan)
    archive.write_bytes(archive.read_bytes() + b"x")
    assert listing_of(scan) != before[0]
    assert content_of(scan) != before[1]
    assert len(files_of_input(folder / "I0001")) == SLICES


def _tar(path, folder, mode):
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as archive:
        archive.add(folder, "series")
    return path


def _old_tar(path, folder):
    """As tar was before POSIX: no magic word, only a checksum."""
    data = bytearray(_tar(path, folder, "w").read_bytes())
    for at in range(0, len(data), 512):
        if data[at + 257 : at + 262] == b"ustar":
            data[at + 257 : at + 265] = bytes(8)
            total = sum(data[at : at + 148]) + 8 * 32 + sum(data[at + 156 : at + 512])
            data[at + 148 : at + 156] = b"%06o\0 " % total
    path.write_bytes(data)
    return path


ARCHIVES = {
    "tar": lambda path, folder: _tar(path, folder, "w"),
    "old tar": lambda path, folder: _old_tar(path, folder),
    "tar.gz": lambda path, folder: _tar(path, folder, "w:gz"),
    "7z": lambda path, _: path.write_bytes(b"7z\xbc\xaf\x27\x1c\0\x04" + bytes(range(200))),
    "RAR": lambda path, _: path.write_bytes(b"Rar!\x1a\x07\x01\0" + bytes(range(200))),
}


@pytest.mark.parametrize("kind", ARCHIVES)
def test_an_archive_that_is_not_read_says_so_and_what_to_do(kind, folder, tmp_path, config, private):
    (tmp_path / "tree" / "site").mkdir(parents=True)
    path = tmp_path / "tree" / "site" / "scan.bin"
    ARCHIVES[kind](path, folder)
    for given in (path, path.parent):
        with pytest.raises(
            ScanRefusedError, match=f"a {kind.removeprefix('old ')} archive, which is not read"
        ) as stop:
            read_scan(given, config)
        assert stop.value.code == "ZIP_REJECTED"
        assert "Unpack it" in stop.value.hint
    assert [scan.path for scan in find_scans(tmp_path / "tree")] == [path]  # owed a row
    path.rename(folder / "scan.bin")
    assert read_scan(folder, config).grid.shape_kji[0] == SLICES
    assert set(findings_of(folder, config)) == {"JUNK_FILES_SKIPPED"}
