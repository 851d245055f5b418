"""An explanation as one figure, PNG or SVG, for slides and papers; Matplotlib is imported when it is drawn."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from effpath.errors import OptionError
from effpath.files.cache import atomic_write
from effpath.views.explanation import Explanation
from effpath.views.page import pictures
from effpath.views.page.sentences import strip_start, verdict_of
from effpath.views.page.svg import write_svg
from effpath.views.page.words import percent, signed
from effpath.views.pixels import heat

if TYPE_CHECKING:
    from matplotlib.figure import Figure

KINDS = (".png", ".svg")
PICTURES = 2.6  # inches, height of a row of pictures with its titles
INK, BAND, TICK, OUT = "#1b1f26", "#9cc7e8", "#0b63a5", "#d55e00"


def write_figure(found: Sequence[Explanation], file: Path) -> None:
    """Write explanations to a PNG or SVG file, one below the other: pictures on top, layers below.

    Raises:
        OptionError: a file with another ending.
        StoreError: the file cannot be written.
    """
    if file.suffix not in KINDS:
        raise OptionError(f"expected a file that ends in {' or '.join(KINDS)}, got {file}")
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 9, "svg.fonttype": "none", "text.parse_math": False})
        figure = figure_of(found)
        if file.suffix == ".svg":
            write_svg(figure, file, dpi=150)
        else:
            atomic_write(file, partial(figure.savefig, format="png", dpi=150))


def figure_of(found: Sequence[Explanation]) -> Figure:
    """Return the figure of explanations, one below the other."""
    from matplotlib.figure import Figure

    layers = [max(1.2, 0.2 * len(one.layers) + 0.9) for one in found]  # inches
    heights = [PICTURES + height for height in layers]
    figure = Figure(figsize=(9, sum(heights)), layout="constrained", facecolor="white")
    parts = figure.subfigures(len(found), 1, height_ratios=heights, squeeze=False)[:, 0]
    for one, part, height in zip(found, parts, layers, strict=True):
        _explained(one, part, height)
    return figure


def _explained(one: Explanation, part: Any, height: float) -> None:
    """Draw an explanation, its layers in a part of this height, inches."""
    part.suptitle(f"{one.name}, {verdict_of(one)}", fontweight="bold", color=INK)
    top, bottom = part.subfigures(2, 1, height_ratios=[PICTURES, height])
    shown = _pictures(one)
    for axes, (image, title) in zip(top.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        axes.imshow(pictures.rgb(image), interpolation="nearest")
        axes.set_title("\n".join(textwrap.wrap(title, 26)), fontsize=9)
        axes.set_axis_off()
    axes = bottom.subplots()
    if one.layers:
        _layers(one, axes)
    else:
        axes.set_axis_off()
        axes.text(0, 0.5, "\n".join(one.notes), va="center")


def _pictures(one: Explanation) -> list[tuple[Any, str]]:
    colours = pictures.PREDICTED, pictures.RUNNER_UP
    found: list[tuple[Any, str]] = [(one.image, f"predicted as class {one.title(one.verdict.predicted)}")]
    for path, colour, whose in zip(one.pixels, colours, ("predicted", "runner-up"), strict=True):
        over = pictures.overlay(one.image, heat(path.counts), colour)
        found.append((over, f"path of class {one.title(path.label)}, {whose}"))
    if one.neighbour is not None:
        title = f"nearest clean image, predicted as class {one.title(one.neighbour.label)}"
        found.append((one.neighbour.image, title))
    return found


def _layers(one: Explanation, axes: Any) -> None:
    """Draw the similarity of each layer, from input at the top to output, over the band of clean images."""
    places = np.arange(len(one.layers))
    lows, medians, highs = np.array([(layer.low, layer.median, layer.high) for layer in one.layers]).T
    if one.band_images:
        axes.barh(places, highs - lows, left=lows, height=0.55, color=BAND, label="clean, 5 to 95 %")
        axes.plot(medians, places, "|", color=TICK, markersize=9, label="clean, median")
    for below, colour, label in ((False, INK, "this image"), (True, OUT, "this image, below the band")):
        chosen = [at for at, layer in enumerate(one.layers) if layer.below == below]
        if chosen:
            values = [one.layers[at].similarity for at in chosen]
            axes.plot(values, chosen, "o", color=colour, markeredgecolor="white", markersize=6, label=label)
    names = [
        layer.layer + ("" if layer.added is None or math.isnan(layer.added) else f"  {signed(layer.added)}")
        for layer in one.layers
    ]
    start = strip_start(one.layers)
    axes.set_xlim(start - 0.015 * (1 - start), 1 + 0.015 * (1 - start))
    axes.locator_params(axis="x", nbins=5, steps=[1, 2, 5, 10])
    axes.xaxis.set_major_formatter(lambda value, _: percent(value))
    axes.set_yticks(places, names)
    axes.set_ylim(len(one.layers) - 0.4, -0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#dde1e7")
    axes.set_axisbelow(True)
    whose = "all classes" if one.band_label is None else f"class {one.title(one.band_label)}"
    count = f"; n = {one.band_images} clean images of {whose}" if one.band_images else ""
    label = f"rank-1 similarity: share of the path in the path of class {one.title(one.verdict.predicted)}{count}"
    adds = f"\nbeside each layer: what it adds to {one.added_to}" if one.layers[0].added is not None else ""
    axes.set_xlabel(label + adds)
    order = {"clean, 5 to 95 %": 0, "clean, median": 1}
    marks = sorted(zip(*axes.get_legend_handles_labels(), strict=True), key=lambda mark: order.get(mark[1], 2))
    where = {"loc": "lower left", "bbox_to_anchor": (0, 1)}
    axes.legend(*zip(*marks, strict=True), **where, ncols=4, frameon=False, fontsize=8)
