"""What pages say of a network, its class paths and its detector: sentences, numbers, and the rows of tables."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from effpath.views.page.words import (
    DASH,
    DETECTORS,
    SENTENCE_NAMES,
    count,
    listing,
    number,
    percent,
    plain,
    similarity,
    span,
)

if TYPE_CHECKING:
    from effpath.views.report.findings import Calibration, Findings
    from effpath.views.report.overview import Overview
    from effpath.views.report.report import Report

ENDS = 6  # classes at either end of a table of many
IMAGES = 20  # rows of a table of images
TITLES = {
    "network": "The network",
    "classes": "Class paths",
    "apart": "Layers that tell classes apart",
    "density": "Density of the overall path",
    "calibration": "The detector",
    "verdicts": "Verdicts on images",
    "examples": "Flagged images, explained",
}
"""Sections of a report, by their ids."""
_NEEDS = {"calibration": "calibration", "verdicts": "findings", "examples": "findings"}


def sections_of(found: Report) -> dict[str, str]:
    """Return the titles of a report's sections, by their ids: those that there is something to say in."""
    return {key: title for key, title in TITLES.items() if getattr(found, _NEEDS.get(key, "overview")) is not None}


def introduction(found: Report) -> list[str]:
    """Say what a report is of and what it found, sentence by sentence."""
    seen = found.overview
    layers, synapses = _counted(len(seen.layers), "layer"), count(sum(layer.synapses for layer in seen.layers))
    level, share = next(iter(seen.density.items()))
    said = [
        f"{seen.name} has {count(seen.outputs)} outputs; its class paths cover {layers} with {synapses} synapses.",
        f"The effective paths of {count(sum(seen.class_images))} correctly classified images of "
        f"{count(len(seen.classes))} classes together use {percent(share)} of the {level}.",
        *classes_said(seen),
    ]
    if found.calibration is not None:
        said += calibration_said(found.calibration)[1:2]
    if found.findings is not None:
        said += findings_said(found.findings)
    return said


def tiles_of(found: Report) -> dict[str, str]:
    """Return the numbers that a reader wants first, by what they are."""
    seen = found.overview
    level, share = next(iter(seen.density.items()))
    shown = {
        "classes with a class path": count(len(seen.classes)),
        "images behind the class paths": count(sum(seen.class_images)),
        f"of the {level} in the overall path": percent(share),
        "mean similarity of two class paths": similarity(seen.mean_class_similarity),
    }
    if found.calibration is not None and found.calibration.threshold is not None:
        shown["suspicion above which an image is flagged"] = _limits(found.calibration)
    if found.findings is not None:
        summary = found.findings.summary
        shown["images flagged"] = f"{count(summary.flagged)} of {count(summary.images)}"
    return shown


def facts(seen: Overview) -> dict[str, str]:
    """Return what a network is and what its class paths were built from, by name."""
    from effpath import __version__

    images, options = sum(seen.class_images), seen.options
    kept = listing(list(seen.density)) + (", with use counts" if seen.counted else "")
    totals = [(name, sum(getattr(layer, name) for layer in seen.layers)) for name in ("neurons", "synapses")]
    return {
        "network": seen.name,
        "input": " × ".join(map(str, seen.input_shape)),
        "outputs": count(seen.outputs),
        "layers in the class paths": count(len(seen.layers)),
        "in these layers": listing([f"{count(total)} {name}" for name, total in totals]),
        "preset": f"{options.preset}, θ = {options.theta:g}" + (", gates followed" if options.gates else ""),
        "class paths built from": seen.data or DASH,
        "images": f"{count(images)} predicted correctly" + (f" of {count(seen.seen)}" if seen.seen else ""),
        "images per class": span(seen.class_images, count),
        "kept": kept,
        "fingerprint": seen.fingerprint,
        "made with": f"effpath {__version__}",
    }


def classes_said(seen: Overview) -> list[str]:
    """Say how alike the class paths are."""
    means, mean = seen.class_means, seen.mean_class_similarity
    said = [
        f"Of all {seen.level} that either of two classes uses, both use {percent(mean)} on average: a Jaccard "
        f"similarity of {similarity(mean)}."
    ]
    if len(seen.classes) == 2:
        return said
    (close, far), (high, low) = _pairs(seen)
    return [
        *said,
        f"The most special class is {seen.most_special}, with a mean of {similarity(means.min())}: it shares "
        f"least with the others; the least special is {seen.least_special}, with {similarity(means.max())}.",
        f"The most similar two are {close} ({high}), the least similar {far} ({low}).",
    ]


