"""The tools that read an installation, each run as a module by this interpreter; they ask no network."""

import json
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from volumetry.errors import OutputError, UsageError

_TIMEOUT_S = 300


def answer_of(module: str, *options: str) -> Any:  # noqa: ANN401  JSON
    """What a tool prints as JSON.

    Raises
    ------
    UsageError
        If the tool is not installed.
    OutputError
        If it fails.
    """
    if find_spec(module) is None:
        raise UsageError(
            f"not installed: {module}", "EXTRA_MISSING", "Install with: pip install 'volumetry[evidence]'"
        )
    command = [sys.executable, "-P", "-m", module, *options]  # -P: no module is taken from the current folder
    try:
        done = subprocess.run(command, check=True, capture_output=True, timeout=_TIMEOUT_S)  # noqa: S603  fixed calls
    except subprocess.SubprocessError as failed:
        raise OutputError(f"{module} could not read this installation") from failed
    return json.loads(done.stdout)
