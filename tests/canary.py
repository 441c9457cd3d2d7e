"""A planted identity, and the search for it in whatever a run leaves behind, in every coding it could hide in."""

import base64
import gzip
import re
import zlib
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

CANARY = "ZZPHIZZ"
TEXT_VRS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
SCANNER = frozenset({"Manufacturer", "ManufacturerModelName", "ConvolutionKernel"})
"""Text that the contract wants in a result: the scanner and its kernel are no patient's."""
_MEANT = SCANNER | {"RescaleType"}

_PLANTED = (
    "PatientComments PatientAddress PatientTelephoneNumbers AccessionNumber StudyID StudyDescription "
    "SeriesDescription ProtocolName InstitutionName InstitutionAddress ReferringPhysicianName "
    "OperatorsName StationName DeviceSerialNumber ImageComments AdditionalPatientHistory Occupation "
    "RequestedProcedureDescription ClinicalTrialSubjectID ClinicalTrialTimePointID DerivationDescription "
    "ContrastBolusRoute PatientBirthName MilitaryRank RetrieveAETitle FilterType "
)


def plant(ds: Dataset) -> int:
    """The canary into every text element but the scanner's own, into many that were not there, and around them."""
    planted = 0
    for element in ds.iterall():
        if element.VR in TEXT_VRS and element.keyword not in _MEANT:
            element.value = f"{CANARY}^{CANARY}" if element.VR == "PN" else CANARY
            planted += 1
    ds.PatientName, ds.PatientID, ds.OtherPatientIDs = f"{CANARY}^{CANARY}=={CANARY}", CANARY, CANARY
    for keyword in _PLANTED.split():
        setattr(ds, keyword, CANARY)
        planted += 1
    item = Dataset()
    item.RequestedProcedureID, item.ScheduledProcedureStepDescription = CANARY, CANARY
    ds.RequestAttributesSequence = Sequence([item])
    ds.private_block(0x0029, CANARY, create=True).add_new(0x10, "OB", CANARY.encode())
    ds.add_new(0x60000022, "LO", CANARY)
    ds.preamble = CANARY.encode().ljust(128, b"\0")
    ds.file_meta.SourceApplicationEntityTitle = CANARY
    return planted


def plant_folder(folder: Path) -> int:
    """The canary into every file of a folder and into its name."""
    planted = 0
    for n, path in enumerate(sorted(folder.iterdir())):
        ds = pydicom.dcmread(path)
        planted += plant(ds)
        ds.save_as(path)
        path.rename(path.with_name(f"{CANARY}{n:04d}.dcm"))
    return planted


def _codings(text: str) -> list[bytes]:
    plain = text.encode()
    found = [plain, text.lower().encode(), text.encode("utf-16-le"), text.encode("utf-16-be")]
    found += [text.encode("utf-32-le"), plain.hex().encode(), plain.hex().upper().encode()]
    found.append("".join(f"%{byte:02X}" for byte in plain).encode())
    found.append("".join(f"&#{byte};" for byte in plain).encode())
    for shift in range(3):  # the middle of a base64 text does not depend on what surrounds it
        whole = base64.b64encode(bytes(shift) + plain + bytes(3))
        found.append(whole[4 if shift else 0 : 4 * ((shift + len(plain)) // 3)])
        found.append(
            base64.urlsafe_b64encode(bytes(shift) + plain)[4 if shift else 0 : 4 * ((shift + len(plain)) // 3)]
        )
    return found


_CODINGS = _codings(CANARY)


def holds_canary(data: bytes) -> bool:
    """Whether the canary is in these bytes, plain, coded or compressed."""
    return any(coding in layer for layer in _layers(data) for coding in _CODINGS)


def _layers(data: bytes) -> list[bytes]:
    layers = [data]
    if data[:2] == b"\x1f\x8b":
        layers.append(gzip.decompress(data))
    for stream in re.findall(rb"stream\r?\n(.*?)endstream", data, re.DOTALL):  # of a PDF
        layers.append(_inflated(stream))
    if data[:4] == b"\x89PNG":
        layers += [_inflated(chunk) for chunk in re.findall(rb"(?:zTXt|iTXt).*?\0\0(.*)", data, re.DOTALL)]
    for embedded in re.findall(rb"base64,([A-Za-z0-9+/=]{64,})", data):  # pictures in a page
        layers += _layers(base64.b64decode(embedded))
    return layers


def _inflated(stream: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(stream)
    except zlib.error:
        return b""


def traces(root: Path) -> list[str]:
    """Names of files and folders under `root` whose name or content holds the canary."""
    found = []
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if holds_canary(name.encode()) or (path.is_file() and holds_canary(path.read_bytes())):
            found.append(name)
    return found
