"""A scan beside earlier results of the same person.

::

    current      which reading of a result counts, the automatic one or a correction
    earlier      a result as it lies on the disk, and whether it can be a prior at all
    compared     same person, older, then the change and how far it can be believed
    priors       both around the measurement of a scan
    corrected    the change that a reader's correction of the present scan shows
"""

from volumetry.prior.corrected import CorrectedPriors
from volumetry.prior.current import corrections_place
from volumetry.prior.priors import Priors, require_prior

__all__ = ["CorrectedPriors", "Priors", "corrections_place", "require_prior"]
