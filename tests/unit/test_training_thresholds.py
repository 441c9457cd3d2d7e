"""The lesion's cut on a model's card: as many small scans come out too large as too small."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from volumetry.segment.thresholds import SCANS, SLICES, Cuts
from volumetry.training.calibration import Block, balance
from volumetry.training.calibration_scans import KIND as DRAWN
from volumetry.training.lesion_cuts import solid_cut, unbiased_cuts
from volumetry.training.samples import AERATED, GROUND_GLASS, SOLID, SOME_LESION, Sample
from volumetry.training.small_scans import ENOUGH_BLOCKS

SIDE = 40
RAMP = np.tile(np.linspace(0, 255, SIDE).round().astype(np.uint8), (SIDE, 1))


@dataclass
class Copyist:
    """Lung everywhere; the grey level is the lesion's probability, and its square that of solid."""

    cuts: dict[str, Cuts] = field(default_factory=lambda: dict.fromkeys((SCANS, SLICES), Cuts(0.5, 0.5, 0.5)))

    def probabilities(self, pictures, mirrored=False) -> np.ndarray:
        grey = pictures[0].of("enhanced")
        return np.stack([np.ones_like(grey), grey, grey**2])[None]


def cases(begins: float, count: int, scan: bool, seen: bool = True, rows: int = SIDE) -> list[Sample]:
    """Cases of two slices: grey from 0 to 1, lesion above `begins` in some rows; or blank. Both pictures."""
    truth = np.full(RAMP.shape, int(AERATED), np.uint8)
    truth[:rows][RAMP[:rows] >= 255 * begins] = int(SOME_LESION)
    grey = RAMP if seen else np.zeros_like(RAMP)
    return [
        Sample(
            {"enhanced": grey, "window": grey},
            truth,
            DRAWN if scan else "prints",
            f"{scan} {begins} {seen} {n}",
            str(k),
        )
        for n in range(count)
        for k in range(2)
    ]


def test_each_world_gets_the_cut_at_which_its_middle_block_has_its_true_area() -> None:
    """Lesions of scans begin at 0.65 of the ramp, of slices at 0.4; some that nobody sees move nothing."""
    missed = cases(0.65, 3, scan=True, seen=False)
    both = cases(0.65, ENOUGH_BLOCKS, scan=True) + cases(0.4, ENOUGH_BLOCKS, scan=False)
    cuts = unbiased_cuts(Copyist(), both + missed)
    assert cuts == pytest.approx({SCANS: 0.65, SLICES: 0.4}, abs=1 / SIDE)


def test_drawn_lesions_that_nobody_finds_and_the_number_of_draws_move_nothing() -> None:
    """In some rows lesion is as dark as its surroundings; one chest is drawn into thrice as often."""

    def with_faint(begins: float, count: int, chest: str) -> list[Sample]:
        made = cases(begins, count, scan=True)
        for sample in made:
            sample.truth_ji[-8:] = int(AERATED)
            sample.truth_ji[-3:, : SIDE // 2] = int(SOME_LESION)
        dark = RAMP.copy()
        dark[-8:] = 0
        grey = {"enhanced": dark, "window": dark}
        return [replace(sample, grey_ji=grey, group=f"{chest} {sample.group}") for sample in made]

    both = with_faint(0.6, ENOUGH_BLOCKS, "a") + with_faint(0.7, 3 * ENOUGH_BLOCKS, "b")
    assert unbiased_cuts(Copyist(), both)[SCANS] == pytest.approx(0.65, abs=1 / SIDE)


def test_few_blocks_or_a_strange_network_do_not_carry_it_away() -> None:
    assert unbiased_cuts(Copyist(), cases(0.65, ENOUGH_BLOCKS - 1, scan=True)) == {SCANS: 0.5, SLICES: 0.5}
    assert unbiased_cuts(Copyist(), cases(0.95, ENOUGH_BLOCKS, scan=True))[SCANS] == 0.5
    assert unbiased_cuts(Copyist(), cases(0.05, ENOUGH_BLOCKS, scan=True))[SCANS] == 0.5


def test_lesions_too_small_for_a_relative_error_are_left_out() -> None:
    small = cases(0.65, ENOUGH_BLOCKS, scan=True, rows=2)
    assert 0 < np.mean(small[0].truth_ji == int(SOME_LESION)) < 0.02
    assert unbiased_cuts(Copyist(), small)[SCANS] == 0.5


def divided(begins: float, solid_from: float) -> list[Sample]:
    """A slice whose lesion a reader divided."""
    (one, _) = cases(begins, 1, scan=False)
    for level, tissue in ((begins, GROUND_GLASS), (solid_from, SOLID)):
        one.truth_ji[255 * level <= RAMP] = int(tissue)
    return [one]


def test_solid_begins_in_slices_where_readers_let_as_much_of_the_lesion_be_solid() -> None:
    """From grey levels 0.6 and 0.8 on, half of the slices each: 0.7 together, of which the square is the cut."""
    slices = divided(0.3, 0.6) + divided(0.3, 0.8)
    undivided = cases(0.1, 3, scan=False)
    assert solid_cut(Copyist(), slices + undivided) == {SLICES: pytest.approx(0.7**2, abs=2 / SIDE)}


@pytest.mark.parametrize("samples", [[], cases(0.4, 2, scan=False), divided(0.3, 0.3)])
def test_without_readers_who_divide_a_lesion_the_card_says_nothing_of_solid(samples) -> None:
    assert solid_cut(Copyist(), samples) == {}


@pytest.mark.parametrize(("level", "cut"), [(0.4, 0.25), (0.95, 0.75)])
def test_the_cut_of_solid_stops_at_its_limits(level: float, cut: float) -> None:
    """Their squares, 0.16 and 0.9, lie beyond."""
    assert solid_cut(Copyist(), divided(0.1, level)) == {SLICES: cut}


def test_blocks_that_came_out_too_large_are_counted_by_kind() -> None:
    """Of three lesions of 10 % one is too large; one of 1 % says too little to be counted."""
    shares = [("a", 11.0, 10.0), ("a", 9.0, 10.0), ("a", 5.0, 1.0), ("b", 9.0, 10.0)]
    blocks = [Block(kind, "", {"lesion": found}, {"lesion": true}, {}) for kind, found, true in shares]
    assert balance(blocks) == {"a": {"blocks": 2, "too_large": 1}, "b": {"blocks": 1, "too_large": 0}}
