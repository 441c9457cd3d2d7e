"""A failure of our own is a result too: `check` leaves it with code and hint, and exits 9."""

import json
from pathlib import Path

import jsonschema
import pytest

from volumetry.cli import main
from volumetry.codes import CATALOGUE
from volumetry.deliver import result_schema
from volumetry.errors import ModelError, ScanFailedError, SegmentationError
from volumetry.scan.pixels import decode as room
from volumetry.segment.hu_segmenter import ThresholdSegmenter


@pytest.fixture
def check(monkeypatch, capsys, small_scan):
    """`check` on the small scan, a stand-in for the network in it; exit code and what was said."""
    monkeypatch.setattr("volumetry.cli.common.segmenter_of", lambda _settings: ThresholdSegmenter())

    def call(out: Path, *more: object) -> tuple[int, str]:
        with pytest.raises(SystemExit) as end:
            main(["check", str(small_scan), "--out", str(out), "--scan-id", "S1", *map(str, more)])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out + said.err

    return call


def _failed(out: Path, code: str) -> dict[str, object]:
    document = json.loads((out / "result.json").read_text("utf-8"))
    jsonschema.validate(document, result_schema())
    assert (document["scan_id"], document["status"], document["code"]) == ("S1", "failed", code)
    assert document["hint"] == CATALOGUE[code].hint
    assert "volumes_ml" not in document
    assert not (out / "mask.nii.gz").exists()
    assert {"run.json", "results.csv", "report.html"} <= {path.name for path in out.iterdir()}
    return document


def _raises(error: BaseException):
    def call(*_arguments, **_named):
        raise error

    return call


@pytest.mark.parametrize(
    ("error", "code", "exits"),
    [
        (ScanFailedError("words", "TIMEOUT", CATALOGUE["TIMEOUT"].hint), "TIMEOUT", 9),
        (ScanFailedError("words", "WORKER_DIED", CATALOGUE["WORKER_DIED"].hint), "WORKER_DIED", 9),
        (MemoryError(), "MEMORY_LIMIT", 9),
        (KeyError("ZZPHIZZ"), "INTERNAL_ERROR", 9),
        (SegmentationError("words", "IDENTITY", CATALOGUE["IDENTITY"].hint), "IDENTITY", 6),
    ],
)
def test_a_failure_of_ours_leaves_a_failed_result_and_exits_with_nine(
    check, tmp_path, monkeypatch, error, code, exits
):
    monkeypatch.setattr("volumetry.pipeline.read_scan", _raises(error))
    ended, said = check(tmp_path / "out")
    assert ended == exits, said
    assert f"[{code}]" in said
    _failed(tmp_path / "out", code)
    assert b"ZZPHIZZ" not in (tmp_path / "out" / "result.json").read_bytes()  # its text may hold values
    assert ("Traceback" in said) is isinstance(error, KeyError | MemoryError)


@pytest.mark.parametrize(
    ("child", "limits", "code"),
    [
        ("time.sleep(600)", "decode_timeout_s = 1.0", "TIMEOUT"),
        ("sys.exit(3)", "", "INTERNAL_ERROR"),
        ("print('no answer')", "", "INTERNAL_ERROR"),
        (
            'print(\'\\n\'.join(\'{"index": %d, "fault": "MEMORY_LIMIT"}\' % n for n in range(62)))',
            "",
            "MEMORY_LIMIT",
        ),
    ],
)
def test_a_decoder_that_hangs_or_outgrows_its_limit_ends_check_with_nine(
    check, tmp_path, monkeypatch, child, limits, code
):
    script, settings = tmp_path / "child.py", tmp_path / "limits.toml"
    script.write_text(f"import sys, time\nsys.stdin.buffer.read()\n{child}\n", "utf-8")
    settings.write_text(f"[limits]\n{limits}\n", "utf-8")
    monkeypatch.setattr(room, "_CHILD", script)
    ended, said = check(tmp_path / "out", "--config", settings)
    assert ended == 9, said
    assert f"[{code}]" in said
    assert "Traceback" not in said
    _failed(tmp_path / "out", code)


def test_a_failure_does_not_stand_beside_an_earlier_number(check, tmp_path, monkeypatch):
    assert check(tmp_path)[0] == 0
    measured = (tmp_path / "mask.nii.gz").read_bytes()
    monkeypatch.setattr("volumetry.pipeline.read_scan", _raises(ScanFailedError("words", "TIMEOUT", "h.")))
    assert check(tmp_path)[0] == 9
    assert not (tmp_path / "mask.nii.gz").exists()
    assert (tmp_path / "earlier" / "1" / "mask.nii.gz").read_bytes() == measured


def test_a_failure_after_the_measuring_leaves_a_failed_result_too(check, tmp_path, monkeypatch):
    monkeypatch.setattr("volumetry.deliver.delivery.mask_bytes", _raises(MemoryError()))
    assert check(tmp_path)[0] == 9
    _failed(tmp_path, "MEMORY_LIMIT")


def test_a_wrong_model_is_no_result_of_a_scan(check, tmp_path, monkeypatch):
    monkeypatch.setattr("volumetry.pipeline.read_scan", _raises(ModelError("words")))
    assert check(tmp_path / "out")[0] == 5
    assert not (tmp_path / "out" / "result.json").exists()


@pytest.mark.parametrize("verb", [["phantom"], ["pull", "http://127.0.0.1:9/dicom", "1.2.3", "--out"]])
def test_a_file_where_a_folder_is_needed_is_named(verb, tmp_path, capsys):
    (tmp_path / "taken").write_text("mine", "utf-8")
    with pytest.raises(SystemExit) as end:
        main([*verb, str(tmp_path / "taken")])
    said = capsys.readouterr().err
    assert end.value.code == 7
    assert "taken is a file, and a folder is needed [OUTPUT]" in said
    assert "Traceback" not in said
    assert (tmp_path / "taken").read_text("utf-8") == "mine"
