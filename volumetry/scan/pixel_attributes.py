"""What the headers say about the pixel values: are they Hounsfield units, whole and unharmed."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.findings import found, named, plural
from volumetry.scan.slice_header import SliceHeader
from volumetry.scan.syntaxes import LOSSY, uid_name

_NOT_HU = frozenset(
    {
        "MIP",
        "MINIP",
        "MAXIP",
        "MIN",
        "MAX",
        "MINIMUM",
        "MAXIMUM",
        "PROJECTION",
        "AVERAGE",
        "AVG",
        "AVE",
        "MEAN",
        "MEDIAN",
        "IODINE",
        "IOD",
        "MONO",
        "MONOE",
        "MONOENERGETIC",
        "MONOCHROMATIC",
        "VMI",
        "VMR",
        "VNC",
        "VNCA",
        "VUE",
        "EFFECTIVE",
        "ZEFF",
        "EFFZ",
        "RHO",
        "RHOZ",
        "DENSITY",
        "PERFUSION",
        "SUBTRACTION",
        "SUBTRACTED",
        "SUB",
        "ADDITION",
        "MULTIPLICATION",
        "DIVISION",
        "MASKED",
        "QUANTITY",
        "STD",
        "CALCIUM",
        "FATMAP",
        "WATER",
        "MATERIAL",
        "BASIS",
        "COLOR",
        "COLOUR",
        "VRT",
        "SSD",
        "VOLREN",
        "RENDERED",
        "SCREEN",
        "OVERLAY",
        "FUSED",
        "FUSION",
        "MAP",
        "CBF",
        "CBV",
        "MTT",
        "TTP",
        "PET",
    }
)
"""Words of ImageType values 3 and later that name something other than HU of one slab (PS3.3 C.8.2.1, C.8.16)."""


def pixel_findings(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Codes of the pixel description and of the pixel data's length and syntax."""
    yield from _faults(slices, config)
    yield from _meaning(slices, config)
    yield from _rescale(slices, config)
    yield from _losses(slices, config)
    yield from _remarks(slices, config)


def _faults(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Faults of single files, one finding per code."""
    codes = Counter(fault.code for h in slices for fault in h.faults)
    for code, count in codes.items():
        first = next(fault.message for h in slices for fault in h.faults if fault.code == code)
        yield found(config, code, f"{count} of {len(slices)} slices: {first}", count)


def _meaning(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    wrong: list[str] = []
    other = sum(1 for h in slices if h.rescale_type not in (None, "HU"))
    if other:
        wrong.append(f"{named('RescaleType')} is not HU in {plural(other, 'slice')}")
    if any(h.samples != 1 for h in slices):
        wrong.append(f"{named('SamplesPerPixel')} is not 1")
    if any((h.photometric or "MONOCHROME2") not in ("MONOCHROME1", "MONOCHROME2") for h in slices):
        wrong.append(f"{named('PhotometricInterpretation')} is not monochrome")
    words = sorted({word for h in slices for word in _type_words(h) if word in _NOT_HU})
    if words:
        wrong.append(f"{named('ImageType')} names {', '.join(words)}")
    if wrong:
        yield found(config, "NOT_CT_NUMBERS", f"{'; '.join(wrong)}: the values are not HU of single slices")
    other = sum(1 for h in slices if (h.modality or "CT").upper() != "CT")
    if other:
        yield found(config, "NOT_CT", f"{named('Modality')} is not CT in {other} of {len(slices)} slices", other)
    if any(h.image_type[:1] == ("DERIVED",) for h in slices):
        yield found(config, "DERIVED_IMAGE", f"{named('ImageType')} is DERIVED: processing and slab are unknown")
    if any(h.bits_stored <= 8 and not h.faults for h in slices):
        message = f"{named('BitsStored')} is 8 or less: CT numbers need at least 11 bits"
        yield found(config, "HU_IMPLAUSIBLE", message)


def _type_words(header: SliceHeader) -> list[str]:
    return [word for value in header.image_type[2:] for word in re.split(r"[^A-Z0-9]+", value)]


def _rescale(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    missing = sum(1 for h in slices if h.slope is None or h.intercept is None or h.slope <= 0)
    if missing:
        tags = f"{named('RescaleSlope')} or {named('RescaleIntercept')}"
        message = (
            f"{tags} is missing or not usable in {missing} of {len(slices)} slices: no HU, and none is guessed"
        )
        yield found(config, "NO_RESCALE", message, missing)
        return
    pairs = {(h.slope, h.intercept) for h in slices}
    if len(pairs) > 1:
        message = f"slope and intercept take {len(pairs)} values in one stack; applied slice by slice"
        yield found(config, "VARYING_RESCALE", message, len(pairs))


def _losses(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    by_syntax = sorted({h.pixels.syntax for h in slices} & LOSSY)
    by_tag = sum(1 for h in slices if h.lossy_tag)
    if any(h.bits_stored <= 8 for h in slices) and (by_syntax or by_tag):
        yield found(config, "LOSSY_8BIT", "lossy compression of 8-bit values: errors reach 64 HU")
    if by_syntax:
        yield found(config, "LOSSY", f"transfer syntax {uid_name(by_syntax[0])} may lose up to 35 HU")
    elif by_tag:
        message = f"{named('LossyImageCompression')} is 01 in {by_tag} of {len(slices)} slices"
        yield found(config, "LOSSY", f"{message}: values were lost once", by_tag)


def _remarks(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    counts = (
        (
            "MONOCHROME1_IGNORED",
            sum(h.photometric == "MONOCHROME1" for h in slices),
            "are MONOCHROME1: not inverted",
        ),
        ("CONTRAST", sum(h.contrast for h in slices), f"name a {named('ContrastBolusAgent')}: it raises density"),
        ("BURNED_IN", sum(h.burned_in for h in slices), f"have {named('BurnedInAnnotation')} YES"),
        (
            "NONSTANDARD_PREAMBLE",
            sum(h.odd_preamble for h in slices),
            "have a preamble that is neither empty nor TIFF",
        ),
        ("NOT_PART10_REPAIRED", sum(h.repaired for h in slices), "had no preamble or meta group; encoding proved"),
    )
    for code, count, what in counts:
        if count:
            yield found(config, code, f"{count} of {len(slices)} slices {what}", count)
