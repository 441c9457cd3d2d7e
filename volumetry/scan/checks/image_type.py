"""Words of ImageType and RescaleType that say what the values are (DICOM PS3.3 C.8.2.1, C.8.16.1, C.11.1.1.2).

The first two values of ImageType are the standard's; from the third on each vendor has words of its own, and the
same letters mean different things: ``STD`` is a standard deviation in a perfusion map and the standard
reconstruction in a Siemens image.
"""

import re
from collections.abc import Iterator, Sequence

_PROJECTIONS = {"RAYSUM", "MIP", "MINIP", "MAXIP", "MIN", "MAX", "MINIMUM", "MAXIMUM", "PROJECTION"}
_AVERAGES = {"AVERAGE", "AVG", "AVE", "MEAN", "MEDIAN", "STD"}
_ENERGIES = {"MONO", "MONOE", "MONOENERGETIC", "MONOCHROMATIC", "VMI", "VMR", "KEV"}
_MATERIALS = {
    *("IODINE", "IOD", "VNC", "VNCA", "VUE", "EFFECTIVE", "ZEFF", "EFFZ", "RHO", "RHOZ", "DENSITY", "CALCIUM"),
    *("FATMAP", "WATER", "MATERIAL", "MAT", "BASIS", "QUANTITY", "VIRTUAL", "ATOMIC", "REMOVED", "LUNGPBV", "PBV"),
}
_ARITHMETIC = {
    *("SUBTRACTION", "SUBTRACTED", "SUB", "ADDITION", "MULTIPLICATION", "DIVISION", "MASKED", "PERFUSION", "MAP"),
    *("CBF", "CBV", "MTT", "TTP", "DIFFERENCE"),
}
_PICTURES = {
    *("COLOR", "COLOUR", "VRT", "SSD", "VOLREN", "RENDERED", "SCREEN", "OVERLAY", "FUSED", "FUSION", "PET"),
}
_NOT_HU = frozenset(_PROJECTIONS | _AVERAGES | _ENERGIES | _MATERIALS | _ARITHMETIC | _PICTURES)
_ENERGY = re.compile(r"(ME|MONO)?\d+KEV")
# A de-identified header may lack Manufacturer; CT_SOM... in ImageType is the name of Siemens' own software.
_HARMLESS_OF_VENDOR = {"SIEMENS": frozenset({"STD"})}
"""Words that mean something else with one vendor: of Siemens, STD is the standard reconstruction."""

_OTHER_UNITS = frozenset(
    {
        "OD",
        "ZEFF",
        "ED",
        "EDW",
        "HUMOD",
        "PCT",
        "MGML",
        "BQML",
        "SUV",
        "SUVBW",
        "CNTS",
        "PROPCNTS",
        "GY",
        "CGY",
        "1CM",
    }
)
"""Other values of RescaleType, and units of other modalities; letters and digits alone."""
_UNIT_WORDS = re.compile(r"MG|GCM|GML|GCC|ML100|IODINE|DENSITY|ELECTRON|STOPPING|PERCENT|KEV|Z.?EFF|EFF.?Z")


def words_that_are_no_hu(image_type: Sequence[str], manufacturer: str | None) -> Iterator[str]:
    """Words of ImageType that name something other than HU of single slices, as this vendor uses them.

    Examples
    --------
    >>> siemens = ("ORIGINAL", "PRIMARY", "AXIAL", "CT_SOM7 SPI DUAL", "STD", "SNRG", "DET_AB")
    >>> list(words_that_are_no_hu(siemens, None)), list(words_that_are_no_hu(("DERIVED", "PRIMARY", "STD"), "GE"))
    ([], ['STD'])
    """
    vendor = " ".join([(manufacturer or "").upper(), *("SIEMENS" for value in image_type if "CT_SOM" in value)])
    harmless = {word for name, words in _HARMLESS_OF_VENDOR.items() if name in vendor for word in words}
    for value in image_type[2:]:
        for word in re.split(r"[^A-Z0-9]+", value):
            bare = re.sub(r"\d+(MM)?$", "", word)  # MIP10, MINIP5MM
            if (bare in _NOT_HU and bare not in harmless) or _ENERGY.fullmatch(word):
                yield word


def names_another_unit(rescale_type: str) -> bool:
    """Whether RescaleType names a unit that is not the Hounsfield unit.

    What names no unit at all, such as ``US`` (unspecified, which ITK and GDCM write into every CT), is left to the
    test of the values themselves.

    >>> [names_another_unit(word) for word in ("HU", "Houndsfield Unit", "US", "MGML", "Z_EFF", "mg/ml")]
    [False, False, False, True, True, True]
    """
    letters = re.sub(r"[^A-Z0-9]", "", rescale_type.upper())
    return letters in _OTHER_UNITS or "%" in rescale_type or bool(_UNIT_WORDS.search(letters))
