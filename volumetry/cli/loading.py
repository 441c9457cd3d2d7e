"""The model is loaded while the scan is read: both take seconds, and reading waits for its decoding child."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volumetry.domain import CtScan, Segmenter, SegmenterFacts, TissueMap


class Loading:
    """A segmenter that is on its way; whoever asks it for something waits until it is there.

    Parameters
    ----------
    load
        Makes the segmenter, in a thread. Its error is raised where the segmenter is first asked for something.
    """

    def __init__(self, load: Callable[[], "Segmenter"]) -> None:
        # What the main thread needs is imported before there are two: circular imports can fail between threads.
        import volumetry.deliver.report
        import volumetry.pipeline  # noqa: F401

        with_one = ThreadPoolExecutor(1)
        self._coming = with_one.submit(load)
        with_one.shutdown(wait=False)

    @property
    def facts(self) -> "SegmenterFacts":
        """Name, weights and device, for the record."""
        return self._coming.result().facts

    def __call__(self, scan: "CtScan", /) -> "TissueMap":
        """Label every voxel of `scan`, as soon as the segmenter is there."""
        return self._coming.result()(scan)
