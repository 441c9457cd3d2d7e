"""The bridge from one way of measuring to another: the same scans by two models, versions or settings.

::

    pairs         the scans of two batches, side by side
    adopted       the new batch with the exclusions and corrections of the old one
    conclusions   the trial's tables from each, and what one says and the other does not
    report        files and the page
"""

from volumetry.assurance.bridge.report import BridgeOutcome, Limits, compare_batches

__all__ = ["BridgeOutcome", "Limits", "compare_batches"]
