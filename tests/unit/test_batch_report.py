"""What is derived from the records: queries, the page, its charts, the control figures."""

import csv
import io
import re
from base64 import b64encode
from hashlib import sha256
from html import unescape

import numpy as np
import pytest
from PIL import Image
from scenes import AXIAL, chest, scan_of

from volumetry.batch import ScanFolder, find_scans, run_batch, verify
from volumetry.batch.charts import individuals_chart
from volumetry.batch.progress import Tally
from volumetry.batch.queries import COLUMNS, query_rows
from volumetry.codes import CATALOGUE, Outcome
from volumetry.deliver.report.key_slices import key_slice_png
from volumetry.domain import Finding, Grid, ScanRefusedError, Tissue, TissueMap
from volumetry.quality.trachea_noise import control_figures
from volumetry.segment.hu_segmenter import ThresholdSegmenter


def test_the_limits_of_a_chart_are_those_of_the_handbook():
    # NIST/SEMATECH e-Handbook of Statistical Methods, 6.3.2.2, flow rates of ten batches
    flow = [49.6, 47.6, 49.9, 51.3, 47.8, 51.2, 52.6, 52.4, 53.6, 52.1]
    chart = individuals_chart(flow)
    assert chart.centre == pytest.approx(50.81)
    assert chart.high == pytest.approx(55.8041, abs=2e-3)
    assert chart.low == pytest.approx(45.8159, abs=2e-3)
    assert chart.alarms == ()


def test_a_shift_of_the_scanner_alarms_and_a_steady_one_does_not():
    steady = [-1000.0 + (2.0 if n % 2 else -2.0) for n in range(24)]
    assert individuals_chart(steady).alarms == ()
    shifted = [value + (25 if n >= 12 else 0) for n, value in enumerate(steady)]
    assert set(individuals_chart(shifted).alarms) & set(range(12, 24))


def test_air_and_noise_of_the_windpipe_are_those_that_were_drawn():
    grid = Grid((40, 128, 128), (5.0, 2.5, 2.5), origin_lps_mm=(-160.0, -160.0, 0.0))
    hu, tissue = chest(grid)
    rng = np.random.default_rng(1)
    j, i = np.indices((128, 128))
    pipe = np.hypot((j - 64) * 2.5, (i - 64) * 2.5) < 9
    hu[:, pipe] = 40
    hu[:, np.hypot((j - 64) * 2.5, (i - 64) * 2.5) < 8] = -985 + rng.normal(
        0, 12, (40, int((np.hypot((j - 64) * 2.5, (i - 64) * 2.5) < 8).sum()))
    )
    figures = control_figures(scan_of(hu, grid), tissue)
    assert figures["tracheal_air_hu"] == pytest.approx(-985, abs=2)
    assert figures["noise_hu"] == pytest.approx(12, rel=0.15)
    assert "outside_air_hu" not in figures


def test_without_a_windpipe_there_is_no_figure_for_one():
    hu, tissue = chest()
    assert control_figures(scan_of(hu), tissue) == {}


def test_the_key_slice_shows_the_most_lesion_and_nothing_beside_the_lungs():
    hu, tissue = chest()
    labels = tissue.labels_kji.copy()
    labels[27][labels[27] == Tissue.AERATED] = Tissue.SOLID
    hu[:, :5] = 3000  # a name burnt into the upper edge
    picture = np.asarray(Image.open(io.BytesIO(key_slice_png(scan_of(hu), TissueMap(labels, AXIAL)))))
    red = (picture[..., 0] > picture[..., 1].astype(int) + 60).mean()
    rows, columns = (np.ptp(np.flatnonzero(labels.any(axis=axes))) + 1 + 2 * 2 for axes in ((0, 2), (0, 1)))
    assert red == pytest.approx((labels[27] == Tissue.SOLID).sum() / (rows * columns), rel=0.08)  # margin: 8 mm
    assert picture.min(axis=2).max() < 250
    assert Image.open(io.BytesIO(key_slice_png(scan_of(hu), tissue))).info.keys() <= {"transparency"}


def _document(status, *flags):
    return {
        "scan_id": "s1",
        "status": status,
        "code": flags[0]["code"],
        "message": "m",
        "hint": "h",
        "flags": list(flags),
    }


def _flag(code, severity, message="slice 3 is 5 mm thick"):
    return {"code": code, "severity": severity, "message": message, "hint": CATALOGUE[code].hint}


def test_a_query_says_what_which_tag_and_what_to_resend():
    scan = ScanFolder("s1", None, "S01", "week 4", "Site 7")
    flags = [_flag("THICK_SLICES", "review"), _flag("ONE_LUNG", "review", "x"), _flag("REORDERED", "look")]
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in query_rows(scan, _document("review", *flags))]
    assert [(row["code"], row["ask"]) for row in rows] == [("THICK_SLICES", "site"), ("ONE_LUNG", "reader")]
    assert rows[0]["site"] == "Site 7"
    assert rows[0]["what_is_wrong"] == "Slice 3 is 5 mm thick."
    assert rows[0]["tag"] == "SliceThickness (0018,0050)"
    assert "thin-slice reconstruction" in rows[0]["what_to_do"]
    assert rows[1]["what_to_do"] == CATALOGUE["ONE_LUNG"].hint
    assert list(query_rows(scan, _document("failed", _flag("TIMEOUT", "refuse")))) == []


