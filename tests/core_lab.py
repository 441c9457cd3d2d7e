"""What a data manager does between the commands of ``docs/core-lab.md``, for a test and for a longer walk.

Phantoms stand for patients, and thresholds for the network.
"""

import csv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from volumetry.cli import app
from volumetry.config import Config
from volumetry.domain import CtScan, SegmenterFacts, Tissue, TissueMap
from volumetry.explain import explain
from volumetry.phantom import Lesion, PhantomSpec, SeriesSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter

LAYOUT = "Site {site}/{subject}/{visit}"
CONFIG = """
[select]
rule = "kernel"
kernel_preference = ["B70f"]
"""
VISITS = ("subject", "visit", "day", "arm", "scan_id")
SHARES = ("lesion", "ground_glass", "solid")


@dataclass(frozen=True)
class Model:
    """Thresholds under a version: the second one calls the rim of every solid lesion ground glass."""

    version: str
    facts: SegmenterFacts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "facts", SegmenterFacts("model", self.version))

    def __call__(self, scan: CtScan, /) -> TissueMap:
        found = ThresholdSegmenter()(scan)
        if self.version == "1":
            return found
        labels = found.labels_kji.copy()
        solid = labels == Tissue.SOLID
        core = solid & np.roll(solid, 1, axis=1) & np.roll(solid, -1, axis=1)
        labels[solid & ~core] = Tissue.GROUND_GLASS
        return TissueMap(labels, found.grid)


def first_model(_settings: Config) -> Model:
    """For ``--segmenter core_lab:first_model``."""
    return Model("1")


def second_model(_settings: Config) -> Model:
    """For ``--segmenter core_lab:second_model``."""
    return Model("2")


def series(folder: Path, seed: int, solid_mm: float, haze_mm: float = 20.0, **written: str) -> Path:
    """A chest with haze on one side and a solid lesion on the other, as one series."""
    lesion = Lesion("solid", (88.3, 12.2, 8.7), (solid_mm, solid_mm, solid_mm))
    haze = Lesion("ground_glass", (-85.3, 10.2, 10.1), (haze_mm, 0.9 * haze_mm, 1.1 * haze_mm))
    spec = PhantomSpec((44, 64, 72), (6.0, 5.0, 5.0), (haze, lesion), vessels=False, seed=seed)
    write_series(make_phantom(spec), folder, SeriesSpec(**{"kernel": "B70f", **written}))
    return folder


def zipped(path: Path, *folders: Path) -> None:
    """Folders as a media export."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for folder in folders:
            for file in sorted(folder.rglob("*.dcm")):
                archive.write(file, f"MEDIA/{folder.name}/{file.name}")


def rows_of(path: Path) -> list[dict[str, str]]:
    """Rows of a table."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, object]]) -> Path:
    """A table; cells that a row lacks are empty."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def do(*given: object, code: int = 0) -> str:
    """One command of the guide; what it said."""
    found = CliRunner().invoke(app, [str(one) for one in given])
    assert found.exit_code == code, (given, found.output, found.exception)
    return found.output


def edited(result: Path, path: Path, *, grow: bool) -> Path:
    """A reader's mask: the solid lesion a slice larger or smaller."""
    image = nib.load(result / "mask.nii.gz")
    labels = np.asarray(image.dataobj).copy()
    solid = labels == Tissue.SOLID
    moved = np.roll(solid, 1, axis=2)
    lung = labels > 0
    labels[(solid | moved) & lung if grow else solid & moved] = Tissue.SOLID
    if not grow:
        labels[solid & ~moved] = Tissue.AERATED
    nib.save(nib.Nifti1Image(labels.astype(np.uint8), image.affine, image.header), path)
    return path


def values_of(results: Path) -> dict[str, dict[str, float]]:
    """Shares of every scan with a value."""
    return {
        row["scan_id"]: {name: float(row[f"percent_of_lung.{name}"]) for name in SHARES}
        for row in rows_of(results / "results.csv")
        if row["percent_of_lung.lesion"]
    }


def traced(trial: Path, results: Path) -> Iterator[dict[str, object]]:
    """Every row of the trial's changes, endpoint and summary back to a file and, where one spoke, a person.

    Yields what `explain` found; raises AssertionError where a number is not that of the batch, a record is not as
    it was entered, or the person behind a reader's value is not named.
    """
    values = values_of(results)
    readers = {row["scan_id"]: row["corrected_by"] for row in rows_of(results / "results.csv")}
    for name in ("changes.csv", "endpoint.csv", "summary.csv"):
        for number, row in enumerate(rows_of(trial / name), 2):
            trace = explain(trial / name, str(number), results)
            assert not [r for r in trace.get("remarks", ()) if "scan stands behind" not in r], (
                name,
                number,
                trace,
            )
            scans = {scan["scan_id"]: scan for scan in trace["scans"]}
            for scan_id, scan in scans.items():
                assert scan["as_recorded"] is True
                assert (results / scan["folder"] / "result.json").is_file()
                if "volumes_ml" in scan["value"]:
                    assert scan["value"]["percent_of_lung"] == pytest.approx(values[scan_id])
                counted = [made for made in scan["corrections"] if made["counted"]]
                assert [made["reader"] for made in counted] == [readers[scan_id]] * bool(readers[scan_id])
            for scan_id, value in (("baseline_scan_id", "baseline_percent"), ("scan_id", "value_percent")):
                if row.get(value):
                    found = scans[row[scan_id]]["value"]["percent_of_lung"][row["measure"]]
                    assert float(row[value]) == pytest.approx(found)
            if row.get("median_a") or (row.get("n", "0") != "0" and name == "summary.csv"):
                assert trace["stands_on"], row
            yield trace


def adjudicated(work: Path, package: Path, key: Path, values: Mapping[str, Mapping[str, float]], odd: str) -> Path:
    """Two readers' percentages, one scan beyond the limit, the adjudicator's form; the accepted values, joined."""
    reading = {row["scan_id"]: row["reading_id"] for row in rows_of(key) if row["reading_id"]}
    header = (package / "reads.csv").read_text("utf-8").splitlines()[0].split(",")
    reads = []
    for reader, shift in (("R1", 0.0), ("R2", 6.0)):
        rows = []
        for scan_id, name in reading.items():
            row = {"reading_id": name, "reader": reader, "evaluable": "no"}
            if scan_id in values:
                share = dict(values[scan_id])
                share["solid"] += shift if scan_id == odd else 0.0
                share["lesion"] = share["solid"] + share["ground_glass"]
                row |= {f"{measure}_percent": f"{value:.3f}" for measure, value in share.items()}
                row["evaluable"] = "yes"
            rows.append(row)
        reads.append(write_rows(work / f"{reader}.csv", header, rows))
    given = (
        "adjudicate",
        package,
        "--reads",
        reads[0],
        "--reads",
        reads[1],
        "--limit",
        "5",
        "--adjudicator",
        "R3",
    )
    do(*given, "--out", work / "agreed")
    (waiting,) = rows_of(work / "agreed" / "adjudication.csv")
    assert waiting["reading_id"] == reading[odd]
    share = {f"{measure}_percent": f"{value:.3f}" for measure, value in values[odd].items()}
    form = write_rows(work / "R3.csv", header, [{**waiting, "evaluable": "yes", **share}])
    do(*given, "--reads", form, "--out", work / "agreed")
    joined = work / "joined.csv"
    do("unblind", package, "--key", key, "--reads", work / "agreed" / "accepted.csv", "--out", joined)
    assert {row["scan_id"]: row["accepted_by"] for row in rows_of(joined)}[odd] == "R3"
    return joined
