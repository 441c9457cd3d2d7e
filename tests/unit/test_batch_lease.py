"""Two machines on a file system that keeps no lock between them: the lease in the lock's file decides."""

import json
import threading

import pytest
from scenes import AXIAL, chest, scan_of

from volumetry.batch import find_scans, lease, run_batch
from volumetry.errors import BusyError
from volumetry.segment.hu_segmenter import ThresholdSegmenter


@pytest.fixture
def batch(tmp_path, monkeypatch, config):
    """Runs a batch of two scans without the kernel's lock and with a quick heart; which scans were read."""
    read = []

    def read_scan(folder, _config):
        read.append(folder.name)
        return scan_of(chest()[0], AXIAL)

    monkeypatch.setattr("volumetry.pipeline.read_scan", read_scan)
    monkeypatch.setattr("volumetry.batch.ledger.fcntl.flock", lambda *_: None)
    monkeypatch.setattr(lease, "BEAT_S", 0.05)
    monkeypatch.setattr(lease, "PATIENCE_S", 3.0)
    for name in ("a", "b"):
        (tmp_path / "in" / name).mkdir(parents=True)
    out = tmp_path / "out"
    out.mkdir()

    def run(on_scan=lambda *_: None):
        run_batch(find_scans(tmp_path / "in"), out, ThresholdSegmenter(), config, on_scan)

    run.lock, run.read = out / ".lock", read
    return run


def _name(lock, beat=0, host="elsewhere"):
    lock.write_text(json.dumps({"process": 7, "host": host, "beat": f"{beat:012}"}))


def test_a_holder_elsewhere_whose_heart_beats_is_respected(batch):
    _name(batch.lock)
    over = threading.Event()

    def beat():
        n = 0
        while not over.wait(0.02):
            n += 1
            _name(batch.lock, n)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(BusyError, match="process 7 on elsewhere") as stop:
            batch()
    finally:
        over.set()
        heart.join()
    assert stop.value.exit_code == 75
    assert batch.read == []
    assert json.loads(batch.lock.read_bytes())["host"] == "elsewhere"  # the name of the living is left alone


def test_a_dead_holder_elsewhere_is_waited_for_once_and_then_replaced(batch, monkeypatch):
    monkeypatch.setattr(lease, "PATIENCE_S", 0.1)
    _name(batch.lock, 5)
    batch()
    assert batch.read == ["a", "b"]
    assert batch.lock.read_bytes() == b""


def test_a_run_beats_while_it_works(batch):
    seen = set()

    def told(*_):
        first = json.loads(batch.lock.read_bytes())
        while json.loads(batch.lock.read_bytes() or b"{}") in (first, {}):
            pass
        seen.add(first["beat"])

    batch(told)
    assert len(seen) == 2


def test_of_two_that_began_at_once_the_one_whose_name_was_written_over_stops(batch):
    def told(*_):
        _name(batch.lock)

    with pytest.raises(BusyError, match="process 7 on elsewhere"):
        batch(told)
    assert batch.read == ["a"]
    assert json.loads(batch.lock.read_bytes())["host"] == "elsewhere"
