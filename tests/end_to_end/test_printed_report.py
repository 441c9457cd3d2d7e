"""The report as Chromium prints it: how many sheets, and what stands on each of them."""

import copy
import subprocess

import pytest
from small_results import measured_phantom
from web_browser import chromium, need

from volumetry.deliver.report import Annex, report_page
from volumetry.deliver.report.annex import NOTHING

FLAG = {
    "code": "SUSPECT_SOLID",
    "message": "12 mL of solid opacity continue as an organ: left lower zone, images 137 to 141, z -347.9 mm",
    "hint": "Look whether this is lung disease; if it is not, the share of lesion is 0.8 points lower.",
}


@pytest.fixture(scope="module")
def printed(tmp_path_factory, config):
    """The text of every sheet, for a number of flags that need a reader and of notes."""
    need("pdftotext")
    folder = tmp_path_factory.mktemp("printed")
    case = measured_phantom(folder / "in", config)
    with chromium() as browser:

        def sheets(review, notes, annex=NOTHING):
            document = copy.deepcopy(case.document)
            document["series"]["acquisition_date"] = "20260131"
            flags = [FLAG | {"severity": "review"}] * review + [FLAG | {"severity": "look"}] * notes
            document["flags"] = flags
            page = browser.new_page()
            html = report_page(document, config, case.analysis.tissue, case.analysis.scan, annex)
            (folder / "report.html").write_bytes(html)
            page.goto((folder / "report.html").as_uri())
            page.pdf(path=folder / "report.pdf", prefer_css_page_size=True, print_background=True)
            page.close()
            command = ["pdftotext", "-layout", folder / "report.pdf", "-"]
            said = subprocess.run(command, capture_output=True, check=True)  # noqa: S603  our own page
            return said.stdout.decode("utf-8").rstrip("\f\n").split("\f")

        yield sheets


@pytest.mark.parametrize(("review", "notes"), [(0, 0), (0, 5), (3, 5), (6, 6)])
def test_the_report_is_printed_on_two_sheets_that_name_scan_and_date(printed, review, notes):
    sheets = printed(review, notes, Annex(patient="patient N. N., ID 7"))
    assert len(sheets) == 2
    for number, sheet in enumerate(sheets, 1):
        assert f"page {number} of 2" in sheet
        assert "Scan S1, acquired 2026-01-31" in sheet
        assert "patient N. N., ID 7" in sheet


def test_a_dozen_flags_take_a_third_sheet_at_most_and_all_of_them_are_printed(printed):
    sheets = printed(12, 6)
    assert len(sheets) <= 3
    assert sum(sheet.count(FLAG["code"]) for sheet in sheets) == 18
