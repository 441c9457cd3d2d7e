"""The report as Chromium prints it, and its PDF: how many sheets, what each says, and that nothing overlaps."""

import copy
import re
import subprocess

import pytest
from small_results import measured_phantom
from web_browser import chromium, need

from volumetry.codes import CATALOGUE, Outcome
from volumetry.deliver.report import Annex, report_page
from volumetry.deliver.report.annex import NOTHING
from volumetry.deliver.report.beside import beside
from volumetry.deliver.report.images import chest_of
from volumetry.deliver.report.summary import summary_of

FLAG = {
    "code": "SUSPECT_SOLID",
    "message": "12 mL of solid opacity continue as an organ: left lower zone, images 137 to 141, z -347.9 mm",
    "hint": "Look whether this is lung disease; if it is not, the share of lesion is 0.8 points lower.",
}
WIDTH_PX = round((210 - 2 * 12) / 25.4 * 96)
"""Of an A4 sheet between its margins."""
LONG_FLAG = FLAG | {"message": "; and ".join([FLAG["message"]] * 4)}
"""Five lines, as the longest of a real scan."""

LONG_PATIENT = f"patient {'W' * 60}, ID {'9' * 16}, accession {'9' * 16}"
"""Almost the longest values that a header may have for the name and the accession number."""


@pytest.fixture(scope="module")
def case(tmp_path_factory, config):
    return measured_phantom(tmp_path_factory.mktemp("printed") / "in", config)


def full(case, flags=(), *, earlier=0, patient=""):
    """A result with all that a page can show: lobes with reasons, intervals with their parts, earlier visits."""
    document = copy.deepcopy(case.document) | {"flags": list(flags)}
    document["series"]["acquisition_date"] = "20260131"
    document["volumes_ml"]["fluid"] = 58.1
    shares = document["percent_of_lung"]
    document["interval_percent"] = {key: [0.0, round(2 * value + 1, 2)] for key, value in shares.items()}
    document["interval_level"] = 0.95
    parts = ("threshold", "augmentation", "hu_offset", "boundary", "undecided", "floor", "reference")
    document["interval_parts"] = {part: dict.fromkeys(shares, 0.25) for part in parts}
    lobe = document["sides"]["left"] | {"percent_of_lobe": shares, "lesion_percent_span": [0.1, 24.9]}
    names = ("right_upper", "right_middle", "right_lower", "left_upper", "left_lower")
    reason = "; ".join(
        f"the CT does not show the {name} fissure (20 % fewer vessels than beside it; 30 % are wanted)"
        for name in ("left oblique", "right oblique", "right horizontal")
    )
    document["lobes"] = {"method": "approximate", "reason": reason, **dict.fromkeys(names, lobe)}
    document |= {"severity_score": 5, "severity_score_range": [5, 10]}
    if not earlier:
        return document, Annex(patient=patient)
    document["prior"] = {"visits": [visit(document, n) for n in range(earlier, 0, -1)]}
    chest = chest_of(case.analysis.scan, case.analysis.tissue)
    return document, Annex(pictures=beside(chest, chest), patient=patient)


def visit(document, n):
    return {
        **{key: document[key] for key in ("volumes_ml", "percent_of_lung", "interval_percent")},
        **{"scan_id": f"S0-{n}", "acquisition_date": f"2025{13 - n:02}01", "days_before": 30 * n, "grade": "B"},
        "reading": "automatic",
        "reasons": ["LUNG_VOLUME: 0.82", "KERNEL_CHANGED: B31f, B70f", "SCANNER_CHANGED: one, another"],
        **{"unknown": ["CONTRAST", "KVP"], "lung_volume_ratio": 0.82, "predicted_shift_percent": 18.0},
        "change_points": dict.fromkeys(document["percent_of_lung"], -1.5),
        "change_ml": dict.fromkeys(document["percent_of_lung"], -40.0),
    }


def said_on(pdf, *options):
    command = ["pdftotext", *options, pdf, "-"]
    said = subprocess.run(command, capture_output=True, check=True)  # noqa: S603  our own page
    return said.stdout.decode("utf-8")


