"""`import volumetry`: what a script may use, without DICOM and without torch."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from packaging.version import Version
from small_results import LESIONS, TruthSegmenter

import volumetry as v
from volumetry.phantom import PhantomSpec, make_phantom

PHANTOM = PhantomSpec(shape_kji=(100, 128, 128), spacing_kji_mm=(3.0, 3.0, 3.0), lesions=LESIONS)


def _python(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)  # noqa: S603  our own script


def test_every_public_name_is_there_and_the_list_is_sorted():
    assert sorted(v.__all__) == v.__all__
    assert set(v._HOME) | {"__version__"} == set(v.__all__)
    for name in v.__all__:
        assert getattr(v, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'analyze'"):
        v.analyze  # noqa: B018


def test_a_former_name_warns_and_gives_its_replacement(monkeypatch):
    monkeypatch.setitem(v._DEPRECATED, "analyze", ("analyse", "9.0.0"))
    with pytest.warns(DeprecationWarning, match=r"volumetry\.analyze .* 9\.0\.0: use volumetry\.analyse") as seen:
        assert v.analyze is v.analyse
    assert seen[0].filename == __file__
    assert "analyze" not in dir(v)


def _overdue():
    return [
        name for name, (_, removed_in) in v._DEPRECATED.items() if Version(v.__version__) >= Version(removed_in)
    ]


def test_a_former_name_is_gone_in_the_version_that_removes_it(monkeypatch):
    assert _overdue() == []
    assert {instead for instead, _ in v._DEPRECATED.values()} <= set(v.__all__)
    assert not set(v._DEPRECATED) & set(v.__all__)
    monkeypatch.setitem(v._DEPRECATED, "analyze", ("analyse", v.__version__))
    assert _overdue() == ["analyze"]


def test_type_checkers_see_the_same_names():
    import ast

    tree = ast.parse(Path(v.__file__).read_text("utf-8"))
    seen = {
        name.name
        for guard in tree.body
        if isinstance(guard, ast.If)
        for line in guard.body
        if isinstance(line, ast.ImportFrom)
        for name in line.names
    }
    assert seen == set(v._HOME)


def test_importing_loads_nothing_heavy():
    done = _python(
        "import sys, volumetry\n"
        "heavy = {'torch', 'monai', 'SimpleITK', 'skimage', 'scipy', 'pydicom', 'numpy', 'pydantic'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    assert done.returncode == 0, done.stderr


def test_an_array_in_hu_is_measured_without_dicom():
    phantom = make_phantom(PHANTOM)
    scan = v.scan_from_array(phantom.hu_kji, phantom.grid)
    assert scan.grid == phantom.grid
    assert np.array_equal(scan.hu_kji, phantom.hu_kji)
    assert "NO_HEADER" in [finding.code for finding in scan.findings]
    volumes_ml = v.analyse(scan, TruthSegmenter(PHANTOM)).result.measurement.volumes_ml
    assert volumes_ml.lesion == pytest.approx(
        phantom.truth["lesion_ml"], rel=0.03
    )  # the formula's, sampled at 3 mm
    assert volumes_ml.lung == pytest.approx(phantom.truth["lung_ml"], rel=0.03)


def test_an_array_that_is_no_ct_in_hu_is_refused():
    phantom = make_phantom(PHANTOM)
    with pytest.raises(v.ScanRefusedError, match="HU_IMPLAUSIBLE"):
        v.scan_from_array(phantom.hu_kji + 1024, phantom.grid)
    with pytest.raises(ValueError, match="shape"):
        v.scan_from_array(phantom.hu_kji[1:], phantom.grid)
    with pytest.raises(ValueError, match="masked"):
        v.scan_from_array(np.ma.masked_less(phantom.hu_kji, -990), phantom.grid)
    with pytest.raises(ValueError, match="complex128"):
        v.scan_from_array(phantom.hu_kji.astype(complex), phantom.grid)


def test_a_segmenter_of_ones_own_needs_neither_torch_nor_monai(tmp_path):
    script = f"""
import sys
for name in ("torch", "monai"):
    sys.modules[name] = None          # importing them fails
from importlib import metadata
real = metadata.version
def version(name):
    if name in ("torch", "monai"):
        raise metadata.PackageNotFoundError(name)
    return real(name)
metadata.version = version
import volumetry as v
from volumetry.phantom import PhantomSpec, make_phantom
phantom = make_phantom(PhantomSpec(shape_kji=(100, 128, 128), spacing_kji_mm=(3.0, 3.0, 3.0)))
analysis = v.analyse(v.scan_from_array(phantom.hu_kji, phantom.grid), v.ThresholdSegmenter())
assert "torch" not in analysis.result.provenance.packages and "numpy" in analysis.result.provenance.packages
document = v.write_result(analysis, {str(tmp_path / "result")!r})
assert document["status"] in ("measured", "review")
"""
    done = _python(script)
    assert done.returncode == 0, done.stderr
    assert {"mask.nii.gz", "report.html", "result.json", "results.csv", "run.json"} == {
        path.name for path in (tmp_path / "result").iterdir()
    }
