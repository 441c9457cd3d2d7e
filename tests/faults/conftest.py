"""A small phantom, and `volumetry check` on it in a process of its own, a stand-in for the network in it."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from volumetry.phantom import Lesion, PhantomSpec, make_phantom, write_series

STAND_IN = """
import volumetry.cli.common as common
from volumetry.cli import main
from volumetry.segment.hu_segmenter import ThresholdSegmenter
common.segmenter_of = lambda settings: ThresholdSegmenter()
import sys
main(sys.argv[1:])
"""
LESIONS = (Lesion("ground_glass", (-85.3, 10.2, 10.1), (20.0, 18.0, 22.0)),)

Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="session")
def small_scan(tmp_path_factory) -> Path:
    """62 slices of 96 x 96: measurable, with a lesion."""
    folder = tmp_path_factory.mktemp("scan") / "small"
    write_series(make_phantom(PhantomSpec((62, 96, 96), (4.5, 3.4, 3.4), LESIONS, vessels=False)), folder)
    return folder


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    """The command line with a stand-in for the network."""
    script = tmp_path_factory.mktemp("script") / "check.py"
    script.write_text(STAND_IN, "utf-8")
    return script


@pytest.fixture(scope="session")
def start(stand_in) -> Start:
    """Start the command line in a process group of its own; `before` are words before the interpreter."""

    def call(*arguments: object, before: Sequence[str] = (), **options: object) -> "subprocess.Popen[bytes]":
        command = [*before, sys.executable, str(stand_in), *map(str, arguments)]
        defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "start_new_session": True}
        return subprocess.Popen(command, **{**defaults, **options})  # noqa: S603  our own script

    return call


@pytest.fixture(scope="session")
def reference(start, small_scan, tmp_path_factory) -> dict[str, object]:
    """What an undisturbed run gives."""
    out = tmp_path_factory.mktemp("reference") / "out"
    said = finished(start("check", small_scan, "--out", out))
    assert said[0] == 0, said[2]
    return numbers_of(out)


def finished(process: "subprocess.Popen[bytes]") -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a process that ends by itself."""
    out, err = process.communicate()
    return process.returncode, (out or b"").decode(), (err or b"").decode()


def numbers_of(out: Path) -> dict[str, object]:
    """What must not depend on the circumstances: result without times, and the digest of the mask."""
    document = json.loads((out / "result.json").read_text("utf-8"))
    for key in ("timing_s", "peak_memory_mb"):
        document.pop(key, None)
    document["provenance"].pop("created")
    document["mask"] = hashlib.sha256((out / "mask.nii.gz").read_bytes()).hexdigest()
    return document


def unfinished_or_whole(out: Path) -> bool:
    """Whether the record is there; if so, all that it lists must be whole."""
    if not (out / "run.json").exists():
        return False
    for name, digest in json.loads((out / "run.json").read_text("utf-8"))["files_sha256"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest, name
    return True


def none_is_half(out: Path) -> None:
    """No file under a final name is torn: each can be read to its end."""
    import gzip

    for path in out.rglob("*"):
        if path.name.startswith(".") or not path.is_file():
            continue  # a temporary name promises nothing
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        elif path.suffix == ".gz":
            gzip.decompress(path.read_bytes())
        elif path.name == "results.csv":
            assert path.read_text("utf-8").endswith("\n")
        elif path.suffix == ".html":
            assert path.read_text("utf-8").rstrip().endswith("</html>")


def require_root(why: str) -> None:
    """Skip, saying why, where only root can set the stage."""
    if os.geteuid() != 0:
        pytest.skip(f"needs root: {why}")
