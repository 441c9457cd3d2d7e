"""Every entry of the damage catalogue, alone and in pairs, against the reader.

A damage that must refuse never gives a number; a flag is in the findings; a legal quirk gives the very same HU.
"""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from damage import DAMAGES, LEGAL, Damage

from volumetry.codes import CATALOGUE, About, Outcome, codes_about
from volumetry.config import Config, load_config
from volumetry.domain import CtScan, Finding, ScanRefusedError, TissueMap
from volumetry.phantom import PhantomSpec, make_phantom, write_series
from volumetry.phantom.thorax import truth_map
from volumetry.quality.metal import metal_findings
from volumetry.scan import read_scan

_REFUSING = [name for name, damage in DAMAGES.items() if damage.outcome is Outcome.REFUSE]
_FLAGGING = [name for name, damage in DAMAGES.items() if damage.outcome is Outcome.FLAG]
_NEED_ANOTHER_USER = {"slice_not_readable", "folder_not_readable"}
_PAIRS = 40


@dataclass(frozen=True)
class _Base:
    folder: Path
    scan: CtScan
    tissue: TissueMap


@pytest.fixture(scope="module")
def config() -> Config:
    return load_config()


def _with(config: Config, section: str, **changes: object) -> Config:
    """The same settings but for some of one section."""
    return config.model_copy(update={section: getattr(config, section).model_copy(update=changes)})


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, config: Config) -> _Base:
    """A chest pressed into 64 x 64 pixels: small, but every check of the reader applies to it."""
    spec = PhantomSpec((76, 64, 64), (2.5, 0.95, 0.95), scale_lps=(0.13, 0.18, 0.72), vessels=False)
    folder = tmp_path_factory.mktemp("series") / "base"
    write_series(make_phantom(spec), folder)
    return _Base(folder, read_scan(folder, config), truth_map(spec))


@pytest.fixture
def copy(base: _Base, tmp_path: Path) -> Path:
    folder = tmp_path / "scan"
    shutil.copytree(base.folder, folder)
    return folder


def _codes(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.code for finding in findings}


def _skip_if_root(damage: Damage) -> None:
    if damage.name in _NEED_ANOTHER_USER and os.geteuid() == 0:
        pytest.skip("root may read what nobody else may: run as another user")


def _apply(damage: Damage, folder: Path, seed: int) -> None:
    damage.apply(folder, np.random.default_rng(seed))


def test_untouched_series_is_measured_without_a_word(base: _Base) -> None:
    assert base.scan.findings == ()


@pytest.mark.parametrize("name", _REFUSING)
def test_damage_is_refused(name: str, copy: Path, config: Config) -> None:
    damage = DAMAGES[name]
    _skip_if_root(damage)
    _apply(damage, copy, seed=1)
    try:
        with pytest.raises(ScanRefusedError) as stop:
            read_scan(copy, config)
    finally:
        _unlock(copy)
    assert stop.value.code == damage.expect, [f"{f.code}: {f.message}" for f in stop.value.findings]
    assert all(finding.message and finding.hint for finding in stop.value.findings)


@pytest.mark.parametrize("name", _FLAGGING)
def test_damage_is_flagged(name: str, copy: Path, base: _Base, config: Config) -> None:
    damage = DAMAGES[name]
    _apply(damage, copy, seed=1)
    scan = read_scan(copy, config)
    found = (*scan.findings, *_of_the_lungs(scan, base, config))
    assert damage.expect in _codes(found)
    _compare(damage, scan, base.scan)


def _of_the_lungs(scan: CtScan, base: _Base, config: Config) -> list[Finding]:
    """What is told with the lungs at hand, here those of the formula: metal counts near them alone."""
    if scan.grid.shape_kji != base.tissue.grid.shape_kji:
        return []
    return list(metal_findings(replace(base.tissue, grid=scan.grid), scan, config))


def test_metal_asks_for_a_reader(copy: Path, base: _Base, config: Config) -> None:
    _apply(DAMAGES["metal"], copy, seed=1)
    (finding,) = _of_the_lungs(read_scan(copy, config), base, config)
    assert (finding.code, finding.outcome) == ("METAL", Outcome.FLAG)
    assert _of_the_lungs(base.scan, base, config) == []


@pytest.mark.parametrize("name", LEGAL)
def test_legal_series_keeps_its_numbers(name: str, copy: Path, base: _Base, config: Config) -> None:
    damage = LEGAL[name]
    _apply(damage, copy, seed=1)
    scan = read_scan(copy, config)
    expected = {damage.expect} if damage.expect else set()
    assert _codes(scan.findings) - {"REORDERED"} == expected - {"REORDERED"}  # added files disturb the order too
    assert expected <= _codes(scan.findings)
    assert all(finding.outcome in (Outcome.REPAIR, Outcome.NOTE) for finding in scan.findings)
    _compare(damage, scan, base.scan)


def _compare(damage: Damage, scan: CtScan, base: CtScan) -> None:
    if damage.same_grid:
        assert scan.grid == base.grid
    if damage.same_hu:
        assert np.array_equal(scan.hu_kji, base.hu_kji)
    if damage.same_hu and damage.same_grid:
        assert scan.grid.voxel_ml == base.grid.voxel_ml


def test_padding_becomes_air_and_is_counted_nowhere(copy: Path, base: _Base, config: Config) -> None:
    """All ways to write padding give one image: air outside the circle, untouched HU inside."""
    _apply(LEGAL["padding_2000"], copy, seed=1)
    scan = read_scan(copy, config)
    assert scan.no_data_kji is not None
    assert scan.no_data_kji[:, 0, 0].all()
    assert (scan.hu_kji[scan.no_data_kji] == -1000).all()
    inside = ~scan.no_data_kji
    assert np.array_equal(scan.hu_kji[inside], base.scan.hu_kji[inside])


