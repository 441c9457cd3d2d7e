"""The patient's name on the summary page in scripts that matplotlib's own font does not have."""

from io import BytesIO

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import PdfPages
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager

from volumetry.deliver.report.fonts import drawable
from volumetry.deliver.report.summary import _page_foot

NAME = "Yamada Tarou=山田 太郎"
EM = 1000


@pytest.fixture
def own_fonts(monkeypatch):
    """As on a machine that has no fonts but those of matplotlib."""
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if "DejaVu" in font.name])


def install(folder, family, characters):
    """Add a font in which every character is a filled square."""
    pen = TTGlyphPen(None)
    for place, draw in (
        ((0, 0), pen.moveTo),
        ((0, EM), pen.lineTo),
        ((EM, EM), pen.lineTo),
        ((EM, 0), pen.lineTo),
    ):
        draw(place)
    pen.closePath()
    square = pen.glyph()
    names = [".notdef", *(f"uni{ord(character):04X}" for character in characters)]
    font = FontBuilder(EM, isTTF=True)
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(character): f"uni{ord(character):04X}" for character in characters})
    font.setupGlyf(dict.fromkeys(names, square))
    font.setupHorizontalMetrics(dict.fromkeys(names, (EM, 0)))
    font.setupHorizontalHeader(ascent=EM, descent=0)
    font.setupNameTable({"familyName": family, "styleName": "Regular"})
    font.setupOS2(sTypoAscender=EM)
    font.setupPost()
    path = folder / f"{family}.ttf"
    font.save(path)
    fontManager.addfont(path)
    return path


def foot(line):
    """Bytes of a PDF with the foot alone, its pixels, and what its first text says."""
    figure = Figure(figsize=(8.27, 11.69), dpi=100)
    canvas = FigureCanvasAgg(figure)
    _page_foot(figure, line, 1, 1)
    stream = BytesIO()
    with PdfPages(stream, metadata={"CreationDate": None}) as pdf:
        pdf.savefig(figure)
    canvas.draw()
    return stream.getvalue(), bytes(canvas.buffer_rgba()), [text.get_text() for text in figure.texts]


@pytest.mark.usefixtures("own_fonts")
@pytest.mark.filterwarnings("error")
def test_a_name_that_no_font_has_is_a_number_of_characters_beside_the_id():
    *_, said = foot(f"patient {NAME}, ID 12")
    assert "patient Yamada Tarou=[4 characters without a font], ID 12" in said
    assert "patient [1 character without a font], ID [-^]" in foot("patient 王, ID [-^]")[2]


@pytest.mark.usefixtures("own_fonts")
@pytest.mark.filterwarnings("error")
def test_fonts_that_are_installed_draw_what_matplotlibs_own_lacks(tmp_path):
    line, plain = f"patient {NAME}, ID 12", "patient Yamada Tarou, ID 12"
    without, _, _ = foot(plain)
    install(tmp_path, "IPAGothic", "山田")
    install(tmp_path, "UnDotum", "太田")
    gone = install(tmp_path, "NanumGothic", "郎")
    assert drawable(line)[1] == ["DejaVu Sans", "IPAGothic", "NanumGothic", "UnDotum"]
    pdf, pixels, said = foot(line)
    assert line in said
    # A square in place of a square of the same size: the characters were drawn by these fonts.
    assert pixels == foot(line.replace("郎", "田"))[1]
    assert foot(plain)[0] == without  # an ASCII name has the same bytes, whatever is installed
    assert foot(line)[0] == pdf
    gone.unlink()
    assert drawable(line)[0] == "patient Yamada Tarou=山田 太[1 character without a font], ID 12"
