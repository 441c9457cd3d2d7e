"""Whether a folder's name says who the patient is: names and ids of its headers as whole words in it.

Headers and folders write the same name in many ways, so both are brought to words first: NFKC (half-width kana,
full-width letters), without case, cut at every separator, at a capital that begins a word (``DoeJane``) and
between letters and digits. An identity is in the name if consecutive words of the name, put together, are the
identity: ``H-4711-x`` holds the id ``H4711``, ``sleeve`` does not hold the name ``Lee``.

* A word needs four letters or digits. In Han, kana and Hangul, where two signs are a name, it needs two.
* Scripts that put no spaces between words have no whole words: there the full name counts wherever it stands.
* Leading zeros of a number do not count, nor do accents of Latin letters (``Müller``, ``Muller``, ``Mueller``).
"""

import contextlib
import gzip
import io
import itertools
import re
import unicodedata
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue

from volumetry.scan.headers.file_kinds import FileKind, kind_of
from volumetry.storage.walk import walk

_NAMES = ("PatientName", "OtherPatientNames", "PatientBirthName")
_IDS = ("PatientID", "OtherPatientIDs", "AccessionNumber")
_NO_NAME = {3, 4}
"""Prefix and suffix among a name's components: a title names nobody."""
_LEAST, _LEAST_OF_SIGNS = 4, 2
_SIGNS = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC")
_UNSPACED = (*_SIGNS, "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_UNDECLARED = ("utf-8", "gb18030", "shift_jis", "euc_kr", "big5", "cp1251")
"""What names are written in where the header declares no character set, or a wrong one."""
_LATIN = {"", "ISO_IR_6", "ISO_IR_100", "ISO_2022_IR_6", "ISO_2022_IR_100"}
_WORD = re.compile("u+(?=ul)|u?l+|u+|d+|o+")
_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe"})
_BARE = str.maketrans({"ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})
_HEADERS_LOOKED_AT = 64
_HEAD_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Identities:
    """What headers call the patient.

    Parameters
    ----------
    words
        Whole words, or several put together; without case, accents and leading zeros.
    anywhere
        Full names in scripts without spaces.
    ids
        Those of the words that are ids, or a code that stands as an id and as a name.
    """

    words: frozenset[str] = frozenset()
    anywhere: frozenset[str] = frozenset()
    ids: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.words or self.anywhere)

    def only_names(self) -> "Identities":
        """Without the ids: a trial writes the subject's key into PatientID, and keys may be named."""
        return Identities(self.words - self.ids, self.anywhere)

    def stand_in(self, text: str) -> bool:
        """Whether the text names the patient."""
        words = _words(text)
        run = "".join(words)
        if any(name in run for name in self.anywhere):
            return True
        longest = 2 * max(map(len, self.words), default=0) + _LEAST  # leading zeros and spelt-out accents
        return any(not self.words.isdisjoint(_spellings(joined)) for joined in _runs(words, longest))


def identities_of(scan: Path) -> Identities:
    """Names and ids in the first header of a scan that states any; nothing if none can be read."""
    for head in itertools.islice(_heads(scan), _HEADERS_LOOKED_AT):
        with warnings.catch_warnings(), contextlib.suppress(Exception):  # a damaged header raises anything
            warnings.simplefilter("ignore")  # their words may hold values
            found = _of_header(head)
            if found:
                return found
    return Identities()


def patients_of(scans: Sequence[Path]) -> list[Identities]:
    """What the headers of each scan call the patient; of a scan whose headers state nobody, what those of all do.

    A folder named after a patient can hold something that cannot be read beside a scan that can.

    Parameters
    ----------
    scans
        Of one tree.

    Returns
    -------
    list[Identities]
        In their order.
    """
    own = [identities_of(scan) for scan in scans]
    everyone = Identities(
        frozenset().union(*(one.words for one in own)),
        frozenset().union(*(one.anywhere for one in own)),
        frozenset().union(*(one.ids for one in own)),
    )
    return [one or everyone for one in own]


# --- words -------------------------------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    """The words of a text, without case."""
    text = unicodedata.normalize("NFKC", text)
    kinds = ""
    for sign in text:
        kinds += _kind(sign, kinds[-1:])
    return [text[found.start() : found.end()].casefold() for found in _WORD.finditer(kinds)]


def _kind(sign: str, before: str) -> str:
    """Upper, lower, digit, other letter or separator; a mark is of the kind of what it stands on."""
    category = unicodedata.category(sign)
    if category[0] == "M" or category == "Lm":
        return before if before in "ulo" and before else "o"
    if category[0] == "L":
        return {"Lu": "u", "Lt": "u", "Ll": "l"}.get(category, "o")
    return "d" if category[0] == "N" else " "


def _runs(words: list[str], longest: int) -> Iterator[str]:
    """Consecutive words put together, as far as they are long enough to name somebody."""
    for first in range(len(words)):
        joined = ""
        for word in words[first:]:
            joined += word
            if len(joined) > longest:
                break
            if _long_enough(joined):
                yield joined


def _long_enough(word: str) -> bool:
    return len(word) >= _LEAST or (len(word) >= _LEAST_OF_SIGNS and _is_written_in(_SIGNS, word))


def _is_written_in(scripts: tuple[str, ...], word: str) -> bool:
    return all(unicodedata.name(sign, "").startswith(scripts) for sign in word if not unicodedata.combining(sign))


def _spellings(word: str) -> set[str]:
    """A word as it may also be written: leading zeros away, Latin letters with their accents spelt out or away."""
    word = re.sub(r"(?<!\d)0+(?=\d)", "", word)
    apart = unicodedata.normalize("NFKD", word)
    if any(ord(sign) >= 0x370 for sign in apart):  # beyond Latin and its marks, a mark makes another letter
        return {word}
    bare = "".join(sign for sign in apart.translate(_BARE) if not unicodedata.combining(sign))
    german = unicodedata.normalize("NFKD", word.translate(_GERMAN))
    return {word, bare, "".join(sign for sign in german if not unicodedata.combining(sign))}


# --- headers -----------------------------------------------------------------------------------------------


def _of_header(header: Dataset) -> Identities:
    ids = ["".join(_words(text)) for keyword in _IDS for text in _texts(header, keyword)]
    words, full = set(ids), set()
    for text in itertools.chain.from_iterable(_texts(header, keyword) for keyword in _NAMES):
        for group in text.split("="):  # alphabetic, ideographic, phonetic
            parts, whole = _of_name(group)
            # A code that the trial put into both is not a name: it counts as a whole, as an id does.
            words |= whole if whole & set(ids) else whole | parts
            full |= whole
    return Identities(
        frozenset(spelt for word in words if _long_enough(word) for spelt in _spellings(word)),
        frozenset(name for name in full if _is_written_in(_UNSPACED, name) and _long_enough(name)),
        frozenset(spelt for word in ids for spelt in _spellings(word)),
    )


def _of_name(group: str) -> tuple[set[str], set[str]]:
    """Parts of one name, and the whole in the orders in which it is written."""
    split = [part for n, part in enumerate(group.split("^")) if n not in _NO_NAME]
    components = ["".join(_words(part)) for part in split]
    words = ["".join(_words(word)) for part in split for word in re.split(r"[\W_]+", part)]
    orders = [sequence for some in (components, words, components[:2]) for sequence in (some, some[::-1])]
    return {*components, *words}, {"".join(order) for order in orders} - {""}


def _texts(header: Dataset, keyword: str) -> list[str]:
    """Every value of an element as text; one that is not ASCII also in what the header may have left unsaid."""
    raw = header.get_item(keyword)
    if raw is None:
        return []
    texts: list[str] = []
    if isinstance(raw, RawDataElement) and isinstance(raw.value, bytes) and not raw.value.isascii():
        encodings = _UNDECLARED if _declares_latin(header) else ()
        texts = [_decoded(raw.value, encoding) for encoding in encodings]
    value = header.get(keyword)
    values = value if isinstance(value, MultiValue) else [value]
    return [*texts, *(str(one) for one in values if one is not None)]


def _declares_latin(header: Dataset) -> bool:
    """Whether the header says nothing of other scripts, as it also does where nobody thought of saying it."""
    declared = header.get("SpecificCharacterSet") or ""
    values = declared if isinstance(declared, MultiValue) else [declared]
    return all(str(one or "").replace(" ", "_") in _LATIN for one in values)


def _decoded(value: bytes, encoding: str) -> str:
    try:
        return value.decode(encoding)
    except UnicodeDecodeError:
        return ""


def _heads(scan: Path) -> Iterator[Dataset]:
    """Headers of a folder, an archive or one file, as far as they can be read, in the order of their names."""
    for path in walk(scan) if scan.is_dir() else [scan]:
        try:
            if (path.is_symlink() and path != scan) or not path.is_file():
                continue
            with path.open("rb") as stream:
                yield from _heads_of(stream)
        except OSError:
            continue


def _heads_of(stream: BinaryIO) -> Iterator[Dataset]:
    start = stream.read(132)
    kind = kind_of(start)
    stream.seek(0)
    if kind is FileKind.ZIP:
        yield from _heads_in_zip(stream)
    elif start[:2] == b"\x1f\x8b":
        with gzip.open(stream) as unpacked:
            yield from _head(_beginning(unpacked))
    else:
        yield from _head(stream)


def _heads_in_zip(stream: BinaryIO) -> Iterator[Dataset]:
    try:
        with zipfile.ZipFile(stream) as archive:
            for member in sorted(archive.infolist(), key=lambda member: member.filename):
                if not member.is_dir():
                    with archive.open(member) as unpacked:
                        yield from _head_of_member(_beginning(unpacked))
    except Exception:  # noqa: BLE001  an odd archive raises anything; whoever reads the scan will say so
        return


def _head_of_member(start: BinaryIO) -> Iterator[Dataset]:
    packed = start.read(2) == b"\x1f\x8b"
    start.seek(0)
    yield from _head(_beginning(gzip.GzipFile(fileobj=start)) if packed else start)


def _beginning(stream: IO[bytes] | gzip.GzipFile) -> BinaryIO:
    """What the first bytes unpack to: the patient stands early in a header, and an archive may be a bomb."""
    got = io.BytesIO()
    with contextlib.suppress(Exception):  # an archive that was cut short ends early
        while got.tell() < _HEAD_BYTES and (more := stream.read(1 << 12)):
            got.write(more)
    got.seek(0)
    return got


def _head(stream: BinaryIO) -> Iterator[Dataset]:
    """The header up to the patient's group; none if the stream is not DICOM."""
    kind = kind_of(stream.read(132))
    if kind not in (FileKind.PART10, FileKind.BARE):
        return
    stream.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their words may hold values
            yield read_partial(stream, lambda tag, *_: tag.group > 0x0010, force=kind is FileKind.BARE)
    except Exception:  # noqa: BLE001  a damaged header raises anything; the gate will say so later
        return
