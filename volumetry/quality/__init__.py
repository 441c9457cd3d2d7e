"""What a reader must look at before believing a number: lungs found, complete, plausible."""

from volumetry.quality.blood_pool import blood_pool_hu
from volumetry.quality.charter import charter_findings
from volumetry.quality.lungs import lung_findings

__all__ = ["blood_pool_hu", "charter_findings", "lung_findings"]
