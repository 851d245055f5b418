"""A path as it is drawn: rows of neurons, or of channels, and the synapses between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from effpath.errors import InputError, OptionError
from effpath.graph.graph import Graph
from effpath.kernels.options import Options, make_options
from effpath.paths.idset import Ids
from effpath.paths.path import Path
from effpath.rules.plan import Layer, Plan
from effpath.views.page.words import title_of
from effpath.views.pixels import Pixels, pixel_maps
from effpath.views.trace import origin_of
from effpath.walk.recording import record
from effpath.walk.visit import paths_of

By = Literal["neurons", "channels"]
MOST_SYNAPSES = 20_000  # that are drawn one by one
MOST_NEURONS = 60_000  # of a network whose neurons are drawn one by one
LINES = 160  # between channels, for each layer


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the drawing: the image, a layer, or a pooling or addition.

    Attributes:
        name: of the layer.
        operator: what it computes; ``input`` for the image.
        shape: (C, H, W) of what is drawn: of the neurons, or (channels, 1, 1).
        nodes: int64 [n], ascending: the active neurons, or channels with an active neuron.
        weights: int64 [n], active neurons of each channel; 1 of a neuron.
        neurons, active: all neurons of the layer, and those on the path.
        synapses: on the path.
    """

    name: str
    operator: str
    shape: tuple[int, int, int]
    nodes: Ids
    weights: Ids
    neurons: int
    active: int
    synapses: int


@dataclass(frozen=True, eq=False)
class Lines:
    """What is drawn between two rows.

    Attributes:
        row: of the outputs.
        source: row of the inputs.
        outputs, inputs: int64 [n], nodes of these rows.
        synapses: int64 [n], of each line.
        left_out: synapses between the rows for which no line is drawn.
    """

    row: int
    source: int
    outputs: Ids
    inputs: Ids
    synapses: Ids
    left_out: int


@dataclass(frozen=True, eq=False)
class PathDrawing:
    """The path of one image as it is drawn.

    Attributes:
        name: of the image.
        image: float32 [C, H, W].
        label: the class that the path starts from.
        predicted: the class that the network predicts.
        by: whether neurons or channels are drawn.
        rows: the image first, then in forward order.
        lines: between rows.
        density: the share of the network's synapses that is on the path.
        pixels: float32 [C, H, W], how many synapses read each element of the image.
        classes: names of the classes.
    """

    name: str
    image: Pixels
    label: int
    predicted: int
    by: By
    rows: tuple[Row, ...]
    lines: tuple[Lines, ...]
    density: float
    pixels: Pixels
    classes: Sequence[str]

    def title(self, label: int) -> str:
        """Return the number of a class, with its name where it has one."""
        return title_of(label, self.classes)

    @property
    def synapses(self) -> int:
        """Synapses of all rows, those of poolings and additions included."""
        return sum(row.synapses for row in self.rows)

    @property
    def left_out(self) -> int:
        """Synapses for which no line is drawn."""
        return sum(lines.left_out for lines in self.lines)

    def to_dict(self) -> dict[str, Any]:
        """Return what is drawn, for JSON."""
        return {
            "image": self.name,
            "class": self.label,
            "predicted": self.predicted,
            "by": self.by,
            "density": self.density,
            "rows": [
                {
                    "name": row.name,
                    "operator": row.operator,
                    "shape": list(row.shape),
                    "nodes": row.nodes.tolist(),
                    "weights": row.weights.tolist() if self.by == "channels" else [],
                    "neurons": row.neurons,
                    "active": row.active,
                    "synapses": row.synapses,
                }
                for row in self.rows
            ],
            "lines": [
                {
                    "row": lines.row,
                    "source": lines.source,
                    "outputs": lines.outputs.tolist(),
                    "inputs": lines.inputs.tolist(),
                    "synapses": lines.synapses.tolist() if self.by == "channels" else [],
                    "left_out": lines.left_out,
                }
                for lines in self.lines
            ],
        }


def draw_path(
    graph: Graph,
    image: Tensor,
    *,
    rank: int = 1,
    start: int | None = None,
    by: By | None = None,
    preset: str | Options = "default",
    theta: float | None = None,
    name: str = "image",
    classes: Sequence[str] = (),
) -> PathDrawing:
    """Return the drawing of an image's path through the whole network.

    Args:
        graph: of the network, from `capture`.
        image: [C, H, W], or [1, C, H, W].
        rank: start at the class with the rank-th highest logit.
        start: start at this class instead.
        by: draw neurons or channels; if not given, neurons of networks and paths that are small enough.
        preset, theta: of the extraction.
        name: of the image.
        classes: names of the classes.

    Raises:
        InputError: more than one image, or a bad one.
        OptionError: an option outside its range.
    """
    if by not in (None, "neurons", "channels"):
        raise OptionError(f"expected neurons or channels to draw, got {by!r}")
    images = image[None] if image.dim() == len(graph.input_shape) else image
    if len(images) != 1:
        raise InputError(f"expected one image to draw the path of, got {len(images)}")
    options = make_options(preset, theta=theta)
    pixels = graph.check_images(images)
    recorded = record(graph, pixels, options=options, include_auxiliary=True)
    label = int(recorded.ranked(rank)[0]) if start is None else start
    paths = paths_of(recorded, classes=[label])
    path = paths[0]
    plan, layers = recorded.plan, recorded.header.layers
    synapses = sum(len(path.synapses[layer.name]) for layer in layers)
    neurons = sum(layer.window.outputs for layer in layers)
    small = synapses <= MOST_SYNAPSES and neurons <= MOST_NEURONS
    drawn: By = by or ("neurons" if small else "channels")
    maps = pixel_maps(recorded, paths)[0]
    nodes = [_Nodes.of(plan, layer, drawn) for layer in layers]
    weighted = [layer for layer in layers if layer.parameter]
    return PathDrawing(
        name,
        pixels[0].float().cpu().numpy(),
        label,
        int(recorded.ranked(1)[0]),
        drawn,
        (_input_row(maps, drawn), *(_row(plan, *pair, path) for pair in zip(layers, nodes, strict=True))),
        tuple(_lines(plan, layers, nodes, path, drawn)),
        sum(len(path.synapses[layer.name]) for layer in weighted)
        / sum(layer.total("synapses") for layer in weighted),
        maps,
        classes,
    )


