"""The page: its sections, in the order in which a reader wants them."""

from __future__ import annotations

import math
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
_SECTION = Template("""<section id="$key" aria-labelledby="$key-title">
<h2 id="$key-title">$title</h2>
$body
</section>""")
_EXAMPLE = Template("""<article>
<h3>$attack: $label taken for $predicted</h3>
<div class="example"><div>
<div class="pictures">$images</div>
<p>$verdicts <span class="muted">threshold $threshold</span></p>
$why
</div>
$chart
</div>
</article>""")


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
            _SECTION.substitute(key=key, title=title, body=body) for key, (title, body) in sections.items()
        ),
    )


def _summary(result: DemoResult) -> str:
    main = main_detector(result)
    scores = [attack.scores[main] for attack in result.attacks]
    tiles = {
        "test images classified correctly": percent(result.accuracy),
        "of the synapses in the overall path": percent(result.density["synapses"]),
        "test images attacked": count(max(attack.tried for attack in result.attacks)),
        f"AUC of the {detector_name(main)}": span([score.auc.value for score in scores]).replace(" to ", "–"),
        "adversarial images flagged, by attack": span([100 * score.tpr.value for score in scores], _whole)
        + "\u202f%",
        "clean images flagged": percent(result.fpr[main]),
    }
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{value}</dd></div>" for name, value in tiles.items())
    rivals = against_baselines(result)
    return "\n".join(
        [
            _paragraph(*summary(result), kind="lead"),
            f'<dl class="tiles">{shown.replace(" to ", "–")}</dl>',
            f'<p class="note"><strong>Beside the baselines.</strong> {_text(*rivals)}</p>' if rivals else "",
        ]
    )


def _attacks(result: DemoResult) -> str:
    main = main_detector(result)
    sources = result.provenance.get("sources")
    parts = {"train": "to train the detectors", "calibrate": "to fix the thresholds", "test": "to test"}
    split = ""
    if isinstance(sources, Mapping) and sources:
        sizes = listing([f"{count(int(size))} {parts.get(part, part)}" for part, size in sources.items()])
        split = f"Source images: {sizes}; an image and everything made of it are always in the same part."
    return "\n".join(
        [
            _paragraph(
                "An attack changes an image that the network gets right until it gets it wrong.",
                "AUC is how often a random adversarial image looks more suspicious than a random clean one; small "
                "figures are 95\u202f% intervals over source images, and the highest AUC of each row is marked.",
                "The linear detector is the paper's joint similarity." if main == "linear" else "",
            ),
            tables.attack_table(result),
            _paragraph(
                "The attackers knew the network but not the detectors; one who knows both can do better.",
                "Attacks that look for the smallest change stop just past the border between two classes, which "
                "also shows in the network's own confidence: there, baselines without paths are strong.",
                "A dash as size: made from nothing, not from a clean image; such an image is of no class."
                if any(math.isnan(attack.l2) for attack in result.attacks)
                else "",
                kind="caption",
            ),
            tables.threshold_table(result),
            _paragraph(
                split,
                "Each threshold was fixed on clean images alone and serves all attacks; on other clean images the "
                "share flagged comes out a little different.",
                kind="caption",
            ),
            _paper(result, "detection"),
        ]
    )


def _classes(result: DemoResult) -> str:
    mean, special = number(result.mean_class_similarity, 2), result.most_special
    share, lowest = percent(result.mean_class_similarity, 0), number(float(result.class_means.min()), 2)
    heatmap = _figure(
        figures.svg(lambda: figures.class_similarity(result)),
        f"Heatmap of the similarity of {len(result.classes)} class paths: mean {mean}, lowest for {special}.",
        "Each square compares two class paths. Dark: the classes use different synapses. Bright: they share many.",
    )
    return "\n".join(
        [
            _paragraph(
                "A class path is the union of the effective paths of a class's training images: the synapses that "
                "the network uses for this class.",
                f"Of all synapses that either of two classes uses, both use {share} on average: a Jaccard "
                f"similarity of {mean}.",
                f"The most special class is {special}, with a mean of {lowest}: it shares least with the others.",
            ),
            f'<div class="pair">{heatmap}<div>{tables.class_table(result)}{_paper(result, "classes")}</div></div>',
        ]
    )


def _layers(result: DemoResult) -> str:
    said = {
        1: "Share of an image's own path that lies in the class path of the predicted class. An adversarial image "
        "that lies below the clean ones reached its class by unusual synapses.",
        2: "The same for the class with the second highest score. An adversarial image that lies above the clean "
        "ones often has its true class in second place, on the usual synapses.",
    }
    shown = [
        _figure(
            figures.svg(lambda rank=rank: figures.layer_similarity(result, rank)),  # type: ignore[misc]
            f"Rank-{rank} path similarity by layer ({listing(result.layers)}); medians of clean images: "
            f"{listing([number(value, 2) for value in figures.medians(result, 'clean', rank)])}.",
            caption,
        )
        for rank, caption in said.items()
    ]
    return "\n".join(
        [
            _paragraph(
                "Lines are medians over test images, bands hold the middle 80\u202f%; layers run from input to "
                "output.",
                "The joint similarity adds up rank 1, weighted, and subtracts rank 2: low means adversarial.",
            ),
            f'<div class="pair">{"".join(shown)}</div>',
        ]
    )


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
    return "\n".join(
        [
            _paragraph(
                f"What the {detector_name(main)} catches, for every false alarm rate that one might accept.",
                f"Symbols on the dotted line show the threshold in use: {percent(result.fpr[main])} of the clean "
                "test images are flagged.",
            ),
            f'<div class="pair">{whole}{close}</div>',
        ]
    )


