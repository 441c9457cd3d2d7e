"""Which training a configuration asks for: it states the architecture of what is made."""

from collections.abc import Callable, Mapping
from pathlib import Path

from volumetry.storage.toml_file import read_table

Progress = Callable[[int, int, Mapping[str, float]], None]


def train_model(
    config_path: Path, out: Path, data: Path | None, device: str, progress: Progress | None
) -> Path | None:
    """Make the model folder that a configuration describes; None if the run stopped at its time limit.

    Parameters
    ----------
    config_path
        A training configuration, ``configs/train-*.toml``; its architecture decides which training runs.
    out
        Where the model folder goes.
    data
        Data root, instead of the configuration's.
    device
        ``auto``, ``cpu`` or ``cuda``.
    progress
        Called after each step with step, steps and the latest figures.

    Returns
    -------
    Path or None
        The model folder; None if the time limit came first.

    Raises
    ------
    ConfigError, InputError, OutputError
        As `volumetry.training.train.train` and `volumetry.training.thorax.train.train_thorax` say.
    """
    model = read_table(config_path).get("model")
    if isinstance(model, dict) and model.get("architecture") == "monai-unet-3d":
        from volumetry.training.thorax.train import train_thorax

        return train_thorax(config_path, out, data, device, progress)
    from volumetry.training.train import train

    return train(config_path, out, data, device, progress=progress)
