"""Critical data routing paths: one gate per channel, trained for each image (Wang et al., CVPR 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.detect.features import Features
from effpath.errors import NumericalError, OptionError
from effpath.graph.graph import Graph
from effpath.graph.node import Node
from effpath.images import Images
from rivals.activations import Floats

LIMIT = 10.0  # a gate lies in 0 … LIMIT


@dataclass(frozen=True, eq=False)
class RoutingPaths:
    """Columns [N, gates]: the gates of each image, which are trained for it alone.

    The nodes that `gated_nodes` takes, the settings of the paper. Nothing is learned from training images.
    """

    graph: Graph

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0) -> RoutingPaths:
        gated_nodes(graph)  # refuses a network without channels
        return cls(graph)

    def measure(self, images: Tensor) -> Floats:
        return cdrp_gates(self.graph, images, batch_size=128).values.astype(np.float64)


@dataclass(frozen=True, eq=False)
class Gates:
    """The critical data routing paths of a batch.

    Attributes:
        values: float32 [N, gates] in 0 … 10; 1 changes nothing, 0 closes the channel.
        names: of the columns, ``node:channel``, in forward order.
        loss: float32 [N], cross-entropy plus penalty of these gates; no gates met on the way that keep the
            prediction have less.
        step: int64 [N], the step that found them; 0 is the start, where all are 1.
        held: bool [N], whether the gates of the last step kept the prediction too (those in ``values`` always do).
        classes: int64 [N], the network's prediction, which the gates keep.
        logits: float32 [N, classes], the network's own.
    """

    values: NDArray[np.float32]
    names: tuple[str, ...]
    loss: NDArray[np.float32]
    step: NDArray[np.int64]
    held: NDArray[np.bool_]
    classes: NDArray[np.int64]
    logits: NDArray[np.float32]

    def features(self) -> Features:
        """Return the gates as features, for the protocol that judges path similarities."""
        return Features(self.values.astype(np.float64), self.names, self.classes[:, None], self.logits)


def cdrp_gates(
    graph: Graph,
    images: Images,
    *,
    gated: Sequence[str] | Literal["auto"] = "auto",
    steps: int = 30,
    penalty: float = 0.05,
    rate: float = 0.1,
    momentum: float = 0.9,
    batch_size: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> Gates:
    """Return for each image the gates that say which channels its prediction needs.

    The gates of an image start at 1 and are trained by gradient descent on the cross-entropy between the network's
    own distribution and that of the gated network, plus ``penalty`` times the sum of the gates. The gates of the
    lowest loss whose prediction is the network's own are kept. Images of a batch share the passes, nothing else:
    the loss is a sum over images, and momentum starts again with each. An image costs about 2 · ``steps`` forward
    passes, less what lies before the first gates, which is computed once.

    Args:
        graph: of the network; its parameters take no gradient.
        images: [N, C, H, W].
        gated: the nodes whose channels have gates, see `gated_nodes`.
        steps, penalty, rate, momentum: of the training; the defaults are those of the paper.
        batch_size: images together.
        progress: called with images done and in total.

    Raises:
        OptionError: a setting outside its range, or a node that cannot be gated.
        InputError, NumericalError: bad images.

    Example:
        >>> import torch, effpath
        >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.Flatten(), torch.nn.Linear(8, 3)).eval()
        >>> gates = cdrp_gates(effpath.capture(net, torch.zeros(1, 1, 4, 4)), torch.rand(5, 1, 4, 4))
        >>> gates.values.shape, gates.names
        ((5, 2), ('0:0', '0:1'))
    """
    if steps < 1 or batch_size < 1:
        raise OptionError(f"steps and batch_size must be at least 1, got {steps!r} and {batch_size!r}")
    if not (0 <= penalty < math.inf and 0 < rate < math.inf and 0 <= momentum < 1):
        raise OptionError(
            "penalty must be ≥ 0, rate > 0, both finite, momentum in 0 … 1 without 1; "
            f"got penalty={penalty!r}, rate={rate!r}, momentum={momentum!r}"
        )
    network = _Gated(graph, gated_nodes(graph, gated))
    size = batch_size if graph.batched else 1
    parts = []
    for start in range(0, len(images), size):
        part = graph.check_images(images[start : start + size])
        parts.append(_train(network, part, steps, penalty, rate, momentum))
        if progress is not None:
            progress(min(start + size, len(images)), len(images))
    if not parts:
        graph.check_images(images[:])  # says that there are none
    arrays = {key: torch.cat([part[key] for part in parts]).cpu().numpy() for key in parts[0]}
    names = tuple(f"{name}:{i}" for name, count in network.channels.items() for i in range(count))
    return Gates(names=names, **arrays)


def gated_nodes(graph: Graph, gated: Sequence[str] | Literal["auto"] = "auto") -> dict[str, int]:
    """Return the nodes whose channels have gates, in forward order, and the dimension that their channels are on.

    ``"auto"`` takes the outputs of blocks in a residual network: every sum of two tensors of one shape that come
    from the image. Else every convolution, before its nonlinearity; a gate is never negative, so that before and
    after a ReLU are the same. Else every linear layer but the last.

    Raises:
        OptionError: a name that is no node, or one whose channels the logits do not depend on.
    """
    reaching = graph.upstream([graph.logits]) - {graph.logits}
    able = {
        node.name: node
        for node in graph.nodes
        if node.name in reaching and node.name in graph.live and len(node.shape) > 1 and node.shape[0] == 1
    }
    if gated == "auto":
        found: list[str] = []
        for test in (_is_residual, _is_convolution, lambda graph, node: node.op == "linear"):
            found = found or [name for name, node in able.items() if test(graph, node)]
    elif isinstance(gated, str):
        raise OptionError(f"gated must be 'auto' or a list of names, got {gated!r}; write [{gated!r}]")
    else:
        found = list(gated)
    unknown = [name for name in found if name not in able]
    if unknown or not found:
        what = f"{', '.join(map(repr, unknown))} cannot be gated" if unknown else "nothing is gated"
        raise OptionError(f"{what}; expected nodes with channels that the logits depend on: {', '.join(able)}")
    return {name: _channel_dimension(graph, node) for name, node in able.items() if name in found}


def _is_residual(graph: Graph, node: Node) -> bool:
    data = [name for name in node.refs if name in graph.live]
    return node.op == "add" and len(data) == 2 and all(graph.shape(name) == node.shape for name in data)


def _is_convolution(graph: Graph, node: Node) -> bool:
    return node.op.startswith(("conv1d", "conv2d", "conv3d", "conv_transpose"))


def _channel_dimension(graph: Graph, node: Node) -> int:
    """Tell where channels are: as in the nearest convolution or linear layer before it whose shape is the same.

    Without one they are second in a tensor of as many dimensions as the images, last in others (tokens).
    """
    front, seen = [node.name], {node.name}
    while front:
        at = graph.by_name.get(front.pop(0))
        if at is None or at.shape != node.shape:
            continue
        if _is_convolution(graph, at):
            return 1
        if at.op in ("linear", "layer_norm"):
            return len(node.shape) - 1
        front += [name for name in at.refs if name not in seen]
        seen.update(at.refs)
    return 1 if len(node.shape) == len(graph.input_shape) + 1 else len(node.shape) - 1


class _Gated:
    """A network with a factor on the channels of some nodes."""

    def __init__(self, graph: Graph, dimensions: Mapping[str, int]) -> None:
        """Find what lies before all gates: its values are the same at every step."""
        self.graph = graph
        self.channels = {name: graph.shape(name)[dim] for name, dim in dimensions.items()}
        self._shapes = {
            name: tuple(-1 if i == dim else 1 for i in range(1, len(graph.shape(name))))
            for name, dim in dimensions.items()
        }
        changed: set[str] = set()
        for node in graph.nodes:
            if any(name in changed or name in dimensions for name in node.refs):
                changed.add(node.name)
        again = changed & graph.upstream([graph.logits])
        self.before = {
            name
            for node in graph.nodes
            if node.name in again
            for name in node.refs
            if name not in changed and name not in graph.constants
        }

    def start(self, images: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """Return the network's own logits, and the values before all gates."""
        values: dict[str, Any] = self.graph.run(images, {self.graph.logits} | self.before)
        logits = values[self.graph.logits]
        return logits, {name: values[name] for name in self.before}

    def run(self, images: Tensor, gates: Tensor, before: Mapping[str, Any]) -> Tensor:
        """Return the logits [B, classes] under gates [B, gates]."""
        factors = dict(zip(self.channels, torch.split(gates, list(self.channels.values()), 1), strict=True))

        def gate(name: str, value: Any) -> Any:
            return value * factors[name].reshape(len(gates), *self._shapes[name]) if name in factors else value

        return self.graph.run(images, given=before, change=gate)[self.graph.logits]


