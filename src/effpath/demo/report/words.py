"""Numbers and findings in plain words; every sentence comes from the result."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from effpath.demo.result import AttackResult, DemoResult, Example
from effpath.detect.evaluate import BASELINES
from effpath.detect.explain import sign_said
from effpath.detect.metrics import Interval
from effpath.detect.signs.profiles import PROFILES
from effpath.views.page.words import count, detector_name, listing, number, percent, span, unbroken

PAPERS = "linear"
"""The detector of the paper."""
PATHS = "surprise"
"""Our detector of path similarities, whose AUC is told beside that of a headline that reads none."""


def shown_detectors(result: DemoResult) -> list[str]:
    """Return the detectors that are shown at length: the headline's and the paper's."""
    papers = PAPERS in result.detectors and result.headline != PAPERS
    return [result.headline, *([PAPERS] if papers else [])]


def reads_similarities(detector: str) -> bool:
    """Tell whether a detector looks at path similarities."""
    profile = PROFILES.get(detector)
    return detector not in BASELINES and (profile is None or profile.walks > 0)


def ends(interval: Interval, write: Any = number) -> str:
    """Return the ends of an interval, with their unit once.

    >>> ends(Interval(0.95, 0.94, 0.96), percent)
    '94–96'
    """
    low, high = (write(end).removesuffix("\u202f%") for end in interval[1:])
    return f"{low}–{high}"


def aucs(result: DemoResult, detector: str) -> dict[str, Interval]:
    """Return the AUC of one detector, by attack."""
    return {attack.name: attack.scores[detector].auc for attack in result.attacks}


def success(attack: AttackResult) -> float:
    """Return the share of the attacked images that fooled the network; NaN where none was tried."""
    return attack.succeeded / attack.tried if attack.tried else math.nan


def sizes(lengths: Mapping[str, int]) -> str:
    """Return how many images are in a figure.

    >>> sizes({"clean": 493, "FGSM": 493}), sizes({"clean": 493, "FGSM": 80})
    ('n = 493 test images of each group', 'n = 493 clean and 80 FGSM test images')
    """
    if len(set(lengths.values())) == 1:
        return f"n = {count(next(iter(lengths.values())))} test images of each group"
    return f"n = {listing([f'{count(length)} {name}' for name, length in lengths.items()])} test images"


def summary(result: DemoResult) -> list[str]:
    """Return what was found, sentence by sentence; it says where a baseline is better."""
    main, attacks = result.headline, result.attacks
    unseen = [attack.name for attack in attacks if not attack.seen]
    flagged = [attack.scores[main].tpr.value for attack in attacks]
    ways = "one way" if len(attacks) == 1 else f"{len(attacks)} ways"
    sentences = [
        f"{result.network} classifies {percent(result.accuracy)} of {count(result.test_images)} test images "
        f"correctly.",
        f"The effective paths of {count(sum(result.overview.class_images))} correctly classified training images "
        f"together use {percent(result.overview.density['synapses'])} of its synapses.",
        f"We attacked {count(max(attack.tried for attack in attacks))} test images in {ways}: "
        f"{listing([attack.name for attack in attacks])}.",
        f"{detector_name(main).capitalize()} tells adversarial test images from clean ones with an AUC of "
        f"{_range(result, main)}; 1 is perfect, 0.5 is chance.",
    ]
    if PATHS in result.detectors and not reads_similarities(main):
        named = detector_name(PATHS)
        sentences += [f"It reads no path similarity; {named}, which does, has an AUC of {_range(result, PATHS)}."]
    if PAPERS in result.detectors and main != PAPERS:
        sentences += [f"The paper's detector, {detector_name(PAPERS)}, has an AUC of {_range(result, PAPERS)}."]
    sentences += [
        f"At one threshold for all attacks {'it' if main == PAPERS else detector_name(main)} flags "
        f"{span(flagged, percent)} of the adversarial images and {percent(result.fpr[main])} of the clean ones"
        f"{expected_fpr(result)}.",
    ]
    if math.isinf(result.threshold[main]):
        sentences += ["There were too few clean images to fix a threshold, so that nothing is flagged."]
    return sentences + [f"No detector was trained on {listing(unseen)}."] * bool(unseen)


def tiles(result: DemoResult) -> dict[str, str]:
    """Return the numbers that a reader wants first, by what they are."""
    main, attacks = result.headline, result.attacks
    papers = [attack.scores[PAPERS].auc.value for attack in attacks if PAPERS in attack.scores]
    flagged = span([attack.scores[main].tpr.value for attack in attacks], percent)
    return {
        "test images classified correctly": percent(result.accuracy),
        "of the synapses in the overall path": percent(result.overview.density["synapses"]),
        "test images attacked": count(max(attack.tried for attack in attacks)),
        f"AUC of {detector_name(main)}": span([attack.scores[main].auc.value for attack in attacks]),
        **({f"AUC of {detector_name(PAPERS)}, the paper's": span(papers)} if papers and main != PAPERS else {}),
        "adversarial images flagged, by attack": flagged.replace("\u202f% to ", " to "),
        "clean images flagged": percent(result.fpr[main]),
    }


def source_images(result: DemoResult) -> str:
    """Return how the clean images were divided, as a sentence; nothing where it is not known."""
    sources = result.provenance.get("sources")
    if not isinstance(sources, Mapping) or not sources:
        return ""
    parts = {"train": "to train the detectors", "calibrate": "to fix the thresholds", "test": "to test"}
    divided = listing([f"{count(int(size))} {parts.get(part, part)}" for part, size in sources.items()])
    return f"Source images: {divided}; an image and everything made of it are always in the same part."


def threshold_said(result: DemoResult) -> str:
    """Return how thresholds were fixed, and how far from the expected rate that leaves them."""
    said = "Each threshold was fixed on clean images alone and serves all attacks"
    found = result.true_rate
    if found is None:
        return f"{said}."
    flag = f"flag {ends(found, percent)}\u202f% of other clean images"
    return f"{said}; of thresholds that are fixed on as many, nine in ten {flag}."


def expected_fpr(result: DemoResult) -> str:
    """Return the rate that thresholds were fixed for, in brackets."""
    expected = result.provenance.get("fpr")
    return f" (expected {percent(float(expected))})" if isinstance(expected, (int, float)) else ""


def flagged_clean(result: DemoResult, detectors: Sequence[str]) -> str:
    """Return what share of the clean test images each detector flags."""
    return listing([f"{detector_name(name)} flags {percent(result.fpr[name])}" for name in detectors])


def _range(result: DemoResult, detector: str) -> str:
    found = aucs(result, detector)
    worst, best = (by(found, key=lambda name: found[name].value) for by in (min, max))
    if worst == best:
        return f"{number(found[best].value)} ({best})"
    return f"{number(found[worst].value)} ({worst}) to {number(found[best].value)} ({best})"


def against_baselines(result: DemoResult) -> list[str]:
    """Return who wins where: the detector of the headline, or a baseline that looks at the logits alone."""
    main = result.headline
    ours = aucs(result, main)
    baselines = [name for name in result.detectors if name in BASELINES and name != main]
    if not baselines:
        return []
    others = [aucs(result, name) for name in baselines]
    sentences = []
    for name, other in zip(baselines, others, strict=True):
        higher = [attack for attack in ours if other[attack].value > ours[attack].value]
        apart = [attack for attack in higher if other[attack].low > ours[attack].high]
        if not higher:
            continue
        where = f"on every attack ({listing(higher)})" if len(higher) == len(ours) else f"on {listing(higher)}"
        if apart:
            sure = f"; the 95\u202f% intervals do not overlap {_of(apart, higher)}"
        else:
            sure = "; the 95\u202f% intervals overlap, so this may be chance"
        sentences.append(
            f"{name.capitalize()}, which looks at the logits alone, has the higher AUC {where}{sure}."
        )
    won = [attack for attack in ours if all(other[attack].value < ours[attack].value for other in others)]
    rivals = "the baseline" if len(baselines) == 1 else f"every baseline ({listing(baselines)})"
    if won:
        where = "every attack" if len(won) == len(ours) else listing(won)
        sentences.append(f"{detector_name(main).capitalize()} has a higher AUC than {rivals} on {where}.")
    else:
        sentences.append(f"On no attack does {detector_name(main)} have a higher AUC than {rivals}.")
    return sentences


def _of(some: Sequence[str], all_: Sequence[str]) -> str:
    if len(some) == len(all_):
        return "on any of them" if len(some) > 1 else "there"
    return f"on {listing(some)}"


def why(example: Example, layers: Sequence[str]) -> list[str]:
    """Return in which layers the adversarial image's paths differ most from the clean one's."""
    first, second = np.split(example.similarity - example.clean_similarity, 2)  # rank 1, rank 2
    sentences = []
    if not np.isnan(first).all() and np.nanmin(first) < 0:
        layer = int(np.nanargmin(first))
        sentences.append(
            f"In {layers[layer]}, {percent(example.similarity[layer])} of the synapses behind "
            f"“{example.predicted}” are in that class's path; for the clean image and “{example.label}” it is "
            f"{percent(example.clean_similarity[layer])}."
        )
    if not np.isnan(second).all() and np.nanmax(second) > 0:
        layer = int(np.nanargmax(second))
        column = layer + len(layers)
        sentences.append(
            f"The runner-up class fits unusually well: in {layers[layer]}, "
            f"{percent(example.similarity[column])} of its synapses are in its class path, against "
            f"{percent(example.clean_similarity[column])} in the clean image."
        )
    return sentences or [f"No single layer stands out{'' if example.signs else '; the sum over all layers does'}."]


def signs_told(example: Example) -> list[str]:
    """Return what the strongest signs of an example say, and how rare that is."""
    return [unbroken(sign_said(*sign)) for sign in example.strongest]
