"""A program that imports volumetry keeps its own environment, warnings, signals, threads and log."""

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from canary import CANARY, plant_folder

from volumetry.pipeline import analyse_scan, failure_of_bug
from volumetry.segment.hu_segmenter import ThresholdSegmenter

ROOT = Path(__file__).resolve().parents[2]

MODULES = """
import importlib, json, pkgutil, sys
import volumetry
for found in pkgutil.walk_packages(volumetry.__path__, "volumetry."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
print(json.dumps(list(sys.modules)))
"""

# What other libraries do when they are imported is theirs: they are imported before anything is looked at.
STATE = """
import contextlib, gc, importlib, json, logging, os, signal, sys, threading, warnings
ours, foreign = json.load(sys.stdin)
for name in foreign:
    with contextlib.suppress(Exception):
        importlib.import_module(name)
import matplotlib, monai, torch  # MONAI leaves no trace in the list of modules, see segment.monai_networks

def state():
    umask = os.umask(0)
    os.umask(umask)
    loggers = [logging.getLogger(), *(logging.getLogger(n) for n in list(logging.root.manager.loggerDict))]
    return {
        "environment": dict(os.environ),
        "warnings": [repr(f) for f in warnings.filters],
        "log": [(l.name, l.level, l.disabled, l.propagate, [type(h).__name__ for h in l.handlers])
                for l in loggers if not l.name.startswith("volumetry")],
        "signals": [repr(signal.getsignal(n)) for n in signal.valid_signals()],
        "umask": umask,
        "garbage": gc.isenabled(),
        "threads": (threading.active_count(), torch.get_num_threads()),
        "torch": (torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark),
        "figures": repr(matplotlib.rcParams),
        "folder": os.getcwd(),
        "path": sys.path[:],
        "hook": repr(sys.excepthook),
    }

before = state()
for name in ours:
    importlib.import_module(name)
after = state()
print(json.dumps([key for key in before if before[key] != after[key]]))
print(json.dumps([type(h).__name__ for h in logging.getLogger("volumetry").handlers]))
"""


def _answers(code: str, given: str = "") -> list[object]:
    done = subprocess.run([sys.executable, "-c", code], input=given, capture_output=True, text=True)  # noqa: S603  our own
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]


def test_importing_every_module_changes_nothing_of_the_process():
    (names,) = _answers(MODULES)
    ours = [name for name in names if name.split(".")[0] == "volumetry"]
    foreign = [name for name in names if name.split(".")[0] not in ("volumetry", "__main__")]
    assert len(ours) > 100
    assert {"torch", "pydicom"} <= set(foreign)  # MONAI's network stays, its packages do not
    changed, handlers = _answers(STATE, json.dumps([ours, foreign]))
    assert changed == []
    assert handlers == ["NullHandler"]


@pytest.mark.parametrize("already", [None, ":16:8"])
def test_a_fixed_cublas_workspace_is_asked_for_when_it_is_needed_and_a_users_choice_stays(monkeypatch, already):
    from volumetry.segment.network import fix_cublas_workspace

    monkeypatch.setattr(os, "environ", {} if already is None else {"CUBLAS_WORKSPACE_CONFIG": already})
    fix_cublas_workspace()
    assert os.environ == {"CUBLAS_WORKSPACE_CONFIG": already or ":4096:8"}


def test_what_is_logged_of_a_scan_holds_stages_and_codes_and_nothing_of_the_patient(tmp_path, caplog, config):
    folder = tmp_path / CANARY
    shutil.copytree(ROOT / "data-sample" / "phantom-001", folder)
    assert plant_folder(folder) > 100
    with caplog.at_level(logging.DEBUG):
        analysis = analyse_scan(folder, ThresholdSegmenter(), config)
    ours = [record for record in caplog.records if record.name.startswith("volumetry")]
    text = "\n".join(record.getMessage() for record in ours)
    assert all(f"{stage} took" in text for stage in ("read", "segment", "measure"))
    assert all(finding.code in text for finding in analysis.result.findings)
    assert CANARY not in caplog.text
    assert str(tmp_path) not in text


def test_a_bug_is_logged_by_its_place_and_not_by_its_words(caplog):
    try:
        int(CANARY)
    except ValueError as bug:
        failure_of_bug(bug, "S1")
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("volumetry.pipeline", "ERROR")
    assert "INTERNAL_ERROR: ValueError in test_as_a_library.py" in record.getMessage()
    assert CANARY not in caplog.text


def test_without_a_log_of_the_user_nothing_is_printed():
    code = "import volumetry, logging; logging.getLogger('volumetry.pipeline').error('something')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603  our own
    assert (done.stdout, done.stderr) == ("", "")
