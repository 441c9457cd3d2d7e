"""Another segmenter behind the same line: one module of the user's own, and its name on the command line."""

import json
from pathlib import Path

import pytest
from small_results import LESIONS

from volumetry.cli import main
from volumetry.config import load_config
from volumetry.errors import UsageError
from volumetry.phantom import PhantomSpec, make_phantom, write_series
from volumetry.segment.factory import segmenter_from

MINE = """
from volumetry.domain import SegmenterFacts
from volumetry.segment.hu_segmenter import ThresholdSegmenter

class Mine(ThresholdSegmenter):
    __slots__ = ()
    @property
    def facts(self):
        return SegmenterFacts("mine", "7")

def load(config):
    assert config.segment.device in ("auto", "cpu", "cuda")
    return Mine()

def nothing(config):
    return 3
"""


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "another_segmenter.py").write_text(MINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))  # for workers
    return "another_segmenter:load"


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    spec = PhantomSpec(shape_kji=(100, 128, 128), spacing_kji_mm=(3.0, 2.5, 2.5), lesions=LESIONS)
    write_series(make_phantom(spec), tmp_path / "in" / "s01")
    return tmp_path / "in"


@pytest.mark.parametrize("verb", ["check", "batch", "batch --workers 1"])
def test_a_segmenter_named_on_the_command_line_measures(tmp_path: Path, mine: str, scan: Path, verb: str) -> None:
    verb, *more = verb.split()
    given = scan / "s01" if verb == "check" else scan
    with pytest.raises(SystemExit) as end:
        main(["--segmenter", mine, verb, str(given), "--out", str(tmp_path / "out"), "--quiet", *more])
    assert not end.value.code
    result = next((tmp_path / "out").rglob("result.json"))
    assert json.loads(result.read_text("utf-8"))["provenance"]["model"] == "mine-7"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("another_segmenter:missing", "no function 'missing'"),
        ("no_such_module:load", "from a module 'no_such_module'"),
        ("another_segmenter", "no function ''"),
        ("another_segmenter:nothing", "does not return a segmenter"),
        (".another_segmenter:load", "no function 'load'"),
    ],
)
def test_a_name_that_gives_no_segmenter_is_a_usage_error(mine: str, name: str, says: str) -> None:
    assert segmenter_from(mine, load_config()).facts.name == "mine"
    with pytest.raises(UsageError, match=says):
        segmenter_from(name, load_config())


def test_the_reason_why_a_module_cannot_be_imported_is_said(tmp_path: Path, mine: str) -> None:
    (tmp_path / "needs_another.py").write_text("import no_such_library")
    with pytest.raises(UsageError, match="No module named 'no_such_library'"):
        segmenter_from("needs_another:load", load_config())


def test_a_wrong_name_leaves_no_result_of_the_scan(tmp_path: Path, scan: Path) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--segmenter", "no_such_module:load", "check", str(scan / "s01"), "--out", str(tmp_path / "out")])
    assert end.value.code == UsageError.exit_code
    assert not list((tmp_path / "out").iterdir())


def test_a_settings_file_cannot_name_code(tmp_path: Path) -> None:
    from volumetry.errors import ConfigError

    (tmp_path / "site.toml").write_text("[segment]\nfactory = 'os:system'\n")
    with pytest.raises(ConfigError, match=r"segment\.factory"):
        load_config(tmp_path / "site.toml")