@pytest.fixture(scope="module")
def printed(tmp_path_factory, config, case):
    """The text of every sheet of a page."""
    need("pdftotext")
    folder = tmp_path_factory.mktemp("printed")
    with chromium() as browser:

        def sheets(document, annex=NOTHING):
            page = browser.new_page()
            html = report_page(document, config, case.analysis.tissue, case.analysis.scan, annex)
            (folder / "report.html").write_bytes(html)
            page.goto((folder / "report.html").as_uri())
            page.set_viewport_size({"width": WIDTH_PX, "height": 1000})
            page.emulate_media(media="print")
            # A wider page would be printed smaller.
            assert page.evaluate("document.documentElement.scrollWidth") == WIDTH_PX
            page.pdf(path=folder / "report.pdf", prefer_css_page_size=True, print_background=True)
            page.close()
            return said_on(folder / "report.pdf", "-layout").rstrip("\f\n").split("\f")

        yield sheets


def flags_of(review, notes):
    return [FLAG | {"severity": "review"}] * review + [FLAG | {"severity": "look"}] * notes


@pytest.mark.parametrize(("review", "notes"), [(0, 0), (0, 5), (3, 5), (6, 6)])
@pytest.mark.parametrize("earlier", [0, 2])
def test_the_report_is_printed_on_two_sheets_that_name_scan_and_date(printed, case, review, notes, earlier):
    sheets = printed(*full(case, flags_of(review, notes), earlier=earlier, patient="patient N. N., ID 7"))
    assert len(sheets) == 2
    for number, sheet in enumerate(sheets, 1):
        assert f"page {number} of 2" in sheet
        assert "Scan S1, acquired 2026-01-31" in sheet
        assert "patient N. N., ID 7" in sheet


def different_flags(codes):
    """A review flag of each code with its own advice, and a message as long as the mean of the real ones."""
    look = "Look at the dependent lung (images 31 to 62, z -5.0 to 72.5 mm) and compare it with the earlier scan. "
    return [
        {
            "code": code,
            "severity": "review",
            "message": f"finding {code.lower().replace('_', ' ')}. {4 * look}"[:285],
            "hint": CATALOGUE[code].hint,
        }
        for code in codes
    ]


ASKING = [code for code, entry in CATALOGUE.items() if entry.outcome is Outcome.FLAG]
"""Under the default settings; some exclude each other, so no scan has more."""


OF_THE_SCAN = [code for code in ASKING if not code.startswith("CHARTER_")]


@pytest.mark.parametrize(
    ("codes", "earlier", "expected"),
    [
        *((ASKING[:12], earlier, 2) for earlier in (0, 2, 6)),
        (OF_THE_SCAN, 0, 2),
        (OF_THE_SCAN, 1, 2),
        (ASKING, 0, 2),
        (ASKING, 6, 3),  # more than any scan has
    ],
)
def test_every_flag_is_printed_and_two_sheets_hold_what_one_scan_can_have(printed, case, codes, earlier, expected):
    review = different_flags(codes)
    notes = [{**note, "code": "NOTED"} for note in flags_of(0, 6)]
    document, annex = full(case, [*review, *notes], earlier=earlier)
    sheets = printed(document, annex)
    assert len(sheets) == expected
    said = "".join("".join(sheets).split())
    for flag in review:
        in_captions = said.count(f"({flag['code']})")
        assert said.count(flag["code"]) - in_captions == 1
    assert said.count("NOTED") == len(notes)
    for number, sheet in enumerate(sheets, 1):
        assert f"page {number} of {expected}" in sheet


def corrected(case, reader, reason, flags=()):
    document, annex = full(case, flags)
    kept = ("volumes_ml", "percent_of_lung")
    said = {"corrected_by": reader, "reason": reason, "automatic": {key: document[key] for key in kept}}
    no_interval = {"interval_percent": None, "interval_level": None, "interval_parts": None}
    return document | said | no_interval, annex


HAN, KANA = "\u75c5\u5909", "\u30d7\u30ed"


