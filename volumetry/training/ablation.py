"""What each ingredient of a training buys: the trained network is trained further without it.

All variants start from the run's own checkpoint, with the same seed, steps and learning rate, and are judged on
the development split. That says what leaving an ingredient out undoes, not how a network would be that never had
it: from scratch, runs short enough to repeat do not learn lesions at all.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from volumetry.training.card import as_toml
from volumetry.training.checkpoint import CHECKPOINT, load_checkpoint
from volumetry.training.chest_slices import PATTERNS
from volumetry.training.config import TrainConfig, load_recipe
from volumetry.training.dataset import SCAN, SYNTHETIC, Bank, build_bank
from volumetry.training.faint import FAINT
from volumetry.training.filled import FILLED
from volumetry.training.held_out_metrics import pooled_dice
from volumetry.training.package import ABLATIONS_TABLE
from volumetry.training.samples import Sample, Truth
from volumetry.training.train import new_state, prepare, steps

Change = dict[str, dict[str, Any]]
NO_WINDOW = "without the lung window"
ONLY_ENHANCED: Change = {"augment": {"only_enhanced": 1.0, "only_window": 0.0}}
DRAWN = frozenset({SYNTHETIC, FILLED, FAINT, PATTERNS})
ABLATIONS: dict[str, frozenset[str]] = {
    "everything": frozenset(),
    NO_WINDOW: frozenset(),
    "without drawn lesions": DRAWN,
    "without filled parts of lungs": frozenset({FILLED}),
    "without undrawn slices of scans": frozenset({SCAN}),
}
"""The piles that are left out."""
LEARNING_RATE = 5e-4


def ablate(
    config_path: Path,
    out: Path,
    data: Path | None = None,
    run_steps: int = 250,
    report: Callable[[str, dict[str, float]], None] = lambda name, figures: None,
) -> dict[str, Any]:
    """Continue a run's checkpoint with each variant and write pooled Dice on held-out slices.

    All draw what the last round draws. The table goes beside the checkpoint; packaging takes it onto the card.

    Parameters
    ----------
    config_path
        The run's training configuration.
    out
        Where the run lies, as for `train`.
    data
        Data root, instead of the configuration's.
    run_steps
        Optimiser steps for each variant.
    report
        Called with each variant's name and figures.

    Returns
    -------
    dict[str, Any]
        Steps, learning rate, and the figures of each variant by its name.

    Raises
    ------
    OutputError
        If the checkpoint belongs to another configuration.
    """
    config = load_recipe(config_path)
    run = out / f"{config.model.name}-{config.model.version}-run"
    own = {"steps": run_steps, "learning_rate": LEARNING_RATE, "from_mean_of": 0}
    last = config.schedule.rounds[-1].model_dump() | own
    short = {"rounds": [last], "warmup_steps": run_steps // 5, "ema_decay": 0.98, "average_rounds": 1}
    base = _changed(config, {"schedule": short})
    prepare(base.schedule)
    bank = build_bank(base, data or Path(config.data.root), last["exact_window"])
    table: dict[str, Any] = {"steps": run_steps, "learning_rate": LEARNING_RATE}
    drawn = {pile for pile, share in (bank.shares | last["shares"]).items() if share}
    for name, without in ABLATIONS.items():
        if without and not without & drawn:
            continue  # the last round does without it anyway
        variant = _changed(base, ONLY_ENHANCED) if name == NO_WINDOW else base
        judged = [
            replace(s, grey_ji={"enhanced": s.grey_ji["enhanced"]})
            for s in bank.held_out
            if "enhanced" in s.grey_ji
        ]
        samples: Sequence[Sample] = judged if name == NO_WINDOW else bank.held_out
        table[name] = _run(config, variant, run / CHECKPOINT, left_of(bank, without), samples)
        report(name, table[name])
        (run / ABLATIONS_TABLE).write_text(as_toml(table), "utf-8")
    return table


def _changed(config: TrainConfig, change: Change) -> TrainConfig:
    settings = config.model_dump()
    for section, values in change.items():
        settings[section] |= values
    return TrainConfig.model_validate(settings)


def _run(
    config: TrainConfig, variant: TrainConfig, checkpoint: Path, bank: Bank, judged: Sequence[Sample]
) -> dict[str, float]:
    trained, state = new_state(config, "cpu"), new_state(variant, "cpu")
    load_checkpoint(checkpoint, trained, (config.sha256,))
    state.network.load_state_dict(trained.average.state_dict())
    state.average.load_state_dict(trained.average.state_dict())
    for _ in steps(variant, bank, state, "cpu"):
        pass
    found = pooled_dice(state.average, judged, variant.input_recipe, "cpu")
    return {name: round(value, 4) for name, value in found.items()}


def left_of(bank: Bank, without: frozenset[str]) -> Bank:
    """The bank without some piles; the shares of the others keep their proportions.

    Without undrawn slices of scans, those that happened to get no lesion go from the other piles as well.
    """
    training = tuple(
        sample
        for sample in bank.training
        if sample.kind not in without
        and not (SCAN in without and sample.kind in DRAWN and not (sample.truth_ji & Truth.LESION).any())
    )
    shares = {kind: share for kind, share in bank.shares.items() if kind not in without}
    return Bank(training, bank.held_out, shares)
