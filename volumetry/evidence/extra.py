"""Whether the extra ``evidence`` is installed."""

from importlib.util import find_spec

from volumetry.errors import UsageError


def require_extra() -> None:
    """Stop with what to do unless the libraries of the extra are there; raises UsageError."""
    missing = [name for name in ("cyclonedx", "packaging") if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"not installed: {', '.join(missing)}",
            "EXTRA_MISSING",
            "Install with: pip install 'volumetry[evidence]'",
        )
