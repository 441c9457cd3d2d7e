"""The bill of materials as CycloneDX JSON: what cyclonedx-py finds installed, and the files inside the program."""

import hashlib
import json
import uuid
from collections.abc import Sequence
from importlib.metadata import distribution
from typing import Any

from volumetry import __version__
from volumetry.assurance.bill_of_materials.parts import Part
from volumetry.assurance.bill_of_materials.tools import answer_of
from volumetry.storage.atomic import json_bytes

_PROGRAM = "volumetry"
_TYPES = {"weights": "machine-learning-model", "script": "library"}

Component = dict[str, Any]


def bill_of_materials(parts: Sequence[Part]) -> bytes:
    """CycloneDX 1.6 of this environment; the same environment gives the same bytes, whatever the clock says.

    Parameters
    ----------
    parts
        From `installed_parts`, for packages in whose metadata cyclonedx-py finds no licence, and `shipped_parts`,
        which are listed with their sha256.

    Returns
    -------
    bytes
        CycloneDX 1.6 as JSON.

    Notes
    -----
    A package carries the digest of its RECORD, which has that of every installed file, as property
    ``volumetry:record_sha256``. Its dependencies include what its extras ask for, where that is installed.
    """
    document = answer_of("cyclonedx_py", "environment", "--sv=1.6", "--output-reproducible", "--no-validate")
    licences = {part.name: part.licence for part in parts if part.kind == "package"}
    packages = {component["name"]: component for component in document["components"]}
    for name, component in packages.items():
        _complete(component, licences.get(name, ""))
    program = packages.pop(_PROGRAM, {"name": _PROGRAM, "bom-ref": _PROGRAM})
    files = [_file(part) for part in parts if part.kind != "package"]
    document["metadata"]["component"] = {**program, "type": "application", "version": __version__}
    document["components"] = [*packages.values(), *files]
    _depend(document, program["bom-ref"], [file["bom-ref"] for file in files])
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True)).urn
    return json_bytes(document)


def _complete(component: Component, licence: str) -> None:
    component.pop("externalReferences", None)  # web pages, and where on this machine's disk a package came from
    if not component.get("licenses") and licence:
        component["licenses"] = [{"license": {"name": licence}}]
    record = distribution(component["name"]).read_text("RECORD")
    if record:
        digest = {"name": "volumetry:record_sha256", "value": hashlib.sha256(record.encode()).hexdigest()}
        component.setdefault("properties", []).append(digest)


def _file(part: Part) -> Component:
    return {
        "type": _TYPES[part.kind],
        "name": part.name,
        "version": part.version,
        "bom-ref": f"{part.name}=={part.version}",
        "licenses": [{"license": {"name": part.licence}}] if part.licence else [],
        "hashes": [{"alg": "SHA-256", "content": part.sha256}],
    }


def _depend(document: dict[str, Any], program: str, files: Sequence[str]) -> None:
    """Say that the program needs its files."""
    known = {line["ref"]: line for line in document["dependencies"]}
    needed = known.get(program, {}).get("dependsOn", [])
    known[program] = {"ref": program, "dependsOn": sorted({*needed, *files})}
    document["dependencies"] = [*known.values(), *({"ref": file} for file in files)]
