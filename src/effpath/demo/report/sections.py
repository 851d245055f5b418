"""The sections of the page, one function each, in its order."""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape
from string import Template

from effpath.demo.report import figures, pictures, tables
from effpath.demo.report.parts import figure, paragraph
from effpath.demo.report.words import PAPERS, count, detector_name, listing, number, percent, sizes, why
from effpath.demo.result import DemoResult, Example

CLOSE = 0.2  # false positive rate up to which a curve is shown again
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


def attacks(result: DemoResult) -> str:
    """Attacks, and how well each detector finds them."""
    known, sources = result.detectors, result.provenance.get("sources")
    parts = {"train": "to train the detectors", "calibrate": "to fix the thresholds", "test": "to test"}
    split = ""
    if isinstance(sources, Mapping) and sources:
        sizes = listing([f"{count(int(size))} {parts.get(part, part)}" for part, size in sources.items()])
        split = f"Source images: {sizes}; an image and everything made of it are always in the same part."
    return "\n".join(
        [
            paragraph(
                "An attack changes an image that the network gets right until it gets it wrong.",
                "AUC is how often a random adversarial image looks more suspicious than a random clean one; small "
                "figures are 95\u202f% intervals over source images, and the highest AUC of each row is marked.",
                "Joint similarity is the paper's detector, called linear in the tables."
                if PAPERS in known
                else "",
                "Joint surprise, called surprise, is ours." if "surprise" in known else "",
            ),
            tables.attack_table(result),
            tables.auc_table(result),
            paragraph(
                "The attackers knew the network but not the detectors; one who knows both can do better.",
                "Attacks that look for the smallest change stop just past the border between two classes, which "
                "also shows in the network's own confidence: there, baselines without paths are strong.",
                "A dash as size: made from nothing, not from a clean image; such an image is of no class."
                if any(math.isnan(attack.l2) for attack in result.attacks)
                else "",
                kind="caption",
            ),
            tables.threshold_table(result),
            paragraph(
                split,
                "Each threshold was fixed on clean images alone and serves all attacks; on other clean images the "
                "share flagged comes out a little different.",
                kind="caption",
            ),
            paragraph(_retraining(result), kind="caption"),
            _paper(result, "detection"),
        ]
    )


def _retraining(result: DemoResult) -> str:
    fingerprint = str(result.provenance.get("fingerprint", ""))
    which = f" (its fingerprint begins {fingerprint[:12]})" if fingerprint else ""
    return (
        f"Intervals are over images, for this one network{which}; they leave out that a network trained again, "
        "with another seed or on another kind of processor, gives other numbers."
    )


def classes(result: DemoResult) -> str:
    """Class paths and how alike they are."""
    mean, special = number(result.mean_class_similarity, 2), result.most_special
    share, lowest = percent(result.mean_class_similarity, 0), number(float(result.class_means.min()), 2)
    heatmap = figure(
        lambda narrow: figures.class_similarity(result, narrow),
        "classes",
        title="Similarity of the class paths",
        size=f"n = {len(result.classes)} classes, {count(sum(result.class_images))} training images",
        alt=f"Heatmap of the similarity of {len(result.classes)} class paths: mean {mean}, lowest for {special}.",
        see="Each square compares two class paths. Dark: the classes use different synapses. Bright: they share "
        f"many. The row of {special} is the darkest.",
    )
    return "\n".join(
        [
            paragraph(
                "A class path is the union of the effective paths of a class's training images: the synapses that "
                "the network uses for this class.",
                f"Of all synapses that either of two classes uses, both use {share} on average: a Jaccard "
                f"similarity of {mean}.",
                f"The most special class is {special}, with a mean of {lowest}: it shares least with the others.",
            ),
            f'<div class="pair">{heatmap}<div>{tables.class_table(result)}{_paper(result, "classes")}</div></div>',
        ]
    )


def layers(result: DemoResult) -> str:
    """Image-class path similarity by layer (Fig. 5)."""
    main = result.headline
    said = {
        1: "Share of an image's own path that lies in the class path of the predicted class. An adversarial image "
        "that lies below the clean ones reached its class by unusual synapses.",
        2: "The same for the class with the second highest score. An adversarial image that lies above the clean "
        "ones often has its true class in second place, on the usual synapses.",
    }
    shown = [
        figure(
            lambda narrow, rank=rank: figures.layer_similarity(result, rank, narrow),  # type: ignore[misc]
            f"layers-{rank}",
            title=f"Rank-{rank} path similarity by layer: the {'predicted' if rank == 1 else 'second'} class",
            size=sizes({group: len(values) for group, values in result.similarity.items()}),
            alt=f"Rank-{rank} path similarity by layer ({listing(result.layers)}); medians of clean images: "
            f"{listing([number(value, 2) for value in figures.medians(result, 'clean', rank)])}.",
            see=see,
        )
        for rank, see in said.items()
    ]
    return "\n".join(
        [
            paragraph(
                "Lines are medians over test images, bands hold the middle 80\u202f%; layers run from input to "
                "output.",
                "Joint similarity adds up rank 1, weighted, and subtracts rank 2: low means adversarial.",
                "Joint surprise leaves rank 2 out, and asks beside rank 1 whether the path fits another class "
                "better, and whether the network is unusually unsure or sure."
                if main == "surprise"
                else "",
            ),
            f'<div class="pair">{"".join(shown)}</div>',
        ]
    )


