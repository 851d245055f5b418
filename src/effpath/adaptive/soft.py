"""The columns that a detector reads, with a gradient: the selection made soft about the bound of the exact one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood, columns_of, margins
from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.kernels.window import Window
from effpath.paths.batch import Paths
from effpath.paths.rows import IdRows
from effpath.rules.plan import Layer
from effpath.walk.recording import record
from effpath.walk.visit import paths_of

CHUNK = 1 << 22  # candidates looked at together


@dataclass(frozen=True, eq=False)
class Near:
    """The candidates of one layer that speak for its active neurons, over a batch; [n] each, by image and slot.

    Attributes:
        image: which image, int64.
        slot: the synapse, int64.
        source, weight: id of the input and of the weight, int64.
        direction: −1 where the neuron's value is negative, else 1.
        bound: halfway between the smallest chosen contribution of the neuron and the largest that is not.
        scale: unit of the temperature: the bound, or the mean bound of the image's layer where that is greater.
        images: size of the batch.
    """

    image: Tensor
    slot: Tensor
    source: Tensor
    weight: Tensor
    direction: Tensor
    bound: Tensor
    scale: Tensor
    images: int

    def taken(self, x: Tensor, weight: Tensor, temperature: float) -> Tensor:
        """Return how far each is taken, [n] in 0 … 1, of inputs x [images, inputs] and weights [weights]."""
        c = x[self.image, self.source] * weight[self.weight] * self.direction
        return torch.sigmoid((c - self.bound) / (temperature * self.scale))

    def total(self, taken: Tensor) -> Tensor:
        """Return how many candidates are taken, softly, [images]."""
        return taken.new_zeros(self.images).index_add(0, self.image, taken)

    def mean(self, taken: Tensor, worth: Tensor) -> Tensor:
        """Return the mean worth [images] where each candidate is taken so far, both [n]; NaN where nothing is."""
        inside, total = self.total(taken * worth), self.total(taken)
        return torch.where(total > 0, inside / total.clamp(min=1e-30), torch.nan)

    def log_size(self, taken: Tensor) -> Tensor:
        """Return the log of how many candidates are taken, [images]; NaN where none is."""
        total = self.total(taken)
        return torch.where(total > 0, total.clamp(min=1e-30).log(), torch.nan)


@dataclass(frozen=True, eq=False)
class Look:
    """What exact walks found at a batch: constants of the point where gradients are taken.

    Attributes:
        exact: the columns of all layers, [N, columns]; NaN where an image's set is empty.
        first: the class that rank-1 paths start from, int64 [N].
        parts: of each walk and each layer that is soft: its layer, candidates, and for every column that is a
            mean over them, what each is worth, [n]; None for the column of the log of their number.
        neurons: log number of the active neurons of the first walk, [N, layers]; NaN where there are none.
    """

    exact: Tensor
    first: Tensor
    parts: Sequence[tuple[Layer, Near, Mapping[int, Tensor | None]]]
    neurons: Tensor


class SoftFeatures:
    """What a detector reads of an image, as differentiable functions of a network's activations.

    Without a likelihood the columns are the similarities of rank 1, then of rank 2. With one they are the
    similarities of rank 1, the margins between the likelihood in the path's own class and the greatest in another,
    and the log odds. For signs they are `groups`, a column per layer each: the similarities of rank 1, with a
    likelihood the margins and the likelihood in the own class, and the log number of synapses.

    The exact walk says which neurons are active and what each of them selects; both are constants of the point
    where the gradient is taken. A candidate with contribution c = ± x·w of an active neuron then counts
    sigmoid((c − bound) ÷ (temperature · scale)) instead of 0 or 1, so that moving it across the bound moves the
    similarity, a mean of memberships, and the margin, a mean of log frequencies. As the temperature goes to 0 both
    become the exact ones. What the gradient does not see: docs/adaptive.md.
    """

    def __init__(
        self,
        graph: Graph,
        class_paths: ClassPaths,
        likelihood: PathLikelihood | None = None,
        *,
        layers: int | None = None,
        temperature: float = 0.1,
        for_signs: bool = False,
    ) -> None:
        """Make the last ``layers`` layers soft, None for all, at a temperature above 0; others stay constant."""
        if not temperature > 0:
            raise OptionError(f"expected a temperature above 0, got {temperature!r}")
        if layers is not None and layers < 1:
            raise OptionError(f"expected layers of at least 1, or None for all, got {layers!r}")
        self.graph, self.class_paths = graph, class_paths
        self.likelihood, self.temperature = likelihood, temperature
        self.groups: tuple[str, ...] = ("similarity", "margin") if likelihood else ("similarity", "rank 2")
        if for_signs:
            self.groups = ("similarity", *(("margin", "own") if likelihood else ()), "size")
        self.ranks = 2 if "rank 2" in self.groups else 1
        able = [layer for layer in class_paths.header.layers if layer.parameter is not None]
        self.layers: tuple[Layer, ...] = tuple(able if layers is None else able[-layers:])

    @property
    def soft_columns(self) -> list[int]:
        """Which of the columns are soft."""
        return [self._column(group, layer.name) for group in self.groups for layer in self.layers]

    def run(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the logits and the values that the columns need, with gradients to the pixels."""
        keep = {self.graph.logits, *(name for layer in self.layers for name in (layer.name, *layer.sources))}
        return self.graph.run(pixels, keep, change=lambda _, value: value)

    def look(self, pixels: Tensor, values: Mapping[str, Tensor], classes: Sequence[Tensor]) -> Look:
        """Walk exactly from each of the classes, and return what is and what could be selected there.

        Args:
            pixels: [N, C, H, W].
            values: of `run` on the same pixels.
            classes: [N] for each rank.
        """
        header = self.class_paths.header
        names = header.keys("synapses")
        parts = []
        with torch.no_grad():
            recorded = record(self.graph, pixels.detach(), options=header.options, layers=names)
            walks = [paths_of(recorded, classes=start.cpu()) for start in classes]
            exact, best = self._exact(walks)
            for rank, paths in enumerate(walks):
                for layer in self.layers:
                    x, value = self._inputs(layer, values), values[layer.name].flatten(1)
                    window, chosen = layer.window.to(self.graph.device), paths.synapses[layer.name]
                    near = find_near(window, x, self._weight(layer), value, chosen)
                    others = None if best is None else best[:, names.index(layer.name)]
                    worth = self._worth(layer, near, paths.classes, others, rank)
                    parts.append((layer, near, worth))
            neurons = log_sizes(walks[0].neurons.values())
        logits = values[self.graph.logits]
        found, counted = (torch.from_numpy(each).to(logits) for each in (exact, neurons))
        return Look(found, classes[0], parts, counted)

    def soft(self, values: Mapping[str, Tensor], look: Look) -> Tensor:
        """Return the soft columns [N, soft columns] at these values, in the order of `soft_columns`."""
        found = {}
        for layer, near, worth in look.parts:
            taken = near.taken(self._inputs(layer, values), self._weight(layer), self.temperature)
            for column, each in worth.items():
                found[column] = near.log_size(taken) if each is None else near.mean(taken, each)
        return torch.stack([found[column] for column in self.soft_columns], 1)

    def columns(self, values: Mapping[str, Tensor], look: Look) -> Tensor:
        """Return all columns [N, columns]: with the value of the exact ones, and the slope of the soft ones."""
        soft = self.soft(values, look)
        at = torch.tensor(self.soft_columns, device=soft.device)
        found = look.exact.index_add(1, at, soft - soft.detach())
        if self.likelihood is None:
            return found
        return torch.cat([found, log_odds(values[self.graph.logits], look.first)[:, None]], 1)

    def by_group(self, columns: Tensor) -> dict[str, Tensor]:
        """Return columns [N, groups · layers] by group, [N, layers] each."""
        return dict(zip(self.groups, columns.chunk(len(self.groups), 1), strict=True))

    def _column(self, group: str, layer: str) -> int:
        names = self.class_paths.header.keys("synapses")
        return self.groups.index(group) * len(names) + names.index(layer)

    def _exact(self, walks: Sequence[Paths]) -> tuple[NDArray[np.float64], NDArray[np.int64] | None]:
        """Return the exact columns of all groups, NaN where a class has no path, and the best others.

        With a likelihood these are the classes beside its own under which each set of a path is most likely,
        int64 [N, layers].
        """
        found = {
            group: self.class_paths.similarity(paths, allow_missing=True)
            for group, paths in zip(("similarity", "rank 2"), walks, strict=False)
        }
        found["size"], best = log_sizes(walks[0].synapses.values()), None
        if self.likelihood:
            likelihoods, rows = self.likelihood(walks[0]), np.arange(len(walks[0]))
            own = columns_of(self.likelihood.classes, walks[0].classes)
            found["margin"] = margins(likelihoods, own)
            found["own"] = np.where(own[:, None] < 0, np.nan, likelihoods[rows, :, own])
            likelihoods[rows, :, own] = -np.inf
            best = np.array(self.likelihood.classes)[likelihoods.argmax(2)]
        return np.concatenate([found[group] for group in self.groups], 1), best

    def _worth(
        self,
        layer: Layer,
        near: Near,
        classes: NDArray[np.int64],
        others: NDArray[np.int64] | None,
        rank: int,
    ) -> dict[int, Tensor | None]:
        """Return what each candidate is worth for the columns of one walk and layer, see `Look`."""
        name = layer.name
        members = self._members(layer, classes, near)
        worth: dict[int, Tensor | None] = {self._column(("similarity", "rank 2")[rank], name): members}
        if others is not None:
            own, other = self._logs(layer, classes, others, near).unbind(1)
            worth[self._column("margin", name)] = own - other
            if "own" in self.groups:
                worth[self._column("own", name)] = own
        if "size" in self.groups:
            worth[self._column("size", name)] = None
        return worth

    def _inputs(self, layer: Layer, values: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([values[name].flatten(1) for name in layer.sources], 1)

    def _weight(self, layer: Layer) -> Tensor:
        assert layer.weight is not None  # what has a parameter has a weight
        return self.graph.constants[layer.weight].reshape(-1)

    def _members(self, layer: Layer, classes: NDArray[np.int64], near: Near) -> Tensor:
        """Tell of each candidate whether the class path of its image has it, 1 or 0."""
        label = classes[near.image.cpu().numpy()]
        slots, member = near.slot.cpu().numpy(), np.zeros(len(near.slot))
        for one in set(np.unique(label).tolist()) & set(self.class_paths):
            rows = np.flatnonzero(label == one)
            member[rows] = self.class_paths.members(one, "synapses", layer.name).contains(slots[rows])
        return torch.from_numpy(member).to(near.bound)

    def _logs(self, layer: Layer, classes: NDArray[np.int64], others: NDArray[np.int64], near: Near) -> Tensor:
        """Return the log frequency of each candidate in its image's class and in another, [n, 2]; 0 without."""
        assert self.likelihood
        slots = near.slot.cpu().numpy()
        logs = np.zeros((len(slots), 2))
        ends = np.searchsorted(near.image.cpu().numpy(), np.arange(near.images + 1))
        for image, pair in enumerate(zip(classes.tolist(), others.tolist(), strict=True)):
            rows = slice(ends[image], ends[image + 1])
            if pair[0] in self.class_paths:
                logs[rows] = self.likelihood.log_frequencies(layer.name, slots[rows], pair)
        return torch.from_numpy(logs).to(near.bound)


def log_odds(logits: Tensor, first: Tensor) -> Tensor:
    """Return the log odds [N] of classes [N], of logits [N, classes]."""
    others = logits.scatter(1, first[:, None], -torch.inf).logsumexp(1)
    return logits.gather(1, first[:, None])[:, 0] - others


def log_sizes(sets: Iterable[IdRows]) -> NDArray[np.float64]:
    """Return the logs of the sizes of sets, [N, sets]; NaN of empty ones."""
    counts = np.stack([rows.lengths for rows in sets], axis=1)
    return np.log(counts, out=np.full(counts.shape, np.nan), where=counts > 0)


def find_near(window: Window, x: Tensor, weight: Tensor, value: Tensor, rows: IdRows) -> Near:
    """Return what could be taken of a layer: what is chosen, and what else speaks for a neuron that chooses.

    Args:
        window: of the layer, on the device of the values.
        x, weight, value: inputs [images, inputs], weights [weights] and outputs [images, outputs].
        rows: the synapses that were chosen, by image.
    """
    images = len(value)
    slots = torch.from_numpy(rows.values).to(x.device)
    image = torch.from_numpy(np.repeat(np.arange(images), rows.lengths)).to(x.device)
    # Neurons that choose something, ascending, as image · outputs + output; `row` is that of each synapse.
    neurons, row = torch.unique(image * window.outputs + slots // window.candidates, return_inverse=True)
    ends = torch.searchsorted(row, torch.arange(len(neurons) + 1, device=x.device))  # rows ascend too
    parts = []
    step = max(1, CHUNK // window.candidates)
    for start in range(0, max(1, len(neurons)), step):  # once where none chooses, for empty columns
        part = neurons[start : start + step]
        b, o = part // window.outputs, part % window.outputs
        ids, weights = window.input_ids(o), window.weight_ids(o)
        inside = ids >= 0
        direction = torch.where(value[b, o] < 0, -1.0, 1.0).to(x.dtype)[:, None]
        c = torch.where(inside, x[b[:, None], ids.clamp(min=0)] * weight[weights] * direction, 0)
        taken = slice(int(ends[start]), int(ends[start + len(part)]))
        chosen = torch.zeros_like(inside)
        chosen[row[taken] - start, slots[taken] % window.candidates] = True
        bound = halfway(c, chosen, inside)
        at, k = (chosen | (inside & (c > 0))).nonzero(as_tuple=True)
        slot = o[at] * window.candidates + k
        parts.append((b[at], slot, ids[at, k], weights[at, k], direction[at, 0], bound[at], bound, b))
    b, slot, ids, weights, direction, bound, bounds, of = (torch.cat(part) for part in zip(*parts, strict=True))
    size = bounds.abs()
    mean = size.new_zeros(images).index_add(0, of, size) / torch.bincount(of, minlength=images).clamp(min=1)
    scale = torch.maximum(bound.abs(), mean[b]).clamp(min=1e-30)
    return Near(b, slot, ids, weights, direction, bound, scale, images)


def halfway(c: Tensor, chosen: Tensor, inside: Tensor) -> Tensor:
    """Return the middle of smallest chosen and largest other contribution (0 if negative), [M, K] → [M]."""
    low = c.masked_fill(~chosen, torch.inf).amin(1)
    high = c.masked_fill(chosen | ~inside, -torch.inf).amax(1)
    high = torch.where(low > 0, high.clamp(min=0), high)
    return (low + torch.where(high.isinf(), low - low.abs(), high)) / 2
