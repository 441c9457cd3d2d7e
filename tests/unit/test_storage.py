"""Files that every room writes: documents, digests, tables and numbered folders."""

import hashlib
import json

import pytest

from volumetry.storage.atomic import next_numbered, numbered, write_json
from volumetry.storage.csv_tables import csv_bytes, guarded, read_table, unguarded
from volumetry.storage.digests import canonical_sha256, file_sha256


def test_a_document_has_one_digest_whatever_the_order_of_its_keys():
    expected = hashlib.sha256(b'{"a":[1,2.5],"b":{"c":null,"d":"\\u00e4"}}').hexdigest()
    assert canonical_sha256({"b": {"d": "ä", "c": None}, "a": [1, 2.5]}) == expected
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_sha256({"a": float("nan")})


def test_a_document_is_written_as_json_that_any_reader_takes(tmp_path):
    path = tmp_path / "a.json"
    digest = write_json(path, {"b": 1, "a": "ä"})
    assert path.read_bytes() == b'{\n  "a": "\\u00e4",\n  "b": 1\n}\n'
    assert json.loads(path.read_text()) == {"a": "ä", "b": 1}
    assert digest == file_sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("inf")})
    assert json.loads(path.read_text())["b"] == 1


def test_the_next_number_follows_the_largest(tmp_path):
    assert next_numbered(tmp_path / "earlier").name == "1"
    for name in ("1", "10", "2", "x", "²", "١٢"):  # a digit that is no number, and 12 in other digits
        (tmp_path / name).mkdir()
    assert next_numbered(tmp_path) == tmp_path / "11"
    assert [path.name for path in numbered(tmp_path)] == ["1", "2", "10"]


@pytest.mark.parametrize("text", ["=1+1", "+49", "-x", "@a", "\tb", "\rc"])
def test_what_a_spreadsheet_would_run_is_guarded_and_read_back(text, tmp_path):
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text
    assert unguarded("'quoted'") == "'quoted'"
    (tmp_path / "a.csv").write_bytes(csv_bytes(("a", "b"), [{"a": text, "b": 1}]))
    assert read_table(tmp_path / "a.csv", ["a"]).rows[0].cells["a"] == text
