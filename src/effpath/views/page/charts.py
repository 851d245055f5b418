"""The figures of a network: how alike its classes are, and how suspicious images look to its detector."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from effpath.views.page.inline import CARD, CLEAN, EDGE, GROUPS, INK, Chart, empty_figure, ticks
from effpath.views.page.words import count, listing, number, percent, similarity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from effpath.views.report.findings import Calibration, Findings
    from effpath.views.report.overview import Overview

Floats = NDArray[np.float64]

WRITTEN, WRITTEN_NARROW = 12, 10  # classes, up to which similarities are written into the map, where they fit
FRAMED = 30  # classes, up to which its squares are set apart
SHADES = 128  # of a map: more cannot be told apart, and a page of a thousand classes stays small


def class_map(seen: Overview) -> Chart:
    """Return how alike class paths are, classes in the order of their tree."""
    classes, names = count(len(seen.classes)), seen.classes
    mean, special, close = similarity(seen.mean_class_similarity), seen.most_special, seen.closest_pair
    darkest = f" The row of {special} is the darkest." if len(names) > 2 else ""
    return Chart(
        partial(_class_map, seen),
        "classes",
        title="Similarity of the class paths",
        size=f"n = {classes} classes, {count(sum(seen.class_images))} images",
        alt=f"Heatmap of the similarity of {classes} class paths under a tree that joins the most similar: mean "
        f"{mean}, lowest for {special}, highest between {names[close.first]} and {names[close.second]}.",
        see=f"Each square compares two class paths. Dark: the classes use different {seen.level}. Bright: they "
        f"share many.{darkest} The tree joins the most similar classes first, at the "
        "distance 1 − similarity: low branches hold classes that the network treats alike. A class beside itself, "
        "always 1, is left empty.",
    )


def suspicion(calibration: Calibration, findings: Findings | None) -> Chart:
    """Return how suspicious a detector finds the images of its calibration, and other images."""
    scores: dict[str, Floats] = {}
    if calibration.scores is not None and len(calibration.scores):
        scores["clean"] = calibration.scores
    if findings is not None:
        scores["judged"] = findings.verdicts.scores
    threshold = np.inf if calibration.threshold is None else calibration.threshold
    shown = "How suspicious the detector finds each image"
    if calibration.class_thresholds:  # one line for all of them: what is left of the suspicion beyond each
        shown, threshold = f"{shown}, less the threshold of the class that the network predicts", 0.0
        if calibration.scores is not None and calibration.thresholds is not None:
            scores["clean"] = calibration.scores - calibration.thresholds
        if findings is not None:
            scores["judged"] = findings.verdicts.scores - findings.verdicts.thresholds
    sizes = {"clean": "clean images of the calibration", "judged": "images judged"}
    flagged = ", ".join(f"{name} {percent(float(np.mean(found > threshold)))}" for name, found in scores.items())
    return Chart(
        partial(suspicion_figure, scores, threshold, {"clean": CLEAN, "judged": GROUPS[0]}),
        "suspicion",
        title="Suspicion of clean images" + (" and of the images judged" if findings is not None else ""),
        size="n = " + listing([f"{count(len(found))} {sizes[name]}" for name, found in scores.items()]),
        alt=f"Distribution of suspicion scores; above the threshold of {number(threshold, 2)}: {flagged}.",
        see=f"{shown}; each hill is scaled to its own height. Everything right of the dashed threshold is "
        "flagged.",
    )


def suspicion_figure(
    scores: Mapping[str, Floats], threshold: float, tones: Mapping[str, str], narrow: bool
) -> Figure:
    """Draw the distribution of the suspicion score in each group, one row each, with the threshold.

    Args:
        scores: of the images, by group.
        threshold: of the detector; infinite where it has none.
        tones: colours of the groups.
        narrow: whether it is for a phone.
    """
    rows = len(scores)
    figure = empty_figure(narrow, (720, 90 + 38 * rows), (320, 90 + 42 * rows))
    axes = figure.add_subplot()
    pooled = np.concatenate([*scores.values()])
    ends: Any = (
        np.quantile(pooled[np.isfinite(pooled)], [0.001, 0.999]) if np.isfinite(pooled).any() else [0.0, 0.0]
    )
    low, high = float(ends[0]), float(ends[1])
    if np.isfinite(threshold):
        low, high = min(low, threshold), max(high, threshold)
    pad = 0.04 * (high - low) or 1.0
    edges = np.linspace(low - pad, high + pad, 70)
    for row, (group, found) in enumerate(scores.items()):
        shares = np.histogram(np.clip(found, edges[0], edges[-1]), edges)[0].astype(np.float64)
        tops = -row + 0.85 * shares / max(shares.max(), 1)
        shade = tones[group]
        axes.stairs(tops, edges, baseline=-row, fill=True, color=shade, alpha=0.35, linewidth=0)
        axes.stairs(tops, edges, baseline=-row, color=shade, linewidth=1.3)
        flagged = percent(float(np.mean(found > threshold))) + ("\n" if narrow else " ") + "flagged"
        axes.text(1.01, -row + 0.3, flagged, transform=axes.get_yaxis_transform(), va="center")
    if np.isfinite(threshold):
        axes.axvline(threshold, color=INK, linewidth=1.2, linestyle="--")
        axes.text(threshold, 1.0, f"threshold {number(threshold, 2)}", ha="center", va="bottom")
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(-rows + 0.95, 1.0)
    axes.set_yticks([0.25 - row for row in range(rows)], list(scores))
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")
    axes.set_xlabel("suspicion" if narrow else "suspicion (higher: more likely adversarial)")
    axes.set_ylabel("images of each group" if rows > 2 else "images")
    return figure


def _class_map(seen: Overview, narrow: bool) -> Figure:
    """Draw the similarity of every pair of class paths, with their tree; the diagonal, always 1, is left empty."""
    import matplotlib

    order = seen.tree.order
    values = seen.similarity[np.ix_(order, order)].copy()
    np.fill_diagonal(values, np.nan)
    classes = len(values)
    figure = empty_figure(narrow, (520, 510), (320, 452))
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 5))
    _tree(seen, top)
    highest = np.nanmax(values, initial=0.01)
    scale = {"cmap": matplotlib.colormaps["cividis"].resampled(SHADES), "vmin": 0, "vmax": highest}
    picture = below.imshow(values, aspect="auto", interpolation="none", extent=(0, classes, classes, 0), **scale)
    below.grid(False)
    below.spines[:].set_visible(False)
    below.tick_params(length=0)
    if classes <= FRAMED:
        inner = np.arange(1, classes)
        below.hlines(inner, 0, classes, colors=CARD, linewidth=1)
        below.vlines(inner, 0, classes, colors=CARD, linewidth=1)
    names = [seen.classes[place] for place in order.tolist()]
    places, shown, tilted = ticks(names, *((15, 12, 25) if narrow else (24, 18, 45)))
    below.set_xticks(places + 0.5, shown, rotation=90 if tilted else 0)
    below.set_yticks(places + 0.5, shown)
    below.set_xlim(0, classes)
    below.set_ylim(classes, 0)
    digits = 2 if highest >= 0.1 else 3
    if classes <= WRITTEN and not (narrow and (tilted or digits > 2 or classes > WRITTEN_NARROW)):
        for (row, column), value in np.ndenumerate(values):
            if not np.isnan(value):
                text = f"{value:.{digits}f}".removeprefix("0")
                how = {"color": _ink_on(picture.to_rgba(value)), "size": 12.0 if narrow else 11.0}
                below.text(column + 0.5, row + 0.5, text, ha="center", va="center", **how)
    below.set_xlabel("class")
    below.set_ylabel("class")
    bar = figure.colorbar(
        picture,
        ax=below,
        location="bottom" if narrow else "right",
        shrink=0.9,
        label="Jaccard similarity" if narrow else "Jaccard similarity of the class paths",
    )
    bar.outline.set_visible(False)
    return figure


def _ink_on(colour: Sequence[float]) -> str:
    """Return black or white, whichever stands out more on a colour, red, green and blue in [0, 1]."""
    light = [part / 12.92 if part <= 0.04 else ((part + 0.055) / 1.055) ** 2.4 for part in colour[:3]]
    luminance = 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2]
    return "black" if luminance > 0.179 else "white"


def _tree(seen: Overview, axes: Any) -> None:
    """Draw the tree above the map, at the distances at which it joins classes."""
    joined = seen.tree.merges[:, 2]
    low, high = float(joined.min()), float(joined.max())
    room = 0.2 * (high - low) or 0.1
    bottom = max(0.0, low - room)  # leaves stand at 0, far below where most classes are joined
    x, height = seen.tree.lines()
    axes.plot(x, np.maximum(height, bottom), color=EDGE, linewidth=1.2 if len(seen.classes) <= FRAMED else 0.6)
    axes.set_ylim(bottom, high + room / 2)
    axes.locator_params(axis="y", nbins=3, prune="lower")  # the lowest would touch the names below
    axes.set_ylabel("distance")
    axes.spines["bottom"].set_visible(False)
    axes.tick_params(axis="x", length=0)
    axes.grid(False, axis="x")
