"""The catalogue: every code a scan can earn, what follows from it, and what to do about it.

A code never changes its meaning. Its outcome is fixed here; the ``trial`` profile and a configuration may make
it stricter. The order of the catalogue is the order of severity in which a row lists several codes.

When does a flag ask for a reader? Flags on every scan are read on none. Under the default profile a code is a flag
only where it can move the share of lesion by more than half a point of lung (``[quality] move_points``), or where
nobody can tell by how much without a look at the images: a lung cut off, sides that may be swapped, metal, lossy
pixels, a patient the model was not made for, our own mask in doubt. What is known to move the number by less is a
note, with its bound in the message. The ``trial`` profile asks further whether scans can be compared, and flags or
refuses what departs from one way of scanning. What became a note for want of a way to move the number:

* INCOMPLETE_INSTANCE_NUMBERS: positions are uniform, so images are lost at an end only, where the lung
  itself tells (LUNG_TRUNCATED). Every n-th image alone stays a flag: the lung is only sampled.
* POSITION_JITTER: the sum over a stack does not depend on single positions; the limit is in the message.
* SLICE_OVERLAP: overlapping slices are a finer grid of the same blurred lung.
* SPACING_TAG_CONFLICT: the tag is not used.
* DERIVED_IMAGE: exports and reformats say so too; projections and other quantities are refused by name.
* PIXEL_SPACING_RANGE, LARGE_FOV: the network works on pixels of 1.4 mm; a wrong scale shows in the lungs' volume.
* VARYING_RESCALE: it is applied slice by slice, and HU that jump between slices are refused.
* CONTRAST: it enhances vessels, which are no lesion; a pair with and without is told apart when it is paired.
* THICK_SLICES below 5 mm: 2.5 to 5 mm is how most chests are kept; from 5 mm on domes and fissures blur.
* CONTRAST_NOT_STATED: as CONTRAST, told from the density of the blood.
* BURNED_IN, NONSTANDARD_PREAMBLE: a matter of identity and of safety, not of the number.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """What a code does to its scan."""

    REFUSE = "refuse"
    """No number at all."""
    FLAG = "flag"
    """A number, but a reader must look: the status becomes ``review``."""
    REPAIR = "repair"
    """Something was put right without loss, and counted; the status is unchanged."""
    NOTE = "note"
    """Recorded; no effect on the status."""


@dataclass(frozen=True, slots=True)
class Code:
    """One entry of the catalogue.

    Parameters
    ----------
    name
        The stable identifier.
    outcome, trial_outcome
        What follows under the default profile and under the stricter ``trial`` profile.
    hint
        What to do, in one sentence.
    ours
        The failure is this program's, not the scan's (status ``failed`` instead of ``refused``).
    """

    name: str
    outcome: Outcome
    trial_outcome: Outcome
    hint: str
    ours: bool = False


_R, _F, _P, _N = Outcome.REFUSE, Outcome.FLAG, Outcome.REPAIR, Outcome.NOTE
_RESEND = "Send the series again from the PACS and compare its instance count."
_ONE_VOLUME = "Give the folder of one series, or set a selection rule under [select] in the configuration."
_OURS = "This failure is ours, not the scan's: run it again alone, and report it if it comes back."
_RECONSTRUCT = "Ask the site for the original axial CT reconstruction in Hounsfield units."
_PROTOCOL = "Compare with the trial's imaging protocol before pairing this scan with another."

_OR_SERIES = "or give the DICOM series that it came from."
_CHARTER = "The scan is not as the imaging charter wants it: ask the site for the reconstruction that is."

_ROWS: tuple[tuple[str, Outcome, Outcome, str], ...] = (
    # files and folders
    ("EMPTY_INPUT", _R, _R, "Check the path: the folder must hold the DICOM files of a CT series."),
    ("ACCESS_DENIED", _R, _R, "Give this user read permission on the files and run again."),
    ("INPUT_CHANGED", _R, _R, "Wait until the transfer or sync has ended, then run again."),
    ("MALFORMED", _R, _R, "Compare the file with the original in the PACS: it was damaged, or written wrongly."),
    ("TRUNCATED_FILE", _R, _R, _RESEND),
    ("LIMIT_EXCEEDED", _R, _R, "No CT slice needs this size; if yours does, raise the limit under [limits]."),
    (
        "ZIP_REJECTED",
        _R,
        _R,
        "Give the archive itself instead of its folder; or unpack it and give what is in it.",
    ),
    ("BAD_VOLUME", _R, _R, f"Write the volume again as one NIfTI, NRRD or MetaImage file in HU, {_OR_SERIES}"),
    (
        "BAD_VOLUME_GEOMETRY",
        _R,
        _R,
        f"Write the volume again with its spacing and orientation in mm, {_OR_SERIES}",
    ),
    ("NOT_CT", _R, _R, "Give the folder of a CT series."),
    (
        "ENHANCED_MULTIFRAME",
        _R,
        _R,
        "Export the object whole, or the study as classic CT images with one file per slice.",
    ),
    ("NOT_PART10", _R, _R, "Re-export as DICOM Part 10 files (with preamble and meta group)."),
    ("MANIFEST_MISMATCH", _R, _R, _RESEND),
    ("UID_CONFLICT", _R, _R, "Ask the site which of the two files is right; both claim the same identity."),
    # composition
    ("MIXED_PATIENTS", _R, _R, "Separate the patients' files; one folder holds one patient."),
    ("MIXED_STUDIES", _R, _R, "Separate the studies; one scan is one time point."),
    ("AMBIGUOUS_VOLUMES", _R, _R, _ONE_VOLUME),
    ("MIXED_ORIENTATION", _R, _R, _ONE_VOLUME),
    ("MIXED_FRAME_OF_REFERENCE", _R, _R, "Separate the acquisitions; their positions cannot be compared."),
    ("MIXED_MATRIX", _R, _R, "Remove the images that belong to another reconstruction."),
    ("MIXED_PIXEL_SPACING", _R, _R, "Remove the images that belong to another reconstruction."),
    # geometry
    ("BAD_ORIENTATION", _R, _R, _RECONSTRUCT),
    ("BAD_POSITIONS", _R, _R, "Ask for the original images: their positions were lost or changed on the way."),
    ("NO_PIXEL_SPACING", _R, _R, _RECONSTRUCT),
    ("DUPLICATE_POSITION", _R, _R, "Ask the site which of the images at one position belongs to the series."),
    ("MISSING_SLICES", _R, _R, _RESEND),
    ("NONUNIFORM_SPACING", _R, _R, "Ask for a reconstruction with equal slice spacing."),
    ("SAMPLED_HRCT", _R, _R, "Sampled slices have no volume: ask for the volumetric reconstruction."),
    ("TOO_FEW_SLICES", _R, _R, "A chest volume needs more slices: check that the whole series was sent."),
    ("TOO_LARGE", _R, _R, "Raise [limits] max_memory_gb on a larger machine."),
    # pixels
    ("NO_RESCALE", _R, _R, "Without RescaleSlope and RescaleIntercept there are no HU; ask for the original."),
    ("NOT_CT_NUMBERS", _R, _R, _RECONSTRUCT),
    ("LOSSY_8BIT", _R, _R, "Ask for the uncompressed or losslessly compressed series."),
    ("UNSUPPORTED_TRANSFER_SYNTAX", _R, _R, "Convert to Explicit VR Little Endian or JPEG 2000 Lossless first."),
    ("NO_PIXEL_DATA", _R, _R, "Export with standard (not vendor) compression."),
    ("PIXEL_LENGTH", _R, _R, _RESEND),
    ("DECODER_DIED", _R, _R, "The pixel data crash the decoder: send the series again, uncompressed."),
    ("HU_IMPLAUSIBLE", _R, _R, _RECONSTRUCT),
    # anatomy
    ("NO_LUNGS_FOUND", _R, _R, "Check that this is a chest CT; no share of nothing is given."),
    ("OUT_OF_INTENDED_POPULATION", _F, _R, "The model was made on adults; confirm the patient's age."),
    ("LUNG_TRUNCATED_APEX", _F, _R, "Ask for a reconstruction that covers the whole lung."),
    ("LUNG_TRUNCATED_BASE", _F, _R, "Ask for a reconstruction that covers the whole lung."),
    ("LUNG_TRUNCATED_FOV", _F, _R, "Ask for a reconstruction whose field of view holds both lungs."),
    (
        "PIXEL_SPACING_CONFLICT",
        _F,
        _R,
        "Compare the size of the body with the original in the PACS: a changed matrix needs a new PixelSpacing.",
    ),
    ("SEAM", _F, _R, "Look at both images: a second scan, or another breath, may have been put behind the first."),
    ("GANTRY_TILT", _F, _R, _PROTOCOL),
    ("NON_AXIAL", _F, _R, "Measure the axial reconstruction; the model was trained on axial slices."),
    ("INCOMPLETE_INSTANCE_NUMBERS", _N, _R, "Compare the instance count with the PACS: images may be lost."),
    ("UNREADABLE_FILES", _F, _R, "Send these files again: one of them may be a slice of this series."),
    ("SLICE_GAP", _F, _R, _PROTOCOL),
    ("THICK_SLICES", _F, _R, _PROTOCOL),
    ("LOSSY", _F, _R, "Ask for the losslessly compressed series."),
    ("POSITION_JITTER", _N, _F, "Positions are rounded; the volume is right within the stated limit."),
    ("SLICE_OVERLAP", _N, _F, _PROTOCOL),
    ("SPACING_TAG_CONFLICT", _N, _F, "The tag is not used; spacing comes from the positions."),
    (
        "CALLED_LOCALIZER",
        _F,
        _F,
        "Check that this is the chest CT and not an attenuation scan: its dose and sharpness may be low.",
    ),
    ("DERIVED_IMAGE", _N, _F, "Prefer the original reconstruction."),
    ("PRONE", _F, _F, "Compare only with scans in the same position."),
    ("POSITION_CONFLICT", _F, _F, "Left and right may be swapped: check before using results by side."),
    ("PIXEL_SPACING_RANGE", _N, _F, "Check the field of view: a usual chest CT has 0.3 to 1.2 mm pixels."),
    ("LARGE_FOV", _N, _F, "Prefer a reconstruction targeted at the chest."),
    ("VARYING_RESCALE", _N, _F, "Rescale was applied slice by slice, as the standard says."),
    ("HU_DRIFT", _F, _F, "Check the scanner's calibration (air and water)."),
    ("CONTRAST", _N, _F, "Contrast raises lung density: compare only with contrast scans."),
    ("METAL", _F, _F, "Look for streaks that may have been taken for ground glass."),
    ("CONTRAST_NOT_STATED", _N, _F, "Contrast raises lung density: compare only with contrast scans."),
    ("BURNED_IN", _N, _F, "The image may show identity in its pixels: do not pass it on."),
    ("NONSTANDARD_PREAMBLE", _N, _F, "The file may be a program as well as an image: handle with care."),
    ("LUNG_VOLUME_IMPLAUSIBLE", _F, _F, "Look at the lung mask."),
    ("ONE_LUNG", _F, _F, "The denominator may mean one lung: look at the mask."),
    ("SIDE_CONFLICT", _F, _F, "Look at the lung mask; do not use results by side."),
    (
        "SUSPECT_SOLID",
        _F,
        _F,
        "Look there: take organs and fat out of the mask and measure again (volumetry remeasure).",
    ),
    ("LESION_OUTSIDE_LUNG", _F, _F, "Look at the mask: what lies outside both lungs was left out."),
    (
        "DENSE_TISSUE_OUTSIDE_LUNG",
        _F,
        _F,
        "Look there: draw consolidation into the mask and measure again (volumetry remeasure); leave fluid out.",
    ),
    # the imaging charter: what its own settings make of a deviation
    *(
        (f"CHARTER_{rule}", _F, _F, _CHARTER)
        for rule in (
            "THICKNESS",
            "SPACING",
            "KERNEL",
            "KVP",
            "CONTRAST",
            "SCANNER",
            "COVERAGE",
            "SLICES",
        )
    ),
    # repairs
    ("DUPLICATE_FILE", _P, _P, "One copy was kept."),
    ("LOCALIZER_DROPPED", _P, _P, "The scout is no part of the volume."),
    ("NON_CT_OBJECT_DROPPED", _P, _P, "Reports and secondary captures are no part of the volume."),
    ("REORDERED", _P, _P, "Slices were ordered by position."),
    ("PADDING_MASKED", _P, _P, "Padding was set to air and is counted in no volume."),
    ("MONOCHROME1_IGNORED", _P, _P, "HU do not depend on the photometric interpretation."),
    ("NOT_PART10_REPAIRED", _P, _P, "The bare dataset was read as what it provably is."),
    ("DICOMDIR_IGNORED", _P, _P, "Files are found by content."),
    # notes
    ("SERIES_SELECTED", _N, _N, "The rule under [select] chose this series."),
    ("OTHER_SERIES_IGNORED", _N, _N, "These series cannot be measured; the one that can was taken."),
    ("LINKS_SKIPPED", _N, _N, "Symbolic links are not followed."),
    ("NOT_REGULAR_FILE", _N, _N, "Only regular files are read."),
    ("JUNK_FILES_SKIPPED", _N, _N, "Files that are not DICOM were passed over."),
    ("NO_INSTANCE_NUMBER", _N, _N, "Legal; positions alone give the order."),
    ("SMALL_TILT", _N, _N, "The full affine is used."),
    ("OBLIQUE", _N, _N, "The full affine is used."),
    ("IDENTIFIED_BY_CONTENT", _N, _N, "The volume needs no UID; DICOM objects made from this scan do."),
    ("SERIES_OF_ONE_FILE", _N, _N, "Give the folder to have everything in it looked at."),
    ("NO_HEADER", _N, _R, "Give the DICOM series it came from; or allow volumes by `volumes` under [charter]."),
    ("AGE_UNKNOWN", _N, _N, "The header states no age."),
    ("HU_NOT_MEASURED", _N, _N, "Give the scan's folder by --scan to have them."),
    (
        "DICOM_NOT_POSSIBLE",
        _N,
        _N,
        "Use mask.nii.gz, or set [export] generate_uids = true: then UIDs are made from the content.",
    ),
    ("EXPORT_UIDS_GENERATED", _N, _N, "An archive cannot join SEG and SR to the source by these UIDs."),
    ("EXPORT_NORMALISED", _N, _N, "The source is as it was; only what SEG and SR repeat of it was made legal."),
)

_OF_OTHER_INPUT: tuple[tuple[str, str], ...] = (
    ("INPUT", "Run `volumetry inspect` on the folder to see every series and what is wrong with it."),
    ("EDITED_MASK", "Export the mask on the scan's own grid, with the labels 0 to 4."),
    ("NO_MASK", "Measure this scan again with `volumetry check` and use the new result."),
    ("RESULT_MISMATCH", "Measure this scan again with `volumetry check` and use the new result."),
    ("REGISTRATION_POOR", "Compare the two visits side by side: these scans cannot be laid over each other."),
    ("TABLE", "Correct the table at the row and column that the message names."),
    ("NOTHING_TO_READ", "Give a batch with at least one measured scan."),
    ("KEY_MISMATCH", "Give the key that was written together with this reading package."),
)
"""Of what a command was given beside a scan: an edited mask, an earlier result, a table."""

_OUR_FAILURES: tuple[tuple[str, str], ...] = (
    ("WORKER_DIED", _OURS),
    ("TIMEOUT", "Raise the time limit under [limits], or run the scan alone on a faster machine."),
    ("MEMORY_LIMIT", "Raise the memory limit under [limits], or run the scan on a larger machine."),
    ("INTERNAL_ERROR", _OURS),
    ("IDENTITY", "Report this with the scan's run record; the fault is ours, not the scan's."),
    ("SEGMENTATION", "Report this with the scan's run record; the fault is ours, not the scan's."),
    ("MODEL", "Reinstall volumetry, or point --config at a model folder whose card matches its weights."),
    ("OUTPUT", "Check that the output folder exists, is writable and has space, and run again."),
    # stops of a command: a row holds one only where the command was given the wrong thing for every scan
    ("CONFIG", "Compare the settings with configs/default.toml, which holds each with its unit and reason."),
    ("USAGE", "Run the command with --help."),
    ("BUSY", "Wait for the other run to end, or give this one its own folder."),
    ("CLUSTER_LOST", "Run again: finished scans are kept."),
    ("ARCHIVE", "Check the archive's address, its certificate and what it allows us."),
    ("EXTRA_MISSING", "Install volumetry with the extra that the message names."),
    ("VIEWER_MISSING", "Install volumetry where npm is, or use the report instead."),
    ("VOLUMETRY", _OURS),
)

CATALOGUE: dict[str, Code] = {
    **{name: Code(name, _R, _R, hint, ours=True) for name, hint in _OUR_FAILURES},
    **{name: Code(name, _R, _R, hint) for name, hint in _OF_OTHER_INPUT},
    **{name: Code(name, outcome, trial, hint) for name, outcome, trial, hint in _ROWS},
}
"""Every code by name, most severe first."""

OF_THE_EXPORT = frozenset({"DICOM_NOT_POSSIBLE", "EXPORT_UIDS_GENERATED", "EXPORT_NORMALISED"})
"""Codes of the objects written beside a result; they say nothing of the scan or its numbers."""

_RANK = {name: rank for rank, name in enumerate(CATALOGUE)}


def strictest(outcomes: Iterable[Outcome]) -> Outcome:
    """The most severe of several outcomes, at least one."""
    return min(outcomes, key=list(Outcome).index)


def severity_rank(name: str) -> int:
    """Place of a code in the fixed order of severity; 0 is the most severe.

    >>> severity_rank("MISSING_SLICES") < severity_rank("THICK_SLICES") < severity_rank("REORDERED")
    True
    """
    return _RANK[name]
