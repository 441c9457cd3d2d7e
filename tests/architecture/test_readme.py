"""The README tells the truth."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from volumetry.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def test_the_first_block_is_the_two_commands():
    block = re.search(r"```sh\n(.*?)```", README, re.DOTALL).group(1).strip().splitlines()
    assert len(block) == 2
    assert "volumetry check data-sample/" in block[0]
    assert re.search(r"/pytest( |$)", block[1])
    assert (ROOT / re.search(r"check (\S+)", block[0]).group(1)).is_dir()


def test_every_command_of_the_readme_exists_and_every_verb_is_in_it():
    verbs = set(get_command(app).commands)
    named = set(re.findall(r"`volumetry ([a-z]+)", README))  # a name in a table row or in the text
    assert named == verbs


@pytest.mark.parametrize("name", re.findall(r"`(volumetry/[\w./]+|configs/[\w./-]+|\.ci/run)`", README))
def test_every_file_named_in_the_readme_exists(name):
    assert (ROOT / name).exists()


def test_exit_codes_in_the_readme_are_those_of_the_errors():
    from volumetry import errors

    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and hasattr(cls, "exit_code")}
    text = README[README.index("Exit codes:") :].split("\n\n")[0]
    assert codes <= {int(n) for n in re.findall(r"\b(\d+)\b", text)}
