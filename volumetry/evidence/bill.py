"""The bill of materials as CycloneDX JSON, made offline from what is installed."""

import json
import uuid
from collections.abc import Iterable
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from volumetry import __version__
from volumetry.evidence.components import Part, record_sha256

_TYPES = {
    "package": ComponentType.LIBRARY,
    "weights": ComponentType.MACHINE_LEARNING_MODEL,
    "data": ComponentType.DATA,
    "script": ComponentType.LIBRARY,
}


def bill_of_materials(parts: Iterable[Part]) -> bytes:
    """CycloneDX 1.6 of the program and its parts; the same parts give the same bytes, whatever the clock says.

    Parameters
    ----------
    parts
        From `installed_parts` and `shipped_parts`. Files carry their sha256; packages the digest of their RECORD
        as property ``volumetry:record_sha256``.
    """
    licences = LicenseFactory()
    program = Component(name="volumetry", version=__version__, type=ComponentType.APPLICATION, bom_ref="volumetry")
    program.licenses.add(licences.make_with_id("MIT"))
    bom = Bom(metadata=BomMetaData(component=program))
    made: dict[str, tuple[Part, Component]] = {}
    for part in parts:
        if part.name == "volumetry":
            continue
        component = _component(part, licences)
        bom.components.add(component)
        made[part.name] = (part, component)
    needed = {need for part, _ in made.values() for need in part.needs}
    bom.register_dependency(program, [component for name, (_, component) in made.items() if name not in needed])
    for part, component in made.values():
        bom.register_dependency(component, [made[need][1] for need in part.needs if need in made])
    return _stable(bom)


def _component(part: Part, licences: LicenseFactory) -> Component:
    reference = f"{part.name}=={part.version}"
    component = Component(name=part.name, version=part.version, type=_TYPES[part.kind], bom_ref=reference)
    if part.licence:
        component.licenses.add(licences.make_from_string(part.licence))
    if part.kind == "package":
        component.purl = PackageURL("pypi", name=part.name, version=part.version)
        record = record_sha256(part.name)
        if record:
            component.properties.add(Property(name="volumetry:record_sha256", value=record))
    elif part.kind == "script":
        component.purl = PackageURL("npm", namespace="@niivue", name="niivue", version=part.version)
    if part.sha256:
        component.hashes.add(HashType(alg=HashAlgorithm.SHA_256, content=part.sha256))
    return component


def _stable(bom: Bom) -> bytes:
    """Without the time of making, and with a serial number that follows from the content."""
    document: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    document["metadata"].pop("timestamp", None)
    document.pop("serialNumber", None)
    content = json.dumps(document, sort_keys=True)
    document["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, content).urn
    return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode("utf-8")
