"""The report as a browser shows it: on phones and desks, light and dark."""

from __future__ import annotations

from typing import Any

import pytest

from browser import CHROMIUM, WAYS, views_of
from demo_result import ALL, make_result
from effpath.demo.report import write_report

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, str], dict[str, Any]]:
    """What a browser finds of one report, by width and colour scheme."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    write_report(make_result(detectors=ALL, paper={"density": 0.138, "AUC": (0.92, 0.95)}), file)
    return views_of(file)


ways = pytest.mark.parametrize("way", WAYS, ids=str)


@ways
def test_the_browser_says_nothing_and_asks_for_nothing_else(views: Any, way: tuple[int, str]) -> None:
    view = views[way]
    assert [said for said in view["said"] if not said.startswith("data:")] == [view["file"]]


@ways
def test_nothing_is_wider_than_the_window_and_nothing_is_cut_off(views: Any, way: tuple[int, str]) -> None:
    view = views[way]
    assert view["page"] <= 0
    assert view["wide"] == []
    assert view["cut"] == []


@ways
def test_every_cell_of_every_table_is_seen_without_scrolling(views: Any, way: tuple[int, str]) -> None:
    assert views[way]["cells"] > 100
    assert views[way]["lost"] == []


@ways
def test_the_texts_of_figures_are_whole_apart_and_large_enough_to_read(views: Any, way: tuple[int, str]) -> None:
    view = views[way]
    assert view["charts"] == 9
    assert view["clipped"] == []
    assert view["crossed"] == []
    assert view["chart_text"] >= 9
    assert view["text"] >= 11


@ways
def test_page_and_figures_are_dark_in_dark_mode_and_every_text_stands_out(
    views: Any, way: tuple[int, str]
) -> None:
    view = views[way]
    dark = way[1] == "dark"
    for luminance in (view["body"], *view["cards"]):
        assert luminance < 0.05 if dark else luminance > 0.8
    assert view["filled"] == []  # figures have no background of their own
    assert view["faint"] == []
