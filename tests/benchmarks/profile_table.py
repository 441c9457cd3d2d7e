"""Hand-run: where the CPU time of `volumetry check` goes, as the table of docs/operations.md has it.

Run, after ``pip install py-spy``::

    py-spy record -s -r 100 -f raw -o FILE -- volumetry check SCAN --out OUT
    python tests/benchmarks/profile_table.py FILE

Samples of all threads and processes that were running are counted, each for the first row whose function is on its
stack.
"""

import sys
from collections import Counter
from pathlib import Path

ROWS = (
    ("decoding: start of its process", "_import_decoders"),
    ("decoding: pixels", "decode_child"),
    ("import of modules", "<frozen importlib"),
    ("loading and proving the model", "load_segmenter"),
    ("headers, HU and their checks", "read_scan"),
    ("slice network: input pictures", "pictures_of"),
    ("slice network: passes", "NetworkSegmenter._computed"),
    ("network of the whole chest, organs", "NetworkSegmenter._chest"),
    ("back to the scanner's grid, labels", "NetworkSegmenter.__call__"),
    ("slice network: rest", "NetworkSegmenter"),
    ("clean-up, lungs, sides", "(volumetry/segment/postprocess"),
    ("lobes", "measured_lobes"),
    ("volumes, checks, distribution", "_analysed"),
    ("report", "write_report"),
    ("mask and other files", "measured_folder"),
)


def main(recorded: str) -> None:
    """Print the table, with what is left at the end."""
    counts: Counter[str] = Counter()
    for line in Path(recorded).read_text("utf-8").splitlines():
        stack, _, samples = line.rpartition(" ")
        counts[next((row for row, name in ROWS if name in stack), "anything else")] += int(samples)
    whole = sum(counts.values())
    for row in (*(row for row, _ in ROWS), "anything else"):
        sys.stdout.write(f"| {row} | {100 * counts[row] / whole:.0f} % |\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
