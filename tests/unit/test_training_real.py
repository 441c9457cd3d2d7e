"""Training truth and the shipped model on real slices; expected values are readers' masks and flags."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from volumetry.config import load_config
from volumetry.domain import Grid
from volumetry.segment.network import load_segmenter
from volumetry.segment.preprocess import InputRecipe
from volumetry.training.evaluate import evaluate
from volumetry.training.shown import on_network_grid
from volumetry.training.threshold_lungs import threshold_lungs

pytestmark = pytest.mark.real_data


@pytest.mark.parametrize("name", ["id001", "id002", "id003"])
def test_threshold_lungs_agree_with_given_masks(shared: Path, name: str) -> None:
    image, mask = (
        sitk.ReadImage(str(shared / f"data/lungs/{name}-128x128x64{end}.nii.gz")) for end in ("", "-msk")
    )
    grid = Grid((64, 128, 128), image.GetSpacing()[::-1], direction_lps=((0, 0, 1), (0, -1, 0), (1, 0, 0)))
    recipe = InputRecipe(spacing_mm=3.0)
    hu, spacing = on_network_grid(
        np.clip(sitk.GetArrayFromImage(image), -1024, 3071).astype(np.float32), grid, recipe
    )
    given, _ = on_network_grid((sitk.GetArrayFromImage(mask) > 127).astype(np.float32), grid, recipe)
    found, drawn = threshold_lungs(hu, spacing), given > 0.5
    assert 2 * (found & drawn).sum() / (found.sum() + drawn.sum()) > 0.9


def test_the_shipped_model_on_patients_it_never_saw(shared: Path) -> None:
    """The issue's figures for a first model: lung 0.97, lesion 0.70, on two patients that were held out."""
    segmenter = load_segmenter(load_config(overrides={"segment": {"device": "cpu"}}))
    result = evaluate(shared / "data/slices/ma20", segmenter, cases=("case06", "case18"))
    assert result["cases_in_training"] == []
    assert result["pooled"]["dice"]["lung"] >= 0.97
    assert result["pooled"]["dice"]["lesion"] >= 0.70
