"""A core lab's work as its guide describes it, from what sites send to the trial's table, and every number traced.

Only the commands of ``docs/core-lab.md`` are used, and what a person does between them: confirm the manifest, edit
masks, decide, complete visits.csv. Phantoms stand for patients and thresholds for the network.
"""

import csv
import json
import shutil
import zipfile
from dataclasses import dataclass, field

import nibabel as nib
import numpy as np
import pytest
from dictionaries import not_described
from typer.testing import CliRunner

from volumetry.cli import app, common
from volumetry.domain import CtScan, SegmenterFacts, Tissue, TissueMap
from volumetry.phantom import Lesion, PhantomSpec, SeriesSpec, make_phantom, write_series
from volumetry.segment.hu_segmenter import ThresholdSegmenter

LAYOUT = "Site {site}/{subject}/{visit}"
CONFIG = """
[select]
rule = "kernel"
kernel_preference = ["B70f"]
"""
VISITS = ("subject", "visit", "day", "arm", "scan_id")
ARMS = {"S1": "A", "S2": "B", "S3": "A", "S4": "B"}
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


def _series(folder, seed, solid_mm, **series):
    lesion = Lesion("solid", (88.3, 12.2, 8.7), (solid_mm, solid_mm, solid_mm))
    haze = Lesion("ground_glass", (-85.3, 10.2, 10.1), (20.0, 18.0, 22.0))
    spec = PhantomSpec((44, 64, 72), (6.0, 5.0, 5.0), (haze, lesion), vessels=False, seed=seed)
    write_series(make_phantom(spec), folder, SeriesSpec(kernel=series.pop("kernel", "B70f"), **series))


def _zipped(path, *folders):
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for folder in folders:
            for file in sorted(folder.rglob("*.dcm")):
                archive.write(file, f"MEDIA/{folder.name}/{file.name}")


def _deliver(root, packed):
    """Two sites: two kernels of one study, zips, a study delivered twice, two visits on one CD, a mix-up."""
    one, two = root / "Site 01", root / "Site 02"
    _series(one / "S1" / "baseline" / "a", 1, 15.0, subject="S1", study="1a", series="1")
    _series(one / "S1" / "baseline" / "b", 2, 15.0, subject="S1", study="1a", series="2", kernel="B31f")
    _series(packed / "S1d28", 3, 11.5, subject="S1", study="1b", series="3", study_date="20260129")
    _zipped(one / "S1" / "day 28.zip", packed / "S1d28")
    _series(one / "S2" / "baseline", 4, 14.5, subject="S2", study="2a", series="4")
    _zipped(one / "S2" / "baseline again.zip", one / "S2" / "baseline")
    _series(one / "S2" / "day 28", 5, 12.5, subject="S2", study="2b", series="5", study_date="20260129")
    _series(packed / "S3v1", 6, 15.5, subject="S3", study="3a", series="6")
    _series(packed / "S3v2", 7, 11.0, subject="S3", study="3b", series="7", study_date="20260129")
    _zipped(two / "S3" / "CD.zip", packed / "S3v1", packed / "S3v2")
    _series(two / "S4" / "baseline", 8, 14.0, subject="S4", study="4a", series="8")
    shutil.copytree(two / "S4" / "baseline", two / "S4" / "day 28")


