"""result.json: the contract's document of one scan, schema 1."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from volumetry.codes import Outcome
from volumetry.deliver.schema import SCHEMA
from volumetry.domain import (
    VOLUMES,
    Finding,
    LobeMeasurement,
    Measurement,
    Outcomes,
    PriorVisit,
    ScanResult,
    SeriesInfo,
    Volumes,
)


def as_document(outcome: Outcomes) -> dict[str, Any]:
    """An outcome as result.json has it: the contract's keys.

    Parameters
    ----------
    outcome
        A result, or a scan that gives no number.

    Returns
    -------
    dict[str, Any]
        What json can write.
    """
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "scan_id": outcome.scan_id,
        "status": outcome.status.value,
        **_verdict(outcome),
        "flags": [finding_document(finding) for finding in outcome.findings],
    }
    if outcome.series is not None:
        document["series"] = _series(outcome.series)
    if isinstance(outcome, ScanResult):
        document["reading"] = "automatic"
        document |= _numbers(outcome.measurement)
        document["blood_pool_hu"] = outcome.blood_pool_hu
        document |= _lobes(outcome.lobes)
        if outcome.distribution is not None:
            document["distribution"] = asdict(outcome.distribution)
        if outcome.priors:
            document["prior"] = {"visits": [as_plain(visit) for visit in outcome.priors]}
        document["dropped_ml"] = dict(outcome.dropped_ml)
        document["provenance"] = asdict(outcome.provenance)
        document["timing_s"] = {name: round(s, 3) for name, s in outcome.timing_s.items()}
        if outcome.peak_memory_mb is not None:
            document["peak_memory_mb"] = round(outcome.peak_memory_mb, 1)
    return document


def as_json(document: Mapping[str, Any]) -> bytes:
    """The document as bytes: sorted keys, no NaN, one newline at the end."""
    text = json.dumps(document, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False)
    return (text + "\n").encode("utf-8")


def as_plain(visit: PriorVisit) -> dict[str, Any]:
    """An earlier visit as it stands under ``prior``: lists for tuples."""
    return {name: _listed(value) for name, value in asdict(visit).items()}


def _listed(value: Any) -> Any:  # noqa: ANN401  a JSON value
    if isinstance(value, dict):
        return {name: _listed(below) for name, below in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _verdict(outcome: Outcomes) -> dict[str, str | None]:
    if not isinstance(outcome, ScanResult):
        return {"code": outcome.code, "message": outcome.message, "hint": outcome.hint}
    first = next((f for f in outcome.findings if f.outcome is Outcome.FLAG), None)
    if first is None:
        return {"code": None, "message": None, "hint": None}
    return {"code": first.code, "message": first.message, "hint": first.hint}


def finding_document(finding: Finding) -> dict[str, Any]:
    """One code as it stands under ``flags``."""
    severity = {Outcome.FLAG: "review", Outcome.REFUSE: "refuse"}.get(finding.outcome, "look")
    return {
        "code": finding.code,
        "severity": severity,
        "outcome": finding.outcome.value,
        "message": finding.message,
        "hint": finding.hint,
        "value": finding.value,
    }


def _numbers(m: Measurement) -> dict[str, Any]:
    return {
        "volumes_ml": _volumes(m.volumes_ml) | ({} if m.fluid_ml is None else {"fluid": m.fluid_ml}),
        "percent_of_lung": m.volumes_ml.percent_of_lung(),
        **_interval(m),
        "sides": {name: _volumes(v) for name, v in m.sides.items()},
        "zones": {name: _volumes(v) for name, v in m.zones.items()},
        "component_rule": m.component_rule,
        "components_by_rule": {
            "network": {
                "ground_glass_ml": m.components_by_rule["network"].ground_glass_ml,
                "solid_ml": m.components_by_rule["network"].solid_ml,
            },
            "hu": asdict(m.components_by_rule["hu"]),
        },
        "hu_bins_ml": dict(m.hu_bins_ml),
        **m.values,
    }


def _interval(m: Measurement) -> dict[str, Any]:
    if m.interval is None:
        return {}
    return {
        "interval_percent": {name: list(limits) for name, limits in m.interval.percent.items()},
        "interval_level": m.interval.level,
        "interval_parts": {part: dict(points) for part, points in m.interval.parts.items()},
    }


def _lobes(lobes: LobeMeasurement | None) -> dict[str, Any]:
    if lobes is None:
        return {}
    by_lobe = {
        name: {
            **_volumes(volumes),
            "percent_of_lobe": volumes.percent_of_lung(),
            "lesion_percent_span": list(lobes.lesion_span_percent[name]),
        }
        for name, volumes in lobes.volumes_ml.items()
    }
    found: dict[str, Any] = {"lobes": {"method": lobes.method, "reason": lobes.reason, **by_lobe}}
    if lobes.severity_score is not None and lobes.severity_score_range is not None:
        found |= {"severity_score": lobes.severity_score, "severity_score_range": list(lobes.severity_score_range)}
    return found


def _volumes(volumes: Volumes) -> dict[str, float]:
    return {name: getattr(volumes, name) for name in VOLUMES}


def _series(series: SeriesInfo) -> dict[str, Any]:
    facts = asdict(series)
    facts["spacing_kji_mm"] = list(series.spacing_kji_mm)
    return facts