def test_findings_with_one_cause_are_one_query():
    scan = ScanFolder("s1", None, "S01", "week 4", "Site 7")
    codes = ("LUNG_TRUNCATED_BASE", "THICK_SLICES", "CHARTER_THICKNESS", "CHARTER_SPACING", "METAL")
    flags = [_flag(code, "review", f"{code} is wrong") for code in codes]
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in query_rows(scan, _document("review", *flags))]
    assert [(row["code"], row["other_codes"], row["ask"]) for row in rows] == [
        ("LUNG_TRUNCATED_BASE", "", "site"),
        ("THICK_SLICES", "CHARTER_THICKNESS;CHARTER_SPACING", "site"),
        ("METAL", "", "reader"),
    ]
    assert rows[1]["what_is_wrong"] == (
        "THICK_SLICES is wrong. CHARTER_THICKNESS is wrong. CHARTER_SPACING is wrong."
    )
    protocol = CATALOGUE["CHARTER_SPACING"].request
    assert rows[1]["what_to_do"] == f"{CATALOGUE['THICK_SLICES'].request} {protocol}", "each request once"


def test_codes_of_one_cause_ask_the_same():
    causes = {row.cause for row in CATALOGUE.values()} - {""}
    assert len(causes) > 5
    for cause in causes:
        of_it = [row for row in CATALOGUE.values() if row.cause == cause]
        assert len(of_it) > 1, cause
        assert len({row.ask for row in of_it}) == 1, cause


def test_tags_of_queries_are_those_of_the_dicom_dictionary():
    from pydicom.datadict import tag_for_keyword

    assert sum(bool(row.tag) for row in CATALOGUE.values()) > 50
    for text in (row.tag for row in CATALOGUE.values() if row.tag):
        pairs = re.findall(r"(\w+) \(([0-9A-F]{4}),([0-9A-F]{4})\)", text)
        assert len(pairs) == text.count("(")
        for keyword, group, element in pairs:
            assert tag_for_keyword(keyword) == int(group + element, 16), keyword
    assert all(row.ask == "site" for row in CATALOGUE.values() if row.request)
    assert {row.ask for row in CATALOGUE.values()} == {"site", "reader", "core lab"}
    to_sites = [row for row in CATALOGUE.values() if row.ask == "site" and not row.ours]
    assert not [row.name for row in to_sites if "[limits]" in row.hint]


def test_a_query_to_the_site_does_not_speak_of_asking_the_site():
    to_sites = [row for row in CATALOGUE.values() if row.ask == "site" and not row.ours]
    assert [row.name for row in to_sites if re.search(r"\b[Aa]sk\b|the site", row.request or row.hint)] == []


def test_the_page_of_a_batch_needs_nothing_else_and_escapes_everything(tmp_path, monkeypatch, config):
    hu, _ = chest()

    def read_scan(folder, _config):
        if folder.name == "c":
            raise ScanRefusedError([Finding("NO_RESCALE", Outcome.REFUSE, "<script>alert(1)</script>")])
        scan = scan_of(hu)
        object.__setattr__(scan.series, "manufacturer", "<b>ACME</b>")
        object.__setattr__(scan.series, "acquisition_date", f"2026010{ord(folder.name) - 96}")
        return scan

    monkeypatch.setattr("volumetry.pipeline.read_scan", read_scan)
    for name in "abc":
        (tmp_path / "in" / name).mkdir(parents=True)
    out = tmp_path / "out"
    run_batch(find_scans(tmp_path / "in"), out, ThresholdSegmenter(), config)
    page = (out / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;b&gt;ACME" in page
    assert not re.findall(r"(?:src|href)=\"(?!data:image/png;base64,|#)", page)
    assert set(re.findall(r"href=\"#([^\"]+)", page)) <= set(re.findall(r" id=\"([^\"]+)", page))
    assert "http" not in page.replace("http-equiv", "")
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)[1]
    policy = unescape(re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1])
    assert f"style-src 'sha256-{b64encode(sha256(style.encode()).digest()).decode()}'" in policy.split("; ")
    assert {"default-src 'none'", "img-src data:", "form-action 'none'"} <= set(policy.split("; "))
    assert " style=" not in page
    assert page.count('class="card"') == 2
    assert "NO_RESCALE" in page
    queries = list(csv.DictReader((out / "queries.csv").read_text("utf-8").splitlines()))
    assert {"c"} <= {row["scan_id"] for row in queries}
    assert verify(out).passed
    made = (out / "report.html").read_bytes()
    (out / "report.html").unlink()
    run_batch(find_scans(tmp_path / "in"), out, ThresholdSegmenter(), config)
    assert (out / "report.html").read_bytes() == made


def test_a_tally_counts_what_was_there_but_not_its_speed():
    tally = Tally(4)
    tally.add({"status": "review"}, known=True)
    assert tally.per_minute is None
    tally.add({"status": "refused"}, known=False)
    found = tally.as_document()
    assert (found["done"], found["total"], found["review"], found["refused"]) == (2, 4, 1, 1)
    assert found["left_s"] is not None
