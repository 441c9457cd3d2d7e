"""The packages of the zoo, unpacked; what needs them is skipped where they are not."""

import os
from pathlib import Path

import pytest
from zoo.animals import unpacked


@pytest.fixture(scope="session")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Folder of each package that zoo.toml names."""
    packages = os.environ.get("VOLUMETRY_ZOO")
    if not packages or not any(Path(packages).glob("*")):
        pytest.skip("the packages of tests/zoo are not here (VOLUMETRY_ZOO): .ci/run fetches them")
    return unpacked(Path(packages), tmp_path_factory.mktemp("zoo"))
