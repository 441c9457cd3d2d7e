"""Thirty visits of four sites from delivery to table, as ``docs/core-lab.md`` says, to be looked at.

    PYTHONPATH=tests python tests/benchmarks/core_lab_walk.py FOLDER [STEP]

Takes some minutes and leaves every file in FOLDER: zips, a study sent twice, two kernels, two visits on one CD, a
mix-up that is excluded, a refused scan that is sent again, a mask corrected by two readers and adjudicated, a run
killed in the middle, a model upgrade, the trial, and each number of its tables traced back. Stops at the first
thing that is not as it must be. With STEP it goes on from there in a folder of an earlier walk.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import product
from pathlib import Path

from core_lab import (
    CONFIG,
    LAYOUT,
    VISITS,
    adjudicated,
    do,
    edited,
    rows_of,
    series,
    traced,
    values_of,
    write_rows,
    zipped,
)

SUBJECTS = {
    "01": ("S101", "S102", "S103"),
    "02": ("S201", "S202"),
    "03": ("S301", "S302", "S303"),
    "04": ("S401", "S402"),
}
VISIT_DATES = {"baseline": "202601{:02d}", "day 14": "202602{:02d}", "day 28": "202603{:02d}"}
DAYS = {"baseline": 0, "day 14": 14, "day 28": 28}
MAKERS = {"01": "Synthetic", "02": "Other", "03": "Synthetic", "04": "Third"}
MODEL = ("--segmenter", "core_lab:first_model")
UPGRADE = ("--segmenter", "core_lab:second_model")


def main() -> None:
    """Walk, and say how long each part took."""
    work = Path(sys.argv[1]).resolve()
    work.mkdir(parents=True, exist_ok=True)
    os.chdir(work)
    steps = (deliver, take_in, measure, ask, correct_and_adjudicate, upgrade, tables, lock)
    names = [step.__name__ for step in steps]
    for step in steps[names.index(sys.argv[2]) if len(sys.argv) > 2 else 0 :]:
        begun = time.perf_counter()
        step(work)
        say(f"{step.__name__}: {time.perf_counter() - begun:.0f} s")


def say(text: str) -> None:
    """One line."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def deliver(work: Path) -> None:
    """What four sites send: 31 studies of 10 subjects, of which one was never scanned at one visit."""
    root, packed = work / "deliveries", work / "packed"
    for seed, (site, subject, visit) in enumerate(
        (site, subject, visit) for site, own in SUBJECTS.items() for subject, visit in product(own, DAYS)
    ):
        if (subject, visit) in (("S402", "day 28"), ("S301", "day 28")):
            continue  # never scanned; and a mix-up, below
        arm_shrinks = int(subject[1:]) % 2
        size = 15.5 - (1.8 if arm_shrinks else 0.7) * list(DAYS).index(visit) + 0.1 * (seed % 5)
        own = {
            "subject": subject,
            "study": f"{subject} {visit}",
            "series": str(seed),
            "manufacturer": MAKERS[site],
            "study_date": VISIT_DATES[visit].format(1 + seed % 14),
        }
        goes_to = root / f"Site {site}" / subject / visit
        if site == "01" and visit == "day 28":
            zipped(goes_to.parent / "day 28.zip", series(packed / subject / visit, seed, size, **own))
        elif subject == "S201" and visit != "baseline":
            series(packed / subject / visit, seed, size, **own)
        else:
            series(goes_to / "thin", seed, size, **own)
        if site == "01" and visit == "baseline":
            series(goes_to / "soft", seed + 100, size, **own | {"series": f"{seed} soft", "kernel": "B31f"})
    zipped(root / "Site 02" / "S201" / "CD.zip", packed / "S201" / "day 14", packed / "S201" / "day 28")
    zipped(root / "Site 02" / "S202" / "baseline again.zip", root / "Site 02" / "S202" / "baseline")
    shutil.copytree(root / "Site 03" / "S301" / "baseline", root / "Site 03" / "S301" / "day 28")
    slices = sorted((root / "Site 03" / "S302" / "day 14" / "thin").iterdir())
    for lost in slices[len(slices) // 2 : len(slices) // 2 + 4]:
        lost.rename(packed / lost.name)
    (work / "mytrial.toml").write_text(CONFIG, "utf-8")
    wanted = [
        {"SITEID": site, "USUBJID": subject, "VISIT": visit}
        for site, own in SUBJECTS.items()
        for subject, visit in product(own, DAYS)
    ]
    write_rows(work / "expected.csv", ("SITEID", "USUBJID", "VISIT"), wanted)


def take_in(work: Path) -> None:
    """Intake, and what the data manager confirms: the visits of the CD, and the second copy left out."""
    said = do(
        *("intake", "deliveries", "--out", "taken", "--config", "mytrial.toml", "--layout", LAYOUT),
        *("--expected", "expected.csv"),
    )
    say(said)
    manifest = work / "taken" / "manifest.csv"
    rows = rows_of(manifest)
    for row in rows:
        if row["subject"] == "S201" and row["visit"] not in DAYS:  # both visits of the CD
            row["visit"] = "day 14" if row["acquisition_date"][4:6] == "02" else "day 28"
            row["scan_id"] = f"S201_{row['visit'].replace(' ', '_')}"
        if row["visit"] == "baseline again":
            assert "S202_baseline" in row["same_images_as"], row
            row["use"] = "no"
    shutil.copy(manifest, work / "manifest as proposed.csv")
    write_rows(manifest, list(rows[0]), rows)
    taken = [row for row in rows if row["use"] == "yes"]
    assert len(taken) == 29, Counter(row["use"] for row in rows)


def batch(*more: object, model: tuple[str, str] = MODEL, out: str = "results", code: int = 0) -> str:
    """One run of the batch."""
    return do(*model, "batch", *_given(out), *more, code=code)


def _given(out: str) -> tuple[str, ...]:
    return (
        "taken/manifest.csv",
        "--out",
        out,
        "--config",
        "mytrial.toml",
        "--expected",
        "expected.csv",
        "--quiet",
    )


def killed(work: Path, model: tuple[str, str], after: int, log: str) -> None:
    """Start the same run as a process of its own and kill it once `after` more scans are in the log."""
    audit = work / "results" / "audit.jsonl"

    def recorded() -> int:
        return audit.read_text("utf-8").count('"scan_recorded"') if audit.is_file() else 0

    before = recorded()
    command = [sys.executable, "-m", "volumetry", *model, "batch", *_given("results")]
    with (work / log).open("wb") as stream:
        tests = Path(__file__).resolve().parents[1]
        environment = os.environ | {"PYTHONPATH": f"{tests.parent}:{tests}"}
        run = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment)  # noqa: S603  our own
        while recorded() < before + after:
            assert run.poll() is None, "it ended before it could be killed"
            time.sleep(0.05)
        run.send_signal(signal.SIGKILL)
        run.wait()
    say(f"killed after {recorded() - before} scans")


