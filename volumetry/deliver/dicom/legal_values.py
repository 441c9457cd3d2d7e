"""One header value of a source -> what the standard allows in its place, or nothing (PS3.5 6.2).

A value of another VR, length or spelling than the standard's is normalised where only one reading exists, and
emptied where there are several: never guessed. An identifier is never shortened, for a shorter one is another's.
"""

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from pydicom.datadict import dictionary_VR
from pydicom.uid import UID
from pydicom.valuerep import CUSTOMIZABLE_CHARSET_VR, MAX_VALUE_LEN, STR_VR, VALIDATORS, format_number_as_ds

from volumetry.deliver.dicom.character_sets import CharacterSets, Decoded

_PADDING = " \0"
_PN_GROUPS, _PN_COMPONENTS, _PN_LETTERS = 3, 5, 64
_DAY = re.compile(r"(\d{4})([.\-/]?)(\d{2})\2(\d{2})(?:[T ]\d.*)?")
_CLOCK = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(\.\d+)?)?)?\.?")
_AGE = re.compile(r"(\d{1,3}) ?([DWMY])")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:E[+-]?\d+)?", re.IGNORECASE)
_SEXES = {"M": "M", "F": "F", "O": "O", "MALE": "M", "FEMALE": "F", "OTHER": "O"}
_ONE_OF = {
    "PatientIdentityRemoved": ("YES", "NO"),
    "LossyImageCompression": ("00", "01"),
}


class Change(StrEnum):
    """What became of a value."""

    NONE = "kept"
    NORMALISED = "normalised"
    RECODED = "recoded"
    """Its bytes were not what its character set says."""
    EMPTIED = "emptied"


@dataclass(frozen=True, slots=True)
class Legal:
    """A legal value, empty if there is none, and what was done for it."""

    text: str
    change: Change


def legal_value(
    keyword: str, raw: bytes | None, sets: CharacterSets, file_vr: str | None = None, *, identifier: bool = False
) -> Legal:
    """The value of one element as an object of ours may hold it.

    Parameters
    ----------
    keyword
        Of an element with one value; its VR is the dictionary's, whatever the file says.
    raw
        Bytes of the file; None if they are none.
    sets
        The character sets of that header.
    file_vr
        VR that the file states, None under Implicit VR. A binary one holds no text.
    identifier
        Whether others find things by it: then it is kept whole or not at all.

    Examples
    --------
    >>> legal_value("PatientSex", b"Male", CharacterSets.of(None))
    Legal(text='M', change=<Change.NORMALISED: 'normalised'>)
    """
    said = _text(keyword, raw, sets, file_vr)
    return Legal("", Change.EMPTIED) if said is None else _legal(keyword, said, identifier=identifier)


def legal_values(keyword: str, raw: bytes | None, sets: CharacterSets, file_vr: str | None = None) -> list[Legal]:
    """As `legal_value`, for an element that may have several values."""
    said = _text(keyword, raw, sets, file_vr)
    if said is None:
        return [Legal("", Change.EMPTIED)]
    # Split as text: a byte of a two-byte character can look like the backslash between values.
    return [_legal(keyword, Decoded(part, said.faithful), identifier=False) for part in said.text.split("\\")]


def _text(keyword: str, raw: bytes | None, sets: CharacterSets, file_vr: str | None) -> Decoded | None:
    if raw is None or (file_vr not in (None, "UN") and file_vr not in STR_VR):
        return None
    customizable = dictionary_VR(keyword) in CUSTOMIZABLE_CHARSET_VR
    return sets.decode(raw) if customizable else Decoded(raw.decode("latin-1"), faithful=True)


def _legal(keyword: str, said: Decoded, *, identifier: bool) -> Legal:
    vr = dictionary_VR(keyword)
    stripped = said.text.strip(_PADDING)
    text = _rule(keyword, vr, identifier=identifier)(stripped)
    if not _valid(vr, text) or (identifier and "\ufffd" in text):
        text = ""
    if stripped and not text:
        return Legal("", Change.EMPTIED)
    if text != stripped:
        return Legal(text, Change.NORMALISED)
    return Legal(text, Change.NONE if said.faithful else Change.RECODED)


def legal_uid(raw: bytes | None) -> str:
    """A UID without its padding, or nothing if it is none."""
    text = (raw or b"").decode("latin-1").strip(_PADDING)
    return text if text and UID(text, validation_mode=0).is_valid and text[-1] != "\n" else ""


def legal_decimal(number: float) -> str:
    """A number in the 16 characters of a decimal string."""
    return format_number_as_ds(float(number))


def _valid(vr: str, text: str) -> bool:
    validator: Callable[[str, str], tuple[bool, str]] | None = VALIDATORS.get(vr)
    return validator is None or validator(vr, text)[0]


def _rule(keyword: str, vr: str, *, identifier: bool) -> Callable[[str], str]:
    if keyword == "PatientSex":
        return lambda text: _SEXES.get(text.strip().upper(), "")
    if keyword in _ONE_OF:
        return lambda text: text.upper() if text.upper() in _ONE_OF[keyword] else ""
    if identifier:
        return lambda text: text if _one_clean_value(text) else ""
    return _BY_VR.get(vr, lambda text: text)


def _one_clean_value(text: str) -> bool:
    return "\\" not in text and not any(map(_is_control, text))


def _is_control(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs")


def _first_value(text: str) -> str:
    """The first that says anything, without control characters."""
    values = ("".join(" " if _is_control(c) else c for c in part).strip() for part in text.split("\\"))
    return next((value for value in values if value), "")


def _shortened(vr: str) -> Callable[[str], str]:
    return lambda text: _first_value(text)[: MAX_VALUE_LEN[vr]].rstrip()


def _name(text: str) -> str:
    """At most three groups of five components; components too many become part of the last."""
    groups = _first_value(text).split("=")[:_PN_GROUPS]
    return "=".join(map(_name_group, groups))


def _name_group(group: str) -> str:
    components = group.split("^")
    if len(components) > _PN_COMPONENTS:
        surplus = " ".join(part for part in components[_PN_COMPONENTS - 1 :] if part)
        components = [*components[: _PN_COMPONENTS - 1], surplus]
    return "^".join(components)[:_PN_LETTERS].rstrip()


def _date(text: str) -> str:
    """Year, month, day; a date in another order has two readings and is none."""
    found = _DAY.fullmatch(text.strip())
    if found is None:
        return ""
    day = found[1] + found[3] + found[4]
    try:
        datetime.strptime(day, "%Y%m%d")  # noqa: DTZ007  a day of a calendar has no zone
    except ValueError:
        return ""
    return day


def _time(text: str) -> str:
    found = _CLOCK.fullmatch(text.strip())
    if found is None:
        return ""
    return "".join(part or "" for part in found.groups()[:3]) + (found[4] or "")[:7]


def _age(text: str) -> str:
    found = _AGE.fullmatch(text.strip().upper())
    return f"{int(found[1]):03d}{found[2]}" if found else ""


def _decimal(text: str) -> str:
    stripped = text.strip()
    if not _DECIMAL.fullmatch(stripped):
        return ""
    try:
        return stripped if len(stripped) <= MAX_VALUE_LEN["DS"] else legal_decimal(float(stripped))
    except (ValueError, OverflowError):
        return ""


def _code(text: str) -> str:
    return text.strip().upper()


_BY_VR: dict[str, Callable[[str], str]] = {
    "PN": _name,
    "LO": _shortened("LO"),
    "SH": _shortened("SH"),
    "DA": _date,
    "TM": _time,
    "AS": _age,
    "DS": _decimal,
    "CS": _code,
}
