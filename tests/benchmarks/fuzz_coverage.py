"""A coverage-guided search for a header that the reader does not survive.

    pip install atheris
    python tests/benchmarks/fuzz_coverage.py --seconds 600 --out fuzz

libFuzzer changes one file of two and keeps what reaches new lines of `volumetry.scan` or pydicom. Each folder
must end in codes of the catalogue, in 10 seconds and 1 GB; what does not is left in the output folder, named
``crash-``, ``timeout-`` or ``oom-``. Pixels are not decoded here: that is another process, and `fuzz_dicom.py`.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import atheris

with atheris.instrument_imports(include=["volumetry.scan", "pydicom.filereader", "pydicom.values"]):
    from volumetry.scan.choice import choose
    from volumetry.scan.contents import contents_of
    from volumetry.scan.inputs.opening import opened

from mutations import write_bases

from volumetry.codes import CATALOGUE
from volumetry.config import load_config
from volumetry.domain import ScanRefusedError

TELL_EVERY_S = 5.0


class Reader:
    """Reads a folder of one whole slice and one that is changed, and counts what came of it."""

    def __init__(self, folder: Path, whole: bytes, counts: Path) -> None:
        self.folder, self.counts = folder, counts
        self.config = load_config()
        self.seen: Counter[str] = Counter()
        self.runs, self.told = 0, 0.0
        (folder / "whole").write_bytes(whole)

    def __call__(self, data: bytes) -> None:
        (self.folder / "changed").write_bytes(data)
        with opened(self.folder, self.config) as given:
            contents = contents_of(given, self.config)
        try:
            _, findings = choose(contents, self.config)
        except ScanRefusedError as refused:
            findings = refused.findings
        codes = {finding.code for finding in findings}
        if not codes <= set(CATALOGUE):
            raise AssertionError(f"codes that nobody knows: {codes - set(CATALOGUE)}")
        self.seen.update(codes or {"measurable"})
        self.runs += 1
        if time.monotonic() - self.told > TELL_EVERY_S:
            self.told = time.monotonic()
            self.counts.write_text(
                json.dumps({"runs": self.runs, "codes": dict(self.seen.most_common())}, indent=1)
            )


def main() -> None:
    """Command line; libFuzzer ends the process."""
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=600)
    options.add_argument("--out", type=Path, required=True)
    options.add_argument("--seed", type=int, default=1)
    given = options.parse_args()
    corpus = given.out / "corpus"
    corpus.mkdir(parents=True)
    bases = write_bases(given.out / "bases")
    for syntax, folder in bases.items():
        (corpus / syntax).write_bytes((folder / "0031").read_bytes())
    scan = given.out / "scan"
    scan.mkdir()
    reader = Reader(scan, (next(iter(bases.values())) / "0003").read_bytes(), given.out / "counts.json")
    limits = [f"-max_total_time={given.seconds}", f"-seed={given.seed}", "-timeout=10", "-rss_limit_mb=1024"]
    places = [f"-artifact_prefix={given.out}{os.sep}", "-print_final_stats=1", str(corpus)]
    atheris.Setup([sys.argv[0], *limits, *places], reader)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
