"""The page: its sections, in the order in which a reader wants them."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from importlib.resources import files
from string import Template

from effpath.demo.result import DemoResult, Example
from effpath.report import figures, tables
from effpath.report.words import (
    against_baselines,
    count,
    detector_name,
    listing,
    main_detector,
    number,
    percent,
    span,
    summary,
    why,
)

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<header>
<p class="kicker">Effective paths and adversarial images</p>
<h1>$title</h1>
$summary
</header>
<nav aria-label="Sections">$links</nav>
<main>
$sections
</main>
<footer><p>Made by effpath. The method is that of Qiu et al., <cite>Adversarial Defense Through Network Profiling
Based Path Extraction</cite>, CVPR 2019.</p></footer>
</body>
</html>
""")


def page(result: DemoResult) -> str:
    """Return the whole page; nothing in it is loaded from elsewhere."""
    sections = {
        "attacks": ("Attacks and detectors", _attacks(result)),
        "classes": ("Class paths", _classes(result)),
        "layers": ("Similarity, layer by layer", _layers(result)),
        "roc": ("ROC curves", _roc(result)),
        "scores": ("Suspicion scores", _scores(result)),
        "examples": ("Flagged images", _examples(result)),
        "density": ("Density of the overall path", _density(result)),
        "provenance": ("How this was made", _provenance(result)),
    }
    return _PAGE.substitute(
        title=escape(result.title),
        style=files("effpath.report").joinpath("style.css").read_text("utf-8"),
        summary=_summary(result),
        links="".join(f'<a href="#{key}">{title}</a>' for key, (title, _) in sections.items()),
        sections="\n".join(
            f'<section id="{key}" aria-labelledby="{key}-title"><h2 id="{key}-title">{title}</h2>\n{body}\n</section>'
            for key, (title, body) in sections.items()
        ),
    )


def _summary(result: DemoResult) -> str:
    main = main_detector(result)
    scores = [attack.scores[main] for attack in result.attacks]
    tiles = {
        "test images classified correctly": percent(result.accuracy),
        "of the synapses in the overall path": percent(result.density["synapses"]),
        "images attacked": count(max(attack.tried for attack in result.attacks)),
        f"AUC of the {detector_name(main)}": span([score.auc.value for score in scores]).replace(" to ", "–"),
        "adversarial images flagged": span([score.tpr.value for score in scores], lambda v: percent(v, 0)).replace(
            "\u202f% to ", "–"
        ),
        "clean images flagged": percent(result.fpr[main]),
    }
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    rivals = against_baselines(result)
    note = f'<p class="note"><strong>Compared with baselines.</strong> {_text(*rivals)}</p>' if rivals else ""
    return f'<p class="lead">{_text(*summary(result))}</p>\n<dl class="tiles">{shown}</dl>\n{note}'


def _attacks(result: DemoResult) -> str:
    main = main_detector(result)
    sources = result.provenance.get("sources")
    parts = {"train": "trained on", "calibrate": "given their threshold on", "test": "tested on"}
    sizes = []
    if isinstance(sources, Mapping):
        sizes = [f"{parts.get(part, part)} {count(int(size))}" for part, size in sources.items()]
    split = (
        f"Detectors are {listing(sizes)} clean images; an image and everything that attacks made of it are always "
        "in the same part."
        if sizes
        else ""
    )
    no_size = any(attack.l2 != attack.l2 for attack in result.attacks)
    return f"""<p>{
        _text(
            "Each attack changes an image that the network gets right until it gets it wrong.",
            f"AUC is how often a random adversarial image looks more suspicious than a random clean one; small figures "
            f"are 95\u202f% intervals over images, the highest AUC of a row is marked. The {main} detector is the "
            f"{detector_name(main)}."
            if main == "linear"
            else "AUC is how often a random adversarial image looks more suspicious than a random clean one; small figures "
            "are 95\u202f% intervals over images, the highest AUC of a row is marked.",
        )
    }</p>
{tables.attack_table(result)}
<p class="caption">{
        _text(
            "The attackers knew the network but not the detectors; one who knows both can do better.",
            "Attacks that look for the smallest change stop just past the border between two classes, which also "
            "shows in the network's own confidence: this is where the baselines without paths are strong.",
            "A dash as size: these images were made from nothing, not from a clean one." if no_size else "",
        )
    }</p>
{tables.threshold_table(result)}
<p class="caption">{
        _text(
            split,
            "The thresholds were fixed on clean images alone, so the rate on other clean images differs a little from "
            "the one wanted.",
        )
    }</p>
{_paper(result, "detection")}"""


