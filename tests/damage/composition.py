"""Damages of composition and identity: what is in the folder, and whose it is."""

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from damage.edits import (
    Apply,
    Rng,
    add_copies,
    every,
    everything,
    move_mm,
    normal_of,
    one,
    restore,
    save,
    set_tag,
    sharper,
    slices,
    upper_half,
)
from damage.kinds import Damage, refuses
from volumetry.phantom.series import uid


def rows() -> list[Damage]:
    """Every entry of this kind."""
    return [*_composition(), *_identity()]


def _composition() -> list[Damage]:
    return [
        refuses(
            "second_series",
            "AMBIGUOUS_VOLUMES",
            "a second kernel as a series of its own",
            add_copies(everything, sharper, new_series=True, ConvolutionKernel="B70f"),
        ),
        refuses(
            "second_series_same_kernel",
            "AMBIGUOUS_VOLUMES",
            "the same stack again, as another series",
            add_copies(everything, new_series=True),
        ),
        refuses(
            "two_kernels_one_series",
            "AMBIGUOUS_VOLUMES",
            "two kernels under one SeriesInstanceUID",
            add_copies(everything, sharper, ConvolutionKernel="B70f"),
        ),
        refuses(
            "two_energies",
            "AMBIGUOUS_VOLUMES",
            "dual energy under one SeriesInstanceUID",
            add_copies(everything, KVP="80"),
        ),
        refuses("two_phases", "AMBIGUOUS_VOLUMES", "two respiratory phases under one SeriesInstanceUID", _phases),
        refuses(
            "interleaved_half_step",
            "AMBIGUOUS_VOLUMES",
            "a second acquisition between the slices of the first",
            add_copies(everything, _half_step_up, AcquisitionNumber=2),
        ),
        refuses(
            "several_planes",
            "MIXED_ORIENTATION",
            "reformats of three planes, none of them a chest volume",
            _planes,
        ),
        refuses("other_matrix", "MIXED_MATRIX", "one slice of another matrix", one(_coarser)),
        refuses(
            "other_pixel_spacing",
            "MIXED_PIXEL_SPACING",
            "one slice of another pixel spacing",
            one(PixelSpacing=["0.85", "0.85"]),
        ),
        refuses(
            "other_frame_of_reference",
            "MIXED_FRAME_OF_REFERENCE",
            "one slice of another frame of reference",
            one(lambda ds, rng: _new_uid(ds, "FrameOfReferenceUID", rng)),
        ),
        refuses(
            "frame_changes_halfway",
            "MIXED_FRAME_OF_REFERENCE",
            "the upper half in another frame of reference",
            _other_uid_above("FrameOfReferenceUID"),
        ),
    ]


def _identity() -> list[Damage]:
    return [
        refuses(
            "other_patients_slice", "MIXED_PATIENTS", "one slice of another patient", one(PatientID="SYN-002")
        ),
        refuses("other_sex", "MIXED_PATIENTS", "one slice of another sex", one(PatientSex="F")),
        refuses(
            "other_birth_date",
            "MIXED_PATIENTS",
            "half of the slices with another birth date",
            upper_half(PatientBirthDate="19500101"),
        ),
        refuses("patient_id_absent_once", "MIXED_PATIENTS", "PatientID absent in one slice", one(PatientID=None)),
        refuses(
            "other_patients_series",
            "MIXED_PATIENTS",
            "another patient's series in the folder",
            add_copies(everything, new_series=True, PatientID="SYN-002", PatientSex="M"),
        ),
        refuses(
            "two_studies",
            "MIXED_STUDIES",
            "the upper half from another study",
            _other_uid_above("StudyInstanceUID"),
        ),
        refuses(
            "two_study_dates", "MIXED_STUDIES", "one slice dated three months later", one(StudyDate="20260401")
        ),
        refuses("second_visit", "MIXED_STUDIES", "the next visit's series in the same folder", _second_visit),
    ]


def _new_uid(ds: Dataset, keyword: str, rng: Rng) -> None:
    setattr(ds, keyword, uid(*rng.integers(1 << 30, size=2)))


def _other_uid_above(keyword: str) -> Apply:
    def apply(folder: Path, rng: Rng) -> None:
        value = uid(*rng.integers(1 << 30, size=2))
        upper_half(lambda ds, rng: set_tag(ds, keyword, value))(folder, rng)

    return apply


def _second_visit(folder: Path, rng: Rng) -> None:
    study = uid(*rng.integers(1 << 30, size=2))
    add_copies(everything, new_series=True, StudyInstanceUID=study, StudyDate="20260401")(folder, rng)


def _phases(folder: Path, rng: Rng) -> None:
    every(TemporalPositionIdentifier=1)(folder, rng)
    add_copies(everything, TemporalPositionIdentifier=2)(folder, rng)


def _half_step_up(ds: Dataset, rng: Rng) -> None:
    move_mm(ds, normal_of(ds) * 1.25)


def _coarser(ds: Dataset, rng: Rng) -> None:
    restore(lambda stored, ds: stored[::2, ::2].astype(np.uint16))(ds, rng)


def _planes(folder: Path, rng: Rng) -> None:
    """A third of the slices each as axial, coronal and sagittal images: too few of each for a chest."""
    planes = {
        0: ["1", "0", "0", "0", "1", "0"],
        1: ["1", "0", "0", "0", "0", "-1"],
        2: ["0", "1", "0", "0", "0", "-1"],
    }
    found = slices(folder)
    for n, (path, ds) in enumerate(found):
        plane = n * 3 // len(found)
        ds.ImageOrientationPatient = planes[plane]
        ds.ImagePositionPatient = [f"{2.5 * n if axis == 2 - plane else -30:g}" for axis in range(3)]
        if n < 54:
            save(path, ds)
        else:
            path.unlink()