def test_coarse_slope_stays_within_half_a_step(copy: Path, base: _Base, config: Config) -> None:
    _apply(LEGAL["slope_two"], copy, seed=1)
    scan = read_scan(copy, config)
    assert np.abs(scan.hu_kji - base.scan.hu_kji).max() <= 2.0002442 / 2 + 1e-3


def test_tilted_voxel_is_the_determinant(copy: Path, base: _Base, config: Config) -> None:
    """Shear leaves a voxel's volume; who takes the step's length as height is 3.5 % off at 15 degrees."""
    _apply(DAMAGES["tilt"], copy, seed=1)
    scan = read_scan(copy, config)
    assert scan.grid.voxel_ml == pytest.approx(base.scan.grid.voxel_ml, rel=1e-6)
    assert scan.series.tilt_deg == pytest.approx(15.0, abs=0.05)


def test_every_deleted_inner_slice_is_noticed(copy: Path, config: Config) -> None:
    paths = sorted(copy.iterdir())
    rng = np.random.default_rng(7)
    for path in rng.permutation(np.array(paths, object))[:12]:
        data = path.read_bytes()
        path.unlink()
        inner = _codes_of_refusal(copy, config)
        path.write_bytes(data)
        assert inner == set() or "MISSING_SLICES" in inner


def _read(folder: Path, config: Config) -> CtScan | None:
    """The scan, or None if it was refused; any other end is a crash of ours and fails the test."""
    try:
        return read_scan(folder, config)
    except ScanRefusedError:
        return None


def _codes_of_refusal(folder: Path, config: Config) -> set[str]:
    try:
        read_scan(folder, config)
    except ScanRefusedError as stop:
        return _codes(stop.findings)
    return set()


_STRICT_IN_TRIALS = [
    name
    for name in _FLAGGING
    if CATALOGUE[str(DAMAGES[name].expect)].trial_outcome is Outcome.REFUSE
    and name != "thick"  # 3 mm: a trial refuses from 5 mm
]


@pytest.mark.parametrize("name", _STRICT_IN_TRIALS)
def test_trial_profile_refuses_what_it_must(name: str, copy: Path, config: Config) -> None:
    damage = DAMAGES[name]
    _apply(damage, copy, seed=1)
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(copy, config.model_copy(update={"profile": "trial"}))
    assert damage.expect in _codes(stop.value.findings)


def test_scan_larger_than_the_memory_is_refused_before_decoding(copy: Path, config: Config) -> None:
    with pytest.raises(ScanRefusedError) as stop:
        read_scan(copy, _with(config, "limits", max_memory_gb=1e-4))
    assert stop.value.code == "TOO_LARGE"


def test_selection_rule_picks_one_kernel(copy: Path, base: _Base, config: Config) -> None:
    """The same folder that is ambiguous without a rule."""
    _apply(DAMAGES["second_series"], copy, seed=1)
    rule = _with(config, "select", rule="kernel", kernel_preference=(base.scan.series.kernel,))
    scan = read_scan(copy, rule)
    assert "SERIES_SELECTED" in _codes(scan.findings)
    assert np.array_equal(scan.hu_kji, base.scan.hu_kji)


@pytest.mark.parametrize("seed", range(_PAIRS))
def test_pairs_never_give_an_unquestioned_number(seed: int, copy: Path, config: Config) -> None:
    """Two damages at once: no crash of ours, and no number if either of them must refuse."""
    rng = np.random.default_rng(seed)
    names = [name for name in DAMAGES if name not in _NEED_ANOTHER_USER and name != "deflate_bomb"]
    first, second = (DAMAGES[name] for name in rng.choice(names, 2, replace=False))
    _apply(first, copy, seed)
    _apply(second, copy, seed + 1000)
    refuse = Outcome.REFUSE in (first.outcome, second.outcome)
    scan = _read(copy, config)
    if scan is None:
        return
    assert not refuse, f"{first.name} and {second.name} gave a number: {_codes(scan.findings)}"
    assert _codes(scan.findings), f"{first.name} and {second.name} went unnoticed"


def test_every_decidable_code_has_an_entry() -> None:
    """Codes that a series on disk can earn without a model; the others belong to the run or to the anatomy."""
    of_the_run = {"INPUT_CHANGED", "MANIFEST_MISMATCH"} | {name for name, code in CATALOGUE.items() if code.ours}
    with_the_lungs = {
        name for name, code in CATALOGUE.items() if code.judged.startswith(("quality/", "remeasure/"))
    }
    of_the_settings = {"TOO_LARGE", "SERIES_SELECTED"}  # tested above
    of_a_crash = {"DECODER_DIED"}  # no known file crashes these decoders: tested where the child is
    covered = {damage.expect for damage in (*DAMAGES.values(), *LEGAL.values())}
    missing = (
        set(CATALOGUE)
        - of_the_run
        - {"SEAM", "PIXEL_SPACING_CONFLICT"}  # of two scans, and of a tag that phantoms lack: tested in unit tests
        - {
            "BAD_VOLUME",
            "BAD_VOLUME_GEOMETRY",
            "NO_HEADER",
            "SERIES_OF_ONE_FILE",
            "FILLING_IGNORED",  # more than a row of it: tested with the gate
        }  # of volume files and single files
        - with_the_lungs
        - of_the_settings
        - codes_about(About.EXPORT, About.INPUT, About.BATCH)
        - of_a_crash
        - covered
    )
    assert missing == set()


def _unlock(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700)
