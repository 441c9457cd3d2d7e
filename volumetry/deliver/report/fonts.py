"""Fonts for the patient's name on the summary page, where matplotlib's own font does not have its characters."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font

_OWN = "DejaVu Sans"
"""Comes with matplotlib, and is its default."""
_FURTHER = (
    "Noto Sans CJK SC",
    "Noto Sans CJK TC",
    "Noto Sans CJK HK",
    "Noto Sans CJK JP",
    "Noto Sans CJK KR",
    "Noto Sans SC",
    "Noto Sans TC",
    "Noto Sans JP",
    "Noto Sans KR",
    "Source Han Sans",
    "Source Han Sans SC",
    "Source Han Sans TC",
    "Source Han Sans JP",
    "Source Han Sans KR",
    "WenQuanYi Zen Hei",
    "WenQuanYi Micro Hei",
    "Droid Sans Fallback",
    "IPAexGothic",
    "IPAGothic",
    "TakaoGothic",
    "NanumGothic",
    "UnDotum",
    "Microsoft YaHei",
    "Microsoft JhengHei",
    "Yu Gothic",
    "MS Gothic",
    "Malgun Gothic",
    "PingFang SC",
    "Hiragino Sans",
    "Apple SD Gothic Neo",
)
"""Of Chinese, Japanese and Korean, as Linux, Windows and macOS install them; the order decides."""


def drawable(line: str) -> tuple[str, list[str]]:
    """A line as the installed fonts can draw it.

    Parameters
    ----------
    line
        Any text.

    Returns
    -------
    line, families
        The line with the number of characters in place of those that no font has, and the families that draw it
        together: none where matplotlib's own is enough, so that such a page has the same bytes on every machine.

    Examples
    --------
    >>> drawable("patient Müller, ID 12")
    ('patient Müller, ID 12', [])
    """
    missing = _missing(line, _OWN)
    families = []
    for family in _installed() if missing else ():
        left = _missing(missing, family)
        if left != missing:
            families.append(family)
            missing = left
    return _counted(line, missing), [_OWN, *families] if families else []


def _installed() -> list[str]:
    # matplotlib keeps a list of fonts from an earlier run, some of which may have been removed since.
    names = {font.name for font in fontManager.ttflist if Path(font.fname).is_file()}
    return [family for family in _FURTHER if family in names]


def _missing(characters: Iterable[str], family: str) -> set[str]:
    has = _characters(findfont(FontProperties(family=family), fallback_to_default=False))
    return {character for character in characters if ord(character) not in has}


@cache
def _characters(path: str) -> frozenset[int]:
    return frozenset(get_font(path).get_charmap())


def _counted(line: str, missing: set[str]) -> str:
    """Each run of missing characters, with the spaces and signs within it, as a number."""
    if not missing:
        return line
    one = f"[{re.escape(''.join(sorted(missing)))}]"

    def number(run: re.Match[str]) -> str:
        count = sum(character in missing for character in run[0])
        return f"[{count} character{'' if count == 1 else 's'} without a font]"

    return re.sub(rf"{one}+(?:[\s=]+{one}+)*", number, line)
