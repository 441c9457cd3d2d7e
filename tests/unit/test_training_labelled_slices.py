"""Folders of labelled slices, and what their labels can and cannot tell."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from slice_folders import write_dataset

from volumetry.errors import InputError
from volumetry.training.labelled_slices import case_of, open_slices
from volumetry.training.samples import Truth, targets

ROW = np.array([[0, 1, 2]], np.uint8)


@pytest.mark.parametrize(
    ("labels", "known", "value", "told"),
    [
        ({1: "lung", 2: "lesion"}, {"lung", "lesion"}, ["000", "100", "110"], ["111", "111", "110"]),
        (
            {1: "ground_glass", 2: "solid"},
            {"lesion", "ground_glass", "solid"},
            ["000", "110", "111"],
            ["011", "111", "111"],
        ),
        ({1: "lung"}, {"lung"}, ["000", "100"], ["100", "100"]),
        ({1: "solid"}, {"solid"}, ["000", "111"], ["000", "111"]),
    ],
    ids=["one lesion class", "two classes, no lung", "lung alone", "solid alone"],
)
def test_what_is_not_drawn_is_not_known(tmp_path: Path, labels, known, value, told) -> None:
    """Per label value 0, 1, 2: what each of lung, lesion, solid is, and whether it is known."""
    folder = open_slices(write_dataset(tmp_path / "set", labels, {"a_1": ROW[:, : len(value)]}))
    assert folder.known == known
    ((name, _, truth),) = folder
    assert name == "a_1"
    found, sure = targets(truth[None])
    for column in range(len(value)):
        assert "".join(str(int(x)) for x in sure[0, :, 0, column]) == told[column]
        for x, expected, is_known in zip(found[0, :, 0, column], value[column], told[column], strict=True):
            assert is_known == "0" or int(x) == int(expected)


def test_webp_and_palettes_keep_their_label_values(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path / "set", {1: "lung", 2: "lesion"}, {"c_1": ROW}, ".webp")
    palette = Image.fromarray(ROW).convert("P")
    palette.putdata(ROW.ravel().tolist())
    palette.putpalette([255, 255, 255, 9, 9, 9, 80, 80, 80])
    (folder / "labels" / "c_1.webp").unlink()
    palette.save(folder / "labels" / "c_1.png")
    ((_, picture, truth),) = open_slices(folder)
    np.testing.assert_array_equal(picture, [[150, 70, 110]])
    np.testing.assert_array_equal(truth & Truth.LESION > 0, [[False, False, True]])


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda f: (f / "dataset.toml").unlink(), "cannot read .*dataset.toml: No such file"),
        (lambda f: (f / "dataset.toml").write_text('name = "x"'), "dataset.toml: labels: Field required"),
        (lambda f: (f / "dataset.toml").write_text("[labels"), "dataset.toml is not valid TOML"),
        (lambda f: (f / "dataset.toml").write_text('name = "x"\n[labels]\n1 = "tumour"\n'), "tumour"),
        (lambda f: (f / "labels" / "a.png").unlink(), "1 images have no label, the first is a"),
        (lambda f: (f / "labels" / "a.png").write_bytes(b"no picture"), "not a readable picture"),
        (lambda f: Image.fromarray(np.full((1, 3), 7, np.uint8)).save(f / "labels" / "a.png"), "label 7"),
        (
            lambda f: Image.fromarray(np.zeros((2, 3), np.uint8)).save(f / "labels" / "a.png"),
            r"its label \(2, 3\)",
        ),
        (lambda f: (f / "images" / "a.png").unlink(), "no PNG or WebP"),
    ],
)
def test_a_broken_folder_stops_with_its_reason(tmp_path: Path, damage, says: str) -> None:
    folder = write_dataset(tmp_path / "set", {1: "lung", 2: "lesion"}, {"a": ROW})
    damage(folder)
    with pytest.raises(InputError, match=says):
        list(open_slices(folder))


def test_a_case_is_the_name_before_the_underscore() -> None:
    assert [case_of(name) for name in ("case01_007", "case01_008_b", "023")] == ["case01", "case01", "023"]
