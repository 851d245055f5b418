"""What rivals see of a network: logits, and the outputs of its weighted layers after their nonlinearity."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.detect.signs.passes import images_that_suit
from effpath.errors import InputError
from effpath.graph import Graph
from effpath.graph.inputs import TOGETHER
from effpath.rules import plan_for

Floats = NDArray[np.float64]

NONLINEARITIES = {
    "celu", "clamp", "elu", "gelu", "hardsigmoid", "hardswish", "hardtanh", "leaky_relu", "mish", "prelu", "relu",
    "relu6", "selu", "sigmoid", "silu", "softplus", "tanh", "threshold",
}  # fmt: skip
WHOLE = 1 << 13  # a layer with more values per image is averaged over its places where distances are taken
SPREAD = 12  # layers at most where each of them costs memory or further passes


@dataclass(frozen=True)
class Output:
    """Where a layer's activation is read.

    Attributes:
        layer: its name.
        node: the nonlinearity behind it, or the layer itself where none follows directly (before an addition,
            say) or where something else reads it too.
        channels: the dimension of the channels; the others after the first are places.
    """

    layer: str
    node: str
    channels: int


def outputs(graph: Graph) -> list[Output]:
    """Return where the activation of every weighted layer with a parameter is read, in forward order."""
    found = []
    for layer in plan_for(graph).layers:
        readers = graph.consumers.get(layer.name, [])
        alone = len(readers) == 1 and layer.name != graph.logits and readers[0].op in NONLINEARITIES
        channels = 1 if "conv" in graph.by_name[layer.name].op else -1
        found.append(Output(layer.name, readers[0].name if alone else layer.name, channels))
    return found


def spread_outputs(graph: Graph) -> list[Output]:
    """Return `outputs`, of deep networks `SPREAD` of them, evenly spread, the first and the last included."""
    found = outputs(graph)
    chosen = np.linspace(0, len(found) - 1, min(SPREAD, len(found))).round().astype(int)
    return [found[at] for at in chosen]


def hidden_outputs(graph: Graph) -> list[Output]:
    """Return `outputs` without the logits; InputError where no layer is left."""
    found = [output for output in outputs(graph) if output.node != graph.logits]
    if not found:
        raise InputError("this rival looks at hidden layers; the network has none")
    return found


def batches(graph: Graph, images: Tensor) -> Iterator[Tensor]:
    """Yield the images, checked, as many at a time as the network takes and suit the memory."""
    suit = min(TOGETHER, images_that_suit(graph))
    yield from graph.check_images(images).split(suit if graph.batched else 1)


def over_batches(graph: Graph, images: Tensor, values: Callable[[Tensor], Floats]) -> Floats:
    """Return values [N, …] of all images, from those of batches of them."""
    return np.concatenate([values(batch) for batch in batches(graph, images)])


def logits(graph: Graph, images: Tensor) -> Floats:
    """Return the logits [N, classes]."""
    return over_batches(graph, images, lambda batch: as_array(graph.run(batch)[graph.logits]))


def probabilities(graph: Graph, images: Tensor, temperature: float = 1.0) -> Floats:
    """Return the softmax of the logits ÷ temperature, [N, classes]."""
    return as_array(torch.from_numpy(logits(graph, images) / temperature).softmax(1))


def channel_means(activation: Tensor, output: Output) -> Tensor:
    """Return the mean over places of each channel, float64 [N, channels]."""
    moved = activation.movedim(output.channels, 1).double()
    return moved.flatten(2).mean(2) if moved.dim() > 2 else moved


def rows(activation: Tensor, output: Output) -> Tensor:
    """Return float32 vectors: all values [N, values], or `channel_means` of more than `WHOLE` values."""
    flat = activation.flatten(1)
    return (flat if flat.shape[1] <= WHOLE else channel_means(activation, output)).float()


def layer_batches(
    graph: Graph, images: Tensor, chosen: Sequence[Output], shape: Callable[[Tensor, Output], Tensor]
) -> Iterator[list[NDArray[Any]]]:
    """Yield, batch by batch, for each chosen output what ``shape`` makes of its activation, [n, …] each."""
    for batch in batches(graph, images):
        found = graph.run(batch, [output.node for output in chosen])
        yield [shape(found[output.node], output).cpu().numpy() for output in chosen]


def layer_values(
    graph: Graph, images: Tensor, chosen: Sequence[Output], shape: Callable[[Tensor, Output], Tensor]
) -> list[NDArray[Any]]:
    """Return `layer_batches` of all images together, [N, …] for each chosen output."""
    parts = zip(*layer_batches(graph, images, chosen, shape), strict=True)
    return [np.concatenate(part) for part in parts]


def activations_with_gradient(graph: Graph, images: Tensor, names: Sequence[str]) -> dict[str, Tensor]:
    """Return nodes' values as differentiable functions of the images."""
    return graph.run(images, names, change=lambda _, value: value)


def as_array(values: Tensor) -> Floats:
    """Return a tensor as float64 array."""
    return values.detach().double().cpu().numpy()
