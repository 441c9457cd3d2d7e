"""The shape of the program is a test."""

import os
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_imports_run_downhill():
    done = subprocess.run(  # noqa: S603  our own contract
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["--version"]])
def test_help_needs_no_torch(arguments):
    script = (
        "import sys\nfrom volumetry.cli import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit as end:\n    assert not end.code\n"
        "heavy = {'torch', 'monai', 'SimpleITK', 'skimage', 'pandas', 'scipy', 'pydicom'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)  # noqa: S603  our own program


def test_a_module_lying_in_the_current_folder_is_not_imported(tmp_path):
    for name in ("pydicom", "numpy", "dl", "json"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the current folder')")
    command = [Path(sys.executable).with_name("volumetry"), "inspect", str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=dict(os.environ))  # noqa: S603  our own program
    assert done.returncode == 3, done.stderr
    assert "current folder" not in done.stderr + done.stdout


def test_no_copyleft_package_is_needed_at_run_time():
    wanted = {"torch", "monai", "simpleitk", "pydicom", "numpy", "scikit-image", "nibabel", "pylibjpeg"}
    wanted |= {"pylibjpeg-openjpeg", "pylibjpeg-rle", "pyjpegls", "pillow", "safetensors", "typer", "pydantic"}
    wanted |= {"rich", "matplotlib"}
    seen = set()
    for package in distributions():
        name = package.metadata["Name"].lower()
        assert name not in ("python-gdcm", "pylibjpeg-libjpeg")
        if name in wanted:
            seen.add(name)
            licence = " ".join(
                [package.metadata.get("License-Expression") or "", *(package.metadata.get_all("Classifier") or [])]
            )
            assert "GPL" not in licence.replace("LGPL", "GPL"), f"{name}: {licence}"
    assert seen == wanted


def test_public_functions_are_documented():
    import importlib
    import inspect

    for room in ("scan", "measure", "quality", "deliver", "batch", "phantom"):
        module = importlib.import_module(f"volumetry.{room}")
        assert len(set(module.__all__)) == len(module.__all__), room
        for name in module.__all__:
            public = getattr(module, name)
            if callable(public):  # a constant's comment is for the reader of the source
                assert inspect.getdoc(public), f"{room}.{name} is public and undocumented"
