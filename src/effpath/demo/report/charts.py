"""The figures of the report: what each draws, what it is called, and what there is to see."""

from __future__ import annotations

from functools import partial

from effpath.demo.report import figures
from effpath.demo.report.drawing import tone
from effpath.demo.report.words import PAPERS, sizes
from effpath.demo.result import DemoResult, Example
from effpath.views.page.charts import suspicion_figure
from effpath.views.page.inline import Chart
from effpath.views.page.words import detector_name, listing, number, percent

CLOSE = 0.2  # false positive rate up to which a curve is shown again


def layers(result: DemoResult) -> list[Chart]:
    """Return the image-class path similarity by layer (Fig. 5), of rank 1 and of rank 2."""
    see = {
        1: "Share of an image's own path that lies in the class path of the predicted class. An adversarial image "
        "that lies below the clean ones reached its class by unusual synapses.",
        2: "The same for the class with the second highest score. An adversarial image that lies above the clean "
        "ones often has its true class in second place, on the usual synapses.",
    }
    return [
        Chart(
            partial(figures.layer_similarity, result, rank),
            f"layers-{rank}",
            title=f"Rank-{rank} path similarity by layer: the {'predicted' if rank == 1 else 'second'} class",
            size=sizes({group: len(values) for group, values in result.similarity.items()}),
            alt=f"Rank-{rank} path similarity by layer ({listing(result.layers)}); medians of clean images: "
            f"{listing([number(value, 2) for value in figures.medians(result, 'clean', rank)])}.",
            see=see[rank],
        )
        for rank in (1, 2)
    ]


def roc(result: DemoResult, detector: str) -> list[Chart]:
    """Return the ROC curves of a detector, whole and close up."""
    name = detector_name(detector)
    found = ", ".join(f"{attack.name} {number(attack.scores[detector].auc.value)}" for attack in result.attacks)
    size = sizes({group: len(values) for group, values in result.roc[detector].items()})
    whole = Chart(
        partial(figures.roc_curves, result, detector, 1.0),
        f"roc-{detector}",
        title=f"ROC of {name}" + (", the paper's detector" if detector == PAPERS else ""),
        size=size,
        alt=f"ROC curves of {name}; AUC: {found}.",
        see="Further up and to the left is better; the grey diagonal is chance.",
    )
    close = Chart(
        partial(figures.roc_curves, result, detector, CLOSE),
        f"close-{detector}",
        title=f"{name.capitalize()}, close-up: at most {percent(CLOSE)} false positives",
        size=size,
        alt=f"The same ROC curves at false positive rates up to {CLOSE}; "
        f"threshold at {percent(result.fpr[detector])}.",
        see="The end that matters in use, where few clean images are flagged: the sooner a curve rises, the "
        "better.",
    )
    return [whole, close]


def scores(result: DemoResult) -> Chart:
    """Return how suspicious each group is."""
    main = result.headline
    groups = {group: result.roc[main][group] for group in ("clean", *(attack.name for attack in result.attacks))}
    tones = {group: tone(result, group) for group in groups}
    flagged = ", ".join(f"{attack.name} {percent(attack.scores[main].tpr.value)}" for attack in result.attacks)
    return Chart(
        partial(suspicion_figure, groups, result.threshold[main], tones),
        "scores",
        title=f"Suspicion by {detector_name(main)}",
        size=sizes({group: len(values) for group, values in result.roc[main].items()}),
        alt=f"Distribution of suspicion scores; flagged: clean {percent(result.fpr[main])}, {flagged}.",
        see=f"How suspicious {detector_name(main)} finds each test image, by group; each hill is scaled to its "
        "own height. Everything right of the dashed threshold is flagged. The less a coloured hill overlaps the "
        "clean one, the better.",
    )


def example(result: DemoResult, shown: Example, place: int) -> Chart:
    """Return the path similarity of a flagged image and of its clean original."""
    return Chart(
        partial(figures.example_similarity, result, shown),
        f"example-{place}",
        title="Path similarity of the two images, by layer",
        size="n = 2 images",
        alt=f"Path similarity by layer of the clean and the {shown.attack} image, rank 1 above rank 2.",
        see="Rank 1: lower bars than the clean image's speak for an attack. Rank 2: higher bars do.",
    )
