"""What our objects take from the source: patient, study, place and references, every value of it legal.

Nothing else of the source's headers reaches an object, whatever the libraries that make it would copy: free words
about the patient and facts of the site's scanner stay behind.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from logging import CRITICAL, getLogger
from pathlib import Path
from uuid import UUID

import highdicom as hd
from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.uid import CTImageStorage
from pydicom.valuerep import DEFAULT_CHARSET_VR

from volumetry.config import Config
from volumetry.deliver.dicom.character_sets import CharacterSets
from volumetry.deliver.dicom.legal_values import Change, Legal, legal_decimal, legal_uid, legal_value, legal_values
from volumetry.domain import Finding, Grid
from volumetry.scan import Source, SourceSlice, source_headers
from volumetry.scan.findings import found, named, plural
from volumetry.scan.headers.values import quiet_pydicom

_MUST_BE_THERE = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "StudyID",
    "ReferringPhysicianName",
)
"""Type 2: in every object, empty where the source has nothing legal. De-identified files often lack them."""
_IF_PRESENT = (
    "IssuerOfPatientID",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "StudyDescription",
    "Manufacturer",
    "ManufacturerModelName",
    "LossyImageCompression",
)
_SEVERAL = (
    "SoftwareVersions",
    "DeidentificationMethod",
    "LossyImageCompressionRatio",
    "LossyImageCompressionMethod",
)
_TRIAL = (
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
"""The Clinical Trial Subject module, as a whole or not at all."""
_IDENTIFIERS = frozenset(
    {
        "PatientID",
        "IssuerOfPatientID",
        "AccessionNumber",
        "StudyID",
        "ClinicalTrialProtocolID",
        "ClinicalTrialSiteID",
        "ClinicalTrialSubjectID",
        "ClinicalTrialSubjectReadingID",
    }
)
_METHOD_CODES = "DeidentificationMethodCodeSequence"
_CODE = ("CodeValue", "CodingSchemeDesignator", "CodeMeaning")
_OF_THE_STACK = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
"""One for all slices."""
_READ = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "PatientIdentityRemoved",
    _METHOD_CODES,
    *_OF_THE_STACK,
    *_MUST_BE_THERE,
    *_IF_PRESENT,
    *_SEVERAL,
    *_TRIAL,
)


@dataclass(frozen=True, slots=True, eq=False)
class ExportSource:
    """A scan as our objects may refer to it.

    Parameters
    ----------
    headers
        One per slice of the grid, with legal values alone. Frames of one file have a header each, with its UID.
    frame_numbers
        Of each slice in its file, from 1; None where the file is the slice.
    grid, series_uid
        To be compared with what was measured.
    findings
        What was normalised, emptied or made, for the result.
    unusable
        Tags whose UIDs cannot be referred to; while there are any, nothing can be written.
    """

    headers: tuple[Dataset, ...]
    frame_numbers: tuple[int | None, ...]
    grid: Grid
    series_uid: str
    findings: tuple[Finding, ...]
    unusable: tuple[str, ...]


def export_source(scan_folder: Path, input_sha256: str, config: Config) -> ExportSource:
    """Look again at what was measured, for what objects made from it need.

    Parameters
    ----------
    scan_folder, config
        Those that were measured and measured with.
    input_sha256
        Digest of the input, from which UIDs are made where the settings ask for it.

    Raises
    ------
    ScanRefusedError
        If the folder no longer holds what was measured.
    """
    return legal_source(source_headers(scan_folder, config, _READ), input_sha256, config)


def legal_source(source: Source, input_sha256: str, config: Config) -> ExportSource:
    """As `export_source`, from raw headers that were read already."""
    common = _Common()
    with quiet_libraries():
        common.take(source.slices[0].raw)
        uids = _Uids.of(source.slices)
    made: tuple[str, ...] = ()
    if uids.unusable and config.export.generate_uids:
        made = tuple(uids.unusable)
        uids.make(input_sha256)
    unusable = tuple(uids.unusable)
    step_mm = source.grid.spacing_kji_mm[0]
    headers = tuple(
        _header(common.values, uids.of_slice(k), piece, source.grid, step_mm)
        for k, piece in enumerate(source.slices)
    )
    return ExportSource(
        headers=headers,
        frame_numbers=tuple(piece.frame_number for piece in source.slices),
        grid=source.grid,
        series_uid=source.series_uid,
        findings=tuple(_findings(common.changes, made, unusable, config)),
        unusable=unusable,
    )


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep what pydicom and highdicom say from log and terminal: their texts carry values."""
    logger = getLogger("highdicom")
    before = logger.level
    logger.setLevel(CRITICAL + 1)
    try:
        with quiet_pydicom():
            yield
    finally:
        logger.setLevel(before)


