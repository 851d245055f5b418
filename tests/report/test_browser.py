"""Reports as a browser shows them: on phones and desks, light and dark, and printed."""

from __future__ import annotations

from typing import Any

import pytest

from browser import CHROMIUM, LOOK, WAYS, views_of
from demo_result import ALL, make_result
from effpath.demo.report import write_report
from scenes import judged, many

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SHEET = 720  # pixels of a sheet of paper between its margins
PAGES: dict[str, Any] = {  # what writes a report, and how many figures are in it
    "demo": (
        lambda file: write_report(make_result(detectors=ALL, paper={"density": 0.138, "AUC": (0.92, 0.95)}), file),
        9,
    ),
    "network": (lambda file: judged().save(file), 2),
    "300 classes": (lambda file: many(300).save(file), 1),
}


def printed(page: Any) -> dict[str, Any]:
    """What there is to find on paper."""
    size = page.viewport_size
    page.emulate_media(media="print")
    page.set_viewport_size({"width": SHEET, "height": 900})
    found = page.evaluate(LOOK)
    page.emulate_media(media="screen")
    page.set_viewport_size(size)
    return {"printed": found, "pdf": page.pdf()[:5]}


@pytest.fixture(scope="module", params=PAGES)
def views(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a browser finds of one report, by width and colour scheme, and how many figures are in it."""
    write, figures = PAGES[request.param]
    file = tmp_path_factory.mktemp("report") / "report.html"
    write(file)
    return views_of(file, printed), figures


ways = pytest.mark.parametrize("way", WAYS, ids=str)


@ways
def test_the_browser_says_nothing_and_asks_for_nothing_else(views: Any, way: tuple[int, str]) -> None:
    view = views[0][way]
    assert [said for said in view["said"] if not said.startswith("data:")] == [view["file"]]


@ways
def test_nothing_is_wider_than_the_window_and_nothing_is_cut_off(views: Any, way: tuple[int, str]) -> None:
    view = views[0][way]
    assert view["page"] <= 0
    assert view["wide"] == []
    assert view["cut"] == []


@ways
def test_every_cell_of_every_table_is_seen_without_scrolling(views: Any, way: tuple[int, str]) -> None:
    assert views[0][way]["cells"] > 100
    assert views[0][way]["lost"] == []


@ways
def test_the_texts_of_figures_are_whole_apart_and_large_enough_to_read(views: Any, way: tuple[int, str]) -> None:
    view = views[0][way]
    assert view["charts"] == views[1]
    assert view["clipped"] == []
    assert view["crossed"] == []
    assert view["chart_text"] >= 9
    assert view["text"] >= 11


@ways
def test_page_and_figures_are_dark_in_dark_mode_and_every_text_stands_out(
    views: Any, way: tuple[int, str]
) -> None:
    view = views[0][way]
    dark = way[1] == "dark"
    for luminance in (view["body"], *view["cards"]):
        assert luminance < 0.05 if dark else luminance > 0.8
    assert view["filled"] == []  # figures have no background of their own
    assert view["faint"] == []


@ways
def test_on_paper_nothing_is_cut_off(views: Any, way: tuple[int, str]) -> None:
    view = views[0][way]
    assert view["pdf"] == b"%PDF-"
    assert view["printed"]["page"] <= 0
    for what in ("wide", "cut", "lost", "clipped"):
        assert view["printed"][what] == []
