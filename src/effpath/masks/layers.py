"""What is left of one layer's outputs when some of its neurons or synapses are off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from effpath.graph.graph import Graph
from effpath.kernels.window import Window
from effpath.paths.idset import IdSet
from effpath.rules.kinds import Weighted
from effpath.rules.plan import Layer, Plan

Values = Mapping[str, Tensor]


class LayerMask(Protocol):
    """One layer, some of whose neurons or synapses are off.

    Attributes:
        sources: names of the tensors that it reads beside the layer's own outputs.
    """

    sources: tuple[str, ...]

    def __call__(self, value: Tensor, values: Values) -> Tensor:
        """Return the layer's outputs: ``value`` are those of the whole layer, ``values`` what it reads."""


def neuron_mask(plan: Plan, layer: Layer, members: IdSet, *, keep: bool) -> LayerMask | None:
    """Return the layer without the neurons that are off; None where none is."""
    on = torch.from_numpy(members.mask())
    on = on if keep else ~on
    return None if bool(on.all()) else _Neurons(on.to(plan.graph.device))


def synapse_mask(plan: Plan, layer: Layer, members: IdSet, *, keep: bool) -> LayerMask | None:
    """Return the layer without the synapses that are off; None where none is. Slots of padding do not count."""
    window, kind = layer.window, plan.kinds[layer.name]
    listed = _inside(window, torch.from_numpy(members.ids))
    off = window.synapses - len(listed) if keep else len(listed)
    if not off:
        return None
    if not isinstance(kind, Weighted):
        on = torch.from_numpy(members.mask()).reshape(window.outputs, window.candidates)
        return _Largest(plan.graph, layer, on if keep else ~on)
    if 2 * len(listed) > window.synapses:  # the shorter list
        rest = torch.from_numpy(~members.mask()).nonzero()[:, 0]
        listed, keep = _inside(window, rest), not keep
    return _Sums(plan.graph, layer.name, kind, listed, on=keep)


def _inside(window: Window, slots: Tensor) -> Tensor:
    """Return the slots that are no padding."""
    return slots[window.ends(slots)[1] >= 0]


class _Neurons:
    """Outputs, those that are off set to 0."""

    sources: tuple[str, ...] = ()

    def __init__(self, on: Tensor) -> None:
        self.on = on

    def __call__(self, value: Tensor, values: Values) -> Tensor:
        return torch.where(self.on, value.reshape(-1, len(self.on)), 0).reshape(value.shape)


class _Largest:
    """Maxima over the inputs that are on."""

    def __init__(self, graph: Graph, layer: Layer, on: Tensor) -> None:
        self.sources, self.sizes = layer.sources, [graph.size(name) for name in layer.sources]
        ids = layer.window.input_ids(torch.arange(layer.window.outputs))
        self.ids = ids.clamp(min=0).to(graph.device)  # [outputs, candidates]
        self.on = (on & (ids >= 0)).to(graph.device)

    def __call__(self, value: Tensor, values: Values) -> Tensor:
        x = _inputs(self.sources, self.sizes, values)
        found = x.new_full((len(x), len(self.on)), -torch.inf)
        for ids, on in zip(self.ids.T, self.on.T, strict=True):
            found = torch.maximum(found, torch.where(on, x[:, ids], -torch.inf))
        return torch.where(self.on.any(1), found, 0).to(value.dtype).reshape(value.shape)


class _Sums:
    """Sums over listed synapses: with ``on`` all that is left beside the bias, otherwise all that is missing.

    Attributes:
        matrix: sparse float64 [outputs, inputs], the weight of each synapse; where factors of the image count too
            [outputs, synapses].
        bias: float64 [outputs].
        bare: bool [outputs], where nothing is left but the bias.
    """

    def __init__(self, graph: Graph, name: str, kind: Weighted, slots: Tensor, *, on: bool) -> None:
        window, device = kind.window, graph.device
        self.on, self.factors = on, kind.factors
        self.inputs_of = kind.sources
        self.sizes = [graph.size(source) for source in kind.sources]
        self.sources = (*kind.sources, *([kind.factors] if kind.factors else []))
        outputs, inputs = window.ends(slots)
        _, position = window.locate(outputs)
        tap = slots % window.candidates // window.group_channels
        weights = torch.ones(len(slots), dtype=torch.float64)
        if kind.weight is not None:
            stored = replace(window, scalars=None, _moved={}).weights_of(slots)
            weights = graph.constants[kind.weight].double().cpu().reshape(-1)[stored]
        if window.coefficients is not None:
            weights = weights * window.coefficients.broadcast_to(window.taps.shape)[position, tap]
        counts = _inside_counts(window)
        if kind.pooled:
            weights = weights * _scale(graph, name, kind, counts)[outputs]
        columns, width = (inputs, window.inputs) if not kind.factors else (torch.arange(len(slots)), len(slots))
        places = torch.stack([outputs, columns])
        shape = (window.outputs, width)
        matrix = torch.sparse_coo_tensor(places, weights, shape, check_invariants=False)
        self.matrix = matrix.coalesce().to(device)  # several taps may read one input
        self.inputs = inputs.to(device)
        self.taps = (position * window.taps.shape[1] + tap).to(device)
        bias = torch.zeros(window.outputs, dtype=torch.float64)
        if kind.bias is not None:
            held = graph.constants[kind.bias].double().cpu().reshape(-1)
            bias = held[window.locate(torch.arange(window.outputs))[0] % len(held)]
        self.bias = bias.to(device)
        self.bare = (torch.bincount(outputs, minlength=window.outputs) == counts).to(device)

    def __call__(self, value: Tensor, values: Values) -> Tensor:
        whole = value.reshape(-1, len(self.bias)).double()
        columns = _inputs(self.inputs_of, self.sizes, values).double().T
        if self.factors is not None:
            factors = values[self.factors].reshape(len(whole), -1).double().T
            columns = columns[self.inputs] * factors[self.taps]
        sums = torch.zeros_like(whole)
        if len(self.inputs):
            sums = torch.sparse.mm(self.matrix, columns.contiguous()).T
        left = self.bias + sums if self.on else torch.where(self.bare, self.bias, whole - sums)
        return left.to(value.dtype).reshape(value.shape)


def _inputs(sources: tuple[str, ...], sizes: list[int], values: Values) -> Tensor:
    """Return what a layer reads, [N, inputs] in canonical order."""
    return torch.cat([values[name].reshape(-1, size) for name, size in zip(sources, sizes, strict=True)], dim=1)


def _inside_counts(window: Window) -> Tensor:
    """Return the number of synapses of each output, int64 [outputs]."""
    _, position = window.locate(torch.arange(window.outputs))
    return ((window.taps >= 0).sum(1) * window.group_channels)[position]


def _scale(graph: Graph, name: str, kind: Weighted, counts: Tensor) -> Tensor:
    """Return what a pooling weighs each input of an output with (one over their number, say), float64 [outputs].

    The rules do without it; it is what the operator makes of ones, over their number.
    """
    (source,) = kind.sources
    dtype = graph.by_name[source].dtype if source in graph.by_name else graph.dtype
    ones = torch.ones(graph.shape(source), dtype=dtype, device=graph.device)
    image = torch.zeros(1, *graph.input_shape, dtype=graph.dtype, device=graph.device)
    found = graph.run(image, [name], given={source: ones})[name]
    return found.double().cpu().reshape(-1) / counts.clamp(min=1)
