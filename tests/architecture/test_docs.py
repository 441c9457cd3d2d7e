"""The generated pages of the documentation are complete, and its figures and notebook are those of the program."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
from docs_generator import generate
from pydantic import BaseModel
from typer.main import get_command

from volumetry.cli import app
from volumetry.codes import CATALOGUE
from volumetry.config import Config
from volumetry.deliver import result_schema
from volumetry.deliver.dicom.concepts import FLUID
from volumetry.deliver.row import columns
from volumetry.trial.config import TrialConfig

ROOT = Path(__file__).resolve().parents[2]
_WITH_BOTH_NAMES = ("What the numbers mean", "Send the result to the PACS")
VALIDATION = (ROOT / "docs" / "validation.md").read_text("utf-8")


def _rows(page: str) -> dict[str, list[str]]:
    """Cells of every table row of a page by the name in its first cell."""
    found = {}
    for line in page.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells and cells[0].startswith("`"):
            found[cells[0].strip("`")] = cells[1:]
    return found


def test_every_generated_part_has_its_place_in_one_page():
    pages = "".join(path.read_text("utf-8") for path in (ROOT / "docs").glob("*.md"))
    assert sorted(re.findall(r"<!-- generated: (\w+) -->", pages)) == sorted(generate.PARTS)
    assert generate.on_page_markdown("a\n<!-- generated: codes -->\n") == f"a\n{generate.codes()}\n"


def test_every_code_has_its_outcomes_and_its_advice():
    rows = _rows(generate.codes())
    assert set(rows) == set(CATALOGUE)
    assert rows["MISSING_SLICES"][:2] == ["refuse", "refuse"]
    assert rows["THICK_SLICES"][:2] == ["flag", "refuse"]
    assert rows["TIMEOUT"][:2] == ["fail", "fail"]
    assert all(cells[3] for cells in rows.values())
    assert rows["MISSING_SLICES"][2] == "site"
    assert "ImagePositionPatient (0020,0032)" in rows["MISSING_SLICES"][3]


@pytest.mark.parametrize(("file", "model"), [("default.toml", Config), ("trial.toml", TrialConfig)])
def test_every_setting_states_its_meaning(file, model):
    text = (ROOT / "configs" / file).read_text("utf-8")
    comments = generate.settings_comments(text)
    known = {("", name) for name, field in model.model_fields.items() if field.annotation in (str,)}
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            known |= {(name, key) for key in field.annotation.model_fields}
    assert {key for key in known if not comments.get(key)} == set()


def test_a_setting_has_its_default_unit_and_limits():
    rows = _rows(generate.settings())
    assert rows["min_lung_ml"][:3] == ["`300.0`", "mL", "above 0"]
    assert rows["component_rule"][:3] == ['`"network"`', "", "`network`, `hu`"]
    assert rows["tilt_deg"][:3] == ["`1.0`", "degrees", "above 0, below 45"]


def test_comments_are_found_behind_above_and_below():
    text = (
        "[a]   # of a\n# above\nx = 1\ny = '#'  # not in quotes\n"
        'z = ["#", "b"]   # behind\n                 # below\n\n# of nothing\n\n[b]\nw = 2\n'
    )
    assert generate.settings_comments(text.replace("'", '"')) == {
        ("a", ""): "of a",
        ("a", "x"): "above",
        ("a", "y"): "not in quotes",
        ("a", "z"): "behind below",
        ("b", ""): "",
        ("b", "w"): "",
    }


def test_every_column_of_the_results_is_in_the_dictionary():
    assert set(columns()) <= set(re.findall(r"`([\w.-]+)`", generate.results()))


def test_the_site_publishes_the_schema_of_the_results():
    """As mkdocs calls the hook: a file beside the pages, with all that every result is checked against."""
    config = SimpleNamespace(
        site_dir="site", use_directory_urls=True, plugins=SimpleNamespace(_current_plugin=None)
    )
    (published,) = generate.on_files([], config)
    assert published.src_uri == generate.SCHEMA
    assert json.loads(published.content_bytes) == result_schema()
    assert f"]({generate.SCHEMA})" in generate.schema()


def test_every_command_is_there_with_every_option():
    page = generate.commands()
    for verb, command in get_command(app).commands.items():
        section = page.split(f"### volumetry {verb}\n")[1].split("\n### ")[0]
        options = {name for p in command.params if p.param_type_name == "option" for name in p.opts} - {"--help"}
        assert options <= set(re.findall(r"--[a-z-]+", section)), verb
        assert f"\nvolumetry {verb} " in section, "its example"


def test_every_public_name_is_documented():
    import volumetry

    page = generate.api()
    for name in set(volumetry.__all__) - {"__version__"}:
        thing = getattr(volumetry, name)
        assert f"::: {thing.__module__}.{thing.__qualname__}\n" in page, name


def _cells(first: str) -> list[str]:
    return next(_values(line) for line in VALIDATION.splitlines() if line.startswith(f"| {first}"))


def _values(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def _with_interval(value: float, limits: list[float]) -> str:
    return f"{value:.3f} ({limits[0]:.3f} to {limits[1]:.3f})"


def test_figures_of_the_validation_page_are_those_of_the_card():
    folder = ROOT / "models" / re.search(r"the shipped model, `([^`]+)`", VALIDATION)[1]
    assert folder.is_dir(), "docs/validation.md describes another model than the one that ships"
    story = tomllib.loads((folder / "card.toml").read_text("utf-8"))["story"]
    metrics = story["metrics"]

    for row, data, names in (
        ("COVID-19-CT-Seg (", "ma20", ("lung", "lesion")),
        ("MedSeg / SIRM, ", "medseg98", ("lesion", "ground_glass", "solid")),
    ):
        cells = _cells(row)
        of = metrics[data]
        assert cells[1] == str(of["slices"])
        assert [c for c in cells[2:] if c not in ("none", "not labelled")] == [
            _with_interval(of[n], of["dice_ci"][n]) for n in names
        ]
    error, limits = metrics["ma20"]["lesion_percent_mae"], metrics["ma20"]["lesion_percent_mae_ci"]
    assert f"is {error:.1f} points ({limits[0]:.1f} to {limits[1]:.1f})" in VALIDATION
    drawn = story["component_rules_dice_on_drawn_lesions"]
    for row, rule in (("network classes", "network"), ("HU cut (", "hu")):
        assert _cells(row)[1:] == [f"{drawn[rule][name]:.3f}" for name in ("ground_glass", "solid")]
    for scan in ("normal-001", "covid-p001", "pneumonia-001"):
        cells, of = _cells(f"`{scan}`"), metrics[scan]
        shares = [
            f"{of[k]:.2f}" for k in ("lesion_percent_without_disease", "lesion_percent_with_disease") if k in of
        ]
        areas = [f"{of['auc_of_lesion_area']:.3f}"] if "auc_of_lesion_area" in of else []
        assert [c.split(" ")[0] for c in cells[2:] if c not in ("none", "not labelled")] == shares + areas
    covered = story["calibration"]["coverage_elsewhere"]
    for row, data, name in (
        ("COVID-19-CT-Seg | lesion", "ma20", "lesion"),
        ("inserted lesions | lesion", "drawn", "lesion"),
        ("inserted lesions | ground glass", "drawn", "ground_glass"),
        ("inserted lesions | solid", "drawn", "solid"),
    ):
        of = covered[data][name]
        assert _cells(row)[-1] == f"{of['covered']} of {of['blocks']}"


def test_the_notebook_runs_and_shows_what_it_gives(tmp_path):
    saved = json.loads(generate.NOTEBOOK.read_text("utf-8"))
    made = tmp_path / "made.ipynb"
    done = subprocess.run(  # noqa: S603  our own notebook
        [sys.executable, "-c", _RUN, str(generate.NOTEBOOK), str(made)], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert _texts(json.loads(made.read_text("utf-8"))) == _texts(saved), (
        "run it again and save it with its outputs"
    )
    pictures = [o for c in saved["cells"] for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert pictures


_RUN = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
resources = {"metadata": {"path": "docs/notebooks"}}
NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
nbformat.write(notebook, sys.argv[2])
"""


def _texts(notebook: dict) -> list[str]:
    """What every cell printed; one text, as the kernel may send it in several pieces."""
    return [
        "".join("".join(o["text"]) for o in cell.get("outputs", []) if o["output_type"] == "stream")
        for cell in notebook["cells"]
    ]


def test_the_guide_gives_both_names_of_pleural_fluid_where_either_is_read():
    """Page and viewer say fluid; SEG and SR have the name of the standard code."""
    guide = (ROOT / "docs" / "radiologist.md").read_text("utf-8")
    numbers, archive = (guide.split(f"\n## {title}\n")[1].split("\n## ")[0] for title in _WITH_BOTH_NAMES)
    for part in (numbers, archive):
        assert "pleural fluid" in part.casefold()
        assert FLUID.meaning in " ".join(part.split())
    assert FLUID.value in archive
