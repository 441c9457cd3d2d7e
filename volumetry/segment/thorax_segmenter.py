"""Two looks at a scan: the slices' network says what is disease, the chest's where disease can be.

Not the default: ``volumetry check SCAN --segmenter volumetry.segment.thorax_segmenter:load_with_context``, where a
model of the chest is installed.
"""

import hashlib
from dataclasses import dataclass, replace

from volumetry.config import Config
from volumetry.domain import CtScan, Segmenter, SegmenterFacts, Tissue, TissueMap
from volumetry.errors import ModelError
from volumetry.segment.network import load_segmenter
from volumetry.segment.thorax import coarse_hu, lung_within_a_voxel, region_probabilities
from volumetry.segment.thorax_weights import ContextModel, load_context
from volumetry.segment.weights import CARD
from volumetry.storage.shipped import shipped

FAMILY = "thorax3d"


@dataclass(frozen=True, slots=True)
class ContextSegmenter:
    """A segmenter whose lesions lie in lung as the coarse network sees it, or within one of its voxels of it.

    Aerated lung stays as it was: a wrong lung costs less than a lung that is missed.

    Parameters
    ----------
    fine
        Labels lung, ground glass and solid.
    context
        The coarse network of the whole chest.
    """

    fine: Segmenter
    context: ContextModel

    @property
    def facts(self) -> SegmenterFacts:
        """The fine segmenter's, with both networks in version and digest."""
        facts, card = self.fine.facts, self.context.card
        digests = f"{facts.sha256} {card.sha256}"
        return replace(
            facts,
            version=f"{facts.version}+{card.name}-{card.version}",
            sha256=hashlib.sha256(digests.encode()).hexdigest(),
        )

    def __call__(self, scan: CtScan, /) -> TissueMap:
        """Label every voxel of `scan`; what is called disease outside of lung is outside.

        Parameters
        ----------
        scan
            In HU.

        Returns
        -------
        TissueMap
            Labels, uint8 (k, j, i), on ``scan.grid``; without sides.
        """
        tissue = self.fine(scan)
        coarse = coarse_hu(scan, self.context.coarse_mm)
        probabilities = region_probabilities(self.context.network, coarse, self.context.stride)
        labels = tissue.labels_kji.copy()
        labels[(labels > Tissue.AERATED) & ~lung_within_a_voxel(scan, probabilities)] = Tissue.OUTSIDE
        return replace(tissue, labels_kji=labels)


def load_with_context(config: Config | None = None) -> ContextSegmenter:
    """The segmenter that the settings name, with the newest installed model of the chest beside it.

    Parameters
    ----------
    config
        Names the fine model, the device and the thresholds; the defaults if None.

    Returns
    -------
    ContextSegmenter
        Both models verified.

    Raises
    ------
    ModelError
        If no model of the chest is installed, or a model was changed or does not reproduce its probe.
    """
    fine = load_segmenter(config)
    folders = sorted(card.parent for card in shipped("models").glob(f"{FAMILY}-*/{CARD}"))
    if not folders:
        raise ModelError("no model of the whole chest is installed", hint="Measure without --segmenter.")
    return ContextSegmenter(fine, load_context(folders[-1], fine.device))
