"""Thousands of mutated files through the reader: it never dies, never hangs, never grows; every end is a code.

    python tests/benchmarks/fuzz_dicom.py --count 2000 --seed 1 --json fuzz.json

A worker process reads; this one watches it, so that a death or a hang is seen and counted and the run goes on.
Each file is its own number: ``--only N`` runs one of them again, with its traceback. Run by hand; a small share
runs in the test suite (tests/faults/test_fuzz_small.py).
"""

import argparse
import json
import os
import random
import resource
import select
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from mutations import FOLDERS, SYNTAXES, mutate, write_bases

from volumetry.codes import CATALOGUE
from volumetry.config import Config, load_config
from volumetry.domain import ScanRefusedError
from volumetry.errors import ScanFailedError
from volumetry.scan import read_scan

MOST_SECONDS, MOST_MB = 10.0, 1024.0
_SLICE = "0031"
_FOLDER_SHARE = 0.03
_BESIDE_SHARE = 0.15
"""Of the mutated slices, those that lie beside the whole one instead of in its place."""


def peak_mb() -> float:
    """Largest resident size of this process alone, its children not counted."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def cpu_s() -> float:
    """Processor time of this process and its ended children: what a busy machine does not change."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def ruin(number: int, bases: dict[str, Path], folder: Path) -> str:
    """Make the damaged series of a number in an empty folder; what was done to it."""
    dice = random.Random(number)  # noqa: S311  no secret
    syntax = dice.choice(SYNTAXES)
    for path in bases[syntax].iterdir():
        os.link(path, folder / path.name)
    if dice.random() < _FOLDER_SHARE:
        change = dice.choice(FOLDERS)
        for name in (_SLICE, "0003"):  # the base keeps its own bytes
            data = (folder / name).read_bytes()
            (folder / name).unlink()
            (folder / name).write_bytes(data)
        change(folder, dice)
        return change.__name__.strip("_")
    name, data = mutate((folder / _SLICE).read_bytes(), dice)
    if dice.random() < _BESIDE_SHARE:
        (folder / "beside").write_bytes(data)
        return f"{name} beside ({syntax})"
    (folder / _SLICE).unlink()
    (folder / _SLICE).write_bytes(data)
    return f"{name} ({syntax})"


def end_of(folder: Path, config: Config) -> tuple[str, str]:
    """How the reading of a folder ended: ``measured``, a code, or the traceback of a defect."""
    try:
        read_scan(folder, config)
    except (ScanRefusedError, ScanFailedError) as stop:
        return (stop.code, "") if stop.code in CATALOGUE else ("DEFECT", f"unknown code {stop.code}")
    except Exception:  # noqa: BLE001  any other end is what is looked for
        return "DEFECT", traceback.format_exc()
    return "measured", ""


def work(root: Path, first: int, last: int) -> None:
    """Read the series of each number and say how it ended, one JSON line each."""
    config = load_config()
    bases = {syntax: root / "bases" / syntax for syntax in SYNTAXES}
    for number in range(first, last):
        folder = root / "scan"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        what = ruin(number, bases, folder)
        line = {"number": number, "what": what}
        print(json.dumps({**line, "begun": True}), flush=True)  # noqa: T201  the worker's answer
        started, busy = time.perf_counter(), cpu_s()
        code, detail = end_of(folder, config)
        line |= {"code": code, "seconds": time.perf_counter() - started, "cpu_s": cpu_s() - busy}
        line |= {"peak_mb": peak_mb(), "detail": detail}
        print(json.dumps(line), flush=True)  # noqa: T201  the worker's answer


def watch(root: Path, first: int, last: int, patience_s: float) -> list[dict]:
    """Run workers over the numbers; one that dies or is silent for too long costs its number and is replaced."""
    ends: list[dict] = []
    while first < last:
        command = [sys.executable, __file__, "--work", str(root), "--first", str(first), "--last", str(last)]
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)  # noqa: S603  this file
        current = {"number": first, "what": "start"}
        while True:
            ready, _, _ = select.select([worker.stdout], [], [], patience_s)
            text = worker.stdout.readline() if ready else ""
            if not text:
                break
            line = json.loads(text)
            current = line
            if "code" in line:
                ends.append(line)
                first = line["number"] + 1
        if worker.poll() is None and not ready:
            os.killpg(worker.pid, 9)
            ends.append({**current, "code": "HANG", "seconds": patience_s, "peak_mb": 0, "detail": ""})
        elif worker.wait() != 0:
            ends.append(
                {**current, "code": "DIED", "seconds": 0, "peak_mb": 0, "detail": f"exit {worker.returncode}"}
            )
        worker.wait()
        first = ends[-1]["number"] + 1
    return ends


def report(ends: list[dict]) -> tuple[str, bool]:
    """The table of ends, and whether the run is clean."""
    # By processor time, since a busy machine stretches the seconds of the clock; a hang is seen by the clock.
    slow = [e for e in ends if e.get("cpu_s", 0.0) > MOST_SECONDS]
    busiest = max(e.get("cpu_s", 0.0) for e in ends)
    bad = [e for e in ends if e["code"] in ("DEFECT", "DIED", "HANG", "INTERNAL_ERROR")]
    peak = max(e["peak_mb"] for e in ends)
    worst = max(ends, key=lambda e: e["seconds"])
    lines = [f"{count:6d}  {code}" for code, count in Counter(e["code"] for e in ends).most_common()]
    lines.append(f"{len(ends)} series; worst {worst['seconds']:.2f} s ({worst['what']}, number {worst['number']})")
    lines.append(f"worst processor time {busiest:.2f} s; over {MOST_SECONDS:.0f} s: {len(slow)}")
    lines.append(f"peak of the parent {peak:.0f} MB; defects: {len(bad)}")
    lines += [f"!! {e['number']} {e['code']} {e['what']}\n{e['detail']}" for e in (*bad, *slow)]
    return "\n".join(lines), not bad and not slow and peak < MOST_MB


def main() -> int:
    """Command line."""
    options = argparse.ArgumentParser()
    options.add_argument("--count", type=int, default=2000)
    options.add_argument("--seed", type=int, default=0, help="the first number; numbers are the seeds")
    options.add_argument("--only", type=int)
    options.add_argument("--keep", type=Path, help="with --only: where the series is left")
    options.add_argument("--json", type=Path)
    options.add_argument("--patience", type=float, default=120.0)
    options.add_argument("--work", type=Path)
    options.add_argument("--first", type=int)
    options.add_argument("--last", type=int)
    given = options.parse_args()
    if given.work:
        work(given.work, given.first, given.last)
        return 0
    with tempfile.TemporaryDirectory(prefix="fuzz-") as name:
        root = Path(name)
        bases = write_bases(root / "bases")
        if given.only is not None:
            folder = given.keep or root / "scan"
            folder.mkdir(parents=True)
            print(ruin(given.only, bases, folder), *end_of(folder, load_config()))  # noqa: T201  a tool's answer
            return 0
        ends = watch(root, given.seed, given.seed + given.count, given.patience)
    text, clean = report(ends)
    print(text)  # noqa: T201  a tool's answer
    if given.json:
        given.json.write_text(json.dumps(ends, indent=1), "utf-8")
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main())