@dataclass(frozen=True, eq=False)
class _Nodes:
    """The nodes that a layer is drawn as: shape (C, H, W), and the node of each neuron, int64 [neurons]."""

    shape: tuple[int, int, int]
    of_neuron: Ids

    @classmethod
    def of(cls, plan: Plan, layer: Layer, by: By) -> _Nodes:
        channel, position, channels = _places(plan, layer)
        shape = plan.graph.shape(layer.name)
        positions = len(channel) // channels
        if by == "channels":
            return cls((channels, 1, 1), channel)
        height, width = (prod(shape[2:-1]), shape[-1]) if len(shape) > 3 else (1, positions)
        if height * width != positions:
            height, width = 1, positions
        return cls((channels, height, width), channel * positions + position)


def _places(plan: Plan, layer: Layer) -> tuple[Ids, Ids, int]:
    """Return channel and position of each neuron of a layer, int64 [neurons], and the number of channels."""
    ids = torch.arange(layer.window.outputs)
    if layer.parameter:
        channel, position = layer.window.locate(ids)
        return channel.numpy(), position.numpy(), layer.window.channels
    shape, size = plan.graph.shape(layer.name), layer.window.outputs
    if len(shape) > 3:  # [1, C, H, W]
        positions = prod(shape[2:])
        return (ids // positions).numpy(), (ids % positions).numpy(), size // positions
    last = shape[-1]  # [1, tokens, features] or [1, features]
    return (ids % last).numpy(), (ids // last).numpy(), last


def _input_row(maps: Pixels, by: By) -> Row:
    """Return the row of the image: its pixels, whatever the channel; or, beside channels, one node."""
    active = np.flatnonzero((maps > 0).any(0))
    used = int((maps > 0).sum())
    if by == "channels":
        return Row("image", "input", (1, 1, 1), np.zeros(1, np.int64), np.array([used]), maps.size, used, 0)
    shape = (1, maps.shape[1], maps.shape[2])
    return Row("image", "input", shape, active, np.ones(len(active), np.int64), maps.size, used, 0)


def _row(plan: Plan, layer: Layer, nodes: _Nodes, path: Path) -> Row:
    neurons = path.neurons[layer.name].ids
    found, weights = np.unique(nodes.of_neuron[neurons], return_counts=True)
    operator = plan.graph.by_name[layer.name].op
    total = layer.window.outputs
    size = len(path.synapses[layer.name])
    return Row(layer.name, operator, nodes.shape, found, weights, total, len(neurons), size)


def _lines(plan: Plan, layers: Sequence[Layer], nodes: Sequence[_Nodes], path: Path, by: By) -> list[Lines]:
    """Return the lines between rows, by row and then source."""
    graph = plan.graph
    places = {graph.input: 0, **{layer.name: at + 1 for at, layer in enumerate(layers)}}
    pixels = prod(graph.input_shape[1:])
    found = []
    for at, layer in enumerate(layers):
        outputs, inputs = layer.window.ends(torch.from_numpy(path.synapses[layer.name].ids))
        origin = origin_of(plan, layer.sources, places)
        source, element = origin.place[inputs.numpy()], origin.element[inputs.numpy()]
        ends = nodes[at].of_neuron[outputs.numpy()]
        for place in np.unique(source[source >= 0]).tolist():
            own = source == place
            if place:
                starts = nodes[place - 1].of_neuron[element[own]]
            else:
                starts = element[own] % pixels if by == "neurons" else np.zeros(int(own.sum()), np.int64)
            found.append(_joined(at + 1, place, ends[own], starts, by))
    return found


def _joined(row: int, source: int, ends: Ids, starts: Ids, by: By) -> Lines:
    """Return one line for all synapses between two nodes; beside channels only the strongest."""
    width = int(starts.max(initial=0)) + 1
    pairs, synapses = np.unique(ends * width + starts, return_counts=True)
    kept = np.arange(len(pairs))
    if by == "channels" and len(pairs) > LINES:
        kept = np.sort(np.argsort(-synapses, kind="stable")[:LINES])
    chosen = pairs[kept]
    left_out = int(synapses.sum() - synapses[kept].sum())
    return Lines(row, source, chosen // width, chosen % width, synapses[kept], left_out)
