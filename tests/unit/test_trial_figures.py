"""The figure of individuals: every subject is inside, days are to scale, and n stands under the axis."""

import re

import pytest
from matplotlib.figure import Figure
from trial_tables import read, scan, visit

from volumetry.trial import figures
from volumetry.trial.change import changes_of
from volumetry.trial.config import load_trial_config
from volumetry.trial.report import _embedded

CONFIG = load_trial_config()
RULES = {
    "components_by_rule.network.solid_ml": 80,
    "components_by_rule.network.ground_glass_ml": 320,
    "components_by_rule.hu.solid_ml": 90,
    "components_by_rule.hu.ground_glass_ml": 310,
}
DAYS = (("baseline", 0), ("d10", 12), ("d28", 28), ("d90", 95))


@pytest.fixture
def panels(tmp_path, monkeypatch):
    """Axes of two arms, the first with shares up to 12 %, the second up to 80 %."""
    shares = {"a1": ("cells", (10, 9, 8, 7)), "a2": ("cells", (12, 11)), "p1": ("placebo", (80, 70, 60, 50)),
              "p2": ("placebo", (40,))}  # fmt: skip
    scans, rows = [], []
    for subject, (arm, values) in shares.items():
        for (name, day), value in zip(DAYS, values, strict=False):
            scans.append(scan(f"{subject}-{day}", lesion=value))
            rows.append(visit(subject, name, day, f"{subject}-{day}", arm=arm))
    known, visits = read(tmp_path, scans, rows, CONFIG)
    drawn: list[Figure] = []

    def keep(_name, _size, draw, *_words):
        drawn.append(Figure())
        draw(drawn[0])

    monkeypatch.setattr(figures, "picture_of", keep)
    figures._individuals(changes_of(visits, known, CONFIG), CONFIG)
    return drawn[0].axes


def test_a_page_takes_pixels_for_a_drawing_of_thousands_of_lines():
    small, large = (figures.Picture("x", "", "", {"svg": b"s" * n, "png": b"p"}) for n in (400_000, 400_001))
    assert _embedded(small).startswith("data:image/svg+xml;base64,c3Nz")
    assert _embedded(large) == "data:image/png;base64,cA=="


def test_every_subject_of_every_arm_is_inside_the_axes(panels):
    for axis, arm, subjects in zip(panels, ("cells", "placebo"), (2, 2), strict=True):
        assert axis.get_title() == f"{arm} (n = {subjects})"
        lines = axis.collections[0].get_segments()
        assert len(lines) == subjects
        assert sum(len(line) for line in lines) == len(axis.lines[0].get_xdata())  # a dot at every scan
        (left, right), (bottom, top) = axis.get_xlim(), axis.get_ylim()
        for line in axis.lines:
            assert all(left < x < right for x in line.get_xdata())
            assert all(bottom <= y <= top for y in line.get_ydata())
        for line in lines:
            assert all(left < x < right and bottom <= y <= top for x, y in line)


def test_days_are_to_scale_and_n_is_under_the_axis(panels):
    for axis, counts in zip(panels, ([2, 2, 1, 1], [2, 1, 1, 1]), strict=True):
        assert list(axis.get_xticks()) == [0, 12, 28, 95]
        labels = [label.get_text() for label in axis.get_xticklabels()]
        assert [int(re.search(r"n = (\d+)", text)[1]) for text in labels] == counts
        assert [text.split()[0] for text in labels] == ["baseline", "d10", "d28", "d90"]


def test_thousands_of_subjects_make_a_small_drawing_that_hides_no_arm(tmp_path):
    """5,000 scans as circles and lines were 7 MB each; 2,500 bars over 2,500 others hid one arm."""
    scans, rows = [], []
    for n in range(1200):
        for name, day in DAYS[:3]:
            share = 5 + n % 7 + 0.01 * day * (n % 5)
            scans.append(scan(f"{n}-{day}", lesion=share, **RULES))
            rows.append(visit(str(n), name, day, f"{n}-{day}", arm="cells" if n % 2 else "placebo"))
    known, visits = read(tmp_path, scans, rows, CONFIG)
    drawn = figures.pictures(changes_of(visits, known, CONFIG), known.values(), CONFIG)
    assert [picture.name for picture in drawn] == ["trajectories", "waterfall", "individuals", "component-rules"]
    assert {p.name: len(p.files["svg"]) for p in drawn if len(p.files["svg"]) > 1_000_000} == {}
    assert "over the share of its subjects" in drawn[1].caption
    assert "Darker where there are more scans" in drawn[3].caption
    for arm in (b"cells (n = 600)", b"placebo (n = 600)"):
        assert arm in drawn[1].files["svg"]
