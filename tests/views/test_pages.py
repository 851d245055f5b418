"""Pages are whole, well formed, need nothing but themselves, and say what they were given."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

import balance
from balance import VOID, Balance
from effpath.errors import OptionError, StoreError
from effpath.views.page.figure import write_figure
from effpath.views.page.pages import difference_page, drawing_page, explanations_page, write_page
from effpath.views.page.sentences import strip_start, summary, verdict_of
from scenes import differences, drawings, explanations

DRAWN = {"rect", "line", "circle"}
MEGABYTE = 1_000_000


class Strict(Balance):
    """Notes also heads of tables without a scope, and tags that end where they begin; drawings may be hidden."""

    descriptions = ("aria-label", "aria-hidden")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        super().handle_starttag(tag, attrs)
        if tag == "th" and "scope" not in dict(attrs):
            self.wrong.append("th without a scope")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID | DRAWN:
            self.wrong.append(f"<{tag}/>")


PAGES = {
    "explain, linear": lambda: explanations_page(explanations(), "net.py:make"),
    "explain, surprise": lambda: explanations_page(explanations("surprise")[:1], "net.py:make"),
    "explain, clean": lambda: explanations_page(explanations("clean"), "net.py:make"),
    "diff": lambda: difference_page(differences(), "net.py:make"),
    "show neurons": lambda: drawing_page(drawings(), "net.py:make"),
    "show channels": lambda: drawing_page(drawings("channels"), "net.py:make"),
}


@pytest.fixture(params=PAGES, scope="module")
def page(request):
    return PAGES[request.param]()


def parsed(page: str) -> Balance:
    return balance.parsed(page, Strict())


def test_a_page_is_well_formed_with_descriptions_and_heads(page):
    found = parsed(page)
    assert found.wrong == []
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))


def test_a_page_needs_nothing_but_itself_and_is_small(page):
    assert all(reference.startswith(("data:", "#")) for reference in parsed(page).references)
    assert not re.search(r"https?:|url\(|@import|<link|<script src", page)
    assert len(page.encode()) < MEGABYTE


def test_names_are_escaped(page):
    assert "a<b>" not in page
    assert "<zero>" not in page


def test_an_explanation_says_verdict_reasons_layers_and_channels():
    found = explanations()
    text = " ".join("".join(parsed(explanations_page(found, "net")).text).split())
    for one in found:
        assert one.name in text
        assert verdict_of(one).split(":")[0] in text
        for sentence in (*summary(one), *one.verdict.reasons):
            assert " ".join(sentence.split()) in text
        for channel in one.strongest_channels():
            assert f"{channel.layer}, {channel.channel}" in text
    for layer in found[0].layers:
        assert layer.layer in text
    assert "train/" in text


def test_what_is_missing_is_told_in_a_note():
    one = replace(explanations()[0], layers=(), band_images=0, closest=None, notes=("There is no <class> path.",))
    page = explanations_page([one], "net")
    assert "There is no &lt;class&gt; path." in page
    assert "Layer by layer" not in page
    assert parsed(page).wrong == []


def test_an_image_below_the_band_is_marked_and_counted():
    one = next(one for one in explanations() if one.below)
    page = explanations_page([one], "net")
    assert page.count("<small>below</small>") == len(one.below)
    assert page.count('class="dot out"') == len(one.below)
    assert f"{len(one.below)} of 5 layers" in page or "In all layers" in page


def test_the_scale_begins_below_all_that_it_shows():
    for one in explanations():
        start = strip_start(one.layers)
        assert 0 <= start <= min(min(layer.similarity, layer.low) for layer in one.layers)
        assert round(10 * start) == pytest.approx(10 * start)


def test_a_difference_says_what_is_shared_of_each_layer():
    found = differences()
    text = " ".join(parsed(difference_page(found, "net")).text)
    for layer in found.layers:
        assert layer.layer in text
    assert "Both paths start" in text or "The first path starts from class" in text


def test_the_scene_of_a_drawing_is_what_is_drawn():
    for by in ("neurons", "channels"):
        page = drawing_page(drawings(by), "net")
        scene = json.loads(re.search(r'<script type="application/json" id="scene">(.*?)</script>', page, re.S)[1])
        picture = scene.pop("picture")
        assert picture.startswith("data:image/png;base64,")
        assert scene.pop("title") == drawings(by).title(drawings(by).label)
        assert scene == drawings(by).to_dict()


def test_a_page_is_written_or_the_old_one_stays(tmp_path):
    write_page("new", tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text("utf-8") == "new"
    with pytest.raises(StoreError):
        write_page("new", tmp_path / "page.html" / "below.html")


def test_figures_are_png_and_svg_the_same_each_time_and_leave_matplotlib_as_it_was(tmp_path):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30}):
        for name in ("a.png", "a.svg", "b.svg"):
            write_figure(explanations()[:2], tmp_path / name)
        assert matplotlib.rcParams["font.size"] == 30
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    svg = (tmp_path / "a.svg").read_text("utf-8")
    assert "conv1" in svg
    assert "clean, 5 to 95 %" in svg
    with pytest.raises(OptionError, match=r"expected a file that ends in .png or .svg"):
        write_figure(explanations(), tmp_path / "a.gif")