def measure(work: Path) -> None:
    """Measure; killed in the middle; resumed."""
    killed(work, MODEL, 9, "killed.txt")
    say(batch(code=8))
    states = Counter(row["state"] for row in rows_of(work / "results" / "visit_status.csv"))
    assert states == {"review": 28, "received": 1, "missing": 1}, states  # voxels so large ask for a reader


def ask(work: Path) -> None:
    """Letters; the answers; a scan sent again; an exclusion."""
    say(do("letters", "results", "--out", "letters", "--name", "A. Manager", "--study", "T1"))
    queries = rows_of(work / "results" / "queries.csv")
    (mixed,) = [row for row in queries if row["code"] == "SAME_IMAGES"]
    assert mixed["state"] == "sent"
    answered = ("--text", "day 28 was not done", "--name", "A. Manager", "--close")
    say(do("answer", "results", mixed["query_id"], *answered))
    say(
        do(
            "decide",
            "results",
            "S301_day_28",
            "exclude",
            "--name",
            "A. Manager",
            "--reason",
            "images of the baseline",
        )
    )
    again = work / "deliveries 2" / "Site 03" / "S302" / "day 14"
    shutil.copytree(work / "deliveries" / "Site 03" / "S302" / "day 14", again)
    for lost in sorted((work / "packed").glob("*.dcm")):
        shutil.copy(lost, again / "thin" / lost.name)
    layout = ("--config", "mytrial.toml", "--layout", LAYOUT, "--expected", "expected.csv")
    say(do("intake", "deliveries 2", "--out", "taken 2", *layout))
    settings = ("--config", "mytrial.toml", "--quiet")
    do(*MODEL, "batch", "taken 2/manifest.csv", "--out", "results", "--append", "--replace", *settings)
    rows = {row["scan_id"]: row for row in rows_of(work / "results" / "results.csv")}
    assert rows["S302_day_14"]["status"] == "review"
    assert len(rows) == 29


def _visits(work: Path) -> Path:
    """The completed template: arms, and days from the treatment; one death, entered by hand."""
    rows = [
        {**row, "day": DAYS[row["visit"]], "arm": "A" if int(row["subject"][1:]) % 2 else "B", "day_from": ""}
        for row in rows_of(work / "results" / "visits.csv")
    ]
    rows.append({"subject": "S402", "visit": "day 28", "day": 28, "arm": "B"})
    return write_rows(work / "visits.csv", VISITS, rows)


