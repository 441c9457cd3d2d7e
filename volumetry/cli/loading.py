"""The model is loaded while the scan is decoded: both take seconds, and decoding is another process's work."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from volumetry.domain import CtScan, Segmenter, SegmenterFacts, TissueMap


class Loading:
    """A segmenter that is on its way once `begin_loading` was called; whoever asks it for something waits for it.

    A scan whose headers are refused needs none, and does not wait for one.

    Parameters
    ----------
    load
        Makes the segmenter, in a thread. Its error is raised where the segmenter is first asked for something.
    """

    def __init__(self, load: Callable[[], "Segmenter"]) -> None:
        # What the main thread needs is imported before there are two: circular imports can fail between threads.
        import volumetry.deliver.report
        import volumetry.pipeline  # noqa: F401

        self._load = load
        self._coming: Future[Segmenter] | None = None

    def begin_loading(self) -> "Future[Segmenter]":
        """Load in a thread of its own; what was begun goes on."""
        if self._coming is None:
            with_one = ThreadPoolExecutor(1)
            self._coming = with_one.submit(self._load)
            with_one.shutdown(wait=False)
        return self._coming

    @property
    def facts(self) -> "SegmenterFacts":
        """Name, weights and device, for the record."""
        return self.begin_loading().result().facts

    def __call__(self, scan: "CtScan", /) -> "TissueMap":
        """Label every voxel of `scan`, as soon as the segmenter is there."""
        return self.begin_loading().result()(scan)
