"""Paths of one image after another through a small network, each synapse coloured by the path of its class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

import effpath
from effpath import ClassPaths, Graph
from effpath.views.drawing import PathDrawing, Row, draw_path
from effpath.views.page.words import percent

INSIDE, OUTSIDE, NEITHER = "#0b63a5", "#d55e00", "#9aa3ad"
GROUND, INK, MUTED = "#eef1f5", "#1b1f26", "#5a6270"
WIDTH, CELL, PIXEL, GAP = 100.0, 1.6, 3.2, 8.5  # of a drawing, of a neuron and a pixel at most, between rows
NEVER = np.empty(0, np.int64)


@dataclass(frozen=True, eq=False)
class Placed:
    """Where a row of neurons is drawn.

    Attributes:
        row: of the drawing.
        top: of its neurons; the axis points down.
        cell: side of a neuron.
        pitch: from one channel to the next.
    """

    row: Row
    top: float
    cell: float
    pitch: float

    @property
    def left(self) -> float:
        channels, _, width = self.row.shape
        return (WIDTH - (channels - 1) * self.pitch - width * self.cell) / 2

    @property
    def bottom(self) -> float:
        return self.top + self.row.shape[1] * self.cell

    def corners(self, nodes: np.ndarray) -> np.ndarray:
        """Return the upper left corners of neurons, [n, 2]."""
        _, height, width = self.row.shape
        channel, inside = nodes // (height * width), nodes % (height * width)
        across = self.left + channel * self.pitch + inside % width * self.cell
        return np.stack([across, self.top + inside // width * self.cell], axis=1)

    def squares(self, nodes: np.ndarray) -> np.ndarray:
        """Return the outlines of neurons, [n, 4, 2]."""
        side = 0.9 * self.cell
        return self.corners(nodes)[:, None] + np.array([[0, 0], [side, 0], [side, side], [0, side]])

    def grounds(self) -> np.ndarray:
        """Return the outlines of the channels, [channels, 4, 2]."""
        channels, height, width = self.row.shape
        first = self.corners(np.arange(channels) * height * width)
        across, down = width * self.cell, height * self.cell
        return first[:, None] + np.array([[0, 0], [across, 0], [across, down], [0, down]])


def placed(rows: Sequence[Row]) -> list[Placed]:
    """Return where rows are drawn, from the image at the top to the classes at the bottom."""
    found: list[Placed] = []
    for row in rows:
        channels, height, width = row.shape
        top = found[-1].bottom + GAP if found else 0.0
        if height * width == 1:
            pitch = min(6.0, 0.94 * WIDTH / channels)
            found.append(Placed(row, top, min(CELL, pitch / 1.3), pitch))
        else:
            cell = min(CELL if found else PIXEL, 0.94 * WIDTH / (channels * (width + 1)))
            found.append(Placed(row, top, cell, cell * (width + 1)))
    return found


def outside_of(
    graph: Graph, image: Tensor, label: int, class_paths: ClassPaths
) -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Return by layer what of the path of an image lies outside of the path of its class.

    The arrays are output and input ids of synapses, and the ids of neurons.
    """
    path, members = effpath.extract(graph, image[None], classes=[label])[0], class_paths[label]
    found = {}
    for layer in path.header.layers:
        slots, neurons = path.synapses[layer.name].ids, path.neurons[layer.name].ids
        alone = slots[~members.synapses[layer.name].contains(slots)]
        outputs, inputs = layer.window.ends(torch.from_numpy(alone))
        strange = neurons[~members.neurons[layer.name].contains(neurons)]
        found[layer.name] = outputs.numpy(), inputs.numpy(), strange
    return found


