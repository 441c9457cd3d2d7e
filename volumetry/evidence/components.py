"""What an installation is made of, read from its own files; nothing is asked of a network."""

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from volumetry.storage.shipped import shipped

_PROGRAM = "volumetry"
_NIIVUE = ("NiiVue", "0.69.0", "BSD-2-Clause")
_LONGEST_NAME = 80
"""Longer "License" fields hold the text of the licence instead of its name."""

Kind = Literal["package", "weights", "data", "script"]


@dataclass(frozen=True, slots=True)
class Part:
    """One thing that is installed with the program, or ships inside it.

    Parameters
    ----------
    name, version
        As its maker states them.
    kind
        A Python package, weights of a model, data, or a script of a page.
    licence
        SPDX expression or the maker's own words; empty if none are stated.
    sha256
        Of the file, where the part is one file.
    needs
        Names of the packages that it asks for and that are installed.
    """

    name: str
    version: str
    kind: Kind
    licence: str
    sha256: str | None = None
    needs: tuple[str, ...] = ()


def installed_parts(roots: Iterable[str] | None = None) -> tuple[Part, ...]:
    """Every package that the program needs at run time and that is installed, in order of name.

    Parameters
    ----------
    roots
        Requirements to start from; by default those of the installed program with all of its run-time extras.
    """
    found: dict[str, Part] = {}
    waiting = [Requirement(text) for text in (_own_requirements() if roots is None else roots)]
    taken: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        wanted = waiting.pop()
        name, extras = canonicalize_name(wanted.name), frozenset(wanted.extras)
        if (name, extras) in taken:
            continue
        taken.add((name, extras))
        package = _installed(name)
        if package is None:
            continue
        below = list(_applicable(package, extras))
        waiting += below
        needs = {canonicalize_name(r.name) for r in below} | set(found[name].needs if name in found else ())
        here = tuple(sorted(need for need in needs if _installed(need) is not None))
        found[name] = Part(name, package.version, "package", licence_of(package), needs=here)
    return tuple(found[name] for name in sorted(found))


def shipped_parts() -> tuple[Part, ...]:
    """What lies inside the program and is not its code: weights of its models, and the viewer's script."""
    parts = [_weights(card) for card in sorted(shipped("models").glob("*/card.toml"))]
    script = Path(__file__).resolve().parents[1] / "web" / "static" / "niivue.umd.js"
    if script.is_file():
        name, version, licence = _NIIVUE
        parts.append(Part(name, version, "script", licence, sha256_of(script)))
    return tuple(parts)


def licence_of(package: Distribution) -> str:
    """Licence as a package's metadata state it: expression, else a short name, else the trove classifier."""
    metadata = package.metadata
    expression = metadata.get_all("License-Expression")
    if expression:
        return str(expression[0])
    classifiers = [
        line.rsplit("::", 1)[-1].strip()
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    field = str((metadata.get_all("License") or [""])[0]).strip()
    if "\n" not in field and 0 < len(field) <= _LONGEST_NAME and field.upper() != "LICENSE":  # a file's name
        return field
    return " AND ".join(classifiers)


def record_sha256(name: str) -> str | None:
    """Digest of a package's RECORD, which itself holds the digest of every file that was installed with it."""
    package = _installed(name)
    record = package.read_text("RECORD") if package is not None else None
    return hashlib.sha256(record.encode()).hexdigest() if record else None


def sha256_of(path: Path) -> str:
    """Digest of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _weights(card_file: Path) -> Part:
    card = tomllib.loads(card_file.read_text("utf-8"))
    story: Mapping[str, object] = card.get("story", {})
    weights = card_file.parent / str(card["weights"]["file"])
    licence = str(story.get("licence_of_weights", ""))
    return Part(str(card["name"]), str(card["version"]), "weights", licence, sha256_of(weights))


def _own_requirements() -> list[str]:
    extras = [e for e in distribution(_PROGRAM).metadata.get_all("Provides-Extra") or [] if e != "test"]
    return [f"{_PROGRAM}[{','.join(extras)}]"]


def _installed(name: str) -> Distribution | None:
    try:
        return distribution(name)
    except PackageNotFoundError:
        return None


def _applicable(package: Distribution, extras: frozenset[str]) -> Iterable[Requirement]:
    for text in package.requires or []:
        wanted = Requirement(text)
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield wanted
