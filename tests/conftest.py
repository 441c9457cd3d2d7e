"""Fixtures that several rooms share."""

import os
from pathlib import Path

import pytest

from volumetry.config import Config, load_config

# The secret of patients' digests: without it, every `check` of a test would make one in the user's home.
os.environ.setdefault("VOLUMETRY_PATIENT_SALT", "a secret of the tests alone")
if "PYTEST_XDIST_WORKER" in os.environ:  # each process has a core; more threads only wait for each other
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ.setdefault(name, "1")
REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def config() -> Config:
    """The shipped defaults."""
    return load_config()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Where the real data lie that never enter the project."""
    folder = Path(os.environ.get("VOLUMETRY_SHARED", REPOSITORY.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("the real data are not on this machine (VOLUMETRY_SHARED)")
    return folder