def _classes(result: DemoResult) -> str:
    mean, special = result.mean_class_similarity, result.most_special
    lowest = float(result.class_means.min())
    alt = (
        f"Heatmap of the similarity of {len(result.classes)} class paths: mean {number(mean, 2)}, lowest for class "
        f"{special}."
    )
    heatmap = _figure(
        figures.svg(lambda: figures.class_similarity(result)),
        alt,
        "Each square compares two class paths. Dark: the classes use different synapses. Bright: they share many.",
    )
    return f"""<p>{
        _text(
            "A class path is the union of the effective paths of the class's training images: the synapses that the "
            "network uses for this class.",
            f"Two classes share {number(mean, 2)} of their joint synapses on average (Jaccard similarity).",
            f"The most special class is {special}, with {number(lowest, 2)}: it has most synapses to itself.",
        )
    }</p>
<div class="pair">{heatmap}<div>{tables.class_table(result)}{_paper(result, "classes")}</div></div>"""


def _layers(result: DemoResult) -> str:
    said = {
        1: "Share of an image's own path that lies in the class path of the predicted class. Adversarial images "
        "(coloured) tend to lie below clean ones: they reach their class by unusual synapses.",
        2: "The same for the class with the second highest score. Adversarial images tend to lie above clean ones "
        "here: the true class often stays second, on its usual synapses.",
    }
    shown = "".join(
        _figure(
            figures.svg(lambda rank=rank: figures.layer_similarity(result, rank)),  # type: ignore[misc]
            f"Rank-{rank} path similarity by layer ({listing(result.layers)}); medians of clean images: "
            f"{_medians(result, 'clean', rank)}.",
            caption,
        )
        for rank, caption in said.items()
    )
    return f"""<p>{
        _text(
            "Lines are medians over test images, bands hold the middle 80\u202f%; layers run from input to output.",
            "The joint similarity adds up the left side and subtracts the right one.",
        )
    }</p>
<div class="pair">{shown}</div>"""


def _medians(result: DemoResult, group: str, rank: int) -> str:
    return listing([number(value, 2) for value in figures.medians(result, group, rank)])


def _roc(result: DemoResult) -> str:
    main = main_detector(result)
    found = ", ".join(f"{attack.name} {number(attack.scores[main].auc.value)}" for attack in result.attacks)
    whole = _figure(
        figures.svg(lambda: figures.roc_curves(result, 1.0)),
        f"ROC curves of the {detector_name(main)}; AUC: {found}.",
        "Further up and to the left is better; the grey diagonal is chance.",
    )
    close = _figure(
        figures.svg(lambda: figures.roc_curves(result, 0.2)),
        f"The same ROC curves at false positive rates up to 0.2; threshold at {percent(result.fpr[main])}.",
        "The end that matters in use, where few clean images are flagged.",
    )
    return f"""<p>{
        _text(
            f"What the {detector_name(main)} catches, for every false alarm rate that one might accept.",
            f"Dots and the dotted line show the threshold in use: {percent(result.fpr[main])} of the clean test images "
            "are flagged.",
        )
    }</p>
<div class="pair">{whole}{close}</div>"""


def _scores(result: DemoResult) -> str:
    main = main_detector(result)
    flagged = ", ".join(f"{attack.name} {percent(attack.scores[main].tpr.value)}" for attack in result.attacks)
    return _figure(
        figures.svg(lambda: figures.suspicion_scores(result)),
        f"Distribution of suspicion scores; flagged: clean {percent(result.fpr[main])}, {flagged}.",
        f"How suspicious the {detector_name(main)} finds each test image, by group. Everything to the right of "
        "the dashed threshold is flagged. The less a coloured hill overlaps the grey one, the better.",
    )