@pytest.mark.parametrize("notes", [0, 5])
@pytest.mark.parametrize(
    ("reader", "reason"),
    [("R1", "because " * 248), ("R" * 120, "x" * 1990), (60 * KANA, 975 * HAN), (40 * HAN, (24 * HAN + " ") * 40)],
    ids=["words", "no_spaces", "wide", "wide_words"],
)
def test_a_reason_as_long_as_it_may_be_is_printed_whole_and_on_two_sheets(printed, case, reader, reason, notes):
    sheets = printed(*corrected(case, reader, f"{reason} END", flags_of(0, notes)))
    assert len(sheets) == 2
    said = "".join("".join(sheets).split())
    assert "END" in said.partition("Correctedandautomaticresult")[0]
    if "x" in reason:
        assert said.count("x" * 60) >= 1980 // 125


def test_advice_of_several_flags_is_printed_once_and_no_message_is_left_out(printed, case):
    charter = different_flags([code for code in ASKING if code.startswith("CHARTER_")])
    repeated = [{**FLAG, "severity": "review", "message": f"{n} mL may be an organ"} for n in (12, 7, 3)]
    sheets = printed(*full(case, [*repeated, *charter]))
    said = " ".join("".join(sheets).split())
    assert said.count("the share of lesion is 0.8 points lower") == 1
    assert all(f"{n} mL may be an organ" in said for n in (12, 7, 3))
    assert all(flag["code"] in said for flag in charter)


@pytest.mark.parametrize(
    ("count", "earlier", "patient"),
    [(0, 0, ""), (2, 0, ""), (12, 0, ""), (12, 2, ""), (0, 6, ""), (0, 9, ""), (0, 2, LONG_PATIENT)],
)
def test_on_the_pdf_no_word_stands_on_another_and_none_beyond_the_edge(case, tmp_path, count, earlier, patient):
    need("pdftotext")
    flags = [LONG_FLAG | {"severity": "review"}] * count
    document, annex = full(case, flags, earlier=earlier, patient=patient)
    (tmp_path / "report.pdf").write_bytes(
        summary_of(document, case.analysis.tissue, case.analysis.scan, annex).pdf
    )
    pages = said_on(tmp_path / "report.pdf", "-bbox").split("<page ")[1:]
    assert len(pages) == (2 if earlier else 1)
    for page in pages:
        width, height = map(float, re.match(r'width="([\d.]+)" height="([\d.]+)"', page).groups())
        found = re.findall(r'xMin="([\d.-]+)" yMin="([\d.-]+)" xMax="([\d.-]+)" yMax="([\d.-]+)">([^<]+)<', page)
        boxes = [(*map(float, box), word) for *box, word in found]
        assert len(boxes) > 100
        for n, (left, top, right, bottom, word) in enumerate(boxes):
            assert 0.05 * width <= left <= right <= 0.95 * width, word
            assert 0 <= top <= bottom <= height, word
            for other in boxes[n + 1 :]:
                across = min(right, other[2]) - max(left, other[0])
                down = min(bottom, other[3]) - max(top, other[1])
                # Boxes of lines below each other touch; words on each other share most of their height.
                assert not (across > 0.5 and down > 0.5 * min(bottom - top, other[3] - other[1])), (word, other)


def test_the_pdf_says_what_is_signed(case, tmp_path):
    need("pdftotext")
    document, annex = full(case, earlier=0)
    summary = summary_of(document, case.analysis.tissue, case.analysis.scan, annex)
    (tmp_path / "report.pdf").write_bytes(summary.pdf)
    said = " ".join(said_on(tmp_path / "report.pdf").split())
    for words in (
        "CT severity score 5 of 25; 5 to 10 with fissures and disease moved by their uncertainty",
        "Right upper lobe",
        "Left lower lobe",
        "Coronal, through the largest lesion",
        "Sagittal, right lung, through the largest lesion",
        "Most consolidation, mediastinal window",
        "From the front",
        "Scan S1, acquired 2026-01-31",
        "page 1 of 1",
    ):
        assert words in said, words
