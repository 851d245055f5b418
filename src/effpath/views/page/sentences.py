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
    said = [f"The network takes it for class {predicted}; the runner-up is class {runner_up}."]
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
    ranking, predicted = found.closest.ranking, found.verdict.predicted
    best = found.closest.best
    among = f"Of the {count(found.closest.compared)} class paths compared"
    if best == predicted:
        after = f", then that of class {found.title(ranking[1][0])}" if len(ranking) > 1 else ""
        return [f"{among} that of the predicted class is closest to its path{after}."]
    said = f"{among} that of class {found.title(best)}, not that of the predicted one, is closest to its path"
    return [f"{said}: that is probably what it was." if found.verdict.flagged else f"{said}."]


def pointing(found: Explanation) -> str:
    """Say what the reasons are reasons for."""
    return "What points to an attack" + ("" if found.verdict.flagged else ", too little to flag the image")


def near(found: Explanation) -> list[str]:
    """Say which clean image is nearest."""
    if found.neighbour is None:
        return []
    one = found.neighbour
    return [
        f"The nearest clean path is that of {one.name}, class {found.title(one.label)}: the two share "
        f"{percent(one.similarity)} of the synapses that either uses."
    ]


def layer_alt(layers: Sequence[LayerView]) -> str:
    """Describe the strips of a table of layers."""
    known = [layer for layer in layers if not math.isnan(layer.similarity)]
    lowest = min(known, key=lambda layer: layer.similarity, default=None)
    if lowest is None:
        return ""
    if lowest.similarity == 1:
        return f"; {percent(1)} in all"
    return f"; lowest in {lowest.layer}, {percent(lowest.similarity)}"


def strip_start(layers: Sequence[LayerView]) -> float:
    """Return where the scale of similarities begins, a multiple of 0.1 below all that is shown; it ends at 1.

    >>> strip_start([])
    0.0
    """
    known = [value for layer in layers for value in (layer.similarity, layer.low) if not math.isnan(value)]
    return math.floor(10 * min(known, default=0.0) - 1e-9) / 10 if known and min(known) > 0.1 else 0.0


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
    said = [f"{start}. It uses {percent(found.density)} of the network’s synapses."]
    if found.by == "neurons":
        said.append("Each square is a neuron, each line a synapse on the path; the image is at the top.")
        return said
    said.append(
        "Each square is a channel, the stronger the more of its neurons are on the path; each line stands for all "
        "synapses between two channels, the thicker the more, beside the others between the same rows."
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
