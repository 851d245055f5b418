"""The walk from a class back to the pixels: the heart. It knows no operator, only the kinds of rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from effpath.errors import NumericalError, OptionError
from effpath.graph.graph import Graph
from effpath.kernels import reference
from effpath.kernels.options import Options, make_options
from effpath.kernels.reference import Chosen
from effpath.kernels.window import Window
from effpath.paths.path import Header, Paths, Ragged
from effpath.rules.kinds import Choice, Gate, Route, Weighted
from effpath.rules.plan import Plan, plan_for

Activations = dict[str, Tensor]


def extract(
    graph: Graph,
    images: Tensor,
    *,
    rank: int = 1,
    classes: Tensor | Sequence[int] | None = None,
    layers: int | str | Sequence[str] | None = None,
    preset: str | Options = "default",
    theta: float | None = None,
    include_auxiliary: bool = False,
) -> Paths:
    """Return the effective path of each image (Sec. 2.1).

    Args:
        graph: of the network, from `capture`.
        images: float [N, C, H, W], as the network takes them.
        rank: start at the class with the rank-th highest logit.
        classes: start at these classes instead, [N].
        layers: the last k, the named, or all (None); a partial extraction does no work for the others.
        preset: how contributions are selected: ``"paper"``, ``"authors"``, ``"default"`` or `Options`.
        theta: θ in (0, 1], instead of the preset's 0.5.
        include_auxiliary: keep the synapses of pooling and add too.

    Raises:
        InputError: images of another shape or type.
        NumericalError: NaN or infinity, naming the node.
        OptionError: an option outside its range.

    Example:
        >>> import torch, effpath
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
        >>> graph = effpath.capture(net, torch.zeros(1, 1, 2, 2))
        >>> effpath.extract(graph, torch.ones(5, 1, 2, 2))
        Paths(5 images, 1 layers)
    """
    options = make_options(preset, theta=theta)
    recorded = record(graph, images, options=options, layers=layers, include_auxiliary=include_auxiliary)
    return recorded.paths(rank=rank, classes=classes)


@dataclass(frozen=True, eq=False)
class Recorded:
    """The activations of a batch that walks need; several ranks share one forward pass.

    Attributes:
        plan: the rules of the graph.
        header: options and the layers to keep.
        visited: the nodes that a walk must visit.
        values: recorded tensors by node name, [B, …].
        logits: [B, classes].
    """

    plan: Plan
    header: Header
    visited: frozenset[str]
    values: Activations
    logits: Tensor

    def __len__(self) -> int:
        """Number of images."""
        return len(self.logits)

    def select(self, rows: slice | Tensor) -> Recorded:
        """Return the recording of some of the images: a batch walks exactly as its parts do."""
        return replace(self, values={k: v[rows] for k, v in self.values.items()}, logits=self.logits[rows])

    def ranked(self, rank: int) -> Tensor:
        """Return the class with the rank-th highest logit of each image, int64 [B]; ties to the lower class."""
        if not 1 <= rank <= self.logits.shape[1]:
            raise OptionError(f"rank must be 1 … {self.logits.shape[1]} (the classes), got {rank}")
        return self.logits.sort(dim=1, descending=True, stable=True).indices[:, rank - 1]

    def paths(self, *, rank: int = 1, classes: Tensor | Sequence[int] | None = None) -> Paths:
        """Walk from the rank-th class, or from the given classes [B], back to the pixels."""
        count = self.logits.shape[1]
        if classes is None:
            start = self.ranked(rank)
        else:
            rank, start = 0, torch.as_tensor(classes, dtype=torch.int64, device=self.logits.device)
            if start.shape != (len(self),) or bool(((start < 0) | (start >= count)).any()):
                raise OptionError(f"wanted {len(self)} classes in 0 … {count - 1}, got {start.tolist()[:8]}")
        active = torch.zeros_like(self.logits, dtype=torch.bool)
        active[torch.arange(len(self), device=start.device), start] = True
        chosen, neurons, pixels = walk(self, active)
        return Paths(
            self.header,
            start.cpu().numpy(),
            rank,
            self.logits.float().cpu().numpy(),
            {layer.name: _ragged(chosen[layer.name], len(self)) for layer in self.header.layers},
            {layer.name: _of_mask(neurons[layer.name]) for layer in self.header.layers},
            None if pixels is None else _of_mask(pixels),
        )


def record(
    graph: Graph,
    images: Tensor,
    *,
    options: Options,
    layers: int | str | Sequence[str] | None = None,
    include_auxiliary: bool = False,
) -> Recorded:
    """Run the forward pass once and keep what walks over the wanted layers need."""
    images = graph.check_images(images)
    plan = plan_for(graph, gates=options.gates)
    wanted = plan.choose_layers(layers)
    visited = plan.leading_to(wanted)
    if include_auxiliary:
        extra = {layer.name for layer in plan.auxiliary if layer.name in visited}
        names = extra | {layer.name for layer in wanted}
        wanted = tuple(layer for layer in plan.every if layer.name in names)
    header = Header(graph.fingerprint, options, wanted, graph.size(graph.input))
    keep = {graph.logits}
    for name in visited:
        kind = plan.kinds[name]
        if isinstance(kind, (Weighted, Choice)):
            keep.update(kind.sources)
        if isinstance(kind, Weighted) and not kind.pooled:
            keep.add(name)
        if isinstance(kind, Weighted) and kind.factors:
            keep.add(kind.factors)
    parts = torch.split(images, len(images) if graph.batched else 1)
    runs = [graph.run(part, keep) for part in parts]
    values = {
        name: torch.cat([run[name].reshape(len(part), -1) for run, part in zip(runs, parts, strict=True)])
        for name in keep
    }
    return Recorded(plan, header, frozenset(visited), values, values[graph.logits])


Walked = tuple[dict[str, Chosen], dict[str, Tensor], Tensor | None]


def walk(recorded: Recorded, active: Tensor) -> Walked:
    """Visit the nodes in reverse, each after all its consumers; a tensor's active set is their union.

    Args:
        recorded: activations and rules.
        active: bool [B, classes], where to start.

    Returns:
        Chosen synapses by layer, active outputs bool [B, outputs] by layer, and active pixels
        bool [B, C·H·W] (None for a partial extraction).
    """
    plan, options = recorded.plan, recorded.header.options
    masks: dict[str, Tensor] = {plan.graph.logits: active}
    chosen: dict[str, Chosen] = {}
    neurons: dict[str, Tensor] = {}
    wanted = {layer.name for layer in recorded.header.layers}

    def mark(sources: Sequence[str], reached: Tensor) -> None:
        start = 0
        for source in sources:
            size = plan.graph.size(source)
            part = reached[:, start : start + size]
            start += size
            if source in recorded.visited or source == plan.graph.input:
                masks[source] = masks[source] | part if source in masks else part

    for name in reversed(plan.kinds):
        if name not in recorded.visited or name not in masks:
            continue
        kind, mask = plan.kinds[name], masks.pop(name)
        if isinstance(kind, (Weighted, Choice)):
            found = _decide(recorded, name, kind, mask, options)
            mark(kind.sources, found.inputs)
            if options.gates and isinstance(kind, Weighted) and kind.factors:
                mark((kind.factors,), _used_factors(kind.window, found, len(mask)))
            if name in wanted:
                chosen[name], neurons[name] = found, mask
        else:
            for route in _routes(kind, options):
                mark(route.sources, _push(route, mask, sum(plan.graph.size(s) for s in route.sources)))
    everywhere = len(recorded.visited) == len(plan.kinds)  # else a skip from the input gives a part of them
    return chosen, neurons, masks.get(plan.graph.input) if everywhere else None


def _routes(kind: Route | Gate, options: Options) -> tuple[Route, ...]:
    if isinstance(kind, Route):
        return (kind,)
    return (kind.data, *kind.gates) if options.gates or kind.equal else (kind.data,)


def _push(route: Route, mask: Tensor, inputs: int) -> Tensor:
    """Return the input elements that the active outputs stand for, bool [B, inputs]."""
    if route.ids is None:
        return mask
    ids = route.ids.to(mask.device)
    image, output = mask.nonzero(as_tuple=True)
    source = ids[output]
    reached = mask.new_zeros(len(mask), inputs)
    reached[image[source >= 0], source[source >= 0]] = True
    return reached


def _decide(recorded: Recorded, name: str, kind: Weighted | Choice, mask: Tensor, options: Options) -> Chosen:
    """Let the kernel choose; say where, if it meets NaN or infinity."""
    constants, values = recorded.plan.graph.constants, recorded.values
    x = torch.cat([values[source] for source in kind.sources], dim=1)
    try:
        if isinstance(kind, Choice):
            return reference.choose(kind.window, x, mask, options)
        return reference.weigh(
            kind.window,
            x,
            None if kind.pooled else values[name],
            mask,
            options,
            None if kind.weight is None else constants[kind.weight],
            None if kind.bias is None else constants[kind.bias],
            None if kind.factors is None else values[kind.factors],
        )
    except NumericalError as error:
        place = recorded.plan.graph.by_name[name].place
        raise NumericalError(f"{error}, at {place}; look for the layer before it that overflows") from error


def _used_factors(window: Window, found: Chosen, images: int) -> Tensor:
    """Return the factor elements that the chosen synapses use, bool [B, P·T]."""
    taps = window.taps.shape[1]
    _, position = window.locate(found.slot // window.candidates)
    used = torch.zeros(images, window.positions * taps, dtype=torch.bool, device=found.slot.device)
    used[found.image, position * taps + found.slot % window.candidates // window.group_channels] = True
    return used


def _ragged(found: Chosen, images: int) -> Ragged:
    return Ragged.of(found.image.cpu().numpy(), found.slot.cpu().numpy(), images)


def _of_mask(mask: Tensor) -> Ragged:
    image, ids = mask.nonzero(as_tuple=True)
    return Ragged.of(image.cpu().numpy(), ids.cpu().numpy(), len(mask))
