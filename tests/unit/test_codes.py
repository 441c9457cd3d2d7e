"""Every code that a stop can carry is in the catalogue, with the words on what to do."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import volumetry
from volumetry import errors
from volumetry.codes import CATALOGUE, About, Outcome, severity_rank
from volumetry.domain import ScanFailure, ScanRefusedError, Status
from volumetry.errors import InputError, VolumetryError
from volumetry.pipeline import failure_of
from volumetry.trial.config import TrialConfigError

OURS = [
    "SEGMENTATION",
    "IDENTITY",
    "MODEL",
    "CONFIG",
    "OUTPUT",
    "USAGE",
    "BUSY",
    "VOLUMETRY",
    "CLUSTER_LOST",
    "ARCHIVE",
    "EXTRA_MISSING",
]
OF_THE_INPUT = [
    "INPUT",
    "EDITED_MASK",
    "NO_MASK",
    "RESULT_MISMATCH",
    "REGISTRATION_POOR",
    "TABLE",
    "NOTHING_TO_READ",
    "KEY_MISMATCH",
]


def _kinds(of: type[VolumetryError]) -> set[type[VolumetryError]]:
    return {of}.union(*map(_kinds, of.__subclasses__()))


@pytest.fixture(scope="module")
def kinds() -> set[type[VolumetryError]]:
    """Every kind of stop in the package."""
    for module in pkgutil.walk_packages(volumetry.__path__, "volumetry."):
        if not module.name.endswith(("__main__", "decode_child")):
            importlib.import_module(module.name)
    return {kind for kind in _kinds(VolumetryError) if kind.__module__.startswith("volumetry.")}


def _codes_in(call: ast.Call, makers: set[str]) -> set[str]:
    """The codes that a call gives to a stop, to a finding or to a row, as far as they are written there."""
    name = call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")
    given = [word.value for word in call.keywords if word.arg == "code"] if name in makers else []
    given += call.args[1:2] if name in makers else []
    texts = [value.value for value in given if isinstance(value, ast.Constant)]
    return {text for text in texts if isinstance(text, str)}


def test_every_kind_of_stop_and_every_code_given_to_one_is_in_the_catalogue(kinds):
    makers = {kind.__name__ for kind in kinds} - {"ScanRefusedError", "DecoderDiedError"}
    makers |= {"found", "found_mildly", "NotSlice", "give_up", "SliceFault"}
    codes = {kind.code for kind in kinds}
    for path in Path(volumetry.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                codes |= _codes_in(node, makers)
    assert len(codes) > 60
    assert codes - set(CATALOGUE) == set()
    assert {"IDENTITY", "ARCHIVE", "NO_RESCALE"} <= codes  # both ways of giving one are seen


@pytest.mark.parametrize("code", [*OURS, *OF_THE_INPUT])
def test_a_row_may_hold_each(code):
    assert CATALOGUE[code].ours is (code in OURS)
    assert severity_rank(code) >= 0


def test_a_row_says_whose_fault_it_is(kinds):
    for kind in kinds - {ScanRefusedError}:
        row: ScanFailure = failure_of(kind("words"), "S1")
        assert row.code in CATALOGUE
        assert row.status is (Status.REFUSED if issubclass(kind, InputError) else Status.FAILED)
        assert row.hint


def test_refused_input_and_our_own_failure_end_differently():
    assert errors.InputError("x").exit_code == 3
    assert errors.ScanFailedError("x", "TIMEOUT").exit_code == 9


def test_whoever_gives_a_stop_another_code_says_what_to_do(kinds):
    """Or the advice would be that of the class, which knows nothing of this code."""
    by_name = {kind.__name__: kind for kind in kinds}
    silent = set()
    for path in Path(volumetry.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
            given = _codes_in(call, {name}) if name in by_name and name != "ScanRefusedError" else set()
            has_hint = given and (len(call.args) > 2 or any(word.arg == "hint" for word in call.keywords))
            if given and not has_hint and by_name[name].hint not in {CATALOGUE[code].hint for code in given}:
                silent.add(f"{path.name}:{call.lineno}")
    assert silent == set()


def test_only_a_scan_is_advised_to_be_inspected(kinds):
    """A table, an archive or a file of labels is nothing that `volumetry inspect` knows."""
    hints = {kind.hint for kind in kinds} | {row.hint for row in CATALOGUE.values() if row.about is not About.SCAN}
    assert len(hints) > 20
    assert not [hint for hint in hints if "volumetry inspect" in hint]


def test_a_setting_of_a_trial_is_not_compared_with_those_of_a_scan():
    """The advice of ConfigError names configs/default.toml, that of TrialConfigError configs/trial.toml."""
    modules = (Path(volumetry.__file__).parent / "trial").rglob("*.py")
    nodes = [node for path in modules for node in ast.walk(ast.parse(path.read_text("utf-8")))]
    stops = [
        node for node in nodes if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ConfigError"
    ]
    assert len(stops) > 0
    assert all(any(word.arg == "hint" for word in stop.keywords) for stop in stops)
    assert "configs/trial.toml" in TrialConfigError.hint


@pytest.mark.parametrize("row", CATALOGUE.values(), ids=lambda row: row.name)
def test_every_row_names_the_module_that_judges(row):
    text = (Path(volumetry.__file__).parent / row.judged).read_text("utf-8")
    assert row.name in text or row.name.removeprefix("CHARTER_") in text or row.name.rpartition("_")[2] in text


def test_only_what_the_trial_profile_takes_seriously_says_why_the_default_does_not():
    assert {row.trial_outcome for row in CATALOGUE.values() if row.why} <= {Outcome.FLAG, Outcome.REFUSE}
