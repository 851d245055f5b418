"""The pages as a browser shows them: on phones and desks, light and dark, pointed at and printed."""

from __future__ import annotations

from typing import Any

import pytest

from browser import CHROMIUM, WAYS, views_of
from effpath.views.page.pages import difference_page, drawing_page, explanations_page, write_page
from scenes import differences, drawings, explanations

pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

PAGES = {
    "explain": lambda: explanations_page(explanations(), "net.py:make"),
    "diff": lambda: difference_page(differences(), "net.py:make"),
    "neurons": lambda: drawing_page(drawings(), "net.py:make"),
    "channels": lambda: drawing_page(drawings("channels"), "net.py:make"),
}
POINT = """() => {
  const svg = document.getElementById("path");
  if (!svg) return {};
  const box = one => one.getBoundingClientRect();
  const parts = kind => svg.querySelectorAll(kind).length;
  const node = [...svg.querySelectorAll(".node")].at(-1), frame = box(svg);
  const [x, y] = [box(node).left + 2, box(node).top + 2];
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: x, clientY: y, bubbles: true }));
  const told = document.getElementById("told").textContent;
  const chosen = svg.querySelector("#chosen path").getAttribute("d");
  svg.dispatchEvent(new PointerEvent("pointerleave", { pointerType: "mouse" }));
  const outside = [...svg.querySelectorAll("path, rect, image, text")].filter(one =>
    box(one).width && (box(one).left < frame.left - 2 || box(one).right > frame.right + 2 ||
      box(one).bottom > frame.bottom + 2)).length;
  return { names: parts("text"), lines: parts(".line"), nodes: parts(".node"), told, chosen, outside,
    quiet: document.getElementById("told").textContent };
}"""

SHEET = 703  # pixels
PRINTED = """() => {
  const box = one => one.getBoundingClientRect(), style = one => getComputedStyle(one);
  const all = [...document.body.querySelectorAll("*")].filter(one => one.getClientRects().length);
  return {
    wide: all.filter(one => !one.closest("svg") && box(one).right > innerWidth + 1).map(one => one.className),
    broken: all.filter(one => one.matches("thead th") && one.scrollWidth > one.clientWidth + 1).length,
    faded: all.filter(one => one.matches(".split i, .bar i") && style(one).printColorAdjust !== "exact").length,
    text: style(document.body).color,
  };
}"""


@pytest.fixture(scope="module", params=PAGES)
def views(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What a browser finds of one page, by width and colour scheme."""
    file = tmp_path_factory.mktemp("pages") / f"{request.param}.html"
    write_page(PAGES[request.param](), file)
    return request.param, views_of(
        file, lambda page: page.evaluate(POINT) | {"pdf": page.pdf()[:5]} | printed(page)
    )


def printed(page: Any) -> dict[str, Any]:
    """What there is to find on paper, as wide as a sheet of A4 between the margins of a page; then shown again."""
    before = page.viewport_size
    page.set_viewport_size({"width": SHEET, "height": before["height"]})
    page.emulate_media(media="print")
    found = page.evaluate(PRINTED)
    page.emulate_media(media="screen")
    page.set_viewport_size(before)
    page.wait_for_timeout(100)
    return {"print": found, "pdf": page.pdf()[:5]}


ways = pytest.mark.parametrize("way", WAYS, ids=str)


@ways
def test_the_browser_says_nothing_and_asks_for_nothing_else(views: Any, way: tuple[int, str]) -> None:
    view = views[1][way]
    assert [said for said in view["said"] if not said.startswith("data:")] == [view["file"]]


@ways
def test_nothing_is_wider_than_the_window_or_cut_off_and_every_cell_is_seen(
    views: Any, way: tuple[int, str]
) -> None:
    view = views[1][way]
    assert view["page"] <= 0
    assert view["wide"] == []
    assert view["cut"] == []
    assert view["cells"] > 10
    assert view["lost"] == []
    assert view["text"] >= 11


@ways
def test_a_page_is_dark_in_dark_mode_and_every_text_stands_out(views: Any, way: tuple[int, str]) -> None:
    view = views[1][way]
    for luminance in (view["body"], *view["cards"]):
        assert luminance < 0.05 if way[1] == "dark" else luminance > 0.8
    assert view["faint"] == []


@ways
def test_a_path_is_drawn_and_says_what_is_pointed_at(views: Any, way: tuple[int, str]) -> None:
    name, found = views
    if name not in ("neurons", "channels"):
        pytest.skip("no drawing on this page")
    view = found[way]
    assert view["names"] == 8
    assert view["lines"] >= 7
    assert view["nodes"] >= 7
    assert view["outside"] == 0
    assert view["told"].startswith("fc3, ")
    assert "from its inputs" in view["told"]
    assert view["chosen"].startswith("M")
    assert view["quiet"] == ""


@ways
def test_a_page_can_be_printed(views: Any, way: tuple[int, str]) -> None:
    assert views[1][way]["pdf"] == b"%PDF-"


@ways
def test_on_paper_nothing_is_cut_off_and_bars_are_printed_dark_on_white(views: Any, way: tuple[int, str]) -> None:
    found = views[1][way]["print"]
    assert found["wide"] == []
    assert found["broken"] == 0
    assert found["faded"] == 0
    assert found["text"] == "rgb(27, 31, 38)"
