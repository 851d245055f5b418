"""Signs with a gradient: one soft counterpart for each sign of a profile, by its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effpath.adaptive.soft import Look, SoftFeatures, halfway, log_odds
from effpath.detect import Detector
from effpath.detect.signs.basis import Basis, blocks, small
from effpath.detect.signs.bit_depth import BitDepth
from effpath.detect.signs.disagreement import ChangedImage
from effpath.detect.signs.forward_frequency import ForwardMargin, ForwardTypicality
from effpath.detect.signs.forward_sets import ForwardSets
from effpath.detect.signs.jpeg import JPEG
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.log_odds import LogOdds
from effpath.detect.signs.pixels import LEAST, Pixels
from effpath.detect.signs.profiles import Profile
from effpath.detect.signs.resize_and_pad import ResizeAndPad
from effpath.detect.signs.sample import early_layers
from effpath.detect.signs.sign import Sign
from effpath.detect.signs.similarity import EarlySimilarity
from effpath.detect.signs.size import Effort, PathSize
from effpath.detect.signs.typicality import Typicality
from effpath.detect.signs.unusual_pixels import SecondOpinion, UnusualPixels
from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.kernels.reference import carriers


@dataclass(frozen=True, eq=False)
class Glance:
    """What soft signs look at: a batch of N images.

    Attributes:
        graph: the network.
        pixels: [N, C, H, W].
        logits: [N, classes].
        first: the class that counts as predicted, int64 [N].
        leak: what keeps a slope where the softmax has none; 0 for exact values.
        paths: columns of the walk by group of `SoftFeatures`, [N, layers of the walk] each.
        neurons: log number of its neurons, [N, layers of the walk].
        early: which of these layers are early.
        outside: share of the forward set outside that of the class, [N, layers of the sample]; None where no sign
            asks.
        frequencies: mean log frequency of the forward set in every class of the reference, [N, layers of the
            sample, classes]; None where no sign asks.
        places: where `first` stands among these classes, int64 [N]; −1 where it was not met.
        known: the spaces of the pixels of clean images; None where no sign asks.
    """

    graph: Graph
    pixels: Tensor
    logits: Tensor
    first: Tensor
    leak: float
    paths: Mapping[str, Tensor]
    neurons: Tensor
    early: Sequence[int]
    outside: Tensor | None
    frequencies: Tensor | None
    places: Tensor
    known: Pixels | None

    def own(self, by_class: Tensor) -> Tensor:
        """Return what is of the first class, [N, …], of [N, …, classes]; NaN where it was not met."""
        shape = (-1, *[1] * (by_class.dim() - 1))
        places = self.places.clamp(min=0).view(shape).expand(*by_class.shape[:-1], 1)
        own = by_class.gather(-1, places)[..., 0]
        return torch.where(self.places.view(shape[:-1]) >= 0, own, torch.nan)

    def others(self, by_class: Tensor, *, highest: bool) -> Tensor:
        """Return the highest of the other classes, or the lowest, [N, …]; NaN where there are none."""
        mine = torch.arange(by_class.shape[-1], device=by_class.device) == self.places[:, None]
        mine = mine.view(len(mine), *[1] * (by_class.dim() - 2), -1)
        sign = 1 if highest else -1
        best = (sign * by_class).masked_fill(mine, -torch.inf).amax(-1)
        return sign * torch.where(best.isinf(), torch.nan, best)

    def answers(self, images: Tensor) -> Tensor:
        """Return the log softmax of the network for changed images, [N, classes]."""
        found = self.graph.run(images, change=lambda _, value: value)
        return found[self.graph.logits].log_softmax(1)


def _changed(sign: ChangedImage, at: Glance, *, straight: bool) -> Tensor:
    """Measure the disagreement; ``straight``: the change passes gradients on as they are (Athalye et al. 2018).

    Where the softmax is sure it has no slope: ``leak`` times the difference of the logs is added.
    """
    answers = []
    for change in sign.changes:
        if straight:
            made = at.pixels + (change(at.pixels.detach()) - at.pixels).detach()
        else:
            made = change(at.pixels)
        answers.append(at.answers(made))
    mean = torch.stack(answers).logsumexp(0) - float(np.log(len(answers)))
    kept = mean.gather(1, at.first[:, None])[:, 0]
    other = mean.scatter(1, at.first[:, None], -torch.inf).amax(1)
    return other.exp() - kept.exp() + at.leak * (other - kept)


def _log_odds(sign: Sign, at: Glance) -> Tensor:
    return log_odds(at.logits, at.first)


def _forward_sets(sign: Sign, at: Glance) -> Tensor:
    assert at.outside is not None
    return layer_mean(at.outside)


def _forward_typicality(sign: Sign, at: Glance) -> Tensor:
    assert at.frequencies is not None
    return layer_mean(at.own(at.frequencies))


def _forward_margin(sign: Sign, at: Glance) -> Tensor:
    assert at.frequencies is not None
    return layer_mean(at.own(at.frequencies) - at.others(at.frequencies, highest=True))


def _unusual_pixels(sign: Sign, at: Glance) -> Tensor:
    assert at.known is not None
    apart = _outside(at.known.blocks, blocks(at.pixels))
    return (apart.view(len(at.pixels), -1).mean(1) + LEAST).log()


def _second_opinion(sign: Sign, at: Glance) -> Tensor:
    """Measure both columns, [N, 2]."""
    assert at.known is not None
    rows = small(at.pixels)
    logs = torch.stack([(_outside(basis, rows) + LEAST).log() for basis in at.known.classes], 1)
    own = at.own(logs)
    return torch.stack([own, own - at.others(logs, highest=False)], 1)


def _outside(basis: Basis, rows: Tensor) -> Tensor:
    """Return the mean squared distance of rows [n, d] from a space, as `Basis.outside` does."""
    apart = rows - torch.from_numpy(basis.mean).to(rows)
    along = apart @ torch.from_numpy(basis.directions).to(rows).T
    squares = apart.double().square().sum(1) - along.double().square().sum(1)
    return squares.clamp(min=0).to(rows) / apart.shape[1]


def _early_similarity(sign: Sign, at: Glance) -> Tensor:
    return layer_mean(at.paths["similarity"][:, at.early])


def _margin(sign: Margin, at: Glance) -> Tensor:
    return layer_mean(at.paths["margin"][:, at.early] if sign.early else at.paths["margin"])


def _typicality(sign: Typicality, at: Glance) -> Tensor:
    return layer_mean(at.paths["own"][:, at.early] if sign.early else at.paths["own"])


def _size(sign: PathSize, at: Glance) -> Tensor:
    return layer_mean(at.paths["size"])


def _effort(sign: Sign, at: Glance) -> Tensor:
    """Measure with a soft number of synapses; that of neurons is a constant of the point."""
    return layer_mean(at.paths["size"] - at.neurons)


SOFT: dict[type[Sign], Callable[[Any, Glance], Tensor]] = {
    LogOdds: _log_odds,
    JPEG: partial(_changed, straight=True),
    BitDepth: partial(_changed, straight=True),
    ResizeAndPad: partial(_changed, straight=False),
    ForwardSets: _forward_sets,
    ForwardTypicality: _forward_typicality,
    ForwardMargin: _forward_margin,
    UnusualPixels: _unusual_pixels,
    SecondOpinion: _second_opinion,
    EarlySimilarity: _early_similarity,
    Margin: _margin,
    Typicality: _typicality,
    PathSize: _size,
    Effort: _effort,
}
"""From a sign and what it looks at to its column, [N], or columns, [N, columns], before they are turned."""


def check_soft(profile: Profile) -> None:
    """Raise OptionError where a sign of the profile has no soft counterpart; it names them."""
    missing = [sign.name for sign in profile.signs if type(sign) not in SOFT]
    if missing:
        raise OptionError(
            f"expected signs with a soft counterpart, got {', '.join(missing)} in {profile.name!r}: these have no "
            "gradient; give surrogate=Detector(graph, class_paths, kind='standard').fit(…)"
        )


@dataclass(frozen=True, eq=False)
class Carrier:
    """The forward sets of one layer at the point where gradients are taken.

    Attributes:
        layer: its name.
        bound: halfway between the smallest output that is chosen and the largest that is not, [N, 1].
        foreign: the neurons outside the forward sets of the class, 0 or 1, [N, neurons].
        logs: log of the share of each class's images that have a neuron, [neurons, classes].
        chosen: the forward set, bool [N, neurons].
    """

    layer: str
    bound: Tensor
    foreign: Tensor
    logs: Tensor
    chosen: Tensor

    def exact(self) -> tuple[Tensor, Tensor]:
        """Return the share outside [N] and the frequencies [N, classes] of the set; NaN of an empty one."""
        taken = self.chosen.to(self.logs)
        return self._means(taken, taken.sum(1))

    def soft(self, outputs: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Return both at outputs [N, neurons] that count as far as they exceed the bound."""
        taken = torch.sigmoid((outputs - self.bound) / (temperature * self.bound))
        return self._means(taken, taken.sum(1).clamp(min=1e-30))

    def _means(self, taken: Tensor, total: Tensor) -> tuple[Tensor, Tensor]:
        return (taken * self.foreign).sum(1) / total, taken @ self.logs / total[:, None]


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
        sets: Sequence[tuple[Tensor, Tensor]],
        leak: float,
    ) -> Tensor:
        """Return what all signs of the profile show, [N, columns], each turned so that high is suspicious."""
        pixels, logits = values[self.graph.input], values[self.graph.logits]
        paths = {} if columns is None else self.paths.by_group(columns)
        neurons = logits.new_zeros(len(logits), 0) if walk is None else walk.neurons
        outside, frequencies = (torch.stack(each, 1) for each in zip(*sets, strict=True)) if sets else (None, None)
        places = torch.full_like(first, -1)
        if self.reference is not None:
            places = torch.from_numpy(self.reference.places(first.cpu().numpy())).to(first)
        known = None if self.reference is None else self.reference.pixels
        if outside is not None:
            outside = torch.where(places[:, None] >= 0, outside, torch.nan)
        walked = paths, neurons, self.early
        at = Glance(self.graph, pixels, logits, first, leak, *walked, outside, frequencies, places, known)
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
        return Carrier(name, bound, foreign, torch.from_numpy(self.reference.logs[name]).to(outputs), chosen)


def layer_mean(values: Tensor) -> Tensor:
    """Return the mean of each row [N, layers] over what is not NaN, [N]; NaN where all is."""
    known = ~values.isnan()
    return torch.where(known, values, 0).sum(1) / known.sum(1)
