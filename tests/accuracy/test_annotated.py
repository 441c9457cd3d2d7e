"""The shipped model on the slices that we annotated: it reaches the figures that the validation page states."""

import re
from pathlib import Path

import pytest

import volumetry as v
from volumetry.training.annotate.__main__ import ANNOTATED
from volumetry.training.annotate.report import report

PAGE = Path(__file__).resolve().parents[2] / "docs" / "validation.md"
ROW = re.compile(r"^\| `(\S+)` \| \d+ \|(.*)\|$", re.MULTILINE)
COLUMNS = ("lung", "lesion", "ground_glass", "solid")


def _stated(name: str) -> dict[str, float]:
    section = PAGE.read_text("utf-8").split("## Slices annotated in this project\n")[1].split("\n## ")[0]
    cells = [float(cell) for cell in dict(ROW.findall(section))[name].split("|")]
    return dict(zip((*COLUMNS, "lesion_true", "lesion_found", "slice_error"), cells, strict=True))


@pytest.mark.real_data
@pytest.mark.parametrize("name", ["ricord-000082"])
def test_the_page_states_what_the_model_reaches(shared, tmp_path, name):
    """One scan of the four, the one with most ground glass: whole scans take minutes."""
    text = (ANNOTATED / "annotated.toml").read_text("utf-8")
    (only,) = [part for part in text.split("[[scan]]") if f'name = "{name}"' in part]
    (tmp_path / "annotated.toml").write_text(f"[[scan]]{only}")
    (tmp_path / f"{name}.nii.gz").symlink_to(ANNOTATED / f"{name}.nii.gz")
    config = v.load_config(overrides={"segment": {"device": "cpu", "precision": "fp32"}})
    found = report(shared / "data", tmp_path, v.load_segmenter(config), config)["pooled"]
    stated = _stated(name)
    for part in COLUMNS:
        assert found["dice"][part] == pytest.approx(stated[part], abs=0.005), part
    assert found["lesion_true_percent"] == pytest.approx(stated["lesion_true"], abs=0.006)
    assert found["lesion_found_percent"] == pytest.approx(stated["lesion_found"], abs=0.05)
    assert found["slice_error_points"]["lesion"]["mean_absolute"] == pytest.approx(stated["slice_error"], abs=0.05)
    assert found["dice"]["lung"] > 0.97
    assert found["dice"]["lesion"] > 0.75
