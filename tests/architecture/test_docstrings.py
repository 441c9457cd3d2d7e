"""What a reader may import, and every stage of the line, says what goes in, what comes out and what stops it.

Checked with numpydoc's own parser. Every parameter stands under Parameters, of a class those of its constructor.
What is returned stands under Returns, what is yielded under Yields; but a property, and a function without
parameters that is one ``return``, say it in their summary. What is raised in the function's own body stands under
Raises. Not asked for: members of an enum, what a class inherits, and the fields of a settings model, which the
shipped TOML file describes key by key (tests/unit/test_config.py).
"""

import ast
import contextlib
import enum
import importlib
import inspect
import pkgutil
import textwrap
import typing
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from numpydoc.docscrape import NumpyDocString
from pydantic import BaseModel

import volumetry

STAGES = {
    "volumetry.archive.dicomweb": ("Access", "pull", "push"),
    "volumetry.archive.receive": ("Node", "Peer", "receive", "store"),
    "volumetry.batch.work": ("Order", "brief_of", "carry_out", "give_up"),
    "volumetry.blinding.deidentify": ("Disguise", "cleaned"),
    "volumetry.blinding.package": ("Package", "Refusal", "Source", "make_reading_package"),
    "volumetry.blinding.unblind": ("unblind", "write_unblinded"),
    "volumetry.case": ("Case", "dicom_objects", "failed_case", "measure_case", "measured_folder", "write_result"),
    "volumetry.changemap.change_map": ("Change", "ChangeMap", "Margin", "change_map"),
    "volumetry.changemap.files": ("write_change_map",),
    "volumetry.changemap.registration": ("Quality", "Registration", "register"),
    "volumetry.pipeline": ("failure_of", "failure_of_bug", "package_versions"),
    "volumetry.measure.components": ("component_splits",),
    "volumetry.measure.densitometry": ("lesion_mass_g", "lesion_weight_hu_ml", "mean_lung_hu"),
    "volumetry.measure.interval": ("boundary_points", "with_interval"),
    "volumetry.quality.missed_consolidation": ("tissue_outside_lungs",),
    "volumetry.quality.suspect_solid": ("suspect_solid",),
    "volumetry.quality.trachea_noise": ("control_figures",),
    "volumetry.quality.unlabelled_haze": ("unlabelled_haze",),
    "volumetry.scan.checks.composition": ("Stack", "drop_localizers", "drop_pictures", "stacks_of"),
    "volumetry.scan.checks.gate": ("GatedStack", "gate"),
    "volumetry.scan.checks.geometry": ("StackGeometry", "stack_geometry"),
    "volumetry.scan.checks.identity": ("identity_findings", "without_duplicates"),
    "volumetry.scan.checks.numbering": ("numbering_findings",),
    "volumetry.scan.checks.pixel_attributes": ("pixel_findings",),
    "volumetry.scan.choice": ("choose",),
    "volumetry.scan.contents": ("Contents", "contents_of"),
    "volumetry.scan.inputs.opening": ("Given", "opened"),
    "volumetry.scan.inputs.volume_stack": ("VolumeStack",),
    "volumetry.scan.inputs.volumes": ("decode_volume", "judged_stack", "require_ct_numbers"),
    "volumetry.scan.pixels.decode": ("SliceFault", "decode"),
    "volumetry.scan.pixels.digests": ("input_digests",),
    "volumetry.scan.pixels.hounsfield": ("HuVolume", "hounsfield"),
    "volumetry.scan.pixels.padding": ("padding_mask",),
    "volumetry.segment.exclusion": ("no_lung",),
    "volumetry.segment.factory": ("segmenter_from",),
    "volumetry.segment.network": ("NetworkSegmenter", "chosen_device", "chosen_precision", "load_segmenter"),
    "volumetry.segment.postprocess": ("tidy", "with_sides"),
    "volumetry.segment.preprocess": ("InputRecipe", "Pictures", "network_batch", "pictures_of", "ready_made"),
    "volumetry.segment.organs": ("chest_of", "leave_out"),
    "volumetry.segment.thorax_weights": ("ContextModel", "load_context", "verify_context_probe"),
    "volumetry.segment.weights": ("Model", "load_model", "verify_probe"),
    "volumetry.training.ablation": ("ablate",),
    "volumetry.training.annotate.agreement": ("agreement", "areas", "pooled", "with_shift"),
    "volumetry.training.annotate.draw": ("slice_picture",),
    "volumetry.training.annotate.paint": ("painted",),
    "volumetry.training.annotate.plan": ("evenly_spaced",),
    "volumetry.training.annotate.propose": ("Proposal", "propose"),
    "volumetry.training.annotate.report": ("figures", "kinds_of_error", "report", "table_of"),
    "volumetry.training.by_architecture": ("train_model",),
    "volumetry.training.calibration": ("blocks", "coverage", "expected_error", "fitted", "temperatures"),
    "volumetry.training.config": ("load_recipe",),
    "volumetry.training.dataset": ("Bank", "build_bank"),
    "volumetry.training.evaluate": ("evaluate",),
    "volumetry.training.evaluate_scans": ("dice", "evaluate_scans", "learned_from"),
    "volumetry.training.package": ("write_model_folder",),
    "volumetry.training.thorax.evaluate": ("coarse_figures",),
    "volumetry.training.thorax.loss": ("partial_loss",),
    "volumetry.training.thorax.package": ("write_thorax_folder",),
    "volumetry.training.thorax.train": ("train_thorax",),
    "volumetry.training.train": ("masked_loss", "train"),
    "volumetry.trial.change": ("Change", "changes_of"),
    "volumetry.trial.compare": ("Comparison", "Contrast", "contrasts_of", "endpoint", "secondary", "sensitivity"),
    "volumetry.trial.comparability": ("grade_pair",),
    "volumetry.trial.measurement_error": ("with_measurement",),
    "volumetry.trial.missing": ("missing_values",),
    "volumetry.trial.mixed": ("repeated_measures",),
    "volumetry.trial.outcomes": ("ArmSummary", "Events", "event_outcomes", "numeric_outcomes", "summaries"),
    "volumetry.trial.pairwise": ("hodges_lehmann",),
    "volumetry.trial.results": ("ScanRow", "read_results"),
    "volumetry.trial.statistics": (
        "fisher",
        "holm",
        "median_interval",
        "rank_sum",
        "shift_interval",
        "summarise",
        "woolf",
    ),
    "volumetry.trial.visit_windows": ("Placement", "place"),
    "volumetry.trial.visits": ("Visits", "read_visits"),
    "volumetry.web.cases": ("ViewCase", "case_of", "load_case"),
    "volumetry.web.drop_in": ("serve",),
    "volumetry.web.viewer": ("view",),
}
"""What a line calls as its steps, beside what a room's ``__all__`` names."""

