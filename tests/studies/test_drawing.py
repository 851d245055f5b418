"""The four drawings, and the words beside them, on panels made by hand."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from drawing import Panel, Series, clouds, curves, in_words, intervals, matrices

TWO = [Series("linear", [0.5, [0.7, 0.6, 0.8], None]), Series("other", [0.1, 0.2, 0.3])]
PANELS = [Panel("first\nof two", TWO, ["a", "b", "c"], "net", line=0.5), Panel("second", TWO[:1], "abc", "net")]
CLOUDS = [Panel("plane", [Series("clean", [0.0, 1.0], [2.0, 3.0]), Series("FGSM", [1.0], [2.5])])]


@pytest.mark.parametrize("draw", [curves, intervals, matrices, clouds], ids=lambda draw: draw.__name__)
def test_a_drawing_is_the_same_for_the_same_numbers_and_small(draw, tmp_path) -> None:
    panels = CLOUDS if draw is clouds else PANELS
    for name in ("one.svg", "two.svg", "one.png"):
        draw(panels, tmp_path / name, 2)
        assert 1000 < (tmp_path / name).stat().st_size < 100_000
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()


def test_a_number_has_no_interval_and_nothing_is_nan() -> None:
    value, low, high = TWO[0].table
    np.testing.assert_array_equal(value, [0.5, 0.7, np.nan])
    np.testing.assert_array_equal(low, [np.nan, 0.6, np.nan])
    np.testing.assert_array_equal(high, [np.nan, 0.8, np.nan])
    assert Series("none", []).table.shape == (3, 0)


def test_words_are_the_numbers_or_what_the_study_says_of_them() -> None:
    assert in_words(PANELS[:1]) == [
        "first, of two",
        "  linear: a 0.500, b 0.700",
        "  other: a 0.100, b 0.200, c 0.300",
    ]
    assert in_words([Panel("many", TWO, words=["few"])]) == ["many", "  few"]
    assert in_words([Panel("at", [Series("x", [1.0], [0.25])])]) == ["at", "  x: 0.25 1.000"]


def test_panels_of_another_row_begin_a_new_line(tmp_path, monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr("drawing.save_figure", lambda figure, file: drawn.append(figure))
    curves([*PANELS, Panel("third", TWO, row="another")], tmp_path / "x.svg", 3)
    titles = [axes.get_title() for axes in drawn[0].axes]
    assert titles == ["first\nof two", "second", "third", ""]
    assert not drawn[0].axes[3].axison


SCRIPT = """
import sys
from pathlib import Path
from drawing import Panel, Series, curves

panels = [Panel(title, [Series("linear", [0.5, 0.7, 0.6])], ["a", "b", "c"]) for title in ("one", "two", "three")]
curves(panels, Path(sys.argv[1]), 2)
"""


def test_two_processes_draw_the_same_bytes(tmp_path) -> None:
    files = [tmp_path / "one.svg", tmp_path / "two.svg"]
    for seed, file in enumerate(files):
        given = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "PYTHONHASHSEED": str(seed)}
        subprocess.run([sys.executable, "-c", SCRIPT, file], env=given, check=True)
    assert files[0].read_bytes() == files[1].read_bytes()


def frames_of(draw, panels, tmp_path, monkeypatch) -> list:
    """The frames that a drawing makes."""
    drawn = []
    monkeypatch.setattr("drawing.save_figure", lambda figure, file: drawn.append(figure))
    draw(panels, tmp_path / "x.svg", 1)
    return drawn[0].axes


def test_a_box_is_drawn_from_whisker_to_whisker_and_said_by_its_median(tmp_path, monkeypatch) -> None:
    boxes = Series("similarity", [[0.1, 0.2, 0.3, 0.5, 0.9], None, [0.2, 0.3, 0.4, 0.5, 0.6]])
    assert boxes.boxed
    assert not TWO[0].boxed
    np.testing.assert_array_equal(boxes.table[:, 0], [0.3, 0.2, 0.5])
    panel = Panel("boxes", [boxes], marks=[1.5])
    assert in_words([panel]) == ["boxes", "  similarity: 0 0.300, 2 0.400"]
    (axes,) = frames_of(curves, [panel], tmp_path, monkeypatch)
    heights = np.concatenate([np.asarray(line.get_ydata(), dtype=float) for line in axes.lines])
    assert {0.1, 0.9, 0.2, 0.6} <= set(heights.tolist())
    assert any(set(line.get_xdata()) == {1.5} for line in axes.lines)


def test_series_of_one_figure_differ_in_colour_and_every_other_line_is_shaded(tmp_path, monkeypatch) -> None:
    labels = ["linear", "surprise", *(f"another {place}" for place in range(12))]
    panel = Panel("many", [Series(label, [0.5, 0.6, 0.7]) for label in labels], ["a", "b", "c"])
    (axes,) = frames_of(intervals, [panel], tmp_path, monkeypatch)
    points = {to_rgb(bars.lines[0].get_color()) for bars in axes.containers}
    assert len(points) == len(labels)
    assert {to_rgb("tab:red"), to_rgb("tab:blue")} <= points
    assert [(patch.get_y(), patch.get_height()) for patch in axes.patches] == [(1.5, 1), (-0.5, 1)]


def test_many_squares_have_a_scale_instead_of_numbers_and_only_names_are_marked(tmp_path, monkeypatch) -> None:
    names = ["" if place % 10 else f"group {place}" for place in range(40)]
    many = [Panel("many", [Series(name, [0.5] * 39 + [None]) for name in names], names, span=(0.2, 0.8))]
    axes, scale = frames_of(matrices, many, tmp_path, monkeypatch)
    assert not axes.texts
    assert [label.get_text() for label in axes.get_xticklabels()] == [name for name in names if name]
    assert axes.get_yticks().tolist() == [0, 10, 20, 30]
    assert scale.get_ylim() == (0.2, 0.8)
    (few,) = frames_of(matrices, [Panel("few", [Series("a", [0.5, None])], ["a", "b"])], tmp_path, monkeypatch)
    assert [text.get_text() for text in few.texts] == [".50"]
