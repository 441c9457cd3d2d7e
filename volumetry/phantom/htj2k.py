"""One HTJ2K slice whose stored values are known from a formula.

No permissive wheel of ours encodes High-Throughput JPEG 2000, so the codestream is kept here as made by OpenJPH
0.26.3 (``imagecodecs.htj2k_encode``, reversible) from `htj2k_values`. Decoding it must give the formula back.
"""

import base64

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate
from pydicom.uid import HTJ2KLossless

_CODESTREAM = (
    "/0//UQApQAAAAAAYAAAAIAAAAAAAAAAAAAAAGAAAACAAAAAAAAAAAAABDwEB/1AACAACAAAACv9SAAwAAgABAAUEBEAB/1wAEyCI"
    "kJCQkJCQkJCQkJCQiIiI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAy4AAf+TwAAm8/YFB3QAwAATQAATQAASgM79"
    "Aod0AGb5Awd0ABICh3QAwAATwAAVMAAE4Dmh/AILdAD/EN4wEwFHNABbmuwCi3QAwAAWtAABa8AAFrAVKykaXt8/WijiyABk8ykT"
    "pAEAf5gAVYYeIBbBiwuuF8FDBTT8AVmiIQG/mAA1TLjCssxsbWLgCB/OTf4nYiEBvZcAwAAXcwAAXeQAAXdAyBAY8BsEADCyVUDz"
    "w4BM9aOIAICxPdNJiAdhbUw/igAAABEoUQAQggj9QMZHFg4oqGASIgdyep8AmzsJ1NgJW+uZ8VwM4DS/kAQ80ywp21IqBRl7OYfC"
    "AgcLKCwA4QIUNiDhAhL+BCOACCKWKCAJfjgsk58ASBTEB9/PhADWaBwFcBdUIqCgoBOyw4MNDTIJAx4CGChAoICAAQcIDCBQ4AAG"
    "k+pNeKGgCXYoiQufAMAAL6VgABfU8AAL6JDVBBocOkDCNoDEYrBxGBi4ekMqAAECb0QBRA0YhXtECFAB+BwAAM4AgCFYwAlUEwgg"
    "QK8KAXMCIACQhrCMAAKOArCJqgNEvREQgACqN1MBjIE5YAxCcQgBABAAEgxCOZ4CucEQHDrwZGM0tn2diwINckPFi8n7xHRtjt5w"
    "/GzCVRQcKMgEq4xCvFmK4muEUXp3vX3uAmtmS127rcmeN9ma/F9aMBAQVUf3/DiJ758jTrdgKmtzgMCAgMCAQMAAQUAAwUCAwICA"
    "wEBrQEGV70BdMcy6AZ52zzKh4CDgzoD+jQvkH5CXUHAQcDBQcWd+cedAPpAL7AL3wB6AE+QB+UAusAvcA/pwBBABBCIAEEIQAY+L"
    "R4i6JDKuXwVHAVsAgDbsYjc8ACMQhgIhAB+BEjcCLTuVO0bl2q+1KXcDm+aoyOvMyFFKMoiyABQoqng5oWEgeK8CNwmgQNIGGGAA"
    "AQQQQIABtulMYICiFHoZFAQGght4KoEBDBWAgOAGSCCA4RQQAIlFJz2TWLSunYXWNTBmurE/lO6+359gfT+xcttXW5YP1DGAbUUJ"
    "7dthu88ikhPUMQHyJAle3X/3Kfq72F0SS/ukVwP/2Q=="
)


def htj2k_values() -> NDArray[np.uint16]:
    """What the slice holds: a slope with a disc on it; 32 rows, 24 columns, 12 bits."""
    j, i = np.mgrid[:32, :24]
    values: NDArray[np.uint16] = (
        500 + 2 * j * j + 30 * i + (j * i) % 7 + (np.hypot(j - 15, i - 12) < 6) * 900
    ).astype(np.uint16)
    return values


def htj2k_codestream() -> bytes:
    """The slice, HTJ2K lossless."""
    return base64.b64decode(_CODESTREAM)


def put_htj2k(ds: Dataset) -> None:
    """Make a slice's dataset hold that image; its geometry tags stay."""
    ds.file_meta.TransferSyntaxUID = HTJ2KLossless
    ds.Rows, ds.Columns = htj2k_values().shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PixelData = encapsulate([htj2k_codestream()])
    ds["PixelData"].VR = "OB"
    ds["PixelData"].is_undefined_length = True