def class_rows(seen: Overview) -> list[tuple[str, str, float | None]]:
    """Return name, images and mean similarity with the others of the classes, the most special first.

    Of many classes, the first and the last; between them is a row that says how many are left out.
    """
    means = seen.class_means
    order = [int(place) for place in means.argsort(kind="stable")]
    left_out = len(order) - 2 * ENDS
    shown = order if left_out <= 1 else [*order[:ENDS], *order[-ENDS:]]
    rows: list[tuple[str, str, float | None]] = [
        (seen.classes[place], count(seen.class_images[place]), float(means[place])) for place in shown
    ]
    if left_out > 1:
        rows.insert(ENDS, (f"{count(left_out)} more", "…", None))
    return rows


def every_class(seen: Overview) -> list[list[str]]:
    """Return a row of every class, in the order of the tree: name, images, densities, similarities."""
    rows = []
    for place in seen.tree.order.tolist():
        nearest = seen.nearest(place)
        rows.append(
            [
                seen.classes[place],
                count(seen.class_images[place]),
                *(percent(shares[place]) for shares in seen.class_density.values()),
                number(float(seen.class_means[place])),
                f"{seen.classes[nearest.second]}: {number(nearest.similarity)}",
            ]
        )
    return rows


def apart_said(seen: Overview) -> list[str]:
    """Say which layers tell classes apart best and worst."""
    known = [(key, value) for key, value in seen.layers_apart if not math.isnan(value)]
    if not known:
        return []
    (best, least), (worst, most) = known[0], known[-1]
    said = f"In {best} two class paths have the lowest similarity, {similarity(least)} on average"
    if len(known) == 1:
        return [f"{said}; the class paths cover no other layer."]
    return [f"{said}: it tells classes apart best. In {worst} they have the highest, {similarity(most)}."]


def apart_rows(seen: Overview) -> list[tuple[str, float, str]]:
    """Return layer (of weights, parameter), mean similarity and density of the overall path, the best first."""
    density = seen.layer_density.get(seen.level, {})
    return [(key, value, percent(density.get(key, math.nan))) for key, value in seen.layers_apart]


def longest(seen: Overview) -> float:
    """Return the highest mean similarity of a layer, which has the longest bar."""
    return max((value for _, value in seen.layers_apart if value > 0), default=1.0)


def density_rows(seen: Overview) -> list[tuple[str, list[list[float]]]]:
    """Return the densities of all layers together, then of each layer: for each level, of each of its sets."""
    found: dict[str, dict[str, list[float]]] = {layer.name: {} for layer in seen.layers}
    for level, shares in seen.layer_density.items():
        for name, share in shares.items():
            layer = name if name in found else name.rpartition(".")[0]
            row = layer if layer in found else name  # a parameter such as conv1.weight belongs to conv1
            found.setdefault(row, {}).setdefault(level, []).append(share)
    rows = [(layer, [levels.get(level, []) for level in seen.density]) for layer, levels in found.items()]
    return [("all layers", [[share] for share in seen.density.values()]), *rows]


def calibration_said(found: Calibration) -> list[str]:
    """Say what a detector is and how its threshold was fixed."""
    looks = DETECTORS.get(found.kind)
    said = [f"The detector is of kind {found.kind}" + (f" ({looks})." if looks else ".")]
    if found.threshold is None:
        return [
            *said,
            "The detector has no threshold yet and flags nothing: calibrate it on clean images.",
        ]
    whose = SENTENCE_NAMES.get(found.kind, "the detector")
    flags = f"An image is flagged where its suspicion by {whose} lies above {number(found.threshold, 2)}"
    if found.fpr is not None:
        flags += f", which at most {percent(found.fpr)} of new clean images exceed on average"
    if found.class_thresholds:
        limits = span(list(found.class_thresholds.values()), lambda value: number(value, 2))
        own = count(len(found.class_thresholds))
        flags += f"; in {own} of the classes above a limit of their own, {limits}, with the same promise for each "
        flags += "and for the others together"
    said.append(f"{flags}.")
    if found.quantiles and found.scores is not None:
        images = count(len(found.scores))
        said.append(
            f"The threshold was fixed on {images} clean images; {percent(found.above)} of these lie above."
        )
        if (mistakes := found.about.get("calibrated_mistakes")) is not None:
            said.append(f"The images drawn for it include the {count(mistakes)} that the network gets wrong.")
        elif "images" in found.about:
            said.append("It was fixed on images that the network gets right, and promises nothing of others.")
    else:
        said.append("The scores that it was fixed on are not known: an earlier version wrote the file.")
    return said


