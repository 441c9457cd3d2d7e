"""What is true of every tidied map."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scenes import AXIAL, ball, chest, scan_of

from volumetry.config import load_config
from volumetry.domain import Tissue, TissueMap
from volumetry.segment.postprocess import tidy

CONFIG = load_config()


@st.composite
def messy_chests(draw):
    """A chest with balls of any class thrown in."""
    hu, truth = chest()
    labels = truth.labels_kji.copy()
    for _ in range(draw(st.integers(0, 5))):
        centre = tuple(draw(st.integers(2, n - 3)) for n in AXIAL.shape_kji)
        blob = ball(AXIAL, centre, draw(st.floats(1, 40)))
        kind = draw(st.sampled_from([Tissue.OUTSIDE, Tissue.AERATED, Tissue.GROUND_GLASS, Tissue.SOLID]))
        labels[blob] = kind
        hu[blob] = {0: 40, 1: -850, 2: -600, 3: 40}[int(kind)]
    return TissueMap(labels, AXIAL), scan_of(hu)


@settings(max_examples=25, deadline=None)
@given(messy_chests())
def test_tidying_twice_is_tidying_once(case):
    messy, scan = case
    once = tidy(messy, scan, CONFIG.tidy)
    twice = tidy(once, scan, CONFIG.tidy)
    assert np.array_equal(once.labels_kji, twice.labels_kji)


@settings(max_examples=25, deadline=None)
@given(messy_chests())
def test_every_lung_voxel_has_a_side_and_no_other_has(case):
    tidied = tidy(*case, CONFIG.tidy)
    assert np.array_equal(tidied.side_kji > 0, tidied.labels_kji > 0)


@settings(max_examples=25, deadline=None)
@given(messy_chests())
def test_what_was_dropped_and_filled_accounts_for_the_change(case):
    messy, scan = case
    tidied = tidy(messy, scan, CONFIG.tidy)
    before, after = (np.count_nonzero(m.labels_kji) * AXIAL.voxel_ml for m in (messy, tidied))
    dropped = tidied.dropped_ml
    moved = dropped["holes_filled_ml"] - dropped["outside_lungs_ml"]
    assert np.isclose(after - before, moved)
