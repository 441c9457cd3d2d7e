"""How well this installation measures phantoms of known volume: bias, linearity, repeatability, agreement.

::

    design        which phantoms, and how often
    observer      who segments them in the network's place
    experiments   phantoms through the line -> pairs of truth and found
    agreement     the formulas: regression, Bland-Altman, within-subject variation
    report        tables, figures and the page
"""

from volumetry.assurance.validation.design import Design
from volumetry.assurance.validation.experiments import Validation, validate
from volumetry.assurance.validation.report import write_validation

__all__ = ["Design", "Validation", "validate", "write_validation"]
