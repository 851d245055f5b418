"""The soft counterparts of signs, which have a slope: one for each sign of a profile, by its class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from effpath.adaptive.soft import log_odds
from effpath.detect.signs.auxiliary import AuxiliaryNetwork
from effpath.detect.signs.basis import Basis, blocks, small
from effpath.detect.signs.bit_depth import BitDepth
from effpath.detect.signs.disagreement import ChangedImage
from effpath.detect.signs.forward_concentration import ForwardConcentration
from effpath.detect.signs.forward_frequency import ForwardMargin, ForwardTypicality
from effpath.detect.signs.forward_sets import ForwardSets
from effpath.detect.signs.jpeg import JPEG
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.log_odds import LogOdds
from effpath.detect.signs.pixels import LEAST, Pixels
from effpath.detect.signs.predicted import ROUNDING
from effpath.detect.signs.profiles import Profile
from effpath.detect.signs.resize_and_pad import ResizeAndPad
from effpath.detect.signs.sign import Sign
from effpath.detect.signs.similarity import EarlySimilarity
from effpath.detect.signs.size import Effort, PathSize
from effpath.detect.signs.typicality import Typicality
from effpath.detect.signs.unusual_pixels import SecondOpinion, Surroundings, UnusualPixels
from effpath.errors import OptionError
from effpath.graph.graph import Graph

GENTLE = 0.3
"""The error of a pixel, for each unit of temperature, below which a slope is gentler than that of a log."""


@dataclass(frozen=True, eq=False)
class Glance:
    """What soft signs look at: a batch of N images.

    Attributes:
        graph: the network.
        pixels: [N, C, H, W].
        logits: [N, classes].
        first: the class that counts as predicted, int64 [N].
        leak: the temperature, which keeps a slope where the softmax has none; 0 for exact values.
        paths: columns of the walk by group of `SoftFeatures`, [N, layers of the walk] each.
        neurons: log number of its neurons, [N, layers of the walk].
        early: which of these layers are early.
        outside: share of the forward set outside that of the class, [N, layers of the sample].
        frequencies: mean log frequency of the forward set in every class of the reference, [N, layers of the
            sample, classes].
        concentration: share of the forward set's rarity in one place, [N, layers of the sample in places].
        places: where `first` stands among these classes, int64 [N]; −1 where it was not met.
        known: the spaces of the pixels of clean images; None where no sign asks.
        auxiliary: the other network; None where no sign asks one.
    """

    graph: Graph
    pixels: Tensor
    logits: Tensor
    first: Tensor
    leak: float
    paths: Mapping[str, Tensor]
    neurons: Tensor
    early: Sequence[int]
    outside: Tensor
    frequencies: Tensor
    concentration: Tensor
    places: Tensor
    known: Pixels | None
    auxiliary: Graph | None = None

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


def _auxiliary(sign: Sign, at: Glance) -> Tensor:
    assert at.auxiliary is not None
    pixels = at.pixels.to(at.auxiliary.device, at.auxiliary.dtype)
    found = at.auxiliary.run(pixels, change=lambda _, value: value)
    return log_odds(found[at.auxiliary.logits].to(at.logits), at.first)


def _forward_sets(sign: Sign, at: Glance) -> Tensor:
    return layer_mean(at.outside)


def _forward_typicality(sign: Sign, at: Glance) -> Tensor:
    return layer_mean(at.own(at.frequencies))


def _forward_margin(sign: Sign, at: Glance) -> Tensor:
    return layer_mean(at.own(at.frequencies) - at.others(at.frequencies, highest=True))


def _forward_concentration(sign: Sign, at: Glance) -> Tensor:
    return layer_mean(at.concentration)


def _unusual_pixels(sign: Sign, at: Glance) -> Tensor:
    assert at.known is not None
    apart = _outside(at.known.blocks, blocks(at.pixels))
    return (apart.view(len(at.pixels), -1).mean(1) + LEAST).log()


def _surroundings(sign: Sign, at: Glance) -> Tensor:
    """Measure both columns, [N, 2]; a log is so steep near 0 that a descent along it leads nowhere."""
    assert at.known is not None
    floor = ROUNDING + (GENTLE * at.leak) ** 2
    return torch.stack([each.logs(at.pixels, floor) for each in at.known.predictions], 1)


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
    AuxiliaryNetwork: _auxiliary,
    JPEG: partial(_changed, straight=True),
    BitDepth: partial(_changed, straight=True),
    ResizeAndPad: partial(_changed, straight=False),
    ForwardSets: _forward_sets,
    ForwardTypicality: _forward_typicality,
    ForwardMargin: _forward_margin,
    ForwardConcentration: _forward_concentration,
    UnusualPixels: _unusual_pixels,
    Surroundings: _surroundings,
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


def layer_mean(values: Tensor) -> Tensor:
    """Return the mean of each row [N, layers] over what is not NaN, [N]; NaN where all is."""
    known = ~values.isnan()
    return torch.where(known, values, 0).sum(1) / known.sum(1)
