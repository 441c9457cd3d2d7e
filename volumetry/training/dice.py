"""How well two masks agree."""

import numpy as np
from numpy.typing import NDArray


def dice(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Dice coefficient of two masks, 2 |A and B| / (|A| + |B|).

    Parameters
    ----------
    found, true
        Bool, of one shape.

    Returns
    -------
    float
        0 to 1; 1 if both are empty.

    References
    ----------
    Dice: Measures of the amount of ecologic association between species. Ecology 26 (1945), 297-302.
    """
    total = np.count_nonzero(found) + np.count_nonzero(true)
    return float(2 * np.count_nonzero(found & true) / total) if total else 1.0