def _findings(
    changes: dict[str, Change], made: Sequence[str], unusable: Sequence[str], config: Config
) -> Iterable[Finding]:
    """Tags, and what became of them; never their values."""
    if unusable:
        yield found(config, "DICOM_NOT_POSSIBLE", f"SEG and SR cannot refer to this series: {why(unusable)}")
        return
    if changes:
        said = [(change, sorted(k for k in changes if changes[k] is change)) for change in Change]
        lists = "; ".join(f"{change} {', '.join(map(named, keywords))}" for change, keywords in said if keywords)
        message = f"{plural(len(changes), 'header value')} not as DICOM allows, in SEG and SR {lists}"
        yield found(config, "EXPORT_NORMALISED", message, len(changes))
    if made:
        message = f"SEG and SR refer to UIDs made from the content: {why(made)}"
        yield found(config, "EXPORT_UIDS_GENERATED", message, len(made))


def why(keywords: Iterable[str]) -> str:
    """What is wrong with the UIDs of a series, by tag.

    >>> why(["StudyInstanceUID"])
    'no usable StudyInstanceUID (0020,000D): empty, no legal UID, or several where one series has one'
    """
    listed = ", ".join(map(named, keywords))
    return f"no usable {listed}: empty, no legal UID, or several where one series has one"


@dataclass(slots=True)
class _Common:
    """Values that all slices share, from the first one's header."""

    values: Dataset = field(default_factory=Dataset)
    changes: dict[str, Change] = field(default_factory=dict)
    _sets: CharacterSets = field(default_factory=lambda: CharacterSets.of(None))

    def take(self, raw: Dataset) -> None:
        """Every element that objects of ours hold."""
        self._sets = CharacterSets.of(raw_bytes(raw, "SpecificCharacterSet"))
        self.values.SpecificCharacterSet = "ISO_IR 192"
        for keyword in _MUST_BE_THERE:
            setattr(self.values, keyword, self._one(raw, keyword))
        for keyword in _IF_PRESENT:
            self._set(keyword, self._one(raw, keyword))
        for keyword in _SEVERAL:
            self._set(keyword, self._several(raw, keyword))
        self._take_trial({keyword: self._one(raw, keyword) for keyword in _TRIAL})
        self._take_deidentification(raw)

    def _set(self, keyword: str, value: str | list[str]) -> None:
        if value:
            setattr(self.values, keyword, value)

    def _one(self, raw: Dataset, keyword: str) -> str:
        if keyword not in raw:
            return ""
        element = raw.get_item(keyword)
        data, vr = raw_bytes(raw, keyword), getattr(element, "VR", None)
        legal = legal_value(keyword, data, self._sets, vr, identifier=keyword in _IDENTIFIERS)
        self._note(keyword, legal)
        return legal.text

    def _several(self, raw: Dataset, keyword: str) -> list[str]:
        if keyword not in raw:
            return []
        found = legal_values(keyword, raw_bytes(raw, keyword), self._sets)
        for legal in found:
            self._note(keyword, legal)
        return [legal.text for legal in found if legal.text]

    def _note(self, keyword: str, legal: Legal) -> None:
        if legal.change is not Change.NONE:
            self.changes[keyword] = legal.change

    def _take_trial(self, said: dict[str, str]) -> None:
        whole = said["ClinicalTrialSponsorName"] and said["ClinicalTrialProtocolID"]
        subject = said["ClinicalTrialSubjectID"] or said["ClinicalTrialSubjectReadingID"]
        if not (whole and subject):
            self._drop(said)
            return
        for keyword, text in said.items():
            if text or not keyword.startswith("ClinicalTrialSubject"):
                setattr(self.values, keyword, text)

    def _take_deidentification(self, raw: Dataset) -> None:
        removed = self._one(raw, "PatientIdentityRemoved")
        codes = _codes(raw, self._sets)
        if codes:
            setattr(self.values, _METHOD_CODES, codes)
        if removed == "YES" and not codes and "DeidentificationMethod" not in self.values:
            self._drop({"PatientIdentityRemoved": removed})  # the standard wants the method beside it
        elif removed:
            self.values.PatientIdentityRemoved = removed

    def _drop(self, said: dict[str, str]) -> None:
        self.changes |= {keyword: Change.EMPTIED for keyword, text in said.items() if text}


def raw_bytes(raw: Dataset, keyword: str) -> bytes | None:
    """Bytes of an element, never converted; None if it is absent or no plain bytes."""
    if keyword not in raw:
        return None
    element = raw.get_item(keyword)
    if not isinstance(element, RawDataElement):
        return _bytes_again(element)
    return element.value if isinstance(element.value, bytes) else b"" if element.value is None else None


