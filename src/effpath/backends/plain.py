"""The walk by the plain kernels of `effpath.kernels.reference`: torch, any device, any float type; the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from effpath.kernels import reference
from effpath.kernels.options import Options
from effpath.kernels.reference import Chosen
from effpath.kernels.window import Window
from effpath.rules.kinds import Choice, Route, Selection
from effpath.rules.plan import Plan


class PlainWalk:
    """The masks of one walk, and what decides and follows them."""

    def __init__(
        self, plan: Plan, options: Options, values: Mapping[str, Tensor], active: Tensor, visited: frozenset[str]
    ) -> None:
        """Start at the active logits, bool [B, classes]; ``values`` [B, size] are in canonical order."""
        self.plan, self.options, self.values, self.visited = plan, options, values, visited
        self.active, self.masks = active, {plan.graph.logits: active}

    def holds(self, name: str) -> bool:
        """Whether anything may be active in a tensor."""
        return name in self.masks

    def mask(self, name: str) -> Tensor:
        """Mask of a tensor's active elements, bool [B, size] in canonical order."""
        if name in self.masks:
            return self.masks[name]
        return self.active.new_zeros(len(self.active), self.plan.graph.size(name))

    def decide(self, name: str, kind: Selection, *, keep: bool = True) -> Chosen:
        """Let the kernel choose among the candidates of the active outputs; ``keep`` changes nothing here."""
        constants, values, mask = self.plan.graph.constants, self.values, self.mask(name)
        x = torch.cat([values[source] for source in kind.sources], dim=1)
        if isinstance(kind, Choice):
            found = reference.choose(kind.window, x, mask, self.options)
        else:
            found = reference.weigh(
                kind.window,
                x,
                None if kind.pooled else values[name],
                mask,
                self.options,
                None if kind.weight is None else constants[kind.weight],
                None if kind.bias is None else constants[kind.bias],
                None if kind.factors is None else values[kind.factors],
            )
            if kind.factors and self.options.gates:
                self._mark((kind.factors,), _used_factors(kind.window, found, len(mask)))
        self._mark(kind.sources, found.inputs)
        return found

    def follow(self, name: str, routes: Sequence[Route]) -> None:
        """Make active what the active outputs of a route stand for."""
        for route in routes:
            inputs = sum(self.plan.graph.size(source) for source in route.sources)
            self._mark(route.sources, _push(route, self.mask(name), inputs))

    def _mark(self, sources: Sequence[str], reached: Tensor) -> None:
        start = 0
        for source in sources:
            size = self.plan.graph.size(source)
            part = reached[:, start : start + size]
            start += size
            if source in self.visited or source == self.plan.graph.input:
                self.masks[source] = self.masks[source] | part if source in self.masks else part


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


def _used_factors(window: Window, found: Chosen, images: int) -> Tensor:
    """Return the factor elements that the chosen synapses use, bool [B, P·T]."""
    taps = window.taps.shape[1]
    _, position = window.locate(found.slot // window.candidates)
    used = torch.zeros(images, window.positions * taps, dtype=torch.bool, device=found.slot.device)
    used[found.image, position * taps + found.slot % window.candidates // window.group_channels] = True
    return used
