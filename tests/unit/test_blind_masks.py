"""Masks of a blinded package: each goes to its own scan, and none is passed over."""

import hashlib
import json

import pytest

from volumetry.blinding.masks import masks_of
from volumetry.blinding.package import KEY_COLUMNS
from volumetry.errors import InputError, UsageError
from volumetry.storage.csv_tables import csv_bytes


@pytest.fixture
def package(tmp_path):
    """A key of two readings, sealed; and an empty folder for masks."""
    rows = [{"reading_id": "R0001", "scan_id": "S2_d28"}, {"reading_id": "R0002", "scan_id": "S1_d28"}]
    rows.append({"reading_id": "", "scan_id": "S3_d28", "refused": "NOT_CT"})
    key = tmp_path / "key.csv"
    key.write_bytes(csv_bytes(KEY_COLUMNS, rows))
    (tmp_path / "package").mkdir()
    sealed = {"key_sha256": hashlib.sha256(key.read_bytes()).hexdigest()}
    (tmp_path / "package" / "manifest.json").write_text(json.dumps(sealed), "utf-8")
    (tmp_path / "masks").mkdir()
    return tmp_path / "package", key, tmp_path / "masks"


def test_a_mask_goes_to_the_scan_of_its_reading(package):
    folder = package[2]
    for name in ("R0001.seg.nrrd", "R0002.nii.gz", ".DS_Store"):
        (folder / name).write_bytes(b"x")
    found = masks_of(*package)
    assert [(mask.reading_id, mask.scan_id, mask.path.name) for mask in found] == [
        ("R0002", "S1_d28", "R0002.nii.gz"),
        ("R0001", "S2_d28", "R0001.seg.nrrd"),
    ]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("R0003.nii.gz",), "not named after a reading"),
        (("R0001.txt",), "not named after a reading"),
        ((".nii.gz", "nii.gz"), "not named after a reading"),
        (("R0001.nii.gz", "R0001.nrrd"), "R0001 has two masks"),
        ((), "contains no mask"),
    ],
)
def test_a_file_that_is_of_no_reading_stops_all(package, names, words):
    for name in names:
        (package[2] / name).write_bytes(b"x")
    with pytest.raises(UsageError, match=words):
        masks_of(*package)


def test_a_key_that_was_changed_gives_no_mask(package):
    (package[2] / "R0001.nii.gz").write_bytes(b"x")
    package[1].write_bytes(package[1].read_bytes().replace(b"S1", b"S9"))
    with pytest.raises(InputError, match="not the one that was written"):
        masks_of(*package)
