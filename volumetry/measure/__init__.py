"""TissueMap to numbers: volumes, regions, distribution, component rules, densitometry, accounting identities."""

from volumetry.measure.components import by_component_rule
from volumetry.measure.distribution import distribution_of
from volumetry.measure.identities import check_identities, check_lobes
from volumetry.measure.lobes import measure_lobes
from volumetry.measure.measurement import measure

__all__ = ["by_component_rule", "check_identities", "check_lobes", "distribution_of", "measure", "measure_lobes"]
