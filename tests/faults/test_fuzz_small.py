"""A small share of the fuzz run (tests/benchmarks/fuzz_dicom.py), and every defect that it has found."""

import random

import pytest
from benchmarks.fuzz_dicom import end_of, ruin
from mutations import FOLDERS, SYNTAXES, write_bases

FILES = range(5_000_000, 5_000_048)


@pytest.fixture(scope="module")
def bases(tmp_path_factory):
    root = tmp_path_factory.mktemp("bases")
    write_bases(root / "bases")
    return {syntax: root / "bases" / syntax for syntax in SYNTAXES}


@pytest.mark.parametrize("number", FILES)
def test_a_ruined_file_ends_in_a_code(number, bases, config, tmp_path):
    what = ruin(number, bases, tmp_path)
    code, detail = end_of(tmp_path, config)
    assert code not in ("DEFECT", "INTERNAL_ERROR"), f"{what}: {detail}"


@pytest.mark.parametrize("change", FOLDERS, ids=lambda change: change.__name__.strip("_"))
def test_a_ruined_folder_ends_in_a_code(change, bases, config, tmp_path):
    for path in bases["1.2.840.10008.1.2.1"].iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    change(tmp_path, random.Random(1))  # noqa: S311  no secret
    code, detail = end_of(tmp_path, config)
    assert code not in ("DEFECT", "INTERNAL_ERROR"), detail


def test_whole_series_of_every_syntax_are_read(bases, config):
    """Otherwise a fuzz run would prove that everything is refused."""
    ends = {syntax: end_of(folder, config)[0] for syntax, folder in bases.items()}
    lossy_of_eight_bits, all_slices_alike = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.201"
    assert ends.pop(lossy_of_eight_bits) == "LOSSY_8BIT"
    assert ends.pop(all_slices_alike) in ("HU_IMPLAUSIBLE", "NO_RESCALE", "MIXED_MATRIX", "measured")
    assert set(ends.values()) == {"measured"}
