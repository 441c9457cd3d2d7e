"""Every way a run can stop.

::

    VolumetryError            code, message, hint, exit_code
      InputError              3   the scan cannot be measured as it was given
        ScanRefusedError               ... for the reasons (findings) it carries
      ScanFailedError         9   the scan was not measured, and the failure is ours
      ConfigError             4   a setting is wrong
      ModelError              5   the weights are not what their card says
      SegmentationError       6   no lungs, or an answer that contradicts itself
      OutputError             7   a result could not be written
      BusyError              75   another run holds this output folder

A programmer's mistake stays ``ValueError`` or ``TypeError`` and shows its traceback (exit 1).
"""

from typing import ClassVar


class VolumetryError(Exception):
    """A known stop: a code that scripts can rely on, words for people, and how the process ends.

    Parameters
    ----------
    message
        What happened and where; never a value that could identify a patient.
    code, hint
        Override the class's own code and hint, where one class serves several codes of the catalogue.

    Examples
    --------
    >>> ModelError("weights.safetensors: sha256 differs from its card").exit_code
    5
    """

    code: str = "VOLUMETRY"
    hint: str = ""
    exit_code: ClassVar[int] = 1

    def __init__(self, message: str, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message, code, hint)
        self.message = message
        if code is not None:
            self.code = code
        if hint is not None:
            self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} [{self.code}]"


class UsageError(VolumetryError):
    """The command was given something it cannot take."""

    code = "USAGE"
    hint = "Run the command with --help."
    exit_code = 2


class InputError(VolumetryError):
    """The scan cannot be measured as it was given."""

    code = "INPUT"
    hint = "Check the file or folder that the message names; the command with --help states what it needs."
    exit_code = 3


class ScanFailedError(VolumetryError):
    """The scan gave no number because of a failure of ours: a time or memory limit, a worker's death, a bug."""

    code = "INTERNAL_ERROR"
    hint = "The program failed, not the scan: measure the scan again by itself, and report it if it recurs."
    exit_code = 9


class ConfigError(VolumetryError):
    """A setting is missing, misspelt or out of range."""

    code = "CONFIG"
    hint = "Compare the settings with configs/default.toml, which states the unit and reason of each."
    exit_code = 4


class ModelError(VolumetryError):
    """The model's files are missing, changed, or do not reproduce their probe."""

    code = "MODEL"
    hint = "Reinstall volumetry, or set segment.model to a model folder whose card matches its weights."
    exit_code = 5


class SegmentationError(VolumetryError):
    """The tissue map cannot be believed: an accounting identity is broken."""

    code = "SEGMENTATION"
    hint = "This is a fault of the program, not of the scan: report it, with the scan's run.json."
    exit_code = 6


class OutputError(VolumetryError):
    """A result could not be written."""

    code = "OUTPUT"
    hint = "Check that the output folder exists, is writable and has free space; no partial files were left."
    exit_code = 7


class BusyError(VolumetryError):
    """Another run holds the output folder."""

    code = "BUSY"
    hint = "Wait for the other run to end, or use another output folder for this one."
    exit_code = 75
