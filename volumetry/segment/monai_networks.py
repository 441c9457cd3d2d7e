"""MONAI's U-Net without the rest of MONAI.

``import monai`` imports all of it, with pandas, matplotlib and whatever else of its optional packages is there:
several seconds of CPU, more than a small scan takes to segment. Here MONAI's packages stand as shells that import
a submodule when one of its names is asked for, by what their own ``__init__.py`` says. Afterwards the shells are
gone, so that whoever imports MONAI gets it whole. A MONAI whose packages are built otherwise is imported as usual.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

_SHELLS = ("", ".apps", ".config", ".networks", ".networks.blocks", ".networks.layers", ".networks.nets", ".utils")


class _Shell(ModuleType):
    """A package of which nothing has been run."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        self.__spec__, self.__path__ = spec, [str(folder)]
        self._home = _submodule_of_name(folder / "__init__.py")

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  as of any module
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self._home:
            return getattr(importlib.import_module(f"{self.__name__}.{self._home[name]}"), name)
        try:
            return importlib.import_module(f"{self.__name__}.{name}")
        except ModuleNotFoundError:
            raise AttributeError(name) from None


def _submodule_of_name(source: Path) -> dict[str, str]:
    """Which submodule each name comes from that a package imports for its users."""
    tree = ast.parse(source.read_text("utf-8"))
    return {
        alias.asname or alias.name: node.module
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node.module
        for alias in node.names
    }


@contextmanager
def _shells() -> Iterator[None]:
    """MONAI as shells, until the block ends; as it is, where it is imported already."""
    if "monai" in sys.modules:
        yield
        return
    spec = find_spec("monai")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("No module named 'monai'", name="monai")
    root = Path(spec.origin).parent
    for suffix in _SHELLS:
        sys.modules[f"monai{suffix}"] = _Shell(f"monai{suffix}", root.joinpath(*suffix.split(".")))
    vars(sys.modules["monai"])["__version__"] = version("monai")
    try:
        yield
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == "monai"]:
            del sys.modules[name]


if TYPE_CHECKING:
    from monai.networks.blocks.convolutions import Convolution
    from monai.networks.nets.unet import UNet
else:
    try:
        with _shells():
            from monai.networks.blocks.convolutions import Convolution
            from monai.networks.nets.unet import UNet
    except (ImportError, AttributeError, SyntaxError):
        from monai.networks.blocks.convolutions import Convolution
        from monai.networks.nets.unet import UNet

__all__ = ["Convolution", "UNet"]