WHOLE = ("volumetry.image", "volumetry.storage")
"""Rooms without a face of their own: every public function and class of their modules is used by all others."""


def _packages() -> Iterator[str]:
    yield "volumetry"
    for found in pkgutil.walk_packages(volumetry.__path__, "volumetry."):
        if found.ispkg and not found.name.startswith("volumetry.cli"):
            yield found.name


def _members() -> Iterator[tuple[str, object]]:
    """Dotted name and object of all that is asked."""
    for package in _packages():
        for name in getattr(importlib.import_module(package), "__all__", ()):
            yield f"{package}.{name}", getattr(importlib.import_module(package), name)
    for room in WHOLE:
        for found in pkgutil.iter_modules(importlib.import_module(room).__path__, f"{room}."):
            module = importlib.import_module(found.name)
            for name, thing in vars(module).items():
                if not name.startswith("_") and getattr(thing, "__module__", "") == found.name:
                    yield f"{found.name}.{name}", thing
    for module_name, names in STAGES.items():
        for name in names:
            yield f"{module_name}.{name}", getattr(importlib.import_module(module_name), name)


def _callables() -> dict[str, object]:
    """Functions and classes, each once, under the name of its own module."""
    things = (
        thing for _, thing in _members() if inspect.isfunction(inspect.unwrap(thing)) or inspect.isclass(thing)
    )
    return {f"{thing.__module__}.{thing.__qualname__}": thing for thing in things}


def faults(thing: Callable[..., Any]) -> list[str]:
    """What a function's or a class's docstring leaves unsaid."""
    return _faults_of_class(thing) if inspect.isclass(thing) else _faults_of_function(thing)


def _faults_of_class(cls: type) -> list[str]:
    said = NumpyDocString(inspect.cleandoc(cls.__doc__ or ""))
    asked: list[str] = []
    if _has_own_constructor(cls) and not issubclass(cls, enum.Enum | BaseModel | typing.Protocol):
        asked = _parameters(cls)
    found = [f"{name}: not under Parameters" for name in asked if name not in _named(said["Parameters"])]
    if not cls.__doc__:
        found.append("no docstring")
    for constructor in ("__init__", "__post_init__"):
        if (function := vars(cls).get(constructor)) and function.__module__ == cls.__module__:
            with contextlib.suppress(OSError):  # a dataclass writes its own
                found += [f"{name}: not under Raises" for name in _raised(_body(function)) - _raises(said)]
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        public = not name.startswith("_") or name == "__call__"
        if public and inspect.isfunction(inspect.unwrap(function)) and function.__module__ == cls.__module__:
            found += [f"{name}(): {fault}" for fault in _faults_of_function(function)]
    return found


