"""A mask that was saved mirrored is refused; whatever a reader adds or removes is not taken for a mirror image."""

import numpy as np
import pytest

from volumetry.domain import FLUID, Tissue
from volumetry.remeasure.lattice import EditedMaskError
from volumetry.remeasure.mirrored import refuse_mirrored


def lungs():
    """A right lung larger than the left, both nearer to front and feet than to back and head."""
    labels = np.zeros((40, 80, 100), np.uint8)
    labels[4:34, 12:60, 8:44] = Tissue.AERATED
    labels[6:34, 16:60, 56:88] = Tissue.AERATED
    return labels


@pytest.mark.parametrize(
    ("axes", "named"), [((0,), "k"), ((1,), "j"), ((2,), "i"), ((1, 2), "j and i"), ((0, 1, 2), "k and j and i")]
)
def test_mirrored_voxels_are_refused_with_their_axes(axes, named):
    with pytest.raises(EditedMaskError, match=f"mirrored along {named} of the array") as stop:
        refuse_mirrored(np.flip(lungs(), axes), lungs())
    assert "editor" in stop.value.hint


def test_a_reader_may_add_and_remove_what_he_wants():
    automatic = lungs()
    one_lung = automatic.copy()
    one_lung[:, :, 50:] = Tissue.OUTSIDE
    refuse_mirrored(automatic, one_lung)  # the other lung was missed, for it is full of consolidation
    refuse_mirrored(one_lung, automatic)
    moved = automatic.copy()
    moved[4:34, 12:60, 8:26] = Tissue.SOLID
    found = automatic.copy()
    found[6:34, 16:60, 72:88] = Tissue.SOLID
    refuse_mirrored(moved, found)  # disease of the other side alone
    flooded = automatic.copy()
    flooded[4:20, 40:60, 8:44] = FLUID
    refuse_mirrored(flooded, automatic)
    refuse_mirrored(np.zeros_like(automatic), automatic)
