"""The page of a report is whole and small, needs nothing but itself, and has the numbers of the report."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

import balance
from balance import Balance
from effpath import Report
from effpath.views.page.charts import class_map
from effpath.views.page.inline import drawn, with_palette
from effpath.views.page.network import apart_said, classes_said, introduction
from effpath.views.page.words import number, percent
from effpath.views.report.findings import Calibration
from overviews import make_overview
from scenes import judged, many

LIMIT = 5_000_000
ODD = ("<b>one</b>", 'a" onload="x', "$\\frac{&")


PAGES = {
    "judged": lambda: judged(),
    "class paths alone": lambda: Report(make_overview()),
    "two classes": lambda: Report(make_overview(classes=("zero", "one"))),
    "300 classes": lambda: many(300),
    "one level, no counts": lambda: Report(
        make_overview(
            density={"weights": 0.1},
            layer_density={"weights": {"conv1.weight": 0.2}},
            class_density={"weights": [0.1, 0.2, 0.3]},
            level="weights",
            layer_similarity={"conv1.weight": 0.4},
            counted=False,
            seen=0,
            data="",
        )
    ),
}


@pytest.fixture(params=PAGES, scope="module")
def report(request):
    return PAGES[request.param]()


class Page(Balance):
    descriptions = ("aria-label", "aria-hidden")


def parsed(page):
    return balance.parsed(page, Page())


def plain(text):
    """Text with one ordinary blank between words."""
    return " ".join(text.split())


def text_of(page):
    return plain(" ".join(parsed(page).text))


def test_a_page_is_well_formed_and_its_ids_are_unique(report):
    found = parsed(report.html)
    assert found.wrong == []
    assert found.open == []
    assert len(found.ids) == len(set(found.ids))
    assert {link[1:] for link in found.references if link.startswith("#")} <= set(found.ids)
    assert report.html.rstrip().endswith("</html>")


def test_a_page_needs_nothing_but_itself_and_is_small(report):
    assert all(reference.startswith(("data:", "#")) for reference in parsed(report.html).references)
    assert not re.search(r"https?:|url\(|@import|<link|<script", report.html)
    assert len(report.html.encode()) < LIMIT / 2


def test_headings_go_down_one_level_at_a_time_and_heads_of_tables_have_a_scope(report):
    levels = [int(level) for level in re.findall(r"<h(\d)\b", report.html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    heads = re.findall(r"<th\b[^>]*>", report.html)
    assert heads
    assert all(re.search(r'scope="(col|row|colgroup)"', head) for head in heads)
    scrolls = re.findall(r'<div class="scroll"[^>]*>', report.html)
    assert all('tabindex="0" role="region" aria-label="' in scroll for scroll in scrolls)


def test_every_figure_has_a_title_its_n_what_to_see_and_a_description_twice_drawn(report):
    captions = re.findall(r'<figure class="card[^"]*"><figcaption>(.*?)</figcaption>', report.html, re.DOTALL)
    assert len(captions) == 1 + (report.calibration is not None)
    for caption in captions:
        assert re.match(r'<strong>.+</strong> <span class="n">n = .+</span>.+\.$', caption, re.DOTALL)
    for kind in ("wide", "narrow"):
        drawings = re.findall(
            rf'<svg class="chart {kind}" viewBox="[^"]*" role="img" aria-label="[^"]+">', report.html
        )
        assert len(drawings) == len(captions)


def test_sections_are_those_that_there_is_something_to_say_in(report):
    sections = re.findall(r'<section id="(\w+)"', report.html)
    assert sections[:4] == ["network", "classes", "apart", "density"]
    assert sections[4:] == (["calibration", "verdicts", "examples"] if report.findings is not None else [])
    assert re.findall(r'<a href="#(\w+)"', report.html) == sections


def test_the_page_has_the_numbers_of_the_report(report):
    text, seen = text_of(report.html), report.overview
    for sentence in (*introduction(report), *classes_said(seen), *apart_said(seen)):
        assert plain(sentence) in text
    for place, name in enumerate(seen.classes):
        nearest = seen.nearest(place)
        assert f"{seen.classes[nearest.second]}: {number(nearest.similarity)}" in text
        assert name in text
    for name, value in seen.layers_apart:
        assert name in text
        assert number(value) in text
    for level, share in seen.density.items():
        assert level in text
        assert plain(percent(share)) in text
    assert seen.fingerprint in text
    assert "θ = 0.5" in text


def test_the_page_has_threshold_quantiles_verdicts_and_explanations():
    found = judged()
    text = text_of(found.html)
    assert number(found.calibration.threshold) in text
    for score in found.calibration.quantiles.values():
        assert number(score, 2) in text
    for row in found.findings.order[:20]:
        assert f"image {row}" in text
        assert number(found.findings.verdicts[row].score, 2) in text
    assert "Left out: 10 that are less suspicious." in text
    assert found.html.count("<article") == len(found.findings.examples) == 2
    for one in found.findings.examples:
        assert all(plain(reason) in text for reason in one.verdict.reasons)
    assert found.html.count("<h4>Layer by layer</h4>") == 2


def test_where_no_image_is_flagged_it_says_so():
    found = judged()
    none = dataclasses.replace(found.findings.verdicts, flagged=np.zeros(30, bool))
    findings = dataclasses.replace(
        found.findings,
        verdicts=none,
        summary=dataclasses.replace(found.findings.summary, flagged=0),
        examples=(),
    )
    text = text_of(dataclasses.replace(found, findings=findings).html)
    assert "No image is explained: none was flagged." in text
    assert "Flagged: 0 of 30 images." in text


def test_a_class_without_a_path_is_infinitely_suspicious_and_can_be_drawn():
    found = judged()
    scores = found.findings.verdicts.scores.copy()
    scores[:3] = np.inf
    verdicts = dataclasses.replace(found.findings.verdicts, scores=scores)
    findings = dataclasses.replace(found.findings, verdicts=verdicts)
    assert "∞" in text_of(Report(found.overview, found.calibration, findings).html)


def test_a_detector_without_a_threshold_is_reported_without_a_figure():
    calibration = Calibration("forest", None, None, None, {})
    page = Report(make_overview(), calibration).html
    assert parsed(page).wrong == []
    assert "The detector has no threshold yet" in text_of(page)
    assert page.count('<figure class="card') == 1


def test_names_are_escaped():
    page = Report(
        make_overview(classes=ODD, layers=("conv<1>", "a&b", "fc"), name="<script>alert(1)</script>")
    ).html
    found = parsed(page)
    assert found.wrong == []
    assert not re.search(r"<b>one|<script|conv<1>", page)
    assert html.escape(ODD[0]) in page
    assert ODD[0] in " ".join(found.text)


def test_a_thousand_classes_stay_below_five_megabytes():
    page = many(1000).html
    assert len(page.encode()) < LIMIT
    assert parsed(page).wrong == []


def test_the_same_report_gives_the_same_bytes_whatever_the_users_plot_settings():
    import matplotlib

    page = Report(make_overview()).html
    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "lines.linewidth": 9}):
        assert Report(make_overview()).html == page
        assert matplotlib.rcParams["font.size"] == 30


def test_squares_of_the_map_are_the_similarities_in_the_order_of_the_tree():
    import matplotlib

    seen = make_overview(classes=tuple("abcde"))
    (body,) = {drawing.body for drawing in drawn(class_map(seen)) if drawing.kind == "wide"}
    pictures = [
        np.array(Image.open(io.BytesIO(base64.b64decode(found))).convert("RGBA"))
        for found in re.findall(r'data:image/png;base64,([^"]*)', body)
    ]
    (squares,) = [picture for picture in pictures if picture.shape == (5, 5, 4)]
    order = seen.tree.order
    values = seen.similarity[np.ix_(order, order)]
    highest = values[~np.eye(5, dtype=bool)].max()
    colours = matplotlib.colormaps["cividis"].resampled(128)(values / highest, bytes=True)
    colours[np.eye(5, dtype=bool)] = 0
    assert any(np.array_equal(squares[::step], colours) for step in (1, -1))  # SVG may hold it upside down


@pytest.mark.parametrize("colours", [2, 9, 256, 300])
def test_a_picture_of_few_colours_is_stored_smaller_and_pixel_by_pixel_the_same(colours):
    rng = np.random.default_rng(0)
    palette = rng.integers(0, 256, (colours, 4), np.uint8)
    pixels = palette[np.arange(1600).reshape(40, 40) % colours]
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    before = "data:image/png;base64,\n" + base64.b64encode(buffer.getvalue()).decode()
    after = with_palette(re.match(r"data:image/png;base64,([^\"]*)", before))
    shown = Image.open(io.BytesIO(base64.b64decode(after.partition(",")[2])))
    assert shown.mode == ("P" if colours <= 256 else "RGBA")
    assert np.array_equal(np.array(shown.convert("RGBA")), pixels)
