"""What the program is made of: locked with hashes, above the known floors, and never under the GPL."""

import csv
import hashlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, distributions, version
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from volumetry import __version__
from volumetry.assurance.bill_of_materials import (
    Part,
    bill_of_materials,
    copyleft,
    installed_parts,
    licence_table,
    shipped_parts,
)
from volumetry.assurance.bill_of_materials.tools import answer_of
from volumetry.config import load_config
from volumetry.errors import OutputError, UsageError
from volumetry.segment.network import load_segmenter
from volumetry.segment.weights import BY_NAME_ONLY, find_model
from volumetry.storage.shipped import shipped

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
FLOORS = tomllib.loads((ROOT / ".ci" / "floors.toml").read_text("utf-8"))["floor"]
LOCKS = ("requirements.lock", "requirements-cpu.lock")
_FOR_DEVELOPERS = ("docs", "test")
_ALSO_AT_RUN_TIME = [
    r for extra, rs in PROJECT["optional-dependencies"].items() if extra not in _FOR_DEVELOPERS for r in rs
]
WANTED = [*PROJECT["dependencies"], *_ALSO_AT_RUN_TIME]


def _locked(name: str) -> dict[str, tuple[Version, list[str]]]:
    """Version and hashes of every package of a lock."""
    text = (ROOT / ".ci" / name).read_text("utf-8").replace("\\\n", " ")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            pin = re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line)
            assert pin, f"{name}: not a pin: {line[:60]}"
            found[canonicalize_name(pin[1])] = (
                Version(pin[2]),
                re.findall(r"--hash=sha256:([0-9a-f]{64})\b", line),
            )
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_a_lock_pins_every_dependency_with_hashes_and_within_its_bounds(lock):
    locked = _locked(lock)
    for text in WANTED:
        wanted = Requirement(text)
        pinned, _ = locked[canonicalize_name(wanted.name)]
        assert wanted.specifier.contains(pinned), f"{text} does not admit {pinned}: run .ci/lock"
    assert all(hashes for _, hashes in locked.values())


@pytest.mark.parametrize("lock", LOCKS)
def test_what_the_dependencies_need_is_locked_too(lock):
    """What a locked package asks for has its own pin; one installed in another version may ask for more."""
    locked = _locked(lock)
    same = [
        package
        for package in distributions()
        if canonicalize_name(package.name) in locked
        and locked[canonicalize_name(package.name)][0].public == Version(package.version).public
    ]
    assert len(same) > len(PROJECT["dependencies"])
    asked = [Requirement(text) for package in same for text in package.requires or []]
    needed = {
        canonicalize_name(need.name) for need in asked if not need.marker or need.marker.evaluate({"extra": ""})
    }
    assert needed <= set(locked)
    assert len(locked) > 2 * len(PROJECT["dependencies"])  # not made of the top alone


@pytest.mark.parametrize("floor", FLOORS, ids=[floor["package"] for floor in FLOORS])
def test_no_version_lies_below_its_floor(floor):
    least = Version(floor["version"])
    assert re.search(r"CVE-\d{4}-\d+", floor["advisory"])
    assert floor["listed"].year >= 2026
    for lock in LOCKS:
        assert _locked(lock)[floor["package"]][0] >= least, lock
    try:
        assert Version(version(floor["package"])) >= least
    except PackageNotFoundError:
        pytest.skip(f"{floor['package']} belongs to an extra that is not installed")
    for text in WANTED:
        wanted = Requirement(text)
        if canonicalize_name(wanted.name) == floor["package"]:
            admitted = {spec.version for spec in wanted.specifier if spec.operator == ">="}
            assert admitted
            assert max(map(Version, admitted)) >= least, f"pyproject.toml admits less than {least}"


@pytest.fixture(scope="module")
def installed() -> tuple[Part, ...]:
    """Every package of this environment."""
    return installed_parts()


def test_nothing_needed_at_run_time_is_copyleft(installed):
    needed = set(_locked(LOCKS[0]))
    parts = [part for part in installed if canonicalize_name(part.name) in needed]
    assert {"torch", "pydicom", "simpleitk", "highdicom", "dask"} <= {part.name for part in parts}
    assert [part.name for part in parts if part.licence in ("", "UNKNOWN")] == []
    assert [part.name for part in parts if copyleft(part)] == []
    for name in ("python-gdcm", "pylibjpeg-libjpeg"):
        with pytest.raises(PackageNotFoundError):
            version(name)
        assert all(name not in _locked(lock) for lock in LOCKS)


@pytest.mark.parametrize(
    ("licence", "caught"),
    [
        ("GPL-3.0-only", True),
        ("GNU Lesser General Public License v3 (LGPLv3)", True),
        ("AGPL-3.0", True),
        ("GNU General Public License v2", True),
        ("MIT OR GPL-3.0-only", False),
        ("Apache-2.0 AND GPL-2.0-only", True),
        ("Apache-2.0 WITH LLVM-exception", False),
    ],
)
def test_copyleft_terms_are_recognised(licence, caught):
    assert copyleft(Part("a", "1", "package", licence)) is caught


