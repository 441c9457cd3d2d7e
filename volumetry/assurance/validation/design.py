"""Which phantoms are measured. Everything is fixed before the first run; nothing is chosen by its result."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from volumetry.domain import Vector
from volumetry.phantom import Lesion, PhantomSpec

_RIGHT: Vector = (-85.3, 10.2, 10.1)
_LEFT: Vector = (88.3, 12.2, 8.7)
_FIELD_MM, _HEIGHT_MM = 331.0, 275.0


@dataclass(frozen=True, slots=True)
class Acquisition:
    """One measurement of one made-up subject.

    Parameters
    ----------
    experiment
        ``linearity`` or ``repeatability``.
    subject
        The same lesions for every acquisition of one subject.
    condition
        ``grid`` in linearity; else ``first``, ``noise`` (new noise), ``resampled`` (also another grid).
    thickness_mm, noise_hu
        Slice step and standard deviation of the noise.
    """

    experiment: str
    subject: str
    condition: str
    thickness_mm: float
    noise_hu: float
    spec: PhantomSpec


@dataclass(frozen=True, slots=True)
class Design:
    """The phantoms of one validation.

    Parameters
    ----------
    thicknesses_mm, noises_hu
        Every thickness is combined with every noise.
    volumes_ml
        Volumes of the ground-glass sphere and of the solid one, the same for both.
    subjects
        Synthetic subjects of the repeatability part, each measured three times.
    pixel_mm
        Row and column spacing, in mm.
    """

    thicknesses_mm: tuple[float, ...] = (1.0, 2.5, 5.0)
    noises_hu: tuple[float, ...] = (10.0, 40.0)
    volumes_ml: tuple[float, ...] = (1.0, 3.0, 10.0, 20.0, 40.0)
    subjects: int = 8
    pixel_mm: float = 1.2

    def acquisitions(self) -> Iterator[Acquisition]:
        """Every phantom in its order.

        Yields
        ------
        Acquisition
            First those of linearity, then those of repeatability.
        """
        for thickness in self.thicknesses_mm:
            for noise in self.noises_hu:
                for number, volume in enumerate(self.volumes_ml):
                    spec = _spec((volume, volume), thickness, self.pixel_mm, noise, seed=number)
                    yield Acquisition("linearity", f"{volume:g} mL", "grid", thickness, noise, spec)
        yield from self._repeats()

    def _repeats(self) -> Iterator[Acquisition]:
        """Lesions of 1 to 40 mL, evenly spread on the logarithmic scale; then the same body three times."""
        rng = np.random.default_rng(20261122)
        thickness, noise = 2.5, 25.0
        for number in range(self.subjects):
            volumes = np.exp(rng.uniform(0.0, math.log(40.0), 2))
            both = (float(volumes[0]), float(volumes[1]))
            first = _spec(both, thickness, self.pixel_mm, noise, seed=1000 + number)
            again = _spec(both, thickness, self.pixel_mm, noise, seed=2000 + number)
            shift = rng.uniform(-0.5, 0.5, 3) * (self.pixel_mm, self.pixel_mm, thickness)
            moved = (float(shift[0]), float(shift[1]), float(shift[2]))
            other = _spec(both, 0.8 * thickness, 0.9 * self.pixel_mm, noise, 3000 + number, moved)
            for condition, spec in (("first", first), ("noise", again), ("resampled", other)):
                step = spec.spacing_kji_mm[0]
                yield Acquisition("repeatability", f"S{number + 1:02d}", condition, step, noise, spec)


def _spec(
    volumes_ml: tuple[float, float],
    thickness_mm: float,
    pixel_mm: float,
    noise_hu: float,
    seed: int,
    centre_lps_mm: Vector = (0.0, 0.0, 0.0),
) -> PhantomSpec:
    ground_glass, solid = (_sphere(ml) for ml in volumes_ml)
    side = round(_FIELD_MM / pixel_mm)
    return PhantomSpec(
        (math.ceil(_HEIGHT_MM / thickness_mm) + 1, side, side),
        (thickness_mm, pixel_mm, pixel_mm),
        (Lesion("ground_glass", _RIGHT, ground_glass), Lesion("solid", _LEFT, solid)),
        centre_lps_mm=centre_lps_mm,
        noise_hu=noise_hu,
        vessels=False,
        seed=seed,
    )


def _sphere(volume_ml: float) -> Vector:
    """Half axes of a sphere: V = 4/3 pi r^3."""
    radius = (volume_ml * 1000 * 3 / (4 * math.pi)) ** (1 / 3)
    return (radius, radius, radius)