def _bytes_again(element: DataElement | None) -> bytes | None:
    """Of what pydicom has converted on reading, which are the character sets: ASCII text, and reversible."""
    if element is None or element.VR not in DEFAULT_CHARSET_VR:
        return None
    values = [element.value] if isinstance(element.value, str) else list(element.value or [])
    return "\\".join(map(str, values)).encode("latin-1", errors="replace")


def _codes(raw: Dataset, sets: CharacterSets) -> list[Dataset]:
    """Whole and legal items of the sequence of de-identification methods; none if it cannot be read."""
    if _METHOD_CODES not in raw:
        return []
    try:
        items = list(raw[_METHOD_CODES].value or [])
    except Exception:  # noqa: BLE001  a damaged sequence raises anything; its text may carry values
        return []
    codes = []
    for item in items:
        legal = {k: legal_value(k, raw_bytes(item, k), sets, identifier=k != "CodeMeaning").text for k in _CODE}
        if all(legal.values()):
            code = Dataset()
            for keyword, text in legal.items():
                setattr(code, keyword, text)
            codes.append(code)
    return codes


@dataclass(slots=True)
class _Uids:
    """UIDs of the stack and of its slices, and the keywords of those that cannot be used."""

    stack: dict[str, str]
    instances: list[str]
    classes: list[str]
    files: list[int]
    """Which file each slice lies in: frames of one file share its UID."""
    unusable: dict[str, None]

    @classmethod
    def of(cls, slices: Sequence[SourceSlice]) -> "_Uids":
        """As the files have them."""
        stack = {}
        for keyword in _OF_THE_STACK:
            uids = {legal_uid(raw_bytes(piece.raw, keyword)) for piece in slices}
            stack[keyword] = uids.pop() if len(uids) == 1 else ""
        files = [id(piece.raw) for piece in slices]
        of_file = {id(piece.raw): legal_uid(raw_bytes(piece.raw, "SOPInstanceUID")) for piece in slices}
        times = Counter(of_file.values())
        instances = [uid if times[uid] == 1 else "" for uid in (of_file[file] for file in files)]
        classes = [_class(piece.raw) for piece in slices]
        unusable = dict.fromkeys(keyword for keyword, uid in stack.items() if not uid)
        if not all(instances):
            unusable["SOPInstanceUID"] = None
        return cls(stack, instances, classes, list(files), unusable)

    def make(self, input_sha256: str) -> None:
        """A UID of content and role for each that cannot be used: the same again in every run."""
        for keyword, uid in self.stack.items():
            self.stack[keyword] = uid or made_uid(input_sha256, keyword)
        first = {file: k for k, file in reversed(list(enumerate(self.files)))}
        for k, uid in enumerate(self.instances):
            self.instances[k] = uid or made_uid(input_sha256, f"SOPInstanceUID {first[self.files[k]]}")
        self.unusable = {}

    def of_slice(self, k: int) -> dict[str, str]:
        """All UIDs of one header."""
        return {**self.stack, "SOPInstanceUID": self.instances[k], "SOPClassUID": self.classes[k]}


def _class(raw: Dataset) -> str:
    """The class of a file; in some it stands in the meta group alone."""
    of_meta = str(raw.file_meta.get("MediaStorageSOPClassUID", "")) if hasattr(raw, "file_meta") else ""
    return legal_uid(raw_bytes(raw, "SOPClassUID")) or legal_uid(of_meta.encode()) or CTImageStorage


def made_uid(input_sha256: str, role: str) -> str:
    """A UID of the root for UUIDs (PS3.5 B.2), made of what it stands for.

    >>> made_uid("ab", "StudyInstanceUID") == made_uid("ab", "StudyInstanceUID") != made_uid("ab", "x")
    True
    """
    digest = hashlib.sha256(f"volumetry {input_sha256} {role}".encode()).digest()
    return str(hd.UID.from_uuid(str(UUID(bytes=digest[:16], version=5))))


def _header(common: Dataset, uids: dict[str, str], piece: SourceSlice, grid: Grid, step_mm: float) -> Dataset:
    header = Dataset()
    header.update(common)
    for keyword, uid in uids.items():
        setattr(header, keyword, uid)
    header.Modality, header.PositionReferenceIndicator = "CT", ""
    header.Rows, header.Columns = grid.shape_kji[1:]
    header.ImagePositionPatient = [legal_decimal(mm) for mm in piece.position_lps_mm]
    header.ImageOrientationPatient = [legal_decimal(cosine) for cosine in piece.orientation]
    header.PixelSpacing = [legal_decimal(mm) for mm in piece.pixel_spacing_mm]
    header.SliceThickness = legal_decimal(piece.thickness_mm or round(step_mm, 4))
    return header