def test_the_bill_of_materials_is_valid_and_lists_packages_and_weights_by_digest(installed):
    parts = (*installed, *shipped_parts())
    made = bill_of_materials(parts)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(made.decode()) is None
    assert made == bill_of_materials(parts)
    document = json.loads(made)
    components = {c["name"]: c for c in document["components"]}
    assert set(components) == {part.name for part in parts} - {"volumetry"}
    assert all(component["licenses"] for component in components.values())
    for card in (ROOT / "models").glob("*/card.toml"):
        stated = tomllib.loads(card.read_text("utf-8"))
        listed = components[stated["name"]]
        assert listed["type"] == "machine-learning-model"
        if len(list((ROOT / "models").glob("*/card.toml"))) == 1:
            assert listed["hashes"] == [{"alg": "SHA-256", "content": stated["weights"]["sha256"]}]
    assert components["pydicom"]["purl"] == f"pkg:pypi/pydicom@{version('pydicom')}"
    record = hashlib.sha256((distribution("pydicom").read_text("RECORD") or "").encode()).hexdigest()
    assert {"name": "volumetry:record_sha256", "value": record} in components["pydicom"]["properties"]


def test_the_bill_of_materials_is_about_the_program_and_names_no_folder_of_this_machine(installed):
    made = bill_of_materials((*installed, *shipped_parts()))
    document = json.loads(made)
    program = document["metadata"]["component"]
    assert (program["name"], program["type"], program["version"]) == ("volumetry", "application", __version__)
    needs = {line["ref"]: line.get("dependsOn", []) for line in document["dependencies"]}
    assert f"pydicom=={version('pydicom')}" in needs[program["bom-ref"]]
    assert any(ref.startswith("lesion25d==") for ref in needs[program["bom-ref"]])
    assert b"file:" not in made
    assert str(ROOT).encode() not in made


def test_the_licence_table_has_a_line_for_everything(installed):
    parts = (*installed, *shipped_parts())
    rows = list(csv.DictReader(licence_table(parts).splitlines()))
    assert [row["name"] for row in rows] == [part.name for part in parts]
    assert {row["kind"] for row in rows} >= {"package", "weights"}


def test_a_missing_tool_is_named_with_what_to_install():
    with pytest.raises(UsageError, match="no_such_tool") as stop:
        answer_of("no_such_tool")
    assert stop.value.code == "EXTRA_MISSING"
    assert "volumetry[evidence]" in stop.value.hint


def test_a_tool_that_fails_is_an_output_that_could_not_be_made():
    with pytest.raises(OutputError, match="cyclonedx_py"):
        answer_of("cyclonedx_py", "no-such-command")


def test_the_licence_of_the_whole_covers_weights_and_script():
    expression = PROJECT["license"]
    assert {"MIT", "BSD-2-Clause", "LicenseRef-volumetry-models", "CC-BY-4.0"} == set(expression.split(" AND "))
    files = [path for name in PROJECT["license-files"] for path in ROOT.glob(name)]
    texts = {path.relative_to(ROOT).as_posix(): path.read_text("utf-8") for path in files}
    assert "MIT License" in texts["LICENSE"]
    assert "LicenseRef-volumetry-models" in texts["models/LICENSE"]
    assert any("BSD 2-Clause License" in text for text in texts.values())
    assert any("CC-BY-4.0" in text for text in texts.values())


@pytest.mark.parametrize("card", sorted((ROOT / "models").glob("*/card.toml")), ids=lambda card: card.parent.name)
def test_the_terms_of_the_weights_name_every_source_on_the_card(card):
    """A source is named by the first word under which the card lists it, unless this program made the data."""
    own = card.parent / "LICENSE"
    terms = (own if own.is_file() else ROOT / "models" / "LICENSE").read_text("utf-8").casefold()
    document = tomllib.loads(card.read_text("utf-8"))
    sources = {text for part in (document, document["context"]) for text in part["story"]["data"].values()}
    foreign = [text for text in sources if "by this program" not in text]
    assert foreign
    assert [text for text in foreign if text.casefold().split()[0].rstrip(";,") not in terms] == []


@pytest.mark.parametrize("name", BY_NAME_ONLY)
def test_weights_that_permit_commercial_use_rest_on_nothing_that_forbids_it(name):
    for card in (ROOT / "models").glob(f"{name}-*/card.toml"):
        document = tomllib.loads(card.read_text("utf-8"))
        for part in (document, document["context"]):
            assert part["story"]["licence_of_weights"].startswith("CC-BY-4.0")
            foreign = [text for text in part["story"]["data"].values() if "by this program" not in text]
            assert foreign
            assert all(text.endswith("CC BY 3.0") for text in foreign)


def test_weights_of_other_terms_are_measured_with_by_name_and_are_never_the_default():
    config = load_config(shipped("configs") / "open.toml")
    folder = find_model(config.segment.model)
    assert folder.name.rpartition("-")[0] in BY_NAME_ONLY
    assert find_model("default").name.rpartition("-")[0] not in BY_NAME_ONLY
    assert load_segmenter(config).facts.name == "open25d"


def test_the_evidence_is_written_by_one_command(tmp_path):
    command = [Path(sys.executable).with_name("volumetry"), "evidence", str(tmp_path / "evidence")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)  # noqa: S603  our own program
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "evidence" / "sbom.cdx.json").read_text("utf-8"))["bomFormat"] == "CycloneDX"
    assert "lesion" in (tmp_path / "evidence" / "licences.csv").read_text("utf-8")
