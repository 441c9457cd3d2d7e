"""Hand-run: where the CPU time of `volumetry check` goes, as the table of docs/operations.md has it.

Run, after ``pip install py-spy``::

    py-spy record -s -r 100 -f raw -o FILE -- volumetry check SCAN --out OUT
    python tests/benchmarks/profile_table.py FILE

Samples of all threads and processes that were running are counted, each for the first row whose name is on its
stack; threads that wait for work are not.
"""

import sys
from collections import Counter
from pathlib import Path

ROWS = (
    ("decoding in its own process", ("decode_child",)),
    ("import of modules", ("<frozen importlib",)),
    ("loading and proving the model", ("load_segmenter",)),
    ("lobes", ("(volumetry/segment/lobes/",)),
    ("slice network: forward passes", ("_computed",)),
    ("slice network: pictures, shrinking", ("_volume", "(volumetry/segment/preprocess", "shrink")),
    (
        "network of the whole chest, organs",
        ("lung_space", "(volumetry/segment/organs", "(volumetry/segment/fluid"),
    ),
    ("resampling to the scanner's grid, labels", ("_labelled", "_fluid", "native_planes")),
    ("headers, HU and their checks", ("(volumetry/scan/",)),
    ("clean-up, separation of the lungs", ("(volumetry/segment/postprocess", "(volumetry/segment/exclusion")),
    ("volumes, quality checks, distribution", ("(volumetry/measure/", "(volumetry/quality/", "_analysed")),
    ("report", ("(volumetry/deliver/report/",)),
    ("mask and other files", ("measured_folder",)),
    ("clean-up, separation of the lungs", ("(volumetry/image/",)),
)
"""What is on a stack, the first that fits. Threads that work on slices show only what they do."""


def main(recorded: str) -> None:
    """Print the table, with what is left at the end."""
    counts: Counter[str] = Counter()
    for line in Path(recorded).read_text("utf-8").splitlines():
        stack, _, samples = line.rpartition(" ")
        if stack.rpartition(";")[2].startswith("_worker (concurrent/"):
            continue
        row = next((row for row, names in ROWS if any(name in stack for name in names)), "rest")
        counts[row] += int(samples)
    whole = sum(counts.values())
    for row, samples in counts.most_common():
        sys.stdout.write(f"| {row} | {100 * samples / whole:.0f} % |\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