def correct_and_adjudicate(work: Path) -> None:
    """Two readers edit one mask, blinded; a third accepts; percentages read by both, one adjudicated."""
    visits = _visits(work)
    key = work / "package.key" / "key.csv"
    do(
        "blind",
        "taken/manifest.csv",
        "--out",
        "package",
        "--visits",
        visits,
        "--config",
        "mytrial.toml",
        "--quiet",
    )
    reading = {row["scan_id"]: row["reading_id"] for row in rows_of(key)}
    for reader, grow in (("R1", False), ("R2", True)):
        folder = work / f"masks-{reader}"
        folder.mkdir()
        edited(work / "results" / "scans" / "S202_day_28", folder / f"{reading['S202_day_28']}.nii.gz", grow=grow)
        say(
            do(
                *("unblind", "package", "--key", key, "--masks", folder, "--results", "results"),
                *("--scans", "taken/manifest.csv", "--reader", reader, "--reason", "border of the lesion"),
            )
        )
    decided = ("--name", "R3", "--reason", "R2 is right at the lower border")
    say(do("decide", "results", "S202_day_28", "accept", *decided))
    say(do("decide", "results", "S401_day_28", "accept", "--name", "R3", "--reason", "seen, as measured"))
    adjudicated(work, work / "package", key, values_of(work / "results"), "S202_day_28")


def upgrade(work: Path) -> None:
    """Another model: compared, then adopted with a kill in between; exclusion and reader's value stay."""
    before = values_of(work / "results")
    manifest = rows_of(work / "taken" / "manifest.csv")
    again = rows_of(work / "taken 2" / "manifest.csv")[0]
    for row in manifest:  # the scan that was sent again is the one that counts from now on
        if row["scan_id"] == "S302_day_14":
            row["path"] = str(work / "taken 2" / again["path"])
    write_rows(work / "taken" / "manifest.csv", list(manifest[0]), manifest)
    batch(model=UPGRADE, out="results-new")
    say(do("compare", "results", "results-new", "--out", "bridge", "--visits", "visits.csv"))
    for side in ("old", "new"):
        missing = {
            row["scan_id"]: row["reason"] for row in rows_of(work / "bridge" / f"trial-{side}" / "missing.csv")
        }
        assert missing["S301_day_28"] == "EXCLUDED", (side, missing)
    killed(work, UPGRADE, 11, "killed in the upgrade.txt")
    say(batch(model=UPGRADE))
    rows = {row["scan_id"]: row for row in rows_of(work / "results" / "results.csv")}
    assert rows["S301_day_28"]["decision"] == "exclude"
    assert (rows["S202_day_28"]["decision"], rows["S202_day_28"]["corrected_by"]) == ("accept", "R2")
    assert rows["S401_day_28"]["outdated_decision"].startswith("accept by R3")
    after = values_of(work / "results")
    assert after["S202_day_28"] == before["S202_day_28"]
    assert after["S101_baseline"]["solid"] < before["S101_baseline"]["solid"]


def tables(work: Path) -> None:
    """The trial, also with the readers' values; every row of its tables back to a file and a person."""
    say(do("trial", "results", "--visits", "visits.csv", "--out", "trial"))
    say(do("trial", "results", "--visits", "joined.csv", "--out", "trial with reads", "--quiet"))
    missing = {row["scan_id"]: row["reason"] for row in rows_of(work / "trial" / "missing.csv")}
    assert missing["S301_day_28"] == "EXCLUDED"
    found = list(traced(work / "trial", work / "results"))
    persons = Counter(
        entry.get("by") or entry["reader"]
        for trace in found
        for scan in trace["scans"]
        for entry in (*scan["decisions"], *scan["corrections"])
    )
    say(f"{len(found)} rows traced; persons named: {dict(persons)}")
    assert {"A. Manager", "R1", "R2", "R3"} <= set(persons)


def lock(work: Path) -> None:
    """Verify, replay, export; a changed byte is found."""
    say(do("verify", "results"))
    said = do(*UPGRADE, "replay", "results", "--scans", "taken/manifest.csv")
    assert said.count("identical") == 29, said
    do("export", "cdisc", "results", "--out", "sdtm", "--study", "T1", "--visits", "visits.csv")
    mask = work / "results" / "corrections" / "S202_day_28" / "2" / "mask.nii.gz"
    whole = mask.read_bytes()
    mask.write_bytes(whole[:-1])
    assert "corrections/S202_day_28/2/mask.nii.gz" in do("verify", "results", code=1)
    mask.write_bytes(whole)
    do("verify", "results")


if __name__ == "__main__":
    main()