def _scores(result: DemoResult) -> str:
    main = main_detector(result)
    flagged = ", ".join(f"{attack.name} {percent(attack.scores[main].tpr.value)}" for attack in result.attacks)
    return _figure(
        figures.svg(lambda: figures.suspicion_scores(result)),
        f"Distribution of suspicion scores; flagged: clean {percent(result.fpr[main])}, {flagged}.",
        f"How suspicious the {detector_name(main)} finds each test image, by group; each hill is scaled to its "
        "own height. Everything right of the dashed threshold is flagged. The less a coloured hill overlaps the "
        "grey one, the better.",
        "card wide",
    )


def _examples(result: DemoResult) -> str:
    if not result.examples:
        return _paragraph("No adversarial image was flagged whose clean original was not.")
    return "\n".join(
        [
            _paragraph(
                "Adversarial test images that were flagged while their clean originals were not, and the path "
                "similarities that gave them away.",
                "They are the most suspicious of their kind, so clearer than most.",
            ),
            *(_example(result, example) for example in result.examples),
        ]
    )


def _example(result: DemoResult, example: Example) -> str:
    change, times = figures.difference(example)
    meaning = "grey: unchanged" if len(example.clean) == 3 else "orange: brighter, blue: darker"
    pictures = [
        (figures.picture(example.clean), "clean", f"read as {example.label}"),
        (figures.picture(example.adversarial), example.attack, f"read as {example.predicted}"),
        (figures.picture(change), f"difference × {times:.1f}", meaning),
    ]
    chart = _figure(
        figures.svg(lambda: figures.example_similarity(result, example)),
        f"Path similarity by layer of the clean and the {example.attack} image, rank 1 above rank 2.",
        "Similarity of the two images' paths with the class paths, by layer.",
    )
    return _EXAMPLE.substitute(
        attack=tables.chip(result, example.attack),
        label=escape(example.label),
        predicted=escape(example.predicted),
        images="".join(
            f'<figure><img class="pixels" src="{data}" alt="{escape(f"{name}: {text}")}">'
            f"<figcaption><strong>{escape(name)}</strong><br>{escape(text)}</figcaption></figure>"
            for data, name, text in pictures
        ),
        verdicts=" ".join(
            _verdict(name, score, example.threshold)
            for name, score in (("clean", example.clean_score), ("adversarial", example.score))
        ),
        threshold=number(example.threshold, 2),
        why=_paragraph(*why(example, result.layers)),
        chart=chart,
    )


def _verdict(name: str, score: float, threshold: float) -> str:
    word, kind = ("flagged", "bad") if score > threshold else ("not flagged", "good")
    return f'<span class="verdict {kind}">{name}: suspicion {number(score, 2)}, {word}</span>'


def _density(result: DemoResult) -> str:
    return "\n".join(
        [
            _paragraph(
                "How much of the network the training images need together: the share of synapses, neurons and "
                "weights that are in the effective path of at least one of them.",
            ),
            tables.density_table(result),
            _paper(result, "density"),
        ]
    )


def _provenance(result: DemoResult) -> str:
    single = {key: value for key, value in result.provenance.items() if not isinstance(value, Mapping)}
    nested = {key: value for key, value in result.provenance.items() if isinstance(value, Mapping)}
    command = single.pop("command", "")
    known = {name for names in tables.PAPER_FIGURES.values() for name in names}
    parts = [
        f"<pre><code>{escape(str(command))}</code></pre>" if command else "",
        tables.settings_table("Settings", single),
        *(tables.settings_table(str(name).capitalize(), values) for name, values in nested.items()),
        tables.settings_table("Attacks", {attack.name: attack.settings for attack in result.attacks}),
        tables.settings_table(
            "The paper's other figures", {name: value for name, value in result.paper.items() if name not in known}
        ),
    ]
    return (
        "<details><summary>Command, settings, sizes, versions and times</summary>\n"
        f'<div class="columns">{"".join(parts)}</div></details>'
    )


def _paper(result: DemoResult, section: str) -> str:
    found = tables.paper_table(result, section)
    note = _paragraph("The paper's training and images are its own: compare with care.", kind="caption")
    return found and found + note


def _figure(data: str, alt: str, caption: str, kind: str = "card") -> str:
    return (
        f'<figure class="{kind}"><img src="{data}" alt="{escape(alt)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _paragraph(*sentences: str, kind: str = "") -> str:
    start = f'<p class="{kind}">' if kind else "<p>"
    return f"{start}{_text(*sentences)}</p>"


def _text(*sentences: str) -> str:
    return escape(" ".join(sentence for sentence in sentences if sentence), quote=False)


def _whole(value: float) -> str:
    return number(value, 0)
