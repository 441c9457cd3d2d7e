"""How the files of a model folder are written: tensors with their digest, and the card."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save as save_tensors


def stored(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Write weights or a probe; its file and digest, as a card states them."""
    plain = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
    contents = save_tensors(plain)
    path.write_bytes(contents)
    return {"file": path.name, "sha256": hashlib.sha256(contents).hexdigest()}


def as_toml(card: Mapping[str, Any]) -> str:
    """A card as TOML: plain values first, then one section per nested table."""
    lines: list[str] = []
    _section(card, (), lines)
    return "\n".join(lines).lstrip() + "\n"


def _section(table: Mapping[str, Any], path: tuple[str, ...], lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if path and (plain or not table):
        lines += ["", f"[{'.'.join(map(_key, path))}]"]
    # JSON's strings, numbers, booleans and lists of them are also TOML's.
    lines += [
        f"{_key(key)} = {json.dumps(value, ensure_ascii=False, allow_nan=False)}" for key, value in plain.items()
    ]
    for key, value in table.items():
        if isinstance(value, Mapping):
            _section(value, (*path, key), lines)


def _key(name: str) -> str:
    return name if name.replace("-", "").replace("_", "").isalnum() and name.isascii() else json.dumps(name)
