"""The report is one whole, well-formed file that says what the result says, whatever is in it."""

from __future__ import annotations

import ast
import dataclasses
import html
import math
import re
from pathlib import Path

import numpy as np
import pytest

from balance import parsed
from demo_result import ALL, ATTACKS, DETECTORS, PATHS, make_result, score
from effpath.demo import report
from effpath.demo.report import figures, write_report
from effpath.demo.report.drawing import difference
from effpath.demo.report.words import against_baselines, number, percent, summary, why
from effpath.demo.result import DemoResult
from effpath.detect.conformal import true_rate
from effpath.errors import InputError, StoreError

EXAMPLE = make_result().examples[0]


def with_aucs(result: DemoResult, detector: str, values: dict[str, float]) -> DemoResult:
    """The same result with other AUCs of one detector."""
    return dataclasses.replace(
        result,
        attacks=tuple(
            dataclasses.replace(attack, scores={**attack.scores, detector: score(values[attack.name])})
            if attack.name in values
            else attack
            for attack in result.attacks
        ),
    )


def written(result: DemoResult, folder: Path) -> str:
    write_report(result, folder / "report.html")
    return (folder / "report.html").read_text("utf-8")


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of the text alone: no figure is drawn."""
    monkeypatch.setattr("effpath.demo.report.drawn", lambda chart: [])


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return written(make_result(), tmp_path_factory.mktemp("report"))


def test_it_names_every_attack_layer_class_and_detector(page: str) -> None:
    text = " ".join(parsed(page).text)
    for name in (*ATTACKS, *DETECTORS, "conv1", "conv2", "fc1", "zero", "one", "two"):
        assert name in text


def test_it_needs_nothing_but_itself(page: str) -> None:
    assert all(reference.startswith(("data:", "#")) for reference in parsed(page).references)
    assert not re.search(r"https?:|url\(|@import|<script|<link", page)


def test_its_figures_are_described_twice_drawn_and_load_nothing_either(page: str) -> None:
    for kind in ("wide", "narrow"):
        drawings = re.findall(rf'<svg class="chart {kind}" viewBox="[^"]*" role="img" aria-label="[^"]+">', page)
        assert len(drawings) == 7
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'href="([^"]*)"', page))


def test_every_figure_has_a_title_its_n_and_what_to_see(page: str) -> None:
    captions = re.findall(r'<figure class="card[^"]*"><figcaption>(.*?)</figcaption>', page, re.DOTALL)
    assert len(captions) == 7
    for caption in captions:
        assert re.match(r'<strong>.+</strong> <span class="n">n = .+</span>.+\.$', caption, re.DOTALL)


def test_figures_have_no_colour_of_their_own_but_data_scales(page: str) -> None:
    for drawing in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        colours = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]+)", drawing))
        assert not colours or "Jaccard" in drawing  # the heatmap's colours mean numbers


def test_every_head_of_a_table_has_a_scope(page: str) -> None:
    heads = re.findall(r"<th\b[^>]*>", page)
    assert heads
    assert all(re.search(r'scope="(col|row|colgroup)"', head) for head in heads)


@pytest.mark.usefixtures("_undrawn")
def test_headline_and_curves_are_of_the_default_with_the_papers_detector_beside_it(tmp_path: Path) -> None:
    page = written(make_result(detectors=ALL), tmp_path)
    text = " ".join(parsed(page).text)
    assert "The standard detector tells adversarial test images from clean ones with an AUC of 0.980" in text
    assert "It reads no path similarity; joint surprise, which does, has an AUC of 0.970" in text
    assert "The paper's detector, joint similarity, has an AUC of 0.950" in text
    tiles = [html.unescape(tile) for tile in re.findall("<dt>(.*?)</dt>", page)]
    assert {"AUC of the standard detector", "AUC of joint similarity, the paper's"} <= set(tiles)
    titles = re.findall(r"<strong>([^<]*(?:ROC|close-up|Suspicion)[^<]*)</strong>", page)
    assert [html.unescape(title) for title in titles] == [
        "ROC of the standard detector",
        "The standard detector, close-up: at most 20\u202f% false positives",
        "ROC of joint similarity, the paper's detector",
        "Joint similarity, close-up: at most 20\u202f% false positives",
        "Suspicion by the standard detector",
    ]


@pytest.mark.usefixtures("_undrawn")
def test_a_flagged_image_has_the_strongest_of_its_unusual_signs_in_words(tmp_path: Path) -> None:
    page = html.unescape(written(make_result(detectors=ALL), tmp_path))
    told = re.findall(r"<li>(.*?)</li>", page)
    assert told == [
        f"{sign}: {share}\u202f% of clean images show this at least as strongly"
        for sign, share in (("unsure", "0.4"), ("changes its mind after JPEG", "2"))
    ]
    many = dataclasses.replace(
        make_result(), examples=(dataclasses.replace(EXAMPLE, signs=tuple((f"sign {n}", 0.01) for n in range(9))),)
    )
    page = written(many, tmp_path)
    assert "sign 2: " in page
    assert "sign 3: " not in page


@pytest.mark.usefixtures("_undrawn")
def test_a_detector_without_signs_tells_none_and_one_that_reads_paths_is_not_said_to_read_none(
    tmp_path: Path,
) -> None:
    for detectors in (DETECTORS, PATHS):
        page = written(make_result(detectors=detectors), tmp_path)
        assert "<li>" not in page
        assert "what makes them suspicious" not in page
        assert "reads no path" not in page
        assert "reads none of these" not in page


def test_where_no_layer_stands_out_a_sum_over_layers_is_told_of_detectors_that_sum_alone() -> None:
    same = dataclasses.replace(EXAMPLE, similarity=EXAMPLE.clean_similarity)
    assert why(same, ("a", "b", "c")) == ["No single layer stands out; the sum over all layers does."]
    signed = dataclasses.replace(same, signs=(("unsure", 0.01),))
    assert why(signed, ("a", "b", "c")) == ["No single layer stands out."]


@pytest.mark.usefixtures("_undrawn")
def test_it_says_that_intervals_leave_out_retraining_and_which_network_it_is(tmp_path: Path) -> None:
    text = " ".join(parsed(written(make_result(), tmp_path)).text)
    assert "for this one network (its fingerprint begins abc123)" in text
    assert "they leave out that a network trained again" in text


@pytest.mark.usefixtures("_undrawn")
def test_it_says_how_far_a_threshold_of_so_few_images_may_be_from_its_rate(tmp_path: Path) -> None:
    result = make_result()
    assert result.true_rate == true_rate(
        20, 0.05
    )  # images that fix the threshold, and the rate that was asked for
    low, high = (percent(end) for end in result.true_rate[1:])
    text = " ".join(parsed(written(result, tmp_path)).text)
    assert f"flag {low.removesuffix(chr(0x202F) + '%')}–{high} of other clean images" in text
    unknown = dataclasses.replace(result, provenance={**result.provenance, "sources": {"calibrate": 18}})
    assert unknown.true_rate is None
    assert "serves all attacks." in " ".join(parsed(written(unknown, tmp_path)).text)


@pytest.mark.usefixtures("_undrawn")
def test_it_says_where_too_few_images_leave_no_threshold(tmp_path: Path) -> None:
    result = dataclasses.replace(make_result(), threshold=dict.fromkeys(DETECTORS, math.inf))
    assert "too few clean images to fix a threshold" in " ".join(parsed(written(result, tmp_path)).text)


def test_its_tags_are_balanced_its_ids_unique_and_its_images_described(page: str) -> None:
    parser = parsed(page)
    assert not parser.wrong
    assert not parser.open
    assert len(set(parser.ids)) == len(parser.ids)
    assert {link[1:] for link in parser.references if link.startswith("#")} <= set(parser.ids)


def test_it_has_the_numbers_of_the_result(page: str) -> None:
    text = " ".join(parsed(page).text)
    for shown in (percent(0.975), percent(0.0921), "0.950", percent(0.85), "719", "abc123", "effpath demo --data"):
        assert shown in text


def test_it_is_small(page: str) -> None:
    assert len(page.encode()) < 1_500_000


def test_large_colour_images_and_many_layers_stay_small(tmp_path: Path) -> None:
    result = make_result(
        layers=tuple(f"layer{stage}.{block}.conv1" for stage in range(4) for block in range(8)),
        classes=tuple(f"class {number}" for number in range(40)),
        channels=3,
    )
    pixels = np.random.default_rng(0).uniform(0, 1, (3, 224, 224)).astype(np.float32)
    example = dataclasses.replace(result.examples[0], clean=pixels, adversarial=pixels[:, ::-1])
    page = written(dataclasses.replace(result, examples=(example,) * 3), tmp_path)
    assert len(page.encode()) < 1_500_000
    assert not parsed(page).wrong


def test_names_are_escaped(tmp_path: Path) -> None:
    result = make_result(classes=("<b>", 'a" onload="x', "$\\frac{&"), layers=("conv<1>", "a&b", "fc"))
    page = written(dataclasses.replace(result, title="<script>alert(1)</script>"), tmp_path)
    parser = parsed(page)
    assert not parser.wrong
    assert not re.search(r"<b>|<script|conv<1>", page)
    assert html.escape("<b>") in page
    assert "<b>" in " ".join(parser.text)


def test_a_similarity_that_is_not_a_number_leaves_a_gap(tmp_path: Path) -> None:
    result = make_result()
    result.similarity["clean"][:, 1] = np.nan  # a whole layer
    result.similarity["FGSM"][:5, 0] = np.nan
    result.examples[0].similarity[2] = np.nan
    result.examples[0].clean_similarity[:] = np.nan
    assert not parsed(written(result, tmp_path)).wrong
    assert math.isnan(figures.medians(result, "clean", 1)[1])
    assert not any(map(math.isnan, figures.medians(result, "FGSM", 1)))


@pytest.mark.usefixtures("_undrawn")
def test_an_old_report_is_untouched_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StoreError, match="no space left"):
        write_report(make_result(), file)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_the_same_result_gives_the_same_bytes(page: str, tmp_path: Path) -> None:
    assert written(make_result(), tmp_path) == page


def test_the_users_plot_settings_neither_matter_nor_change(page: str, tmp_path: Path) -> None:
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "svg.hashsalt": "other", "lines.linewidth": 9}):
        assert written(make_result(), tmp_path) == page
        assert matplotlib.rcParams["font.size"] == 30


@pytest.mark.parametrize("file", sorted(Path(report.__file__).parent.glob("*.py")), ids=lambda file: file.name)
def test_importing_it_does_not_import_matplotlib(file: Path) -> None:
    for line in ast.parse(file.read_text("utf-8")).body:  # of the module: what functions import does not count
        if isinstance(line, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in line.names] + [getattr(line, "module", None) or ""]
            assert not any(name.startswith(("matplotlib", "PIL")) for name in names)


def test_a_result_without_attacks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no attack"):
        write_report(dataclasses.replace(make_result(), attacks=()), tmp_path / "report.html")


@pytest.mark.usefixtures("_undrawn")
def test_a_result_without_examples_says_so(tmp_path: Path) -> None:
    page = written(dataclasses.replace(make_result(), examples=()), tmp_path)
    assert "No adversarial image was flagged" in page


@pytest.mark.usefixtures("_undrawn")
def test_the_papers_figures_stand_beside_ours(tmp_path: Path) -> None:
    paper = {"density": 0.138, "AUC": (0.92, 0.95), "most special": "1", "random detected": 0.9385, "speed": 106.0}
    text = " ".join(parsed(written(make_result(paper=paper), tmp_path)).text)
    for shown in ("13.8\u202f%", "0.92 to 0.95", "93.85\u202f%", "speed"):
        assert shown in text


def test_the_summary_says_that_the_detector_wins_only_where_it_does() -> None:
    result = make_result()
    assert "higher AUC than every baseline (max softmax and energy) on every attack" in " ".join(
        against_baselines(result)
    )
    beaten = " ".join(against_baselines(with_aucs(result, "max softmax", {"CWL2": 0.99, "FGSM": 0.951})))
    assert "Max softmax, which looks at the logits alone, has the higher AUC on FGSM and CWL2" in beaten
    assert "do not overlap on CWL2" in beaten
    assert "than every baseline (max softmax and energy) on Random" in beaten
    close = " ".join(against_baselines(with_aucs(result, "energy", {"FGSM": 0.951})))
    assert "the 95\u202f% intervals overlap" in close
    lost = with_aucs(result, "energy", dict.fromkeys(ATTACKS, 0.999))
    assert "On no attack does joint similarity" in " ".join(against_baselines(lost))


def test_the_summary_gives_the_range_over_attacks() -> None:
    text = " ".join(summary(with_aucs(make_result(), "linear", {"FGSM": 0.91, "Random": 0.99})))
    assert "0.910 (FGSM) to 0.990 (Random)" in text
    assert "No detector was trained on Random" in text


@pytest.mark.usefixtures("_undrawn")
def test_the_best_detector_of_a_row_is_marked(tmp_path: Path) -> None:
    page = written(with_aucs(make_result(), "energy", {"CWL2": 0.999}), tmp_path)
    assert re.findall(r'class="best"[^>]*>([\d.]+)<', page) == ["0.950", "0.999", "0.950"]


@pytest.mark.parametrize("digits", [12, 1, 0], ids=["no ties", "some ties", "many ties"])
def test_the_area_under_the_drawn_curve_is_the_auc(digits: int) -> None:
    rng = np.random.default_rng(1)
    clean = rng.normal(0, 1, 150).round(digits)
    adversarial = rng.normal(1.5, 1, 100).round(digits)
    fpr, tpr = figures.roc(clean, adversarial)
    area = float((np.diff(fpr) * (tpr[1:] + tpr[:-1])).sum() / 2)
    pairs = adversarial[:, None]
    assert area == pytest.approx((pairs > clean).mean() + (pairs == clean).mean() / 2, abs=1e-12)
    assert (fpr[0], tpr[0], fpr[-1], tpr[-1]) == (0, 0, 1, 1)


def test_a_long_curve_is_thinned_but_keeps_its_shape() -> None:
    rng = np.random.default_rng(2)
    clean, adversarial = rng.normal(0, 1, 20000), rng.normal(1.5, 1, 20000)
    fpr, tpr = figures.roc(clean, adversarial)
    assert len(fpr) <= figures.CURVE_POINTS
    exact = [(adversarial > np.quantile(clean, 1 - rate)).mean() for rate in (0.01, 0.1, 0.5)]
    assert np.interp((0.01, 0.1, 0.5), fpr, tpr) == pytest.approx(exact, abs=0.005)


def test_a_difference_fills_its_scale() -> None:
    example = make_result().examples[0]
    change, times = difference(example)
    assert change.shape == (3, 8, 8)
    assert times == pytest.approx(1 / np.abs(example.adversarial - example.clean).max())
    same, once = difference(dataclasses.replace(example, adversarial=example.clean))
    assert once == 1
    assert (same == 1).all()


def test_numbers_read_well() -> None:
    assert number(-math.inf) == "−∞"
    assert number(math.nan) == percent(math.nan) == "–"


@pytest.mark.parametrize("file", sorted(Path(report.__file__).parent.glob("*.py")), ids=lambda file: file.name)
def test_only_the_template_has_html(file: Path) -> None:
    tree = ast.parse(file.read_text("utf-8"))
    texts = [
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    tags = r"</?(div|p|span|t[dhr]|table|strong|figure|section|h\d)\b"
    assert not [text for text in texts if re.search(tags, text)]
