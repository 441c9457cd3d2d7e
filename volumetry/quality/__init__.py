"""What a reader must look at before believing a number: lungs found, complete, plausible."""

from volumetry.quality.lungs import lung_findings

__all__ = ["lung_findings"]
