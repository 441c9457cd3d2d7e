"""Site, subject and visit from the names of folders, by a pattern.

``{site}/{subject}/{visit}`` is one, and so is ``Site{site}/{subject}_{visit}``. A pattern is matched with the
first folders of a scan's path below the root; what lies deeper may be called anything. A name that can be divided
in two ways gives no keys, as does one that does not fit: a wrong key would look like a right one.
"""

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Self

from volumetry.errors import UsageError
from volumetry.scan.scan_id import text_of, without_suffixes

KEYS = ("site", "subject", "visit")
_PARTS = re.compile(r"\{([^{}]*)\}|(\*)|([^{}*]+)")


@dataclass(frozen=True, slots=True)
class Layout:
    """How the folders of a tree are named.

    Parameters
    ----------
    pattern
        As the user wrote it.
    folders
        One for each folder of the pattern: what its name must be, with the shortest and with the longest keys.
    """

    pattern: str
    folders: tuple[tuple[re.Pattern[str], re.Pattern[str]], ...]

    @classmethod
    def of(cls, pattern: str) -> Self:
        """The layout that a pattern describes.

        Parameters
        ----------
        pattern
            Folder names with ``/`` between them; ``{site}``, ``{subject}`` and ``{visit}`` stand for keys, each at
            most once, and ``*`` for any text.

        Returns
        -------
        Layout
            Ready to match.

        Raises
        ------
        UsageError
            If the pattern names no key, an unknown one, one twice, or two without a sign between them.

        Examples
        --------
        >>> Layout.of("Site{site}/{subject}_{visit}").keys(PurePath("site 07/S01_day 28/series"))
        {'site': '07', 'subject': 'S01', 'visit': 'day 28'}
        >>> Layout.of("{subject}_{visit}").keys(PurePath("S_01_v2"))
        'two divisions of a name fit'
        """
        folders = [name for name in pattern.strip("/").split("/") if name]
        named = [key for folder in folders for key in re.findall(r"\{([^{}]*)\}", folder)]
        unknown = set(named) - set(KEYS)
        if unknown or not named or len(named) != len(set(named)):
            raise UsageError(
                f"the layout {pattern!r} must name at least one of {{site}}, {{subject}}, {{visit}}, and each once"
            )
        if any(re.search(r"[}*][{*]", folder) or folder == ".." for folder in folders):
            raise UsageError(
                f"the layout {pattern!r} needs a character between two keys, so that a name can be split"
            )
        return cls(pattern, tuple((_expression(name, "?"), _expression(name, "")) for name in folders))

    def keys(self, path: PurePath) -> Mapping[str, str] | str:
        """The keys in a path.

        Parameters
        ----------
        path
            Of a scan, relative to the root of the tree; of a scan that is a file, without its suffixes.

        Returns
        -------
        Mapping[str, str] or str
            By name; or, in words, why there are none.
        """
        names = [unicodedata.normalize("NFC", text_of(PurePath(part))).strip() for part in path.parts]
        if len(names) < len(self.folders):
            return "its path has fewer folders"
        shortest: dict[str, str] = {}
        longest: dict[str, str] = {}
        for name, (short, long) in zip(names, self.folders, strict=False):
            one, other = short.fullmatch(name), long.fullmatch(name)
            if one is None or other is None:
                return "its path does not fit"
            shortest |= one.groupdict()
            longest |= other.groupdict()
        if shortest != longest:
            return "two divisions of a name fit"
        found = {key: text.strip() for key, text in shortest.items()}
        return found if all(found.values()) else "a key is empty"

    def keys_of(self, relative: PurePath, *, is_file: bool) -> tuple[dict[str, str], str]:
        """The keys of a scan, and why there are none.

        Parameters
        ----------
        relative
            Path below the root.
        is_file
            Whether the scan is one file, whose suffix belongs to no key.

        Returns
        -------
        keys, fault
            One of them is empty.
        """
        found = self.keys(without_suffixes(relative) if is_file else relative)
        if isinstance(found, str):
            return {}, f"the layout {self.pattern} gives it no site, subject or visit: {found}"
        return dict(found), ""


def _expression(folder: str, lazy: str) -> re.Pattern[str]:
    parts = []
    for key, star, literal in _PARTS.findall(unicodedata.normalize("NFC", folder.strip())):
        parts.append(f"(?P<{key}>.+{lazy})" if key else f".*{lazy}" if star else re.escape(literal))
    return re.compile("".join(parts), re.IGNORECASE | re.DOTALL)
