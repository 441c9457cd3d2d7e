"""What the headers say about the pixel values: are they Hounsfield units, whole and unharmed."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from volumetry.config import Config
from volumetry.domain import Finding
from volumetry.scan.checks.image_type import names_another_unit, words_that_are_no_hu
from volumetry.scan.checks.needed import advice_on
from volumetry.scan.findings import found, named, plural
from volumetry.scan.headers.slice_header import SliceHeader
from volumetry.scan.headers.syntaxes import DECODERS, LOSSY, Decoder, uid_name
from volumetry.scan.places import images_with
from volumetry.wording import EVERY_SLICE, for_reader

_MONO_ENERGETIC = re.compile(r"VMI|VMR|MONO\w*|ME\d+KEV|\d+KEV|KEV")
_ASK_FOR_POLYENERGETIC = (
    "A virtual mono-energetic image has other HU at every keV. Ask for the polyenergetic reconstruction of the"
    " same scan: T3D (Siemens photon counting), the mixed image (dual energy), conventional HU (Philips)."
)


def pixel_findings(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """Codes of the pixel description and of the pixel data's length and syntax.

    Parameters
    ----------
    slices
        Of one stack.
    config
        What follows from each code.

    Yields
    ------
    Finding
        Codes of the Image Pixel module (DICOM PS3.3 C.7.6.3), the rescale pair and lossy compression.
    """
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
    units = [h.rescale_type for h in slices if h.rescale_type is not None and names_another_unit(h.rescale_type)]
    if units:
        wrong.append(f"{named('RescaleType')} names another unit than HU in {plural(len(units), 'slice')}")
    if any(h.samples != 1 for h in slices):
        wrong.append(f"{named('SamplesPerPixel')} is not 1")
    if any((h.photometric or "MONOCHROME2") not in ("MONOCHROME1", "MONOCHROME2") for h in slices):
        wrong.append(f"{named('PhotometricInterpretation')} is not monochrome")
    words = sorted({word for h in slices for word in words_that_are_no_hu(h.image_type, h.manufacturer)})
    if words:
        wrong.append(f"{named('ImageType')} names {', '.join(words)}")
    if wrong:
        mono = any(_MONO_ENERGETIC.fullmatch(word) for word in words)
        message = f"{'; '.join(wrong)}: the values are not HU of single slices"
        yield found(config, "NOT_CT_NUMBERS", message, advice=_ASK_FOR_POLYENERGETIC if mono else None)
    other = sum(1 for h in slices if (h.modality or "CT").upper() != "CT")
    if other:
        yield found(config, "NOT_CT", f"{named('Modality')} is not CT in {other} of {len(slices)} slices", other)
    if any(h.image_type[:1] == ("DERIVED",) for h in slices):
        message = for_reader(
            f"{named('ImageType')} is DERIVED: processing and slab thickness are unknown",
            "whether edges are doubled, smoothed or sharpened compared with the original reconstruction",
            images_with(slices, lambda h: h.image_type[:1] == ("DERIVED",)),
            "not quantified: smoothing affects the segmentation by density; another format or plane does not",
        )
        yield found(config, "DERIVED_IMAGE", message)
    if any(h.bits_stored <= 8 and not h.faults for h in slices):
        message = f"{named('BitsStored')} is 8 or less: CT numbers need at least 11 bits"
        yield found(config, "HU_IMPLAUSIBLE", message)


def _rescale(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    missing = [h for h in slices if h.slope is None or h.intercept is None or h.slope <= 0]
    if missing:
        yield _no_rescale(missing, len(slices), config)
        return
    pairs = {(h.slope, h.intercept) for h in slices}
    if len(pairs) > 1:
        message = for_reader(
            f"slope and intercept have {len(pairs)} values in one stack; they are applied slice by slice",
            "whether the brightness of air and of muscle is the same in all slices",
            EVERY_SLICE,
            "none if each slice has its correct pair; pairs that put air more than 30 HU apart are refused",
        )
        yield found(config, "VARYING_RESCALE", message, len(pairs))


def _no_rescale(missing: Sequence[SliceHeader], count: int, config: Config) -> Finding:
    """Findings on what stands where the linear rescale belongs."""
    of_slices = f"in {len(missing)} of {count} slices"
    if all(h.modality_lut for h in missing):
        message = f"a Modality LUT (0028,3000) stands in place of {named('RescaleSlope')} {of_slices}"
        advice = (
            "Export again with RescaleSlope and RescaleIntercept: this program reads the linear rescale alone."
        )
        return found(
            config, "NO_RESCALE", f"{message}: it is not read, and no HU are guessed", len(missing), advice
        )
    if not missing[0].has_header:
        return found(
            config, "NO_RESCALE", "the volume's own scaling is not positive or not finite: no HU", len(missing)
        )
    tags = f"{named('RescaleSlope')} or {named('RescaleIntercept')}"
    reasons = [reason for h in missing for key, reason in h.unreadable if key.startswith("Rescale")]
    what = reasons[0] if reasons else "is missing" if any(h.slope is None for h in missing) else "is not positive"
    if not reasons and any(h.intercept is None for h in missing):
        what = "is missing"
    message = f"{tags} {what} {of_slices}: no HU, and none is guessed"
    return found(config, "NO_RESCALE", message, len(missing), advice_on(missing))


def _losses(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    by_syntax = sorted({h.pixels.syntax for h in slices if _may_lose(h)})
    bits = float(np.median([_coded_bits(h) for h in slices]))
    by_tag = sum(1 for h in slices if h.lossy_tag)
    if any(h.bits_stored <= 8 for h in slices) and (by_syntax or by_tag):
        yield found(config, "LOSSY_8BIT", "lossy compression of 8-bit values: errors reach 64 HU")
    if by_syntax:
        message = f"transfer syntax {uid_name(by_syntax[0])} may lose up to 35 HU"
        yield found(config, "LOSSY", _of_loss(message, images_with(slices, _may_lose)))
    elif 0 < bits < _FEWEST_BITS:
        message = f"the pixels are coded in {bits:.2f} bits each; without loss a chest CT takes 2 or more"
        message = _of_loss(f"{message}: the coding was cut short", EVERY_SLICE)
        yield found(config, "LOSSY", message, round(bits, 2))
    elif by_tag:
        message = f"{named('LossyImageCompression')} is 01 in {by_tag} of {len(slices)} slices"
        message = _of_loss(f"{message}: compressed with loss", images_with(slices, lambda h: h.lossy_tag))
        yield found(config, "LOSSY", message, by_tag)


def _of_loss(what: str, where: str) -> str:
    return for_reader(
        what,
        "for blocks, rings and smeared vessels at the edges of lesions",
        where,
        "not quantified: errors of single pixels average out, but faint ground glass may be lost",
    )


def _may_lose(header: SliceHeader) -> bool:
    """Whether the codestream loses values, or its syntax leaves that open and nothing denies it."""
    return header.pixels.reversible is False or (header.pixels.syntax in LOSSY and not header.pixels.reversible)


def _coded_bits(header: SliceHeader) -> float:
    """Bits per pixel of a JPEG 2000 codestream, which may end before its last layer; 0 for any other."""
    if DECODERS.get(header.pixels.syntax) is not Decoder.OPENJPEG:
        return 0.0
    return 8 * sum(length for _, length in header.pixels.fragments) / max(1, header.rows * header.columns)


_FEWEST_BITS = 0.8


_Remark = tuple[str, Callable[[SliceHeader], bool], str, str | None, str]


def _remarks(slices: Sequence[SliceHeader], config: Config) -> Iterator[Finding]:
    """What images say of themselves: a code, which do, what they say, and for a reader what to look at and why."""
    remarks: tuple[_Remark, ...] = (
        (
            "MONOCHROME1_IGNORED",
            lambda h: h.photometric == "MONOCHROME1",
            "are MONOCHROME1: not inverted",
            None,
            "",
        ),
        (
            "CONTRAST",
            lambda h: h.contrast,
            f"name a {named('ContrastBolusAgent')}, which raises density",
            "for vessels and enhanced tissue in the lesion mask",
            "not quantified: contrast in small vessels raises mean density and lesion mass",
        ),
        (
            "BURNED_IN",
            lambda h: h.burned_in,
            f"have {named('BurnedInAnnotation')} YES",
            "for letters and numbers in the image, above all inside the lung",
            "none if the text lies outside the lung; not quantified if it lies on the lung",
        ),
        (
            "NONSTANDARD_PREAMBLE",
            lambda h: h.odd_preamble,
            "have a preamble that is neither empty nor TIFF",
            "at the first 128 bytes of the files, not at the image",
            "none, 0 mL: the preamble is not part of the image",
        ),
        (
            "FILLING_IGNORED",
            lambda h: h.pixels.filling > 0,
            "have padding bytes after the last pixel, which were ignored",
            None,
            "",
        ),
        (
            "NOT_PART10_REPAIRED",
            lambda h: h.repaired,
            "have no preamble or file meta information; their encoding is unambiguous",
            None,
            "",
        ),
    )
    for code, holds, what, look, effect in remarks:
        count = sum(map(holds, slices))
        if count:
            message = f"{count} of {len(slices)} slices {what}"
            if look is not None:
                message = for_reader(message, look, images_with(slices, holds), effect)
            yield found(config, code, message, count)
