"""Every block of docs/examples.md runs, in the order of the page, and prints what the page says."""

import contextlib
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "examples.md").read_text("utf-8")


def _python(code: str, names: dict[str, object]) -> str:
    """Run a block; one that begins with the name of a file is that file."""
    if file := re.match(r"# (\w+\.py)\n", code):
        Path(file[1]).write_text(code)
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(compile(code, "examples.md", "exec"), names)  # noqa: S102  our own page
    return said.getvalue()


def _shell(code: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-euc", code], capture_output=True, text=True, env={**os.environ, "PATH": path})  # noqa: S603, S607  our own page
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_block_prints_what_the_page_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data-sample").symlink_to(ROOT / "data-sample")
    names: dict[str, object] = {}
    printed, stated = "", []
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        if language == "text":
            assert printed == code
            printed, stated = "", [*stated, code]
        else:
            assert printed == "", "the page does not state what the block before this one prints"
            printed = _python(code, names) if language == "python" else _shell(code)
    assert printed == ""
    assert len(stated) == 5
    assert abs(float(names["new_ml"]) - names["visit"]["change_ml"]["lesion"]) < 1e-6, "the ball that was drawn"
