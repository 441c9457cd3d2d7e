"""README and documentation keep what they promise."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from volumetry.cli import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = {path.name: path.read_text("utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
TEXTS = {"README.md": README, **PAGES}
COMMANDS = get_command(app).commands


def _code(text: str) -> str:
    """The fenced blocks of a page and its code within lines."""
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)
    rest = re.sub(r"^ *```.*?^ *```", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join([*blocks, *re.findall(r"`([^`]+)`", rest)])


def test_the_first_block_is_the_two_commands():
    block = re.search(r"```sh\n(.*?)```", README, re.DOTALL).group(1).strip().splitlines()
    assert len(block) == 2
    assert "volumetry check data-sample/" in block[0]
    assert re.search(r"/pytest( |$)", block[1])
    assert (ROOT / re.search(r"check (\S+)", block[0]).group(1)).is_dir()


def test_the_readme_is_short_and_states_the_intended_use():
    assert len(README.splitlines()) <= 130
    assert re.search(r"not a\s+medical\s+device", README)
    assert "non-commercial" in README


def test_the_picture_of_the_report_is_small():
    named = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert len(named) == 1
    assert 0 < (ROOT / named[0]).stat().st_size < 250_000


@pytest.mark.parametrize("page", TEXTS)
def test_every_command_line_exists_with_its_options(page):
    for verb, rest in re.findall(r"(?<![\w/.-])(?<!import )volumetry ([a-z]+)\b([^\n]*)", _code(TEXTS[page])):
        assert verb in COMMANDS, f"{page}: volumetry {verb}"
        known = {name for p in COMMANDS[verb].params for name in (*p.opts, *p.secondary_opts)} | {"--help"}
        line = rest.split("&&")[0]
        assert set(re.findall(r"(?<!\S)(--[a-z-]+)", line)) <= known, f"{page}: volumetry {verb}{rest}"


def test_every_command_is_explained_in_a_guide():
    explained = {
        verb for text in TEXTS.values() for verb in re.findall(r"(?<!import )volumetry ([a-z]+)\b", _code(text))
    }
    assert explained == set(COMMANDS)


@pytest.mark.parametrize("page", TEXTS)
def test_every_file_named_exists(page):
    named = re.findall(
        r"`((?:volumetry|configs|tests|docs|models|data-sample|\.ci|\.github)/[\w./-]+|pyproject\.toml)`",
        TEXTS[page],
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_to_a_file(page):
    folder = ROOT if page == "README.md" else ROOT / "docs"
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", TEXTS[page])
    local = [t for t in targets if not t.startswith(("http://", "https://"))]
    assert [t for t in local if not (folder / t).exists()] == []


def test_python_of_the_readme_uses_public_names_alone():
    import volumetry

    block = re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1)
    compile(block, "README.md", "exec")
    assert set(re.findall(r"\bv\.(\w+)", block)) <= set(volumetry.__all__)


def test_exit_codes_of_the_documentation_are_those_of_the_errors():
    from volumetry import errors

    codes = {cls.exit_code for cls in vars(errors).values() if isinstance(cls, type) and hasattr(cls, "exit_code")}
    table = PAGES["operations.md"].split("## Exit codes")[1].split("\n## ")[0]
    listed = {int(n) for cell in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for n in cell.split(",")}
    assert codes | {0, 8, 130, 143} == listed


def test_extras_of_the_documentation_are_those_of_the_project():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    table = PAGES["install.md"].split("## Extras")[1].split("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == set(extras)


def test_packages_of_the_architecture_page_are_the_layers():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = [name.strip() for layer in contracts[0]["layers"] for name in layer.split("|")]
    table = PAGES["architecture.md"].split("| packages |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(rows))) == sorted(layers)
