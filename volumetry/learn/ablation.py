"""What each ingredient of a training buys: short runs that leave one out, judged on the development split.

Short runs say which way an ingredient pulls, not how good the shipped model is.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from volumetry.learn.bank import Bank, build_bank
from volumetry.learn.development import pooled_dice
from volumetry.learn.package import ABLATIONS_TABLE, as_toml
from volumetry.learn.recipe import TrainConfig, load_recipe
from volumetry.learn.train import new_state, prepare, steps

BATCH = 8
Change = dict[str, dict[str, Any]]
ABLATIONS: dict[str, Change] = {
    "everything": {},
    "without the lung window": {"input": {"inputs": ("enhanced",)}},
    "without drawn lesions": {"data": {"synthetic_share": 0.0}},
    "without scans free of disease": {"data": {"scan_share": 0.0}},
}


def ablate(
    config_path: Path,
    out: Path,
    data: Path | None = None,
    run_steps: int = 700,
    report: Callable[[str, dict[str, float]], None] = lambda name, figures: None,
) -> dict[str, Any]:
    """Train each variant for `run_steps` from the same seed and write pooled Dice on held-out slices.

    The table goes beside the run's checkpoint, from where packaging takes it onto the card.

    Parameters
    ----------
    report
        Called with each variant's name and figures.
    """
    config = load_recipe(config_path)
    short = {"steps": run_steps, "warmup_steps": min(50, run_steps // 4), "ema_decay": 0.98}
    short["batch"] = min(BATCH, config.schedule.batch)
    base = _changed(config, {"schedule": short})
    prepare(base.schedule)
    bank = build_bank(base, data or Path(config.data.root))
    table: dict[str, Any] = {"steps": run_steps, "batch": base.schedule.batch}
    for name, change in ABLATIONS.items():
        variant = _changed(base, change)
        table[name] = _run(variant, _mixed(bank, variant))
        report(name, table[name])
        folder = out / f"{config.model.name}-{config.model.version}-run"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ABLATIONS_TABLE).write_text(as_toml(table), "utf-8")
    return table


def _changed(config: TrainConfig, change: Change) -> TrainConfig:
    settings = config.model_dump()
    for section, values in change.items():
        settings[section] |= values
    return TrainConfig.model_validate(settings)


def _mixed(bank: Bank, config: TrainConfig) -> Bank:
    """The same samples in this variant's proportions."""
    data = config.data
    wanted = {"scan": data.scan_share, "synthetic": data.synthetic_share}
    shares = {kind: wanted.get(kind, share) for kind, share in bank.shares.items()}
    return Bank(bank.training, bank.held_out, shares)


def _run(config: TrainConfig, bank: Bank) -> dict[str, float]:
    state = new_state(config, "cpu")
    for _ in steps(config, bank, state, "cpu"):
        pass
    found = pooled_dice(state.average, bank.held_out, config.input_recipe, "cpu")
    return {name: round(value, 4) for name, value in found.items()}
