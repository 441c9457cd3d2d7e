"""Segmenters for tests of the batch, made in its workers by name; a scan's kernel says what happens to it."""

import os
import signal
import time
from pathlib import Path

import numpy as np

from volumetry.config import Config
from volumetry.domain import CtScan, SegmenterFacts, TissueMap
from volumetry.errors import ModelError
from volumetry.segment.hu_segmenter import ThresholdSegmenter


class Deadly:
    """The threshold segmenter, except for scans whose kernel names a disaster."""

    facts = SegmenterFacts("deadly", "1")

    def __call__(self, scan: CtScan, /) -> TissueMap:
        match scan.series.kernel:
            case "SIGKILL":
                os.kill(os.getpid(), signal.SIGKILL)
            case "SIGSEGV":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "HANG":
                time.sleep(600)
            case "HOG":
                hog = [np.ones(2**22) for _ in range(2000)]  # 64 GB in steps of 32 MB, every page touched
                time.sleep(600 + len(hog))
            case "WAIT":  # until the test lets it go on
                while not Path(os.environ["VOLUMETRY_TEST_GO"]).exists():
                    time.sleep(0.01)
            case "BUG":
                raise KeyError("ZZPHIZZ")
        return ThresholdSegmenter()(scan)


def segmenter(_config: Config) -> Deadly:
    """Made once in each worker."""
    return Deadly()


def no_model(_config: Config) -> Deadly:
    """A model that is not what its card says."""
    raise ModelError("weights.safetensors: sha256 differs from its card")


class _Threads(Deadly):
    facts = SegmenterFacts(
        "threads", f"{os.environ.get('OMP_NUM_THREADS')}-{os.environ.get('OMP_WAIT_POLICY')}-{os.getpid()}"
    )


def threads(_config: Config) -> Deadly:
    """A segmenter that says how many threads its process was born with, and which process that is."""
    return _Threads()