def paths_figure(
    graph: Graph, class_paths: ClassPaths, images: Mapping[str, Tensor], names: Sequence[str]
) -> Figure:
    """Draw the paths of images side by side, each from the class that is predicted for it.

    The layers follow one after the other, without branches, and read all of the layer before: LeNet-5.

    Args:
        graph: of the network.
        class_paths: of the network.
        images: by what is said of them, [C, H, W].
        names: of the classes.
    """
    figure = Figure(figsize=(5.3 * len(images), 6.2), layout="constrained", facecolor="white")
    for axes, (title, image) in zip(
        figure.subplots(1, len(images), squeeze=False)[0], images.items(), strict=True
    ):
        drawing = draw_path(graph, image, by="neurons", name=title, classes=names)
        outside = outside_of(graph, image, drawing.label, class_paths)
        total = sum(row.synapses for row in drawing.rows if row.name in outside)
        inside = 1 - sum(len(outputs) for outputs, _, _ in outside.values()) / total
        whose = f"the path of class {names[drawing.label]}"
        said = f"{percent(inside)} of its synapses lie in {whose}"
        axes.set_title(
            f"{title}, taken for {names[drawing.predicted]}\n{said}", fontsize=12, color=INK, loc="left"
        )
        _path(axes, drawing, outside, names)
    marks = [
        Line2D([], [], color=colour, linewidth=2, label=label)
        for colour, label in (
            (INSIDE, "in the path of the predicted class"), (OUTSIDE, "outside of it"), (NEITHER, "pooling"),
        )
    ]  # fmt: skip
    figure.legend(handles=marks, loc="outside lower center", ncols=3, frameon=False, fontsize=11, labelcolor=INK)
    return figure


def _path(
    axes: Any, drawing: PathDrawing, outside: Mapping[str, tuple[np.ndarray, ...]], names: Sequence[str]
) -> None:
    """Draw one path: channels, synapses, the image, neurons, names."""
    rows = placed(drawing.rows)
    for one in rows[1:]:
        axes.add_collection(PolyCollection(one.grounds(), facecolors=GROUND, linewidths=0))
    strange: list[np.ndarray] = []
    for lines in drawing.lines:
        source, target = rows[lines.source], rows[lines.row]
        half, other = source.cell / 2, target.cell / 2
        starts = source.corners(lines.inputs) + np.array([half, source.cell])
        ends = target.corners(lines.outputs) + np.array([other, 0])
        segments = np.stack([starts, ends], axis=1)
        if target.row.name not in outside:
            axes.add_collection(LineCollection(segments, colors=NEITHER, linewidths=0.5, alpha=0.6))
            continue
        outputs, inputs, _ = outside[target.row.name]
        width = 1 + max(int(lines.inputs.max(initial=0)), int(inputs.max(initial=0)))
        alone = np.isin(lines.outputs * width + lines.inputs, outputs * width + inputs)
        axes.add_collection(LineCollection(segments[~alone], colors=INSIDE, linewidths=0.4, alpha=0.4))
        strange.append(segments[alone])
    for segments in strange:  # on top of all others
        axes.add_collection(LineCollection(segments, colors=OUTSIDE, linewidths=0.7, alpha=0.85))
    for place, one in enumerate(rows):
        name, nodes = one.row.name, one.row.nodes
        if not place:
            extent = (one.left, one.left + one.row.shape[2] * one.cell, one.bottom, one.top)
            axes.imshow(drawing.image.mean(0), extent=extent, cmap="gray", vmin=0, vmax=1, zorder=2.5)
            axes.add_collection(
                PolyCollection(one.squares(nodes), facecolors="none", edgecolors=INSIDE, linewidths=0.5, zorder=3)
            )
        else:
            others = outside[name][2] if name in outside else NEVER
            usual = INSIDE if name in outside else NEITHER
            colours = np.where(np.isin(nodes, others), OUTSIDE, usual).tolist()
            axes.add_collection(PolyCollection(one.squares(nodes), facecolors=colours, linewidths=0, zorder=3))
        axes.text(-1, (one.top + one.bottom) / 2, name, ha="right", va="center", fontsize=9, color=MUTED)
    last = rows[-1]
    for label, (x, _) in enumerate(last.corners(np.arange(len(names)))):
        weight = "bold" if label == drawing.label else "normal"
        how = {"ha": "center", "va": "top", "fontsize": 9.5, "color": INK if weight == "bold" else MUTED}
        axes.text(x + last.cell / 2, last.bottom + 0.8, names[label], fontweight=weight, **how)
    axes.set(xlim=(-9, WIDTH), ylim=(last.bottom + 5, -1), aspect="equal")
    axes.set_axis_off()