def _rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def _write(path, columns, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, columns, restval="", extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return path


def _do(*given, code=0):
    """One command of the guide; what it said."""
    found = CliRunner().invoke(app, [str(one) for one in given])
    assert found.exit_code == code, (given, found.output, found.exception)
    return found.output


def _confirmed(manifest):
    """What the data manager does with the proposal: visits of the CD, and the duplicate left out."""
    rows = _rows(manifest)
    on_cd = [row for row in rows if row["subject"] == "S3"]
    assert len(on_cd) == 2, "two studies on one CD are two lines"
    for row in on_cd:
        date = json.loads((manifest.parent / "dates.json").read_text("utf-8"))[row["scan_id"]]
        row["visit"] = "baseline" if date == "20260101" else "day 28"
        row["scan_id"] = f"S3_{row['visit'].replace(' ', '_')}"
    for row in rows:
        if row["visit"] == "baseline again":
            assert "S2_baseline" in row["same_images_as"]
            row["use"] = "no"
    return _write(manifest, list(rows[0]), rows)


def _edited(result, path, grow):
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


def _traced(trial, scan_values):
    """Every number of changes.csv and endpoint.csv, through `explain`; how many were followed."""
    followed = 0
    for name in ("changes.csv", "endpoint.csv"):
        for number, row in enumerate(_rows(trial / name), 2):
            trace_file = trial.parent / "trace.json"
            _do("explain", trial / name, number, "--json", trace_file)
            trace = json.loads(trace_file.read_text("utf-8"))
            assert not [remark for remark in trace.get("remarks", ()) if "scan stands behind" not in remark]
            scans = {scan["scan_id"]: scan for scan in trace["scans"]}
            for scan in scans.values():
                assert scan["as_recorded"] is True
                assert scan["value"]["percent_of_lung"] == pytest.approx(scan_values[scan["scan_id"]])
            for scan_id, value in (("baseline_scan_id", "baseline_percent"), ("scan_id", "value_percent")):
                if row.get(value):
                    found = scans[row[scan_id]]["value"]["percent_of_lung"][row["measure"]]
                    assert float(row[value]) == pytest.approx(found)
                    followed += 1
            if name == "endpoint.csv" and row["median_a"]:
                assert trace["stands_on"], row
                followed += 1
    return followed


def _values(results):
    return {
        row["scan_id"]: {name: float(row[f"percent_of_lung.{name}"]) for name in SHARES}
        for row in _rows(results / "results.csv")
        if row["percent_of_lung.lesion"]
    }


def test_from_deliveries_to_a_table_whose_every_number_is_traced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = ["1"]
    monkeypatch.setattr(common, "segmenter_of", lambda _settings: Model(model[0]))
    config = tmp_path / "mytrial.toml"
    config.write_text(CONFIG, "utf-8")
    deliveries, taken, results = tmp_path / "deliveries", tmp_path / "taken", tmp_path / "results"
    _deliver(deliveries, tmp_path / "packed")
    wanted = [(subject, visit) for subject in ARMS for visit in ("baseline", "day 28")]
    expected = _write(
        tmp_path / "expected.csv", ("subject", "visit"), [{"subject": s, "visit": v} for s, v in wanted]
    )

    # intake, and the manifest confirmed
    _do("intake", deliveries, "--out", taken, "--config", config, "--layout", LAYOUT, "--expected", expected)
    manifest = taken / "manifest.csv"
    proposed = _rows(manifest)
    assert {
        row["kernel"]: row["use"] for row in proposed if row["subject"] == "S1" and row["visit"] == "baseline"
    } == {
        "B70f": "yes",
        "B31f": "no",
    }
    dates = {row["scan_id"]: _date(manifest.parent / row["path"]) for row in proposed if row["subject"] == "S3"}
    (taken / "dates.json").write_text(json.dumps(dates), "utf-8")
    _confirmed(manifest)

    # measure; ask the site about the images that came under two visits; decide
    given = ("batch", manifest, "--out", results, "--config", config, "--expected", expected, "--quiet")
    _do(*given)
    assert {row["state"] for row in _rows(results / "visit_status.csv")} <= {"measured", "review"}
    assert len(_rows(results / "results.csv")) == len(wanted)
    _do("letters", results, "--out", tmp_path / "letters", "--name", "A. Manager", "--study", "T1")
    (query,) = [row for row in _rows(results / "queries.csv") if row["code"] == "SAME_IMAGES"]
    assert query["state"] == "sent"
    _do("answer", results, query["query_id"], "--text", "day 28 was not done", "--name", "A. Manager", "--close")
    _do("decide", results, "S4_day_28", "exclude", "--name", "A. Manager", "--reason", "images of the baseline")

    # two readers edit one scan, blinded and on their own, and a third decides
    visits = _write(
        tmp_path / "visits.csv",
        VISITS,
        [
            {**row, "day": 0 if row["visit"] == "baseline" else 28, "arm": ARMS[row["subject"]]}
            for row in _rows(results / "visits.csv")
        ],
    )
    package, key = tmp_path / "package", tmp_path / "package.key" / "key.csv"
    _do("blind", manifest, "--out", package, "--visits", visits, "--config", config, "--quiet")
    reading = {row["scan_id"]: row["reading_id"] for row in _rows(key)}
    for reader, grow in (("R1", False), ("R2", True)):
        folder = tmp_path / reader
        folder.mkdir()
        _edited(results / "scans" / "S2_day_28", folder / f"{reading['S2_day_28']}.nii.gz", grow)
        _do(
            *("unblind", package, "--key", key, "--masks", folder, "--results", results, "--scans", manifest),
            *("--reader", reader, "--reason", "border of the lesion"),
        )
    assert [row["reader"] for row in _rows(results / "corrections.csv")] == ["R1", "R2"]
    _do("decide", results, "S2_day_28", "accept", "--name", "R3", "--reason", "R2 is right at the lower border")
    _adjudicated(tmp_path, package, key, _values(results), reading)

    # another model: compared before it is adopted, with the trial by both, and what people did stays
    first = _values(results)
    model[0] = "2"
    new = tmp_path / "results-new"
    _do("batch", manifest, "--out", new, "--config", config, "--quiet")
    _do("compare", results, new, "--out", tmp_path / "bridge", "--visits", visits, "--quiet")
    readings = {row["scan_id"]: row for row in _rows(tmp_path / "bridge" / "trial-old" / "readings.csv")}
    assert readings["S2_day_28"]["corrected_by"] == "R2"
    assert readings["S4_day_28"]["left_out"] == "yes"
    shifts = [row for row in _rows(tmp_path / "bridge" / "shifts.csv") if row["quantity"] == "solid"]
    assert all(float(row["difference"]) < 0 for row in shifts)
    _do(*given)
    after = {row["scan_id"]: row for row in _rows(results / "results.csv")}
    assert after["S2_day_28"]["corrected_by"] == "R2"
    open_codes = {row["code"]: row["scan_id"] for row in _rows(results / "queries.csv") if row["state"] == "open"}
    assert open_codes["DECISION_OUTDATED"] in ("S2_day_28", "S4_day_28")
    _do("decide", results, "S4_day_28", "exclude", "--name", "A. Manager", "--reason", "images of the baseline")
    _do("decide", results, "S2_day_28", "accept", "--name", "R3", "--reason", "as before")

    # the trial, and each of its numbers back to a file and a person
    _do("trial", results, "--visits", visits, "--out", tmp_path / "trial", "--quiet")
    second = _values(results)
    assert _traced(tmp_path / "trial", second) > 30
    assert second["S2_day_28"] == pytest.approx(first["S2_day_28"]), "the reader's value outlives the model"
    assert second["S1_baseline"]["solid"] < first["S1_baseline"]["solid"]

    # lock
    assert "everything is as recorded" in _do("verify", results)
    assert _do("replay", results, "--scans", manifest).count("identical") == len(wanted)
    _do("export", "cdisc", results, "--out", tmp_path / "sdtm", "--study", "T1", "--visits", visits)
    for folder in (results, tmp_path / "trial", tmp_path / "bridge", tmp_path / "agreed", tmp_path / "sdtm"):
        assert not_described(folder) == [], folder.name


def _date(series):
    import pydicom

    return pydicom.dcmread(next(iter(sorted(series.iterdir())))).AcquisitionDate


def _adjudicated(work, package, key, values, reading):
    """Two readers' percentages, one of them beyond the limit, the adjudicator's form, and the accepted values."""
    reads = []
    for reader, shift in (("R1", 0.0), ("R2", 6.0)):
        rows = []
        for scan_id, name in reading.items():
            if name:
                share = dict(values[scan_id])
                share["solid"] += shift if scan_id == "S2_day_28" else 0.0
                share["lesion"] = share["solid"] + share["ground_glass"]
                cells = {f"{measure}_percent": f"{value:.3f}" for measure, value in share.items()}
                rows.append({"reading_id": name, "reader": reader, "evaluable": "yes", **cells})
        reads.append(_write(work / f"{reader}.csv", _rows_header(package), rows))
    given = [
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
    ]
    _do(*given, "--out", work / "agreed")
    form = work / "agreed" / "adjudication.csv"
    (waiting,) = _rows(form)
    assert waiting["reading_id"] == reading["S2_day_28"]
    share = {f"{measure}_percent": f"{value:.3f}" for measure, value in values["S2_day_28"].items()}
    _write(work / "R3.csv", _rows_header(package), [{**waiting, "evaluable": "yes", **share}])
    _do(*given, "--reads", work / "R3.csv", "--out", work / "agreed")
    _do(
        "unblind", package, "--key", key, "--reads", work / "agreed" / "accepted.csv", "--out", work / "joined.csv"
    )
    joined = {row["scan_id"]: row for row in _rows(work / "joined.csv")}
    assert joined["S2_day_28"]["accepted_by"] == "R3"


def _rows_header(package):
    return (package / "reads.csv").read_text("utf-8").splitlines()[0].split(",")
