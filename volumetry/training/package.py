"""The model folder: weights, probe, and a card that says how it was made and how it does."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from volumetry.config import load_config
from volumetry.domain import SHARES
from volumetry.segment.card import CARD
from volumetry.segment.network import NetworkSegmenter
from volumetry.segment.preprocess import PictureKind, Plane, network_batch, pictures_of
from volumetry.segment.weights import load_model
from volumetry.training.calibrated_range import healthy_lung_range
from volumetry.training.calibration import (
    LEVEL,
    Block,
    balance,
    blocks,
    coverage,
    expected_error,
    fitted,
    for_calibration,
    temperatures,
)
from volumetry.training.calibration_scans import KIND as DRAWN
from volumetry.training.calibration_scans import drawn_chests, drawn_scans
from volumetry.training.card import as_toml, stored
from volumetry.training.chest_slices import PATTERNS
from volumetry.training.config import Scan, Slices, TrainConfig
from volumetry.training.continued import context_of
from volumetry.training.dataset import Bank
from volumetry.training.drawn_thorax import drawn_thorax
from volumetry.training.faint import FAINT
from volumetry.training.filled import FILLED
from volumetry.training.held_out_metrics import component_rules, development_report
from volumetry.training.lesion_cuts import solid_cut, unbiased_cuts
from volumetry.training.samples import OUTPUTS, Sample, Truth
from volumetry.training.whole_scans import whole_scans

PROBE_SEED = 7
COVERS = (
    "this model's error on images like its held-out cases, in small scans of up to 6 slices from all over a case; "
    "ground glass and solid rest on lesions drawn into held-out slices of a healthy chest, other lesions where "
    "fitted and judged but the same lungs, and on a few single slices; so does where a lesion begins in a scan, "
    "and where it begins in ready-made slices rests on few cases"
)
COVERS_CHESTS = (
    "this model's error on single lesions drawn by this program into whole scans, if they add no flag to those of "
    "the chest itself; fitted on chests that the slice network learned from, with lesions that it did not, and "
    "judged on held-out chests, one of which may have set the threshold; and on labelled slices of the split, if "
    "any, in small scans of up to 6 slices from all over a case; no diffuse disease in HU"
)
ABLATIONS_TABLE = "ablations.toml"


class WholeScans(Protocol):
    """Makes blocks of draws into the chests that were held out, or into the others."""

    def __call__(self, segmenter: NetworkSegmenter, /, *, held_out: bool) -> Iterable[Block]:
        """See `training.whole_scans`."""
        ...


def write_model_folder(out: Path, config: TrainConfig, bank: Bank, network: nn.Module, root: Path) -> Path:
    """Write ``<name>-<version>/``, load it back as a user would, measure it, and put the figures on the card.

    Parameters
    ----------
    out
        Where the folder goes.
    config
        Of the training run.
    bank
        The data it was trained on.
    network
        On the CPU, in evaluation mode.
    root
        Data root, for measuring on held-out cases.

    Returns
    -------
    Path
        Of the model.
    """
    folder = out / f"{config.model.name}-{config.model.version}"
    folder.mkdir(parents=True, exist_ok=True)
    network = network.to("cpu").eval()
    weights = network.state_dict()
    probe_input, probe_output = _probe(network, config)
    card = {
        "name": config.model.name,
        "version": config.model.version,
        "architecture": {
            "name": config.model.architecture,
            "channels": list(config.model.channels),
            "residual_units": config.model.residual_units,
            "outputs": list(OUTPUTS),
        },
        "input": {**config.input.model_dump(mode="json"), "pad_multiple": config.input_recipe.pad_multiple},
        "weights": stored(folder / "model.safetensors", weights),
        "probe_input": stored(folder / "probe_input.safetensors", {"input": probe_input}),
        "probe_output": stored(folder / "probe_output.safetensors", {"probabilities": probe_output}),
        "training_cases": {kind: groups for kind, groups in bank.training_cases.items() if kind != "phantom"},
        **context_of(config, folder),
    }
    story = _story(config, weights)
    drawn = [*drawn_scans(config, root), *drawn_chests(config, root)]
    samples = for_calibration(bank.held_out, drawn, config)
    labelled = {Path(spec.folder).name for spec in config.data.slices}
    calibration = _calibration(
        folder,
        card,
        story,
        samples,
        [sample for sample in (*bank.training, *samples[0]) if sample.kind in labelled],
        partial(whole_scans, config=config, root=root),
    )
    if calibration:
        calibration["range"] |= healthy_lung_range(config, root)
        card["calibration"] = calibration
    segmenter = _loaded(folder, card, story)
    story["metrics"] = development_report(segmenter, config, root)
    by_rule = component_rules(segmenter, bank.held_out, load_config().measure)
    if by_rule:
        story["component_rules_dice_on_drawn_lesions"] = by_rule
    ablations = out / f"{folder.name}-run" / ABLATIONS_TABLE
    if ablations.is_file():
        story["ablations"] = tomllib.loads(ablations.read_text("utf-8"))
    _loaded(folder, card, story)
    return folder


def _loaded(folder: Path, card: Mapping[str, Any], story: Mapping[str, Any]) -> NetworkSegmenter:
    """Write the card and read the model back as a user would."""
    (folder / CARD).write_text(as_toml({**card, "story": story}), "utf-8")
    settings = load_config()
    return NetworkSegmenter(load_model(folder), settings.segment, interval=settings.interval)


def _calibration(
    folder: Path,
    card: Mapping[str, Any],
    story: dict[str, Any],
    samples: tuple[Sequence[Sample], Sequence[Sample]],
    labelled: Sequence[Sample],
    whole: WholeScans,
) -> dict[str, Any] | None:
    """Fit on the first samples, labelled slices and whole scans; what the others say goes into the story."""
    fit_on, judge_on = samples
    if not fit_on:
        return None
    plain = _loaded(folder, card, story)
    before = expected_error(plain, judge_on)
    # What is fitted next needs what was fitted before it, so until then the rest moves nothing.
    draft = {"level": LEVEL, "floor_points": 0.0, "undecided": 1.0, "reference": dict.fromkeys(SHARES, 0.0)}
    draft |= {"temperature": temperatures(plain, fit_on), "widening": dict.fromkeys(SHARES, 1.0)}
    draft["lesion_probability"] = unbiased_cuts(_loaded(folder, {**card, "calibration": draft}, story), fit_on)
    drafted = _loaded(folder, {**card, "calibration": draft}, story)
    draft["solid_probability"] = solid_cut(drafted, labelled)
    scaled = _loaded(folder, {**card, "calibration": draft}, story)
    learned, apart = (list(whole(scaled, held_out=held_out)) for held_out in (False, True))
    if not any(block.kind == DRAWN for block in learned):
        learned, apart = [], []  # small scans fit and judge then
    where_fitted, elsewhere = (
        [*blocks(scaled, [s for s in part if s.kind != DRAWN or not learned], load_config().interval), *whole_ones]
        for part, whole_ones in ((fit_on, learned), (judge_on, apart))
    )
    calibration = draft | fitted(where_fitted)
    story["calibration"] = {
        "covers": COVERS_CHESTS if learned else COVERS,
        "does_not_cover": "diseases, scanners and ages outside the data above; a wrong series; a label convention "
        "other than these readers'; breathing; change between visits, where errors partly cancel",
        "fitted_on": sorted({f"{s.kind} {s.group}" for s in fit_on if s.kind != DRAWN}),
        "fitted_on_drawn_scans": len({s.group for s in fit_on if s.kind == DRAWN}),
        "fitted_on_whole_scans": sum(block.kind == DRAWN for block in learned),
        "expected_calibration_error_before": before,
        "expected_calibration_error": expected_error(scaled, judge_on),
        "coverage_where_fitted": coverage(where_fitted, calibration),
        "coverage_elsewhere": coverage(elsewhere, calibration),
        "lesions_too_large_where_fitted": balance(where_fitted),
        "lesions_too_large_elsewhere": balance(elsewhere),
    }
    return calibration


def _probe(network: nn.Module, config: TrainConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """A drawn thorax, so that no patient travels with the model."""
    hu, truth = drawn_thorax(np.random.default_rng(PROBE_SEED))
    lung = (truth & Truth.LUNG > 0).astype(np.float32)
    beside: dict[PictureKind, NDArray[np.float32]] = {"below": np.roll(hu, 3, 0), "above": np.roll(hu, -3, 0)}
    chest: dict[PictureKind, NDArray[np.float32]] = {"space": lung, "organs": 1 - lung}
    plane = Plane(hu, beside, chest).part((slice(256), slice(256)))
    pictures = pictures_of(plane, config.input_recipe)
    probe = torch.from_numpy(network_batch([pictures], config.input_recipe))
    with torch.inference_mode():
        return probe, torch.sigmoid(network(probe).float())


def _story(config: TrainConfig, weights: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    schedule = config.schedule
    return {
        "intended_use": config.model.intended_use,
        "never_tested_on": config.model.never_tested_on,
        "licence_of_weights": config.model.licence,
        "parameters": int(sum(tensor.numel() for tensor in weights.values() if tensor.is_floating_point())),
        "labels": "three probabilities: lung (with its lesions), lesion (ground glass or solid), solid",
        "command": f"volumetry train configs/train-{config.model.name}.toml --out runs",
        "config_sha256": config.sha256,
        **_begun_from(config),
        **({"remark": config.model.remark} if config.model.remark else {}),
        "seed": schedule.seed,
        "steps": schedule.steps,
        "torch": torch.__version__.split("+")[0],
        "precision_of_training": schedule.precision,
        "data": _data(config),
        "split": _split(config),
    }


def _begun_from(config: TrainConfig) -> dict[str, str]:
    """The model whose weights the run took over; what that was trained on is part of this one's training."""
    if not config.model.continues:
        return {}
    folder = Path(config.model.continues)
    return {"continues": f"{folder.name}, card sha256 {config.model.continues_sha256}"}


