"""Path similarities with a gradient: the selection made soft about the threshold that the exact one cuts at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.errors import OptionError
from effpath.extract import record
from effpath.graph.graph import Graph
from effpath.paths.class_paths import ClassPaths
from effpath.paths.path import IdRows
from effpath.rules.kinds import Weighted
from effpath.rules.plan import Layer, plan_for

CHUNK = 1 << 22  # candidates looked at together


@dataclass(frozen=True, eq=False)
class Near:
    """The candidates of one layer that speak for its active neurons, over a batch; [n] each.

    Attributes:
        image: which image, int64.
        source, weight: id of the input and of the weight, int64.
        sign: −1 where the neuron's value is negative, else 1.
        bound: halfway between the smallest chosen contribution of the neuron and the largest that is not.
        scale: unit of the temperature: the bound, or the mean bound of the image's layer where that is greater.
        chosen: whether the exact selection takes it, bool.
        member: whether it is a synapse of the class path, bool.
        images: size of the batch.
    """

    image: Tensor
    source: Tensor
    weight: Tensor
    sign: Tensor
    bound: Tensor
    scale: Tensor
    chosen: Tensor
    member: Tensor
    images: int

    def share(self, taken: Tensor) -> Tensor:
        """Similarity [images] where each candidate is taken so far, [n] in 0 … 1; NaN where nothing is."""
        none = taken.new_zeros(self.images)
        inside = none.index_add(0, self.image, taken * self.member)
        total = none.index_add(0, self.image, taken)
        return torch.where(total > 0, inside / total.clamp(min=1e-30), torch.nan)


class SoftSimilarity:
    """Image-class path similarities as differentiable functions of a network's activations.

    The exact walk says which neurons are active and what each of them selects; both are constants of the point
    where the gradient is taken. A candidate with contribution c = ± x·w of an active neuron then counts
    sigmoid((c − bound) ÷ (temperature · scale)) instead of 0 or 1, so that moving it across the bound moves the
    similarity. As the temperature goes to 0 the similarity becomes the exact one. What the gradient does not see:
    neurons that become active or inactive upstream, and that the bound moves with its neuron's value.
    """

    def __init__(
        self, graph: Graph, class_paths: ClassPaths, *, layers: int | None = None, temperature: float = 0.1
    ) -> None:
        """Take the last ``layers`` layers of the class paths, None for all, at a temperature above 0."""
        if not temperature > 0:
            raise OptionError(f"temperature must be above 0, got {temperature!r}")
        self.graph, self.class_paths, self.temperature = graph, class_paths, temperature
        self._kinds: dict[str, Weighted] = {}
        self.layers: tuple[Layer, ...] = ()
        plan = plan_for(graph, gates=class_paths.header.options.gates)
        able = [layer for layer in class_paths.header.layers if layer.parameter is not None]
        if layers is not None and layers < 1:
            raise OptionError(f"layers must be at least 1, or None for all; got {layers!r}")
        for layer in able if layers is None else able[-layers:]:
            kind = plan.kinds[layer.name]
            assert isinstance(kind, Weighted)  # what has a parameter is weighted
            self._kinds[layer.name] = kind
            self.layers = (*self.layers, layer)

    def names(self, ranks: int = 2) -> list[str]:
        """Names of the columns for so many ranks, as `path_features` calls them."""
        return [f"rank{rank + 1}:synapses:{layer.name}" for rank in range(ranks) for layer in self.layers]

    @property
    def keep(self) -> set[str]:
        """Nodes whose values the similarities are made of."""
        return {name for layer in self.layers for name in (layer.name, *layer.sources)}

    def run(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the logits and the values that the similarities need, with gradients to the pixels."""
        keep = self.keep | {self.graph.logits}
        return self.graph.run(pixels, keep, change=lambda _, value: value)

    def look(self, pixels: Tensor, values: Mapping[str, Tensor], classes: Sequence[Tensor]) -> list[Near]:
        """Walk exactly from each of the classes [N], and return what could be selected there: one of each column.

        Args:
            pixels: [N, C, H, W].
            values: of `run` on the same pixels.
            classes: one tensor a rank.
        """
        header = self.class_paths.header
        names = [layer.name for layer in self.layers]
        found = []
        with torch.no_grad():
            recorded = record(self.graph, pixels.detach(), options=header.options, layers=names)
            for start in classes:
                paths = recorded.paths(classes=start.cpu())
                found += [
                    self._near(layer, values, paths.synapses[layer.name], paths.classes) for layer in self.layers
                ]
        return found

    def similarities(self, values: Mapping[str, Tensor], near: Sequence[Near]) -> Tensor:
        """Return the soft similarities [N, columns] at these values, in the order of `names`."""
        columns = []
        for at, candidates in enumerate(near):
            layer = self.layers[at % len(self.layers)]
            x, weight = self._inputs(layer, values, candidates.images), self._weight(layer)
            c = x[candidates.image, candidates.source] * weight[candidates.weight] * candidates.sign
            taken = torch.sigmoid((c - candidates.bound) / (self.temperature * candidates.scale))
            columns.append(candidates.share(taken))
        return torch.stack(columns, 1)

    def _inputs(self, layer: Layer, values: Mapping[str, Tensor], images: int) -> Tensor:
        return torch.cat([values[name].reshape(images, -1) for name in layer.sources], 1)

    def _weight(self, layer: Layer) -> Tensor:
        weight = self._kinds[layer.name].weight
        assert weight is not None
        return self.graph.constants[weight].reshape(-1)

    def _near(
        self,
        layer: Layer,
        values: Mapping[str, Tensor],
        rows: IdRows,
        classes: NDArray[np.int64],
    ) -> Near:
        window, images = layer.window.to(self.graph.device), len(classes)
        x, weight = self._inputs(layer, values, images).detach(), self._weight(layer)
        value = values[layer.name].detach().reshape(images, -1)
        slots = torch.from_numpy(rows.values).to(x.device)
        image = torch.from_numpy(np.repeat(np.arange(images), rows.lengths)).to(x.device)
        # Neurons that choose something, ascending, as image · outputs + output; `row` is that of each synapse.
        neurons, row = torch.unique(image * window.outputs + slots // window.candidates, return_inverse=True)
        ends = torch.searchsorted(row, torch.arange(len(neurons) + 1, device=x.device))  # rows ascend too
        parts = []
        step = max(1, CHUNK // window.candidates)
        for start in range(0, len(neurons), step):
            own = neurons[start : start + step]
            b, o = own // window.outputs, own % window.outputs
            ids, weights = window.input_ids(o), window.weight_ids(o)
            inside = ids >= 0
            sign = torch.where(value[b, o] < 0, -1.0, 1.0).to(x.dtype)[:, None]
            c = torch.where(inside, x[b[:, None], ids.clamp(min=0)] * weight[weights] * sign, 0)
            mine = slice(int(ends[start]), int(ends[start + len(own)]))
            chosen = torch.zeros_like(inside)
            chosen[row[mine] - start, slots[mine] % window.candidates] = True
            bound = _halfway(c, chosen, inside)
            at, k = (chosen | (inside & (c > 0))).nonzero(as_tuple=True)
            parts.append(
                (b[at], ids[at, k], weights[at, k], sign[at, 0], bound[at], chosen[at, k],
                 o[at] * window.candidates + k, bound, b)
            )  # fmt: skip
        if not parts:
            none = slots.new_empty(0)
            empty, no = x.new_empty(0), none.bool()
            return Near(none, none, none, empty, empty, empty, no, no, images)
        b, ids, weights, sign, bound, chosen, slot, bounds, of = (
            torch.cat(part) for part in zip(*parts, strict=True)
        )
        size = bounds.abs()
        mean = size.new_zeros(images).index_add(0, of, size) / torch.bincount(of, minlength=images).clamp(min=1)
        scale = torch.maximum(bound.abs(), mean[b]).clamp(min=1e-30)
        return Near(b, ids, weights, sign, bound, scale, chosen, self._members(layer, classes, b, slot), images)

    def _members(self, layer: Layer, classes: NDArray[np.int64], image: Tensor, slot: Tensor) -> Tensor:
        """Tell of each slot whether the class path of its image has it."""
        label = classes[image.cpu().numpy()]
        slots, member = slot.cpu().numpy(), np.zeros(len(slot), bool)
        for one in np.unique(label):
            rows = np.flatnonzero(label == one)
            member[rows] = self.class_paths.members(int(one), "synapses", layer.name).contains(slots[rows])
        return torch.from_numpy(member).to(slot.device)


def _halfway(c: Tensor, chosen: Tensor, inside: Tensor) -> Tensor:
    """The middle of the smallest chosen and the largest other contribution (0 if negative), [M, K] → [M]."""
    low = c.masked_fill(~chosen, torch.inf).amin(1)
    high = c.masked_fill(chosen | ~inside, -torch.inf).amax(1)
    high = torch.where(low > 0, high.clamp(min=0), high)
    return (low + torch.where(high.isinf(), low - low.abs(), high)) / 2
