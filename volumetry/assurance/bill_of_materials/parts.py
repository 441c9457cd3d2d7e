"""What an installation is made of: packages beside the program, and files inside it that are not its code."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from volumetry.assurance.bill_of_materials.tools import answer_of
from volumetry.storage.digests import file_sha256
from volumetry.storage.shipped import shipped


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is installed with the program, or ships inside it.

    Parameters
    ----------
    name, version
        As its maker states them.
    kind
        A Python package, weights of a model, or a script of a page.
    licence
        SPDX expression or the maker's own words; empty if none are stated.
    sha256
        Of the file, where the part is one file.
    """

    name: str
    version: str
    kind: Literal["package", "weights", "script"]
    licence: str
    sha256: str | None = None


def installed_parts() -> tuple[Part, ...]:
    """Every package of this environment with its licence, from pip-licenses, in order of name.

    Returns
    -------
    tuple[Part, ...]
        Of kind ``package``.
    """
    rows = answer_of("piplicenses", "--format=json", "--from=mixed", "--with-system")
    found = {Part(row["Name"], row["Version"], "package", row["License"]) for row in rows}
    return tuple(sorted(found, key=lambda part: part.name.casefold()))


def shipped_parts() -> tuple[Part, ...]:
    """The weights of every shipped model, and the viewer's script where the build fetched it.

    Returns
    -------
    tuple[Part, ...]
        With their sha256.
    """
    parts = [_weights(card) for card in sorted(shipped("models").glob("*/card.toml"))]
    script = Path(__file__).resolve().parents[2] / "web" / "static" / "niivue.umd.js"
    if script.is_file():
        parts.append(Part("NiiVue", "0.69.0", "script", "BSD-2-Clause", file_sha256(script)))
    return tuple(parts)


def _weights(card_file: Path) -> Part:
    card = tomllib.loads(card_file.read_text("utf-8"))
    weights = card_file.parent / card["weights"]["file"]
    licence = card.get("story", {}).get("licence_of_weights", "")
    return Part(card["name"], card["version"], "weights", licence, file_sha256(weights))