def _faults_of_function(function: Callable[..., Any]) -> list[str]:
    inner = inspect.unwrap(function)
    if not inner.__doc__:
        return ["no docstring"]
    said = NumpyDocString(inspect.cleandoc(inner.__doc__))
    body = _body(inner)
    parameters = _parameters(inner)
    found = [f"{name}: not under Parameters" for name in parameters if name not in _named(said["Parameters"])]
    if _gives_a_value(inner) and not (not parameters and _is_one_return(body)):
        section = "Yields" if inspect.isgeneratorfunction(inner) else "Returns"
        if not said[section]:
            found.append(f"no {section} section")
        found += [
            f"{section}: {item.type or item.name} is not described" for item in said[section] if not item.desc
        ]
    found += [f"{name}: not under Raises" for name in sorted(_raised(body) - _raises(said))]
    return found


def _has_own_constructor(cls: type) -> bool:
    return "__init__" in vars(cls)


def _parameters(thing: Callable[..., Any]) -> list[str]:
    named = inspect.signature(thing).parameters
    return [name for name in named if name not in ("self", "cls") and not name.startswith("_")]


def _named(section: list[Any]) -> set[str]:
    return {name.strip().lstrip("*") for item in section for name in item.name.split(",")}


def _raises(said: NumpyDocString) -> set[str]:
    return {name.strip() for item in said["Raises"] for name in item.type.split(",")}


def _gives_a_value(function: Callable[..., Any]) -> bool:
    return inspect.signature(function).return_annotation not in (None, "None", inspect.Signature.empty)


def _body(function: Callable[..., Any]) -> list[ast.stmt]:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    return tree.body[1:] if ast.get_docstring(tree) else tree.body


def _is_one_return(body: list[ast.stmt]) -> bool:
    return len(body) == 1 and isinstance(body[0], ast.Return)


def _raised(body: list[ast.stmt]) -> set[str]:
    """Classes in ``raise Name(...)``; functions defined inside, and faults of our own, are left out."""
    names = set()
    todo: list[ast.AST] = list(body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            names.add(ast.unparse(node.exc.func).rpartition(".")[2])
        todo += ast.iter_child_nodes(node)
    return {name for name in names if name[:1].isupper()} - {"AssertionError"}


CALLABLES = _callables()


class _SaysNothing:
    """A class."""

    def __init__(self, shape_kji: tuple[int, int, int]) -> None:
        if min(shape_kji) < 1:
            raise ValueError("too small")

    @property
    def voxels(self) -> int:
        """A property says it in its summary."""
        return 1

    def whole(self, spacing_mm: float) -> float:
        """Say nothing of the parameter, the value and the error."""
        if spacing_mm <= 0:
            raise ValueError("not positive")
        return spacing_mm


def _says_all(volume_kji: list[int], *further: int, whole: bool = False) -> int:
    """Say what goes in, what comes out and what stops it.

    Parameters
    ----------
    volume_kji, whole
        Two in one entry.
    *further
        Any number.

    Returns
    -------
    int
        The sum.

    Raises
    ------
    ValueError, KeyError
        Two in one entry.
    """

    def inner() -> None:
        raise TypeError("of another function")

    if not volume_kji:
        raise ValueError("empty")
    if whole:
        raise KeyError("whole") from None
    inner()
    return sum(volume_kji) + sum(further)


def _says_part(volume_kji: list[int]) -> int:
    """Say what goes in, and of the value its type alone.

    Parameters
    ----------
    volume_kji
        Numbers.

    Returns
    -------
    int

    Raises
    ------
    KeyError
        Never.
    """
    if not volume_kji:
        raise ValueError("empty")
    return sum(volume_kji)


def _says_no_yield() -> Iterator[int]:
    """Yield without a section of that name.

    Returns
    -------
    int
        One.
    """
    yield 1


def test_the_check_finds_what_is_not_said():
    assert faults(_says_all) == []
    assert faults(_says_part) == ["Returns: int is not described", "ValueError: not under Raises"]
    assert faults(_says_no_yield) == ["no Yields section"]
    assert faults(_SaysNothing) == [
        "shape_kji: not under Parameters",
        "ValueError: not under Raises",
        "whole(): spacing_mm: not under Parameters",
        "whole(): no Returns section",
        "whole(): ValueError: not under Raises",
    ]
    assert faults(lambda: None) == ["no docstring"]


def test_every_room_with_a_face_is_looked_at():
    assert {"volumetry.pipeline.analyse", "volumetry.domain.grid.Grid", "volumetry.case.measure_case"} <= set(
        CALLABLES
    )
    assert len(CALLABLES) > 300


@pytest.mark.parametrize("name", sorted(CALLABLES))
def test_it_says_what_goes_in_what_comes_out_and_what_stops_it(name):
    assert faults(CALLABLES[name]) == []
