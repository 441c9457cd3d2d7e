"""Whether the extra ``archive`` is installed."""

from importlib.util import find_spec

from volumetry.errors import UsageError


def require_extra(*modules: str) -> None:
    """Stop with what to do unless these modules are there; raises UsageError."""
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"not installed: {', '.join(missing)}",
            "EXTRA_MISSING",
            "Install with: pip install 'volumetry[archive]'",
        )
