"""The log's chain: every change of one byte is found, and nothing is lost to a torn line."""

import hashlib
import itertools
import json
import os
import signal

import pytest

from volumetry.batch.audit import NAME, START, Audit, chain_faults, entries


@pytest.fixture
def log(tmp_path):
    audit = Audit.opened(tmp_path)
    for n in range(5):
        audit.append("scan_recorded", "", scan_id=f"s{n}", record_sha256=str(n) * 64)
    return tmp_path / "audit.jsonl"


def test_each_entry_holds_the_digest_of_the_one_before(log):
    lines = [json.loads(line) for line in log.read_text("utf-8").splitlines()]
    assert [line["n"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[0]["previous"] == START
    for before, line in itertools.pairwise(lines):
        bare = {key: value for key, value in before.items() if key != "sha256"}
        text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
        assert line["previous"] == hashlib.sha256(text.encode()).hexdigest()
    assert {"time", "user", "version", "action", "reason"} <= set(lines[0])
    assert chain_faults(log) == []


def test_any_changed_byte_is_found(log):
    content = log.read_bytes()
    for at in range(0, len(content), 7):
        changed = bytearray(content)
        changed[at] ^= 1
        log.write_bytes(bytes(changed))
        assert chain_faults(log), f"byte {at}"


@pytest.mark.parametrize("damage", ["removed", "swapped", "doubled"])
def test_lines_that_are_whole_but_not_in_their_place_are_found(log, damage):
    lines = log.read_bytes().splitlines(keepends=True)
    match damage:
        case "removed":
            del lines[2]
        case "swapped":
            lines[1], lines[2] = lines[2], lines[1]
        case "doubled":
            lines.insert(2, lines[2])
    log.write_bytes(b"".join(lines))
    assert chain_faults(log)


def test_every_torn_end_is_tolerated_and_repaired_with_an_entry(log):
    content = log.read_bytes()
    start_of_last = content[:-1].rindex(b"\n") + 1
    for cut in range(start_of_last + 1, len(content), 11):
        log.write_bytes(content[:cut])
        audit = Audit.opened(log.parent)
        assert audit.count == 4
        audit.repair()
        audit.append("run_began")
        assert chain_faults(log) == []
        last = [json.loads(line) for line in log.read_text("utf-8").splitlines()][-2:]
        assert [(entry["n"], entry["action"]) for entry in last] == [(5, "log_repaired"), (6, "run_began")]
        assert last[0]["torn_sha256"] == hashlib.sha256(content[start_of_last:cut]).hexdigest()


def test_opening_a_log_changes_nothing(log):
    torn = log.read_bytes()[:-5]
    log.write_bytes(torn)
    Audit.opened(log.parent)
    assert log.read_bytes() == torn


def test_a_signal_in_the_middle_of_an_entry_waits_for_its_end(tmp_path, monkeypatch):
    """The entry is whole and known, so that the last words of an interrupted run follow from it."""
    audit = Audit.opened(tmp_path)
    audit.append("run_begun")
    real = os.fsync

    def interrupted(descriptor):
        real(descriptor)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("volumetry.batch.audit.os.fsync", interrupted)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a library may have set its own
    try:
        with pytest.raises(KeyboardInterrupt):
            audit.append("scan_recorded", scan_id="a", record_sha256="0" * 64)
    finally:
        signal.signal(signal.SIGINT, before)
    monkeypatch.undo()
    audit.append("run_stopped", "interrupted")
    assert chain_faults(tmp_path / NAME) == []
    assert [entry["action"] for _, entry in entries(tmp_path / NAME)] == [
        "run_begun",
        "scan_recorded",
        "run_stopped",
    ]
