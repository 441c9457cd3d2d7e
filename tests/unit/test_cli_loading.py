"""A segmenter that is still on its way does what it will do, and fails as it will fail."""

import threading

import pytest
from scan_series import series, write

from volumetry.cli.loading import Loading
from volumetry.domain import ScanRefusedError, SegmenterFacts
from volumetry.errors import ModelError, ScanFailedError
from volumetry.pipeline import analyse_scan


@pytest.fixture(autouse=True)
def _nothing_is_left_running():
    yield
    for thread in threading.enumerate():
        if thread.name.startswith("ThreadPoolExecutor"):
            thread.join(30)


class _Ready:
    facts = SegmenterFacts("stub", "1")

    def __call__(self, scan):
        return ("map of", scan)


def test_who_asks_waits_until_it_is_there():
    may_load = threading.Event()

    def load():
        may_load.wait(30)
        return _Ready()

    coming = Loading(load)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(coming("scan")))
    asking.start()
    asking.join(0.05)
    assert answers == [], "nothing can be said before the model is there"
    may_load.set()
    asking.join(30)
    assert answers == [("map of", "scan")]
    assert coming.facts == _Ready.facts


def test_what_went_wrong_in_loading_is_raised_where_the_model_is_needed():
    def load():
        raise ModelError("sha256 is not the one on its card")

    coming = Loading(load)
    for ask in (lambda: coming.facts, lambda: coming("scan")):
        with pytest.raises(ModelError, match="sha256") as stop:
            ask()
        assert stop.value.exit_code == 5


def test_a_model_is_loaded_while_a_scan_is_decoded_and_for_none_that_its_headers_refuse(tmp_path, monkeypatch):
    began = []
    coming = Loading(lambda: began.append("loading") or _Ready())
    refused = write(tmp_path / "refused", series(), lambda header, _: setattr(header, "Modality", "MR"))
    with pytest.raises(ScanRefusedError):
        analyse_scan(refused, coming)
    assert began == []

    def decoded(*_):
        began.append("decoding")
        raise ScanFailedError("far enough", "TIMEOUT")

    monkeypatch.setattr("volumetry.scan.read.decode", decoded)
    with pytest.raises(ScanFailedError):
        analyse_scan(write(tmp_path / "good", series()), coming)
    coming.begin_loading().result()
    assert sorted(began) == ["decoding", "loading"]
