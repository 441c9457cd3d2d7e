"""Names for the values of a label array that cost no more than the values."""

from enum import IntEnum
from typing import Any

import numpy as np


class VoxelLabel(IntEnum):
    """Values of a label array.

    numpy takes a member of a plain `IntEnum` for a number of 64 bits, and converts the whole array of labels to it
    before it compares them: fourteen times as much work as with the bare number, which it is given here.
    """

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:  # noqa: ANN401
        """Apply a ufunc to the number."""
        numbers = (int(given) if isinstance(given, VoxelLabel) else given for given in inputs)
        return getattr(ufunc, method)(*numbers, **options)
