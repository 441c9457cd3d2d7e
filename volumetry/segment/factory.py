"""Which function makes the segmenter: the shipped network's, or one that the user names."""

from importlib import import_module

from volumetry.config import Config
from volumetry.domain import Segmenter
from volumetry.errors import UsageError

SHIPPED = "volumetry.segment.network:load_segmenter"


def segmenter_from(factory: str, config: Config) -> Segmenter:
    """Make the segmenter that a name stands for.

    Only the command line and the callers of the Python interface name one: a settings file cannot, because a name
    runs code.

    Parameters
    ----------
    factory
        ``module:function``; the function takes the settings and returns a `volumetry.Segmenter`.
    config
        The settings of the run.

    Returns
    -------
    Segmenter
        With the settings of the run.

    Raises
    ------
    UsageError
        If there is no such function, or what it returns is not a segmenter.
    """
    module, _, function = factory.partition(":")
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError, SyntaxError, TypeError, ValueError) as missing:
        message = f"no function {function!r} can be imported from a module {module!r}: {missing}"
        raise UsageError(message, hint="Give module:function, installed or on PYTHONPATH.") from missing
    segmenter: Segmenter = make(config)
    if not callable(segmenter) or not hasattr(segmenter, "facts"):
        raise UsageError(f"{factory} does not return a segmenter: it must be callable and have `facts`")
    return segmenter
