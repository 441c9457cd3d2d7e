"""The command line: thin verbs. Each imports what it needs when it runs, so that ``--help`` needs no torch."""

import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Sequence
from itertools import pairwise
from types import FrameType

import typer

# The order of these is the order of the verbs in `volumetry --help`.
# isort: off
from volumetry.cli import one_scan, many_scans, batch_records, trial, models
from volumetry.cli import viewing

# isort: on
from volumetry.cli.common import app
from volumetry.errors import ScanFailedError, UsageError, VolumetryError
from volumetry.memory import collect_garbage_seldom

__all__ = ["app", "batch_records", "main", "many_scans", "models", "one_scan", "trial", "viewing"]


_A_BUG = (
    "volumetry: this is a bug; please report it with the lines above.\n"
    "  Read them first: they must name no patient."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line; every known stop ends in words and its own exit code."""
    os.umask(0o077)
    # Before torch is loaded: spinning OpenMP threads more than halve the speed on shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    collect_garbage_seldom()
    signal.signal(signal.SIGTERM, _terminated)
    _quiet_libraries()
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        _refuse_empty(words)
        app(args=words, prog_name="volumetry")
    except VolumetryError as stop:
        if isinstance(stop, ScanFailedError) and not isinstance(stop.__cause__, VolumetryError | None):
            traceback.print_exception(stop.__cause__)
            typer.echo(_A_BUG, err=True)
        typer.echo(f"volumetry: {stop.message} [{stop.code}]", err=True)
        if stop.hint:
            typer.echo(f"  {stop.hint}", err=True)
        raise SystemExit(stop.exit_code) from stop
    except KeyboardInterrupt as stop:
        raise SystemExit(130) from stop
    except Exception as bug:
        traceback.print_exc()
        typer.echo(_A_BUG, err=True)
        raise SystemExit(1) from bug


def _refuse_empty(words: Sequence[str]) -> None:
    """Stop at an empty argument: as a path it would mean the current folder."""
    for before, word in pairwise(["", *words]):
        if before == "--":
            return
        option, equals, value = word.partition("=") if word.startswith("--") else (before, "=", word)
        if equals and not value:
            named = f"the argument of {option}" if option.startswith("-") else "an argument"
            raise UsageError(f"{named} is empty", hint="Is a variable of the shell not set?")


def _quiet_libraries() -> None:
    """Keep what libraries warn of from terminal and log: of a header they print the value itself."""
    warnings.simplefilter("ignore", UserWarning)
    for name in ("pydicom", "pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    sys.exit(143)
