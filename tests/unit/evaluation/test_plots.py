"""Figures as PNG files."""

import warnings

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager

from seedbed.evaluation import plots
from seedbed.evaluation.fonts import DEFAULT, families_for
from seedbed.evaluation.plots import plot_background_curves, plot_confusion


def test_a_class_name_may_hold_any_text(tmp_path):
    names = ["background", r"$\frac$", "<script>", "größe 1"]
    plot_confusion(tmp_path / "confusion.png", np.eye(3, 4, dtype=int), names[:3])
    assert (tmp_path / "confusion.png").stat().st_size


@pytest.fixture
def fonts(monkeypatch):
    """The fonts of a machine that has only matplotlib's own, as a list to add to."""
    own = [font for font in font_manager.fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    return own


def make_font(path, family, characters):
    """A font in which each of the characters is a square."""
    builder = FontBuilder(1000)
    names = {ord(c): f"g{k}" for k, c in enumerate(characters)}
    pen = TTGlyphPen(None)
    for k, corner in enumerate([(0, 0), (0, 700), (700, 700), (700, 0)]):
        pen.lineTo(corner) if k else pen.moveTo(corner)
    pen.closePath()
    glyph, order = pen.glyph(), [".notdef", *names.values()]
    builder.setupGlyphOrder(order)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(order, glyph))
    builder.setupHorizontalMetrics(dict.fromkeys(order, (800, 0)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": family, "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, usWinAscent=800, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return font_manager.FontEntry(fname=str(path), name=family, weight=400)


def test_a_font_that_has_the_characters_is_used(tmp_path, fonts):
    assert families_for(["größe", "кот", "a b\u200d"]) == ([DEFAULT], set())
    assert families_for(["猫", "dog"]) == ([DEFAULT], {"猫"})
    fonts.append(make_font(tmp_path / "a.ttf", "Cats", "猫"))
    fonts.append(make_font(tmp_path / "b.ttf", "All", "猫犬แมว"))
    assert families_for(["猫", "dog"]) == ([DEFAULT, "All"], set())
    assert families_for(["猫", "개"]) == ([DEFAULT, "All"], {"개"})


def drawn(path, names):
    """The bytes of a confusion matrix; characters without a font would warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot_confusion(path, np.eye(len(names), len(names) + 1, dtype=int), names)
    return path.read_bytes()


def test_class_names_without_a_font_are_shown_as_numbers(tmp_path, fonts):
    path = tmp_path / "confusion.png"
    numbers = drawn(path, ["background", "猫", "dog"])
    assert numbers == drawn(path, ["background", "แมว", "dog"])
    assert numbers != drawn(path, ["background", "1", "dog"])  # which has no legend
    fonts.append(make_font(tmp_path / "a.ttf", "Cats", "猫"))
    assert numbers != drawn(path, ["background", "猫", "dog"])


@pytest.fixture
def axes(monkeypatch, tmp_path):
    """The axes that a function draws, which is called with a path first."""
    figures = []
    monkeypatch.setattr(plots, "_save", lambda figure, path: figures.append(figure))

    def draw(function, *arguments):
        function(tmp_path / "a.png", *arguments)
        return figures[-1].axes[0]

    yield draw
    for figure in figures:
        plots.plt.close(figure)


def test_a_row_of_the_confusion_matrix_is_what_became_of_a_class(axes):
    drawn = axes(plot_confusion, np.array([[6, 2, 0], [0, 1, 3]]), ["ground", "cat"])
    np.testing.assert_allclose(drawn.images[0].get_array(), [[0.75, 0.25, 0], [0, 0.25, 0.75]])
    cells = {text.get_position()[::-1]: text.get_text() for text in drawn.texts}
    assert [cells[place] for place in np.ndindex(2, 3)] == ["75", "25", "0", "0", "25", "75"]
    assert [tick.get_text() for tick in drawn.get_xticklabels()] == ["ground", "cat", "void"]
    assert [tick.get_text() for tick in drawn.get_yticklabels()] == ["ground", "cat"]
    assert (drawn.get_xlabel(), drawn.get_ylabel()) == ("predicted", "true")


def test_the_best_point_of_a_curve_is_marked(axes):
    curve = np.array([0.1, 0.2, 0.3]), np.array([0.4, 0.6, 0.5])
    line, star = axes(plot_background_curves, {"train": curve}, "note").lines
    np.testing.assert_array_equal(line.get_xydata(), np.transpose(curve))
    assert star.get_xydata().tolist() == [[0.2, 0.6]]
    assert star.get_label() == "train: best 0.6000 at 0.20, note"
