"""One version: the package, the changelog's newest release and the citation state the same."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLACES = ("pyproject.toml", "volumetry/__init__.py", "CHANGELOG.md", "CITATION.cff")


@pytest.fixture
def copy(tmp_path) -> Path:
    """The files that state a version, to be changed."""
    for place in PLACES:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / place, tmp_path / place)
    return tmp_path


def _check(repository: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, ROOT / ".ci" / "check_version.py", repository]
    return subprocess.run(command, capture_output=True, text=True)  # noqa: S603  our own program


def _change(repository: Path, place: str, pattern: str, new: str) -> None:
    text = (repository / place).read_text("utf-8")
    changed, count = re.subn(pattern, new, text, count=1, flags=re.MULTILINE)
    assert count == 1
    (repository / place).write_text(changed, "utf-8")


def test_the_repository_states_one_version(copy):
    done = _check(copy)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("place", "pattern", "new"),
    [
        ("volumetry/__init__.py", r'^__version__ = ".*"$', '__version__ = "9.9.9"'),
        ("volumetry/__init__.py", r'^__version__ = ".*"\n', ""),
        ("pyproject.toml", r'^dynamic = \["version"\]', 'version = "9.9.9"'),
        ("pyproject.toml", r'^dynamic = \["version"\]', "dynamic = []"),
        ("CHANGELOG.md", r"^## \d+\.\d+\.\d+", "## 9.9.9"),
        ("CHANGELOG.md", r"^(## \d+\.\d+\.\d+) — .*$", r"\1 — 1999-12-31"),
        ("CHANGELOG.md", r"^(## \d+\.\d+\.\d+) — .*$", r"\1"),
        ("CITATION.cff", r"^version: .*$", "version: 9.9.9"),
        ("CITATION.cff", r"^version: .*\n", ""),
        ("CITATION.cff", r"^date-released: .*$", 'date-released: "1999-12-31"'),
    ],
)
def test_a_place_that_disagrees_is_found_and_named(copy, place, pattern, new):
    _change(copy, place, pattern, new)
    done = _check(copy)
    assert done.returncode == 1
    assert place in done.stdout


def test_changes_that_are_not_released_yet_do_not_count(copy):
    _change(copy, "CHANGELOG.md", r"^## ", "## Unreleased\n\n### Added\n\n* Something.\n\n## ")
    assert _check(copy).returncode == 0


def test_the_whole_check_asks():
    assert "python .ci/check_version.py" in (ROOT / ".ci" / "run").read_text("utf-8")


def test_every_stated_python_is_tested_and_the_citation_has_the_same_keywords():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    stated = {text.removeprefix("Programming Language :: Python :: ") for text in project["classifiers"]}
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    tested = {*re.findall(r"python:(3\.\d+)-", workflow), *re.findall(r'"(3\.\d+)"', workflow)}
    assert {version for version in stated if re.fullmatch(r"3\.\d+", version)} == tested
    assert f">={min(tested, key=_numbers)}" == project["requires-python"]
    citation = (ROOT / "CITATION.cff").read_text("utf-8").split("keywords:\n")[1]
    assert re.findall(r"^  - (.+)$", citation, re.MULTILINE) == project["keywords"]


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
