"""Whole volumes from public packages are measured, or refused for what they are; the table is zoo.toml."""

import pytest
from zoo.animals import Chest, measuring_faults, table

from volumetry.config import Config

_, CHESTS, _ = table()


@pytest.fixture(scope="module")
def segmenter(roots, config: Config):
    """The shipped model; after `roots`, so that nothing is loaded where there is nothing to measure."""
    from volumetry.segment.network import load_segmenter

    return load_segmenter(config)


@pytest.mark.parametrize("chest", CHESTS, ids=lambda chest: chest.name)
def test_real_volumes_are_measured_or_refused_for_what_they_are(chest: Chest, roots, segmenter):
    assert not measuring_faults(chest, roots[chest.package], segmenter), chest.why