def _limits(found: Calibration) -> str:
    """Return the threshold, lowest to highest where classes have their own."""
    limits = [] if found.threshold is None else [found.threshold]
    return span([*limits, *found.class_thresholds.values()], lambda value: number(value, 2))


def calibration_facts(found: Calibration) -> dict[str, str]:
    """Return what a detector was made from, by name."""
    about = found.about
    parts = {"fit": "fitted on", "calibrate": "calibrated on"}
    images = about.get("images", {})
    shown = {
        "kind": found.kind,
        "threshold": DASH if found.threshold is None else number(found.threshold),
        **({"classes with a threshold of their own": count(own)} if (own := len(found.class_thresholds)) else {}),
        "requested false positive rate": DASH if found.fpr is None else percent(found.fpr),
        "clean images behind the threshold": DASH if found.scores is None else count(len(found.scores)),
        **{f"clean images {said}": count(images[name]) for name, said in parts.items() if name in images},
    }
    return shown | {name: plain(about[name]) for name in ("data", "part", "class_paths", "seed") if name in about}


def attack_rows(found: Calibration) -> list[list[str]]:
    """Return how the attacks went that a detector was fitted on: name, settings, succeeded, tried, share."""
    rows = []
    for name, made in found.about.get("attacks", {}).items():
        tried, succeeded = int(made.get("tried", 0)), int(made.get("succeeded", 0))
        share = percent(succeeded / tried) if tried else DASH
        rows.append([name, plain(made.get("settings")), count(succeeded), count(tried), share])
    return rows


def quantile_rows(found: Calibration) -> list[tuple[str, str]]:
    """Return the quantiles of the calibration scores, and what each is."""
    names: Mapping[float, str] = {0.0: "lowest", 0.5: "median", 1.0: "highest"}
    return [(names.get(share, percent(share)), number(value, 2)) for share, value in found.quantiles.items()]


def findings_said(found: Findings) -> list[str]:
    """Say how many images are flagged and, where labels are known, how many of them fool the network."""
    summary = found.summary
    said = [f"Flagged: {count(summary.flagged)} of {_counted(summary.images, 'image')}."]
    if summary.correct is not None and summary.fooling is not None and summary.fooling_flagged is not None:
        said.append(
            f"The network gets {count(summary.correct)} of {_counted(summary.labelled, 'labelled image')} right; "
            f"flagged among the {count(summary.fooling)} others: {count(summary.fooling_flagged)}."
        )
    return said


def image_rows(found: Findings) -> list[dict[str, Any]]:
    """Return the most suspicious images: name, whether flagged, and the cells of their row."""
    rows = []
    for row in found.order[:IMAGES]:
        verdict = found.verdicts[row]
        p_value = DASH if verdict.p_value is None else percent(verdict.p_value)
        cells = [found.title(verdict.predicted), found.title(verdict.runner_up), number(verdict.score, 2), p_value]
        rows.append({"name": found.names[row], "flagged": verdict.flagged, "cells": cells})
    return rows


def width(share: float, full: float) -> str:
    """Return the length of a bar in percent."""
    return f"{0.0 if math.isnan(share) else 100 * min(share / full, 1):.1f}"


def _pairs(seen: Overview) -> tuple[list[str], list[str]]:
    """Return the names of the most and of the least similar two classes, and the similarities of both pairs."""
    pairs = seen.closest_pair, seen.farthest_pair
    names = [f"{seen.classes[pair.first]} and {seen.classes[pair.second]}" for pair in pairs]
    return names, [similarity(pair.similarity) for pair in pairs]


def _counted(amount: int, what: str) -> str:
    return f"{count(amount)} {what}" + "s" * (amount != 1)
