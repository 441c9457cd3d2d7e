"""What a GPU does instead of the CPU, here on torch's CPU: the same labels."""

import numpy as np
import pytest

from volumetry.segment.on_the_card import labelled_planes, shrunk
from volumetry.segment.resampling import native_planes, shrink
from volumetry.segment.thresholds import Cuts, labelled

CUTS = Cuts(0.5, 0.4, 0.6)


@pytest.mark.parametrize(
    ("coarse", "native", "box"),
    [
        ((5, 40, 44), (9, 75, 81), (slice(4, 70), slice(0, 81))),
        ((6, 30, 30), (6, 30, 30), (slice(0, 30), slice(0, 30))),
        ((8, 60, 50), (4, 33, 41), (slice(2, 33), slice(5, 40))),
        ((1, 20, 20), (3, 41, 37), (slice(0, 41), slice(0, 37))),
    ],
    ids=["growing", "the same grid", "shrinking", "one slice"],
)
def test_labels_are_those_of_the_cpu_but_for_voxels_at_a_threshold(coarse, native, box):
    random = np.random.default_rng(3)
    channels = random.uniform(0, 1, (3, *coarse)).astype(np.float16)
    wanted = np.stack([labelled(plane, CUTS) for plane in native_planes(channels, native, box)])
    planes = list(native_planes(channels, native, box))
    near = np.stack(
        [np.abs(p - np.array([CUTS.lung, CUTS.lesion, CUTS.solid])[:, None, None]).min(0) for p in planes]
    )
    found = np.stack(list(labelled_planes(channels, native, box, CUTS, "cpu")))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[near > 1e-5], wanted[near > 1e-5])
    assert np.mean(near > 1e-5) > 0.999
    assert len(np.unique(wanted)) == 4


@pytest.mark.parametrize(
    ("native", "network"),
    [
        ((70, 96, 90), (35, 48, 45)),
        ((9, 75, 81), (9, 40, 44)),
        ((40, 33, 41), (17, 60, 50)),
        ((3, 20, 20), (3, 20, 20)),
    ],
    ids=["thin slices", "slices kept", "growing in plane", "the same grid"],
)
def test_the_network_sees_the_hu_that_it_sees_on_the_cpu(native, network):
    hu = np.random.default_rng(4).uniform(-1024, 3071, native).astype(np.float32)
    found = shrunk(hu[::-1], network, "cpu")  # a view with a stride below 0, as an axial view may be
    assert found.shape == network
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, shrink(hu[::-1], network), atol=0.01)