def _examples(result: DemoResult) -> str:
    if not result.examples:
        return "<p>No adversarial image was flagged whose clean original was not.</p>"
    shown = "\n".join(_example(result, example) for example in result.examples)
    return f"""<p>Adversarial images of the test part that were flagged while their clean originals were not, and the
path similarities that gave them away.</p>
{shown}"""


def _example(result: DemoResult, example: Example) -> str:
    change, times = figures.difference(example)
    meaning = "grey: unchanged" if len(example.clean) == 3 else "orange: brighter, blue: darker"
    pictures = [
        (figures.picture(example.clean), "clean", f"read as {example.label}"),
        (figures.picture(example.adversarial), example.attack, f"read as {example.predicted}"),
        (figures.picture(change), f"difference × {times:.1f}", meaning),
    ]
    images = "".join(
        f'<figure><img class="pixels" src="{data}" alt="{escape(f"{name}: {text}")}">'
        f"<figcaption><strong>{escape(name)}</strong><br>{escape(text)}</figcaption></figure>"
        for data, name, text in pictures
    )
    chart = _figure(
        figures.svg(lambda: figures.example_similarity(result, example)),
        f"Path similarity by layer of the clean and the {example.attack} image, rank 1 above rank 2.",
        "Similarity of this image's paths with the class paths, by layer.",
    )
    scores = (
        f"Suspicion: clean {number(example.clean_score, 2)}, adversarial {number(example.score, 2)}; threshold "
        f"{number(example.threshold, 2)}."
    )
    return f"""<article>
<h3>{tables.chip(result, example.attack)}: {escape(example.label)} taken for {escape(example.predicted)}</h3>
<div class="example"><div><div class="pictures">{images}</div>
<p>{_verdict(example.clean_score, example.threshold, "clean")}
{_verdict(example.score, example.threshold, "adversarial")} <span class="muted">threshold
{number(example.threshold, 2)}</span></p>
<p aria-label="{escape(scores)}">{_text(why(example, result.layers))}</p></div>
{chart}</div>
</article>"""


def _verdict(score: float, threshold: float, name: str) -> str:
    flagged = score > threshold
    word, kind = ("flagged", "bad") if flagged else ("not flagged", "good")
    return f'<span class="verdict {kind}">{name}: suspicion {number(score, 2)}, {word}</span>'


def _density(result: DemoResult) -> str:
    return f"""<p>{
        _text(
            "How much of the network the training images need together: the share of synapses, neurons and weights "
            "that are in the effective path of at least one of them.",
            "The lower the share, the more of a path's synapses say something about its image.",
        )
    }</p>
{tables.density_table(result)}
{_paper(result, "density")}"""


def _provenance(result: DemoResult) -> str:
    single = {key: value for key, value in result.provenance.items() if not isinstance(value, Mapping)}
    command = single.pop("command", "")
    nested = {key: value for key, value in result.provenance.items() if isinstance(value, Mapping)}
    known = {name for figures_ in tables.PAPER_FIGURES.values() for name in figures_}
    other = {name: value for name, value in result.paper.items() if name not in known}
    parts = [
        f"<pre><code>{escape(str(command))}</code></pre>" if command else "",
        tables.settings_table("Settings", single),
        *(tables.settings_table(str(name).capitalize(), values) for name, values in nested.items()),
        tables.settings_table("Attacks", {attack.name: attack.settings for attack in result.attacks}),
        tables.settings_table("The paper's other figures", other),
    ]
    return f"""<details><summary>Command, settings, sizes, versions and times</summary>
<div class="columns">{"".join(parts)}</div></details>"""


def _paper(result: DemoResult, section: str) -> str:
    found = tables.paper_table(result, section)
    if not found:
        return ""
    return (
        f'{found}<p class="caption">The paper\'s network, training and images are its own: compare with care.</p>'
    )


def _figure(data: str, alt: str, caption: str) -> str:
    return (
        f'<figure class="card"><img src="{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _text(*sentences: str) -> str:
    return escape(" ".join(sentence for sentence in sentences if sentence), quote=False)
