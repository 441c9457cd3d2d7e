"""A ZIP from a stranger: unpacked whole to names of our own, or refused and nothing left."""

import io
import stat
import struct
import zipfile
import zlib

import pytest

from volumetry.errors import InputError
from volumetry.scan.inputs.unpack import ZipLimits, unpack_safely

SMALL = ZipLimits(max_members=20, max_member_bytes=100_000, max_total_bytes=300_000, max_depth=4)


def zip_of(path, *members, method=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", method) as zipped:
        for name, content in members:
            zipped.writestr(name, content)
    return path


def refused(archive, folder, limits=SMALL):
    with pytest.raises(InputError) as stop:
        unpack_safely(archive, folder, limits)
    assert stop.value.code == "ZIP_REJECTED"
    assert not folder.exists(), "something was left"
    return stop.value.message


def test_a_good_archive_is_unpacked_whole_to_names_of_our_own(tmp_path):
    contents = [bytes([n]) * 1000 for n in range(5)]
    names = ["scan/", "scan/a.dcm", "scan/b.dcm", "scan/deep/a.dcm", "Müller.dcm", "IM 1"]
    archive = zip_of(tmp_path / "a.zip", (names[0], b""), *zip(names[1:], contents, strict=True))
    where = unpack_safely(archive, tmp_path / "out", SMALL)
    assert {str(name): path.read_bytes() for name, path in where.items()} == dict(
        zip(names[1:], contents, strict=True)
    )
    files = list((tmp_path / "out").iterdir())
    assert sorted(path.read_bytes() for path in files) == contents
    assert all(set(path.name) <= set("0123456789abcdef") for path in files)
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in files)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "name",
    [
        "../up.dcm",
        "a/../../up.dcm",
        "/etc/passwd",
        "C:/windows",
        "a\\..\\up",
        "..",
        "a\nb",
        "a:stream",
        "1/2/3/4/5",
    ],
)
def test_paths_that_lead_out_are_refused(tmp_path, name):
    message = refused(zip_of(tmp_path / "a.zip", (name, b"x")), tmp_path / "out")
    assert name not in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip"]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a.dcm", "A.DCM"),
        ("\u00e9.dcm", "e\u0301.dcm"),
        ("stra\u00dfe", "STRASSE"),
        ("a", "a."),
        ("a", "a/b"),
        ("a//b", "a/b"),
    ],
)
def test_names_that_collide_are_refused(tmp_path, first, second):
    refused(zip_of(tmp_path / "a.zip", (first, b"1"), (second, b"2")), tmp_path / "out")


def test_the_same_name_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"):
        archive = zip_of(tmp_path / "a.zip", ("a", b"1"), ("a", b"2"))
    assert "same name" in refused(archive, tmp_path / "out")


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("zeros", bytes(64 * 2**20)))
    assert archive.stat().st_size < 100_000
    assert "200 times" in refused(archive, tmp_path / "out", ZipLimits())


def test_many_small_bombs_are_one_bomb(tmp_path):
    archive = zip_of(tmp_path / "a.zip", *((f"{n}", bytes(8 * 2**20)) for n in range(4)))
    assert "200 times" in refused(archive, tmp_path / "out", ZipLimits())


def test_a_bomb_of_two_gigabytes_is_refused_by_its_declared_size(tmp_path):
    # As `zip` writes 2 GB of zeros: 2 MB on the disk. Only the directory says so; nothing is inflated to learn it.
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = bytes(2**24)
    packed = b"".join(packer.compress(block) for _ in range(8)) + packer.flush()
    write_by_hand(tmp_path / "a.zip", packed, declared=2 * 2**30)
    refused(tmp_path / "a.zip", tmp_path / "out", ZipLimits())


def write_by_hand(path, packed, declared, crc=0):
    """An archive of one deflated member whose directory says what it is told to."""
    local = struct.pack("<4s5H3L2H", b"PK\x03\x04", 20, 0, 8, 0, 0, crc, len(packed), declared, 1, 0) + b"a"
    entry = struct.pack(
        "<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, crc, len(packed), declared, 1, 0, 0, 0, 0, 0, 0
    )
    entry += b"a"
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(entry), len(local) + len(packed), 0)
    path.write_bytes(local + packed + entry + end)


def test_a_size_that_is_a_lie_gains_nothing(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(50 * 2**20)) + packer.flush()
    write_by_hand(tmp_path / "a.zip", packed, declared=90_000)
    refused(tmp_path / "a.zip", tmp_path / "out")


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("a", b"x" * 500), ("b", b"y" * 500), method=zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    second = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1)
    raw[second + 42 : second + 46] = bytes(4)
    archive.write_bytes(raw)
    refused(archive, tmp_path / "out")


def test_too_many_too_large_and_nothing_are_refused(tmp_path):
    many = zip_of(tmp_path / "many.zip", *((f"{n}", b"x") for n in range(21)))
    assert "20 entries" in refused(many, tmp_path / "out")
    large = zip_of(tmp_path / "large.zip", ("a", b"x" * 100_001), method=zipfile.ZIP_STORED)
    refused(large, tmp_path / "out")
    total = zip_of(tmp_path / "total.zip", *((f"{n}", b"x" * 99_999) for n in range(4)), method=zipfile.ZIP_STORED)
    refused(total, tmp_path / "out")
    refused(zip_of(tmp_path / "empty.zip"), tmp_path / "out")
    refused(zip_of(tmp_path / "folders.zip", ("a/", b"")), tmp_path / "out")


def test_a_directory_of_a_million_entries_is_not_read(tmp_path):
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, 60_000_000, 0, 0)
    (tmp_path / "a.zip").write_bytes(bytes(1000) + end)
    assert "50000 entries" in refused(tmp_path / "a.zip", tmp_path / "out", ZipLimits())


def test_an_archive_inside_stays_packed(tmp_path):
    """A CD's viewer brings its own (.jar, .cab); unpacking never goes a second level down."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as zipped:
        zipped.writestr("a", b"x")
    for n, content in enumerate((inner.getvalue(), b"\x1f\x8b" + bytes(50), b"Rar!" + bytes(50))):
        archive = zip_of(tmp_path / f"{n}.zip", ("good", b"x"), ("image.dcm", content))
        where = unpack_safely(archive, tmp_path / f"out{n}", SMALL)
        assert sorted(path.read_bytes() for path in where.values()) == sorted([b"x", content])
        assert len(list((tmp_path / f"out{n}").iterdir())) == 2


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFBLK])
def test_links_and_devices_are_refused(tmp_path, kind):
    member = zipfile.ZipInfo("a")
    member.create_system, member.external_attr = 3, (kind | 0o777) << 16
    assert "link" in refused(zip_of(tmp_path / "a.zip", (member, b"/etc/passwd")), tmp_path / "out")


def test_encrypted_and_oddly_packed_members_are_refused(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("a", b"x" * 50))
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    assert "encrypted" in refused(archive, tmp_path / "out")
    assert "method" in refused(zip_of(tmp_path / "b.zip", ("a", b"x"), method=zipfile.ZIP_LZMA), tmp_path / "out")


def test_damage_is_refused_without_naming_a_member(tmp_path):
    archive = zip_of(tmp_path / "a.zip", ("Doe^Jane.dcm", bytes(range(256)) * 40))
    raw = archive.read_bytes()
    for n, damaged in enumerate((raw[:-30], raw[:60] + bytes(40) + raw[100:], b"no archive", b"")):
        (tmp_path / f"{n}.zip").write_bytes(damaged)
        assert "Doe" not in refused(tmp_path / f"{n}.zip", tmp_path / "out")
