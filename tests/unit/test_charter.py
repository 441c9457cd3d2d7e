"""The imaging charter: one edited header field is one named finding, and a missing tag is no pass."""

from dataclasses import replace
from pathlib import Path

import pytest

from volumetry.codes import CATALOGUE, Outcome
from volumetry.config import CHARTER_RULES, load_config
from volumetry.domain import SeriesInfo
from volumetry.errors import ConfigError
from volumetry.quality import charter_findings

RULES = {
    "thickness_mm": [0.5, 1.5],
    "spacing_mm": [0.5, 1.5],
    "kvp": [100, 140],
    "kernels": ["B3?f", "STANDARD"],
    "scanners": ["SIEMENS *"],
    "contrast": "without",
    "min_coverage_mm": 200,
    "min_slices": 150,
}
GOOD = SeriesInfo(
    "1.2.3",
    300,
    (1.0, 0.7, 0.7),
    thickness_mm=1.0,
    kernel="B30f",
    kvp=120.0,
    manufacturer="SIEMENS",
    model_name="Sensation 64",
    contrast=False,
)


def _codes(series, **more):
    config = load_config(overrides={"charter": {**RULES, **more}})
    return {finding.code: finding.outcome for finding in charter_findings(series, config)}


def test_a_scan_as_the_charter_wants_it_earns_nothing():
    assert _codes(GOOD) == {}


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("thickness_mm", 5.0, "THICKNESS"),
        ("thickness_mm", None, "THICKNESS"),
        ("spacing_kji_mm", (2.0, 0.7, 0.7), "SPACING"),
        ("kernel", "B70f", "KERNEL"),
        ("kernel", "B30fx", "KERNEL"),
        ("kernel", None, "KERNEL"),
        ("kernel", "B70f\\3", "KERNEL"),
        ("kvp", 80.0, "KVP"),
        ("kvp", None, "KVP"),
        ("contrast", True, "CONTRAST"),
        ("manufacturer", "GE MEDICAL SYSTEMS", "SCANNER"),
        ("manufacturer", None, "SCANNER"),
    ],
)
def test_one_edited_field_is_one_named_finding(field, value, code):
    assert _codes(replace(GOOD, **{field: value})) == {f"CHARTER_{code}": Outcome.FLAG}


def test_a_short_stack_misses_slices_and_coverage():
    assert set(_codes(replace(GOOD, slice_count=100))) == {"CHARTER_COVERAGE", "CHARTER_SLICES"}
    assert set(_codes(replace(GOOD, slice_count=149, spacing_kji_mm=(1.5, 1, 1)))) == {"CHARTER_SLICES"}


def test_the_charter_says_which_deviation_refuses():
    series = replace(GOOD, kernel="B70f", kvp=80.0)
    assert _codes(series, refuse=["kernel"]) == {"CHARTER_KERNEL": Outcome.REFUSE, "CHARTER_KVP": Outcome.FLAG}


def test_kernels_and_scanners_do_not_mind_case():
    assert _codes(replace(GOOD, kernel="standard", manufacturer="Siemens")) == {}


def test_without_a_charter_nothing_changes(config):
    nothing_known = SeriesInfo("1.2.3", 3, (9.0, 9.0, 9.0))
    assert charter_findings(nothing_known, config) == []


def test_every_rule_has_a_code_of_its_own():
    charter_codes = {name for name in CATALOGUE if name.startswith("CHARTER_")}
    assert charter_codes == {f"CHARTER_{rule.upper()}" for rule in CHARTER_RULES}


def test_the_core_labs_file_is_a_charter():
    config = load_config(Path("core-lab"))
    assert config.charter.refuse == ("coverage",)
    thick = replace(GOOD, thickness_mm=5.0)
    assert [finding.code for finding in charter_findings(thick, config)] == ["CHARTER_THICKNESS"]


@pytest.mark.parametrize(
    "wrong", [{"kvp": [140, 100]}, {"kvp": [100]}, {"refuse": ["kernels"]}, {"contrast": "no"}]
)
def test_a_charter_that_means_nothing_stops_the_run(wrong):
    with pytest.raises(ConfigError, match="charter"):
        load_config(overrides={"charter": wrong})
