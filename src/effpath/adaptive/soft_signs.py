"""Signs with a gradient: their values are the exact ones, their slopes those of `SOFT`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from effpath.adaptive.soft import Look, SoftFeatures, halfway
from effpath.adaptive.soft_counterparts import SOFT, Glance
from effpath.detect import Detector
from effpath.detect.signs.forward_concentration import share_in_window
from effpath.detect.signs.sample import early_layers, sides_of
from effpath.kernels.reference import carriers


@dataclass(frozen=True, eq=False)
class Carrier:
    """The forward sets of one layer at the point where gradients are taken.

    Attributes:
        layer: its name.
        bound: halfway between the smallest output that is chosen and the largest that is not, [N, 1].
        foreign: the neurons outside the forward sets of the class, 0 or 1, [N, neurons].
        logs: log of the share of each class's images that have a neuron, [neurons, classes].
        chosen: the forward set, bool [N, neurons].
        own: which column of `logs` is of the class, int64 [N].
        positions: of the neurons, int64 [neurons]; None where they lie in no places.
        sides: positions along each side of the layer.
    """

    layer: str
    bound: Tensor
    foreign: Tensor
    logs: Tensor
    chosen: Tensor
    own: Tensor
    positions: Tensor | None
    sides: tuple[int, ...]

    def exact(self) -> SoftSet:
        """Return what is measured of the set; NaN of an empty one."""
        taken = self.chosen.to(self.logs)
        return self._measured(taken, taken.sum(1))

    def soft(self, outputs: Tensor, temperature: float) -> SoftSet:
        """Return the same at outputs [N, neurons] that count as far as they exceed the bound."""
        taken = torch.sigmoid((outputs - self.bound) / (temperature * self.bound))
        return self._measured(taken, taken.sum(1).clamp(min=1e-30))

    def _measured(self, taken: Tensor, total: Tensor) -> SoftSet:
        outside, frequencies = (taken * self.foreign).sum(1) / total, taken @ self.logs / total[:, None]
        if self.positions is None:
            return SoftSet(outside, frequencies, None)
        rarity = taken * -self.logs.T[self.own]  # [N, neurons]
        placed = rarity.new_zeros(len(rarity), prod(self.sides)).index_add(1, self.positions, rarity)
        return SoftSet(outside, frequencies, share_in_window(placed.view(-1, *self.sides)))


class SoftSet(NamedTuple):
    """What is measured of the forward sets of N images in a layer.

    Attributes:
        outside: the share outside the forward sets of the class, [N].
        frequencies: the mean log frequency in every class, [N, classes].
        concentration: the share of the rarity in one place, [N]; None where the neurons lie in no places.
    """

    outside: Tensor
    frequencies: Tensor
    concentration: Tensor | None


@dataclass(frozen=True, eq=False)
class SignLook:
    """What was found at a batch: constants of the point where gradients are taken.

    Attributes:
        exact: the suspicions of the signs, [N, columns].
        first: the class that counts as predicted, int64 [N].
        paths: of the walk; None where no sign reads it.
        carriers: of the layers of the sample; empty where no sign reads them.
    """

    exact: Tensor
    first: Tensor
    paths: Look | None
    carriers: Sequence[Carrier]


class SoftSigns:
    """What a detector of a profile reads of an image, as differentiable functions of its pixels.

    The values are the exact ones, whatever the temperature; the slopes are those of `SOFT`. What a slope does not
    see: docs/adaptive.md.
    """

    ranks = 1

    def __init__(self, detector: Detector, *, layers: int | None = None, temperature: float = 0.1) -> None:
        """Make the last ``layers`` layers of the walk soft, None for all; forward sets are in every layer."""
        assert detector.reader is not None
        self.graph, self.reader, self.temperature = detector.graph, detector.reader, temperature
        self.profile, self.reference = detector.reader.profile, detector.reference
        walked = detector.reader.walked
        likelihood = detector.reader.path_likelihood
        how = {"layers": layers, "temperature": temperature}
        self.paths = SoftFeatures(self.graph, walked, likelihood, for_signs=True, **how)  # type: ignore[arg-type]
        early = early_layers(detector.class_paths.header)
        self.early = [at for at, name in enumerate(walked.header.keys("synapses")) if name in early]
        self.sample = detector.reader.sample

    def run(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return the logits and the values that the signs need, with gradients to the pixels."""
        layers = self.paths.layers if self.profile.walks else ()
        keep = {self.graph.input, self.graph.logits, *self.sample.ids}
        keep |= {name for layer in layers for name in (layer.name, *layer.sources)}
        return self.graph.run(pixels, keep, change=lambda _, value: value)

    def look(self, pixels: Tensor, values: Mapping[str, Tensor], classes: Sequence[Tensor]) -> SignLook:
        """Measure exactly, with a class [N] in the place of the predicted one; as `SoftFeatures.look`."""
        (first,) = classes
        with torch.no_grad():
            walk = self.paths.look(pixels, values, classes) if self.profile.walks else None
            found = [self._carrier(name, self.sample.take(name, values[name]), first) for name in self.sample.ids]
            sets = [each.exact() for each in found]
            exact = self._measure(values, first, walk, None if walk is None else walk.exact, sets, 0.0)
        return SignLook(exact, first, walk, found)

    def soft(self, values: Mapping[str, Tensor], look: SignLook) -> Tensor:
        """Return the soft suspicions at these values, [N, columns]."""
        columns = None
        if look.paths is not None:
            at = torch.tensor(self.paths.soft_columns, device=look.exact.device)
            columns = look.paths.exact.index_copy(1, at, self.paths.soft(values, look.paths))
        taken = [self.sample.take(each.layer, values[each.layer]) for each in look.carriers]
        sets = [each.soft(outputs, self.temperature) for each, outputs in zip(look.carriers, taken, strict=True)]
        return self._measure(values, look.first, look.paths, columns, sets, self.temperature)

    def columns(self, values: Mapping[str, Tensor], look: SignLook) -> Tensor:
        """Return the suspicions [N, columns]: with the value of the exact ones, and the slope of the soft ones."""
        soft = self.soft(values, look)
        return look.exact + (soft - soft.detach())

    def _measure(
        self,
        values: Mapping[str, Tensor],
        first: Tensor,
        walk: Look | None,
        columns: Tensor | None,
        sets: Sequence[SoftSet],
        leak: float,
    ) -> Tensor:
        """Return what all signs of the profile show, [N, columns], each turned so that high is suspicious."""
        pixels, logits = values[self.graph.input], values[self.graph.logits]
        paths = {} if columns is None else self.paths.by_group(columns)
        neurons = logits.new_zeros(len(logits), 0) if walk is None else walk.neurons
        places = torch.full_like(first, -1)
        if self.reference is not None:
            places = torch.from_numpy(self.reference.places(first.cpu().numpy())).to(first)
        known = None if self.reference is None else self.reference.pixels
        met = places[:, None] >= 0
        outside = torch.where(met, _together([each.outside for each in sets], logits), torch.nan)
        frequencies = _together([each.frequencies for each in sets], logits)
        placed = [each.concentration for each in sets if each.concentration is not None]
        concentration = torch.where(met, _together(placed, logits), torch.nan)
        walked = paths, neurons, self.early
        others = places, known, self.reader.auxiliary
        at = Glance(self.graph, pixels, logits, first, leak, *walked, outside, frequencies, concentration, *others)
        found: list[Tensor] = []
        for sign in self.profile.signs:
            columns = SOFT[type(sign)](sign, at)
            columns = columns[:, None] if columns.dim() == 1 else columns
            found += [columns * sign.direction] if sign.direction else [-columns, columns]
        return torch.cat(found, 1)

    def _carrier(self, name: str, outputs: Tensor, first: Tensor) -> Carrier:
        assert self.reference is not None
        chosen = carriers(outputs)
        bound = halfway(outputs, chosen, torch.ones_like(chosen))
        bound = torch.where(chosen.any(1), bound, 1.0)[:, None]
        at = self.reference.places(first.cpu().numpy())
        own = np.unpackbits(self.reference.forward[name][at], axis=1, count=outputs.shape[1], bitorder="little")
        foreign = torch.from_numpy(own == 0).to(outputs)
        logs = torch.from_numpy(self.reference.logs[name]).to(outputs)
        positions = None
        if name in self.sample.positions:
            positions = torch.from_numpy(self.sample.positions[name]).to(outputs.device)
        window = self.reader.class_paths.header.layer(name).window
        sides = sides_of(self.graph, name, window.positions)
        columns = torch.from_numpy(at).to(outputs.device)
        return Carrier(name, bound, foreign, logs, chosen, columns, positions, sides)


def _together(layers: Sequence[Tensor], like: Tensor) -> Tensor:
    """Return what is measured in layers [N, …] as one tensor, [N, layers, …]; without any, [N, 0]."""
    return torch.stack(list(layers), 1) if layers else like.new_zeros(len(like), 0)
