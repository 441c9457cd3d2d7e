"""Phantoms through the whole line but for the network: DICOM out, DICOM in, an observer, tidying, counting."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from volumetry.assurance.validation.design import Acquisition, Design
from volumetry.assurance.validation.observer import Observer
from volumetry.config import Config
from volumetry.phantom import make_phantom, write_series
from volumetry.pipeline import analyse_scan
from volumetry.storage.unfinished import temporary_folder, unfinished_folder

QUANTITIES = ("lung", "ground_glass", "solid", "lesion")


@dataclass(frozen=True, slots=True)
class Case:
    """One quantity of one acquisition."""

    experiment: str
    subject: str
    condition: str
    thickness_mm: float
    noise_hu: float
    quantity: str
    truth_ml: float
    found_ml: float

    @property
    def error_percent(self) -> float:
        """Found against truth."""
        return 100 * (self.found_ml / self.truth_ml - 1)


@dataclass(frozen=True, slots=True)
class Validation:
    """Everything that was measured.

    Parameters
    ----------
    design
        The phantoms.
    cases
        True and measured volume of each quantity of each acquisition.
    """

    design: Design
    cases: tuple[Case, ...]

    def of(self, quantity: str, experiment: str, **wanted: object) -> tuple[Case, ...]:
        """Cases of one quantity and experiment.

        Parameters
        ----------
        quantity
            Such as ``lung`` or ``solid``.
        experiment
            ``linearity`` or ``repeatability``.
        wanted
            Further attributes of the cases, and their values.

        Returns
        -------
        tuple[Case, ...]
            In the order in which they were measured.
        """
        return tuple(
            case
            for case in self.cases
            if (case.quantity, case.experiment) == (quantity, experiment)
            and all(getattr(case, name) == value for name, value in wanted.items())
        )

    def pairs(self, quantity: str, condition: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Volumes of every subject at first, and under another condition.

        Parameters
        ----------
        quantity
            Such as ``lung`` or ``solid``.
        condition
            ``noise`` or ``resampled``.

        Returns
        -------
        first_ml, again_ml
            In mL, in the order of the subjects.
        """
        first = {case.subject: case.found_ml for case in self.of(quantity, "repeatability", condition="first")}
        again = {case.subject: case.found_ml for case in self.of(quantity, "repeatability", condition=condition)}
        return tuple(first.values()), tuple(again[subject] for subject in first)


def validate(
    config: Config, on_stage: Callable[[str], None] = lambda _: None, design: Design | None = None
) -> Validation:
    """Measure every phantom of a design.

    Parameters
    ----------
    config
        The settings that are validated with.
    on_stage
        Called with a few words before each phantom.
    design
        The phantoms; the default design if None.

    Returns
    -------
    Validation
        True and measured volumes.

    Raises
    ------
    VolumetryError
        If a phantom cannot be measured: then this installation is not fit for use.
    """
    design = design or Design()
    acquisitions = tuple(design.acquisitions())
    cases: list[Case] = []
    with temporary_folder() as folder:
        for number, acquisition in enumerate(acquisitions, 1):
            on_stage(f"validation: phantom {number} of {len(acquisitions)}")
            with unfinished_folder(folder) as series:
                cases += _measured(acquisition, series, config)
    return Validation(design, tuple(cases))


def _measured(acquisition: Acquisition, folder: Path, config: Config) -> Iterator[Case]:
    phantom = make_phantom(acquisition.spec)
    write_series(phantom, folder)
    volumes = analyse_scan(folder, Observer(acquisition.spec), config).result.measurement.volumes_ml
    truth = dict(phantom.truth)
    truth["lesion_ml"] = truth["ground_glass_ml"] + truth["solid_ml"]
    for quantity in QUANTITIES:
        yield Case(
            acquisition.experiment,
            acquisition.subject,
            acquisition.condition,
            acquisition.thickness_mm,
            acquisition.noise_hu,
            quantity,
            truth[f"{quantity}_ml"],
            getattr(volumes, quantity),
        )


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean of at least one value."""
    return sum(values) / len(values)
