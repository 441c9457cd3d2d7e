"""Folders and files of every kind, told by content and never followed out of the root."""

import os
import struct
import zlib
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian
from scan_series import SLICES, codes_of, findings_of, series, write

from volumetry.config import Config, load_config
from volumetry.domain import ScanRefusedError
from volumetry.scan import inspect_folder, read_scan
from volumetry.scan.headers.files import FileRef, ReplacedError, list_files
from volumetry.scan.headers.reader import read_header
from volumetry.scan.headers.slice_header import NotSlice, SliceHeader
from volumetry.scan.inspection import MEASURABLE


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "scan", series())


def _header(path: Path, config: Config) -> SliceHeader | NotSlice:
    (file,) = list_files(path, config.limits).files
    return read_header(file, config.limits)


def test_links_and_fifos_are_counted_and_never_opened(folder: Path, tmp_path: Path, config: Config) -> None:
    write(tmp_path / "elsewhere", series(number=2))
    (folder / "loop").symlink_to(folder)
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(folder / "fifo")
    found = findings_of(folder, config)
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert found["LINKS_SKIPPED"].value == 2
    assert found["NOT_REGULAR_FILE"].value == 1


def test_file_replaced_by_a_link_is_not_opened(folder: Path, tmp_path: Path, config: Config) -> None:
    file = list_files(folder, config.limits).files[0]
    target = file.path.rename(tmp_path / "target")
    file.path.symlink_to(target)
    with pytest.raises(ReplacedError):
        file.open()
    header = read_header(file, config.limits)
    assert isinstance(header, NotSlice)
    assert header.code == "INPUT_CHANGED"


def test_names_and_depth_do_not_matter(folder: Path, config: Config) -> None:
    deep = folder / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for n, path in enumerate(sorted(folder.glob("I*"))):
        path.rename(deep / os.fsdecode(b"\xff\n=cmd" + str(n).encode()))
    assert inspect_folder(folder, config).verdict == MEASURABLE


@pytest.mark.parametrize("limit", ["max_files", "max_depth"])
def test_limits_on_the_folder(limit: str, folder: Path) -> None:
    (folder / "a" / "b").mkdir(parents=True)
    settings = load_config(overrides={"limits": {limit: 1}})
    assert inspect_folder(folder, settings).verdict == "LIMIT_EXCEEDED"


def test_unreadable_folder_and_file_are_not_taken_for_absent(
    folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a stand-in for the system's refusal, since root may read everything."""
    real = FileRef.open

    def refuse(self: FileRef) -> object:
        if self.path.name == "I0007":
            raise PermissionError(13, "ZZPHIZZ")
        return real(self)

    monkeypatch.setattr(FileRef, "open", refuse)
    assert inspect_folder(folder, config).verdict == "ACCESS_DENIED"
    assert "ZZPHIZZ" not in findings_of(folder, config)["ACCESS_DENIED"].message


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"read me first\n", "JUNK_FILES_SKIPPED"),
        (b"\x89PNG\r\n\x1a\n" + bytes(300), "JUNK_FILES_SKIPPED"),
        (b"\x00\x00\x00\x01Bud1" + bytes(200), "JUNK_FILES_SKIPPED"),
        (b"PK\x03\x04" + bytes(200), "JUNK_FILES_SKIPPED"),
        (b"", "UNREADABLE_FILES"),
        (bytes(range(256)) * 8, "UNREADABLE_FILES"),
    ],
)
def test_what_is_no_dicom_never_stops_a_scan(content: bytes, code: str, folder: Path, config: Config) -> None:
    (folder / "extra").write_bytes(content)
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert findings_of(folder, config)[code].value == 1


def test_empty_input_and_lone_archive(tmp_path: Path, config: Config) -> None:
    assert inspect_folder(tmp_path / "nowhere", config).verdict == "EMPTY_INPUT"
    (tmp_path / "a").mkdir()
    assert inspect_folder(tmp_path / "a", config).verdict == "EMPTY_INPUT"
    (tmp_path / "a" / "scan.zip").write_bytes(b"PK\x03\x04" + bytes(100))
    assert inspect_folder(tmp_path / "a", config).verdict == "ZIP_REJECTED"
    assert inspect_folder(tmp_path / "a" / "scan.zip", config).verdict == "ZIP_REJECTED"


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.999])
def test_file_cut_short_is_refused(share: float, folder: Path, config: Config) -> None:
    path = folder / "I0030"
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    assert inspect_folder(folder, config).verdict == "TRUNCATED_FILE"


@pytest.mark.parametrize("keep_meta", [True, False])
def test_bare_dataset_is_read_as_what_it_provably_is(keep_meta: bool, folder: Path, config: Config) -> None:
    for path in folder.iterdir():
        data = path.read_bytes()
        meta_length = struct.unpack_from("<L", data, 140)[0]
        path.write_bytes(data[132 if keep_meta else 144 + meta_length :])
    assert inspect_folder(folder, config).verdict == MEASURABLE
    assert findings_of(folder, config)["NOT_PART10_REPAIRED"].value == SLICES


def test_bare_implicit_dataset_is_read_too(tmp_path: Path, config: Config) -> None:
    for k, ds in enumerate(series()):
        ds.preamble, ds.file_meta = None, None
        del ds.preamble, ds.file_meta
        (tmp_path / "s").mkdir(exist_ok=True)
        ds.save_as(tmp_path / "s" / str(k), implicit_vr=True, little_endian=True)
    assert inspect_folder(tmp_path / "s", config).verdict == MEASURABLE


