"""The sample that is kept with the project: one small adult with mixed disease, about 4 MB.

The same wheels on the same kind of processor give the same bytes.

    python tests/tools/data_sample.py data-sample
"""

import sys
from pathlib import Path
from typing import Any

from pydicom.uid import JPEGLSLossless

from volumetry.phantom import Lesion, PhantomSpec, SeriesSpec
from volumetry.phantom.sample import write_one
from volumetry.storage.atomic import write_json


def write_data_sample(out: Path) -> dict[str, Any]:
    """Write the sample and its truth; returns what ``truth.json`` says."""
    spec = PhantomSpec(
        (100, 256, 256),
        (2.5, 1.0, 1.0),
        lesions=(
            Lesion("ground_glass", (-60.4, 12.2, 3.3), (15.0, 18.0, 22.0)),
            Lesion("solid", (-59.2, 14.1, 5.8), (8.5, 8.0, 9.0)),
            Lesion("ground_glass", (63.8, 26.7, -20.6), (11.0, 12.5, 14.0)),
        ),
        scale_lps=(0.8, 0.9, 0.93),
        noise_hu=6.0,
        texture_hu=12.0,
        seed=20260101,
    )
    how = SeriesSpec(transfer_syntax=JPEGLSLossless, seed=spec.seed)
    truth = {"phantom-001": write_one(out / "phantom-001", spec, how)}
    write_json(out / "truth.json", truth)
    return truth


if __name__ == "__main__":
    write_data_sample(Path(sys.argv[1]))
