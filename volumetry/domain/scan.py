"""One CT series in Hounsfield units, and what its header says of the acquisition."""

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from volumetry.domain.finding import Finding
from volumetry.domain.grid import Box, Grid, Vector

BODY_HU = -500.0
"""Half-way between air and soft tissue: the outline of the body."""


@dataclass(frozen=True, slots=True)
class SeriesInfo:
    """What the header says of the acquisition: nothing that names the patient.

    None where an element is absent.

    Parameters
    ----------
    series_uid
        SeriesInstanceUID (0020,000E).
    slice_count
        Slices of the stack.
    spacing_kji_mm
        Of the grid: length of the step between slices, then row and column spacing.
    thickness_mm
        SliceThickness (0018,0050), the largest of the slices.
    kernel
        ConvolutionKernel (0018,1210); several values with a backslash between.
    kvp
        KVP (0018,0060), in kV.
    manufacturer, model_name
        Manufacturer (0008,0070), Manufacturer's Model Name (0008,1090).
    contrast
        Whether Contrast/Bolus Agent (0018,0010) states one.
    acquisition_date
        YYYYMMDD.
    patient_position
        PatientPosition (0018,5100), such as ``HFS``.
    transfer_syntax, decoder
        UID of the pixels' transfer syntax, and what decoded them.
    rows, columns
        Of the matrix.
    tilt_deg
        Gantry tilt from the slice positions, in degrees.
    """

    series_uid: str
    slice_count: int
    spacing_kji_mm: Vector
    thickness_mm: float | None = None
    kernel: str | None = None
    kvp: float | None = None
    manufacturer: str | None = None
    model_name: str | None = None
    contrast: bool | None = None
    acquisition_date: str | None = None
    patient_position: str | None = None
    transfer_syntax: str | None = None
    decoder: str | None = None
    rows: int | None = None
    columns: int | None = None
    tilt_deg: float | None = None

    @property
    def kernel_names(self) -> tuple[str, ...]:
        """What ConvolutionKernel may be called: the whole of it, and its first value.

        Siemens writes the strength of iterative reconstruction as a second value.
        """
        if self.kernel is None:
            return ()
        first = self.kernel.split("\\")[0]
        return (self.kernel,) if first == self.kernel else (self.kernel, first)


@dataclass(frozen=True, slots=True, eq=False)
class CtScan:
    """One CT series in Hounsfield units on the scanner's own grid.

    Parameters
    ----------
    hu_kji
        HU, float32, the shape of `grid`; padding already set to -1000 HU.
    grid
        The scanner's own.
    series
        The acquisition.
    findings
        Of reading, the most severe first.
    no_data_kji
        Bool, True where the scanner gave no value (padding), which no volume counts; None without padding.
    input_sha256
        Of the canonical input: instances sorted by UID, stored pixels, rescale pairs, geometry.
    pixels_sha256
        Of pixels and geometry alone: the same scan under a new identity has the same one.
    air_hu
        Mode of the air outside the body, a calibration figure; None if not measurable.
    image_numbers
        InstanceNumber (0020,0013) of each slice along k, None where it is absent; empty without headers.
    patient
        Digest of PatientID (0010,0020), to be compared and never written: without a key, ids can be guessed from
        it. None where the header states no id, or one that anonymisers write for everybody.
    patient_issuer
        The same of IssuerOfPatientID (0010,0021); None where the header does not state it.

    Raises
    ------
    ValueError
        If an array does not have the shape or type stated above.
    """

    hu_kji: NDArray[np.float32]
    grid: Grid
    series: SeriesInfo
    findings: tuple[Finding, ...] = ()
    no_data_kji: NDArray[np.bool_] | None = None
    input_sha256: str = ""
    pixels_sha256: str = ""
    air_hu: float | None = None
    image_numbers: tuple[int | None, ...] = ()
    patient: str | None = field(default=None, repr=False)
    patient_issuer: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.image_numbers and len(self.image_numbers) != self.grid.shape_kji[0]:
            raise ValueError(f"{len(self.image_numbers)} image numbers for {self.grid.shape_kji[0]} slices")
        if self.hu_kji.shape != self.grid.shape_kji or self.hu_kji.dtype != np.float32:
            raise ValueError(f"{self.hu_kji.dtype} {self.hu_kji.shape} is not float32 {self.grid.shape_kji}")
        if self.no_data_kji is not None and self.no_data_kji.shape != self.grid.shape_kji:
            raise ValueError("the no-data mask does not lie on the scan's grid")

    def part(self, box: Box) -> "CtScan":
        """What lies in a box of voxels.

        Parameters
        ----------
        box
            Slices along k, j and i, without a step.

        Returns
        -------
        CtScan
            The scan on the grid of the box; its arrays are views.
        """
        no_data = None if self.no_data_kji is None else self.no_data_kji[box]
        numbers = self.image_numbers[box[0]]
        grid = self.grid.part(box)
        return replace(self, hu_kji=self.hu_kji[box], grid=grid, no_data_kji=no_data, image_numbers=numbers)
