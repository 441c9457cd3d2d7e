"""What was traced, as plain text: one line for each fact, indented by what it belongs to."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_DIGEST = 64
_SHOWN = 12


def as_text(trace: Mapping[str, Any]) -> str:
    """The trace for people; digests are shortened, the JSON has them whole.

    Parameters
    ----------
    trace
        From `explain`.

    Returns
    -------
    str
        Lines.
    """
    return "\n".join(_lines(trace, 0))


def _lines(part: Mapping[str, Any], depth: int) -> Iterator[str]:
    for key, value in part.items():
        name = key if "." in key else key.replace("_", " ")
        pad = "  " * depth
        if isinstance(value, Mapping):
            plain = all(isinstance(item, int | float) for item in value.values())
            if plain:
                yield f"{pad}{name}: {', '.join(f'{k} {_word(v)}' for k, v in value.items())}"
            else:
                yield f"{pad}{name}:"
                yield from _lines(value, depth + 1)
        elif isinstance(value, Sequence) and not isinstance(value, str):
            yield from _listed(name, value, depth)
        else:
            yield f"{pad}{name}: {_word(value)}"


def _listed(name: str, values: Sequence[Any], depth: int) -> Iterator[str]:
    pad = "  " * depth
    if not values:
        yield f"{pad}{name}: none"
    elif not isinstance(values[0], Mapping):
        yield f"{pad}{name}: {'; '.join(map(_word, values))}"
    else:
        yield f"{pad}{name}:"
        for value in values:
            first, *rest = _lines(value, depth + 2)
            yield f"{pad}  - {first.strip()}"
            yield from rest


def _word(value: Any) -> str:  # noqa: ANN401  a JSON value
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "none"
    if isinstance(value, float):
        return f"{value:.6g}"
    text = str(value)
    is_digest = len(text) == _DIGEST and not set(text) - set("0123456789abcdef")
    return text[:_SHOWN] if is_digest else text
