"""Two runs on one folder, begun at once, twenty times: one works, the other says so and exits 75."""

import csv
import json
import subprocess
import sys

from batch_command import SMALL, TESTS

from volumetry.batch import verify
from volumetry.phantom import SeriesSpec, make_phantom, write_series

PAIRS = 20
# Both children begin at the same byte of a pipe. The one that works waits in its scan until the other has ended.
SCRIPT = """
import json, os, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from deadly import segmenter
import volumetry.batch, volumetry.batch.report  # before the forks, so that it is paid once
from volumetry.cli import common, main
common.segmenter_of = segmenter
scans, root, pairs = sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
ended = []
for pair in range(pairs):
    out = root / f"out{pair:02d}"
    os.environ["VOLUMETRY_TEST_GO"] = str(root / f"go{pair:02d}")
    reading, writing = os.pipe()
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)
            os.dup2(os.open(root / f"said{pair:02d}-{os.getpid()}", os.O_WRONLY | os.O_CREAT), 2)
            try:
                main(["batch", scans, "--out", str(out), "--quiet"])
            except SystemExit as end:
                os._exit(int(end.code or 0))
            os._exit(0)
        children.append(child)
    os.close(reading)
    os.close(writing)
    first, status = os.wait()
    Path(os.environ["VOLUMETRY_TEST_GO"]).touch()
    second, other = os.wait()
    ended.append([[first, os.waitstatus_to_exitcode(status)], [second, os.waitstatus_to_exitcode(other)]])
print(json.dumps(ended))
"""


def test_of_two_runs_at_once_exactly_one_works(tmp_path):
    phantom = make_phantom(SMALL)
    write_series(phantom, tmp_path / "in" / "s00", SeriesSpec(kernel="WAIT"))
    script = tmp_path / "pairs.py"
    script.write_text(SCRIPT, "utf-8")
    done = subprocess.run(  # noqa: S603  our own script
        [sys.executable, str(script), str(TESTS), str(tmp_path / "in"), str(tmp_path), str(PAIRS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    )
    ended = json.loads(done.stdout.splitlines()[-1])
    assert len(ended) == PAIRS
    for pair, ((first, refused), (_, worked)) in enumerate(ended):
        assert (refused, worked) == (75, 0)
        said = (tmp_path / f"said{pair:02d}-{first}").read_text("utf-8")
        assert "another run holds this output folder" in said
        assert "[BUSY]" in said
        out = tmp_path / f"out{pair:02d}"
        rows = list(csv.DictReader((out / "results.csv").read_text("utf-8").splitlines()))
        assert [row["scan_id"] for row in rows] == ["s00"]
        assert verify(out).passed