def _deflated(path: Path, body: bytes) -> None:
    ds = series()[0]
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    data = path.read_bytes()
    start = 144 + struct.unpack_from("<L", data, 140)[0]
    squeezed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    path.write_bytes(data[:start] + squeezed.compress(body) + squeezed.flush())


def test_deflate_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    settings = load_config(overrides={"limits": {"max_file_mb": 20.0}})
    _deflated(tmp_path / "bomb", bytes(40 * 2**20))
    header = _header(tmp_path / "bomb", settings)
    assert isinstance(header, NotSlice)
    assert header.code == "LIMIT_EXCEEDED"


def test_deflated_noise_is_malformed(tmp_path: Path, config: Config) -> None:
    _deflated(tmp_path / "noise", b"\x08\x00")
    path = tmp_path / "noise"
    path.write_bytes(path.read_bytes()[:-4] + b"\xff" * 50)
    header = _header(path, config)
    assert isinstance(header, NotSlice)
    assert header.code in {"MALFORMED", "TRUNCATED_FILE"}


@pytest.mark.parametrize("undefined_length", [True, False])
@pytest.mark.parametrize(
    ("depth", "readable"), [(5, True), (60, True), (100, False), (500, False), (20_000, False)]
)
def test_nesting_is_bounded(
    depth: int, readable: bool, undefined_length: bool, tmp_path: Path, config: Config
) -> None:
    value = b""
    item_end, sequence_end = (struct.pack("<HHL", 0xFFFE, e, 0) for e in (0xE00D, 0xE0DD))
    for _ in range(depth):
        length = 0xFFFFFFFF if undefined_length else len(value)
        item = struct.pack("<HHL", 0xFFFE, 0xE000, length) + value + (item_end if undefined_length else b"")
        length = 0xFFFFFFFF if undefined_length else len(item)
        head = struct.pack("<HH2sHL", 0x0009, 0x1010, b"SQ", 0, length)
        value = head + item + (sequence_end if undefined_length else b"")
    path = write(tmp_path / "s", series()[:1]) / "I0000"
    data = path.read_bytes()
    at = data.index(struct.pack("<HH", 0x0010, 0x0010))
    path.write_bytes(data[:at] + value + data[at:])
    header = _header(path, config)
    assert isinstance(header, SliceHeader) == readable
    if isinstance(header, NotSlice):
        assert header.code == "MALFORMED"


def test_ten_thousand_private_elements_are_too_many(tmp_path: Path, config: Config) -> None:
    ds = series()[0]
    for group in range(0x1001, 0x1001 + 2 * 60, 2):
        for element in range(0x1000, 0x1000 + 170):
            ds.add_new((group, element), "LO", "x")
    header = _header(write(tmp_path / "s", [ds]), config)
    assert isinstance(header, NotSlice)
    assert header.code == "MALFORMED"


@pytest.mark.parametrize("keyword", ["Rows", "Columns"])
def test_header_without_a_core_tag_is_malformed(keyword: str, tmp_path: Path, config: Config) -> None:
    ds = series()[0]
    delattr(ds, keyword)
    path = tmp_path / "one"
    ds.save_as(path, enforce_file_format=False)
    header = _header(path, config)
    assert isinstance(header, NotSlice)
    assert header.code == "MALFORMED"


def test_header_without_a_class_anywhere_is_malformed(tmp_path: Path, config: Config) -> None:
    ds = series()[0]
    del ds.SOPClassUID
    del ds.file_meta.MediaStorageSOPClassUID
    path = tmp_path / "one"
    ds.save_as(path, enforce_file_format=False)
    header = _header(path, config)
    assert isinstance(header, NotSlice)
    assert header.code == "MALFORMED"


def test_odd_text_and_numbers_are_absent_not_fatal(tmp_path: Path, config: Config) -> None:
    path = write(tmp_path / "s", series()[:1]) / "I0000"
    data = (
        path.read_bytes()
        .replace(b"ISO_IR 100", b"ISO_IR 999")
        .replace(b"ZZPHIZZ^A ", b"\xff\xfe\x1b$B\x00\x80aaa")
    )
    path.write_bytes(data.replace(b"DS\x04\x002.5 ", b"DS\x04\x00a,5 "))
    header = _header(path, config)
    assert isinstance(header, SliceHeader)
    assert header.thickness_mm is None


@pytest.mark.parametrize("change", ["added", "removed", "grown"])
def test_change_during_the_reading_is_noticed(
    change: str, folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    import volumetry.scan.read as room

    real = room.hu_of

    def disturb(*args: object) -> object:
        if change == "added":
            (folder / "late").write_bytes(b"x")
        elif change == "removed":
            (folder / "I0003").unlink()
        else:
            with (folder / "I0003").open("ab") as stream:
                stream.write(b"x")
        return real(*args)  # type: ignore[arg-type]  # passed through as they came

    monkeypatch.setattr(room, "hu_of", disturb)
    with pytest.raises(ScanRefusedError, match=r"1 file|2 files") as stop:
        read_scan(folder, config)
    assert codes_of(stop.value)[0] == "INPUT_CHANGED"


def test_implicit_vr_with_group_length_reads(tmp_path: Path, config: Config) -> None:
    def edit(ds: Dataset, k: int) -> None:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian

    assert inspect_folder(write(tmp_path / "s", series(), edit), config).verdict == MEASURABLE
