"""What pages say in sentences; every number comes from what they show."""

from __future__ import annotations

import math
from collections.abc import Sequence

from effpath.views.difference import Difference
from effpath.views.drawing import PathDrawing
from effpath.views.explanation import Explanation, LayerView
from effpath.views.page.words import count, listing, number, percent

NAMED = 4  # layers in a sentence


def verdict_of(found: Explanation) -> str:
    """Say whether an image is flagged, by which score."""
    verdict = found.verdict
    flagged = "flagged" if verdict.flagged else "not flagged"
    if math.isinf(verdict.score):
        return f"{flagged}: its class has no class path"
    side = "above" if verdict.score > found.threshold else "not above"
    return f"{flagged}: suspicion {number(verdict.score, 2)}, {side} {number(found.threshold, 2)}"


def summary(found: Explanation) -> list[str]:
    """Say what was found of an image."""
    verdict = found.verdict
    predicted, runner_up = found.title(verdict.predicted), found.title(verdict.runner_up)
    said = [f"The network takes it for class {predicted}, then for class {runner_up}."]
    if verdict.p_value is not None and math.isfinite(verdict.score):
        said.append(f"{percent(verdict.p_value)} of clean images look at least as suspicious (its p-value).")
    if found.band_images and found.layers:
        whose = "" if found.band_label is None else f" of class {found.title(found.band_label)}"
        images = f"{count(found.band_images)} clean images{whose}"
        below = [layer.layer for layer in found.below]
        if below:
            where = "all" if len(below) == len(found.layers) else f"{len(below)} of {len(found.layers)}"
            said.append(
                f"In {where} layers less of its path lies in the class path than for 95\u202f% of {images}: "
                f"{_some(below)}."
            )
        else:
            said.append(f"In no layer does less of its path lie in the class path than for 95\u202f% of {images}.")
    return said + closest_of(found) + near(found)


def closest_of(found: Explanation) -> list[str]:
    """Say which class path is closest."""
    if found.closest is None:
        return []
    best, predicted = found.closest.best, found.verdict.predicted
    if best == predicted:
        return ["Of all class paths that of the predicted class is closest to its path."]
    whose = f"that of class {found.title(best)}, not that of the predicted one,"
    said = f"Of all class paths {whose} is closest to its path"
    return [f"{said}: that is probably what it was." if found.verdict.flagged else f"{said}."]


def near(found: Explanation) -> list[str]:
    """Say which clean image is nearest."""
    if found.neighbour is None:
        return []
    one = found.neighbour
    return [
        f"The nearest clean path is that of {one.name}, class {found.title(one.label)}: the two share "
        f"{percent(one.similarity, 0)} of the synapses that either uses."
    ]


def layer_alt(layers: Sequence[LayerView]) -> str:
    """Describe the strips of a table of layers."""
    known = [layer for layer in layers if not math.isnan(layer.similarity)]
    lowest = min(known, key=lambda layer: layer.similarity, default=None)
    return "" if lowest is None else f"lowest in {lowest.layer}: {percent(lowest.similarity)}"


def compared(found: Difference) -> list[str]:
    """Say where two paths part."""
    first, second = (found.title(label) for label in found.labels)
    starts = f"Both paths start from class {first}"
    if first != second:
        starts = f"The first path starts from class {first}, the second from class {second}"
    shared = f"of the synapses that either uses, both use {percent(found.total.jaccard)}"
    said = [f"{starts}; {shared}."]
    if len(found.layers) > 1:
        most, least = found.most_shared, found.least_shared
        said.append(
            f"They share most in {most.layer} ({percent(most.synapses.jaccard)}) and least in {least.layer} "
            f"({percent(least.synapses.jaccard)})."
        )
    pixels = found.pixel_shares
    said.append(f"Of the pixel values that either reads, both read {percent(pixels.jaccard)}.")
    return said


def drawn(found: PathDrawing) -> list[str]:
    """Say what a drawing shows."""
    start = f"The path starts from class {found.title(found.label)}"
    if found.label != found.predicted:
        start += f"; the network predicts class {found.title(found.predicted)}"
    said = [f"{start}. It uses {percent(found.density)} of the network's synapses."]
    if found.by == "neurons":
        said.append("Each square is a neuron, each line a synapse on the path; the image is at the top.")
        return said
    said.append(
        "Each square is a channel, the stronger the more of its neurons are on the path; each line stands for all "
        "synapses between two channels."
    )
    if found.left_out:
        shown = sum(int(lines.synapses.sum()) for lines in found.lines)
        share = percent(shown / (shown + found.left_out))
        said.append(f"Only the strongest lines into each row are drawn: they stand for {share} of the synapses.")
    return said


def _some(names: Sequence[str]) -> str:
    if len(names) <= NAMED + 1:
        return listing(list(names))
    return f"{', '.join(names[:NAMED])} and {len(names) - NAMED} more"