def _split(config: TrainConfig) -> dict[str, str]:
    data = config.data
    split = {
        Path(spec.folder).name: f"held out: {', '.join(spec.held_out_cases) or 'none'}" for spec in data.slices
    }
    if data.scans:
        split["scans"] = (
            f"slices without disease only; every other block of {data.held_out_block_slices} slices is "
            "held out, so held-out slices are of patients that training saw elsewhere"
        )
    if data.chests:
        apart = ", ".join(chest.name for chest in data.chests if chest.held_out) or "none"
        split["chests"] = f"whole patients held out: {apart}"
    return split | {"judged_only": ", ".join(Path(spec.folder).name for spec in data.judged) or "none"}


def _data(config: TrainConfig) -> dict[str, str]:
    """Sources and terms by name, and what this program drew."""
    data = config.data
    sources: list[Slices | Scan] = [*data.slices, *data.scans]
    named = {Path(spec.folder).name: f"{spec.source}; {spec.terms}" for spec in sources}
    named |= {Path(spec.image).name.split("-")[0]: f"{spec.source}; {spec.terms}" for spec in data.masked}
    named |= {chest.name: f"{chest.source}; {chest.terms}" for chest in data.chests if not chest.held_out}
    drawn = {"phantom": "thoraxes drawn by this program; exact truth"}
    if data.scans or data.masked:
        drawn |= {
            "synthetic": "lesions drawn by this program into slices of the scans above; exact truth",
        }
    if data.chests:
        drawn |= {
            PATTERNS: "diffuse disease drawn by this program into the chests above; exact truth, and nothing is "
            "known in boxes around the patients' own disease",
        }
    if data.scans or data.masked or data.chests:
        drawn[FILLED] = (
            "parts of lungs filled by this program with anything from haze to soft tissue, in slices of the "
            "scans, volumes and chests above cut anew; exact truth, but in volumes of unknown disease only of "
            "what is drawn"
        )
    if data.faint_volumes or any(chest.faint_volumes for chest in data.chests):
        drawn[FAINT] = "faint and even ground glass drawn by this program into the scans and chests; exact truth"
    return named | drawn