def roc(result: DemoResult) -> str:
    """ROC curves of the headline's detector and of the paper's."""
    main = result.headline
    detectors = [main, *([PAPERS] if PAPERS in result.detectors and main != PAPERS else [])]
    return "\n".join(
        [
            paragraph(
                f"What {listing([detector_name(name) for name in detectors])} catch"
                f"{'es' if len(detectors) == 1 else ''}, for every false alarm rate that one might accept.",
                "Symbols on the dotted line show the threshold in use: "
                f"{listing([f'{detector_name(name)} flags {percent(result.fpr[name])}' for name in detectors])} "
                "of the clean test images.",
            ),
            *(f'<div class="pair">{_curves(result, name)}</div>' for name in detectors),
        ]
    )


def _curves(result: DemoResult, detector: str) -> str:
    name = detector_name(detector)
    whose = f"{name}, the paper's detector" if detector == PAPERS else name
    found = ", ".join(f"{attack.name} {number(attack.scores[detector].auc.value)}" for attack in result.attacks)
    size = sizes({group: len(values) for group, values in result.roc[detector].items()})
    whole = figure(
        lambda narrow: figures.roc_curves(result, detector, 1.0, narrow),
        f"roc-{detector}",
        title=f"ROC of {whose}",
        size=size,
        alt=f"ROC curves of {name}; AUC: {found}.",
        see="Further up and to the left is better; the grey diagonal is chance.",
    )
    close = figure(
        lambda narrow: figures.roc_curves(result, detector, CLOSE, narrow),
        f"close-{detector}",
        title=f"{name.capitalize()}, close-up: at most {percent(CLOSE, 0)} false positives",
        size=size,
        alt=f"The same ROC curves at false positive rates up to {CLOSE}; "
        f"threshold at {percent(result.fpr[detector])}.",
        see="The end that matters in use, where few clean images are flagged: the sooner a curve rises, the "
        "better.",
    )
    return whole + close


def scores(result: DemoResult) -> str:
    """How suspicious each group is."""
    main = result.headline
    flagged = ", ".join(f"{attack.name} {percent(attack.scores[main].tpr.value)}" for attack in result.attacks)
    return figure(
        lambda narrow: figures.suspicion_scores(result, narrow),
        "scores",
        title=f"Suspicion by {detector_name(main)}",
        size=sizes({group: len(values) for group, values in result.roc[main].items()}),
        alt=f"Distribution of suspicion scores; flagged: clean {percent(result.fpr[main])}, {flagged}.",
        see=f"How suspicious {detector_name(main)} finds each test image, by group; each hill is scaled to its "
        "own height. Everything right of the dashed threshold is flagged. The less a coloured hill overlaps the "
        "clean one, the better.",
        kind="card alone",
    )


def examples(result: DemoResult) -> str:
    """Flagged images and why."""
    if not result.examples:
        return paragraph("No adversarial image was flagged whose clean original was not.")
    return "\n".join(
        [
            paragraph(
                "Adversarial test images that were flagged while their clean originals were not, and where their "
                "paths differ.",
                "They are the most suspicious of their kind, so clearer than most.",
            ),
            *(_example(result, example, f"example-{at}") for at, example in enumerate(result.examples)),
        ]
    )


def _example(result: DemoResult, example: Example, key: str) -> str:
    change, times = pictures.difference(example)
    meaning = "grey: unchanged" if len(example.clean) == 3 else "orange: brighter, blue: darker"
    shown = [
        (pictures.picture(example.clean), "clean", f"read as {example.label}"),
        (pictures.picture(example.adversarial), example.attack, f"read as {example.predicted}"),
        (pictures.picture(change), f"difference × {times:.1f}", meaning),
    ]
    kinds = ("pixels", "pixels", "pixels" if len(example.clean) == 3 else "pixels change")
    chart = figure(
        lambda narrow: figures.example_similarity(result, example, narrow),
        key,
        title="Path similarity of the two images, by layer",
        size="n = 2 images",
        alt=f"Path similarity by layer of the clean and the {example.attack} image, rank 1 above rank 2.",
        see="Rank 1: lower bars than the clean image's speak for an attack. Rank 2: higher bars do.",
    )
    return _EXAMPLE.substitute(
        attack=tables.chip(result, example.attack),
        label=escape(example.label),
        predicted=escape(example.predicted),
        images="".join(
            f'<figure><img class="{kind}" src="{data}" alt="{escape(f"{name}: {text}")}">'
            f"<figcaption><strong>{escape(name)}</strong><br>{escape(text)}</figcaption></figure>"
            for kind, (data, name, text) in zip(kinds, shown, strict=True)
        ),
        verdicts=" ".join(
            _verdict(name, score, example.threshold)
            for name, score in (("clean", example.clean_score), ("adversarial", example.score))
        ),
        threshold=number(example.threshold, 2),
        why=paragraph(*why(example, result.layers)),
        chart=chart,
    )


def _verdict(name: str, score: float, threshold: float) -> str:
    word, kind = ("flagged", "bad") if score > threshold else ("not flagged", "good")
    return f'<span class="verdict {kind}">{name}: suspicion {number(score, 2)}, {word}</span>'


def density(result: DemoResult) -> str:
    """How much of the network the overall path takes."""
    return "\n".join(
        [
            paragraph(
                "How much of the network the training images need together: the share of synapses, neurons and "
                "weights that are in the effective path of at least one of them.",
            ),
            tables.density_table(result),
            _paper(result, "density"),
        ]
    )


def provenance(result: DemoResult) -> str:
    """Command, settings, sizes, versions and times."""
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
    note = paragraph("The paper's training and images are its own: compare with care.", kind="caption")
    return found and found + note