def _train(
    network: _Gated, images: Tensor, steps: int, penalty: float, rate: float, momentum: float
) -> dict[str, Tensor]:
    """Return values, loss, step, held, classes and logits of one batch."""
    logits, before = network.start(images)
    bad = int((~torch.isfinite(logits)).any(1).sum())
    if bad:
        raise NumericalError(f"NaN or infinity in the logits of {bad} images; look for the layer that overflows")
    distribution, classes = logits.softmax(1), logits.argmax(1)

    def loss_of(gates: Tensor, logits: Tensor) -> Tensor:
        return -(distribution * logits.log_softmax(1)).sum(1) + penalty * gates.abs().sum(1)  # [B]

    gates = torch.ones(len(images), sum(network.channels.values()), dtype=logits.dtype, device=logits.device)
    values, loss, step = gates, loss_of(gates, logits), torch.zeros_like(classes)
    held = torch.ones_like(classes, dtype=torch.bool)
    velocity = torch.zeros_like(gates)
    slope = torch.full_like(gates, penalty)  # at the start the distributions are equal: cross-entropy is level
    for number in range(1, steps + 1):
        velocity = momentum * velocity + slope
        gates = (gates - rate * velocity).clamp(0, LIMIT)
        with torch.set_grad_enabled(number < steps):  # the last gates are judged only
            gates.requires_grad_(number < steps)
            gated = network.run(images, gates, before)
            reached = loss_of(gates, gated)
            if number < steps:
                (slope,) = torch.autograd.grad(reached.sum(), gates)
        gates, reached = gates.detach(), reached.detach()
        held = gated.argmax(1) == classes
        better = held & (reached < loss)
        values = torch.where(better[:, None], gates, values)
        loss, step = torch.where(better, reached, loss), step.masked_fill(better, number)
    return {
        "values": values.float(), "loss": loss.float(), "step": step, "held": held, "classes": classes,
        "logits": logits.float(),
    }  # fmt: skip
