"""The model folder of a coarse chest network: weights, probe, and a card with its figures."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from volumetry.segment.card import CARD
from volumetry.segment.thorax import Region, stride_of, two_windows
from volumetry.segment.thorax_weights import load_context, read_context_card, verify_context_probe
from volumetry.training.card import as_toml, stored
from volumetry.training.thorax.chests import Chest
from volumetry.training.thorax.config import ThoraxConfig
from volumetry.training.thorax.evaluate import coarse_figures, drawn_figures

PROBE_SEED = 7
PROBE_SIDES = 2
"""Strides of the network along each side of the probe."""


def write_thorax_folder(out: Path, config: ThoraxConfig, network: nn.Module, judged: Sequence[Chest]) -> Path:
    """Write ``<name>-<version>/`` and load it back as a user would.

    Parameters
    ----------
    out
        Where the folder goes.
    config
        Of the training run.
    network
        In evaluation mode.
    judged
        The chests that were held out; their figures go on the card.

    Returns
    -------
    Path
        Of the model.
    """
    folder = out / f"{config.model.name}-{config.model.version}"
    folder.mkdir(parents=True, exist_ok=True)
    network = network.to("cpu").eval()
    hu = torch.from_numpy(drawn_probe(PROBE_SIDES * stride_of(config.model.channels)))[None]
    with torch.inference_mode():
        probabilities = torch.softmax(network(two_windows(hu)), 1)
    card = {
        "name": config.model.name,
        "version": config.model.version,
        "architecture": {
            "name": config.model.architecture,
            "channels": list(config.model.channels),
            "outputs": [region.name.lower() for region in Region],
            "coarse_mm": config.model.coarse_mm,
        },
        "weights": stored(folder / "model.safetensors", network.state_dict()),
        "probe_input": stored(folder / "probe_input.safetensors", {"hu": hu}),
        "probe_output": stored(folder / "probe_output.safetensors", {"probabilities": probabilities}),
        "training_cases": [chest.name for chest in config.data.chests if not chest.held_out],
        "held_out_cases": [chest.name for chest in config.data.chests if chest.held_out],
        "story": _story(config, network, judged),
    }
    (folder / CARD).write_text(as_toml(card), "utf-8")
    verify_context_probe(load_context(folder, read_context_card(folder)))
    return folder


def drawn_probe(side: int) -> NDArray[np.float32]:
    """A cube of HU with a body, two lungs and noise, so that no patient travels with the model."""
    k, j, i = (
        np.linspace(-1, 1, side, dtype=np.float32).reshape(shape) for shape in ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
    )
    hu = np.where(j**2 / 0.64 + i**2 / 0.9 < 1, 40, -1000) + 0 * k
    for side_of_body in (-1, 1):
        hu = np.where(k**2 / 0.7 + j**2 / 0.4 + (i - 0.45 * side_of_body) ** 2 / 0.1 < 1, -850, hu)
    noise = np.random.default_rng(PROBE_SEED).normal(0, 20, hu.shape)
    return (hu + noise).astype(np.float32)


def _story(config: ThoraxConfig, network: nn.Module, judged: Sequence[Chest]) -> dict[str, Any]:
    plan = config.schedule
    figures = coarse_figures(network, judged, config) | drawn_figures(network, judged, config)
    return {
        "intended_use": config.model.intended_use,
        "never_tested_on": config.model.never_tested_on,
        "licence_of_weights": config.model.licence,
        "parameters": int(sum(weight.numel() for weight in network.parameters())),
        **({"remark": config.model.remark} if config.model.remark else {}),
        "command": f"volumetry train configs/train-{config.model.name}.toml --out runs",
        "config_sha256": config.sha256,
        "seed": plan.seed,
        "steps": plan.steps,
        "batch": plan.batch,
        "torch": torch.__version__.split("+")[0],
        "truth": "lungs by threshold, contours and labels of others; airways by growing air from the trachea; "
        f"organs labelled in {_labelled_chests(config)}, elsewhere known only not to be lung; disease, fluid and "
        "counter-examples drawn by this program",
        "data": {
            chest.name: f"{chest.source}; {chest.terms}" for chest in config.data.chests if not chest.held_out
        },
        "metrics": {name: round(float(value), 4) for name, value in figures.items()},
    }


def _labelled_chests(config: ThoraxConfig) -> str:
    """How many of those learned from have labels of organs."""
    count = sum(bool(chest.organs) and not chest.held_out for chest in config.data.chests)
    return {1: "one chest", 2: "two chests"}.get(count, f"{count} chests")
