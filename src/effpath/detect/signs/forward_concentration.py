"""Forward sets, by place: does what is unusual about the activity lie together? Without a walk."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from effpath.detect.signs.evidence import Evidence
from effpath.detect.signs.forward_sets import ForwardSign
from effpath.detect.signs.sample import layers_in_places, sides_of
from effpath.detect.signs.sign import FloatArray
from effpath.files.plain import percent
from effpath.paths.header import Header


class ForwardConcentration(ForwardSign):
    """The largest share of a forward set's rarity that a window of half the side holds, mean over early layers.

    The rarity of a neuron is −log of its frequency in the forward sets of the class, so that the set weighs what
    `ForwardTypicality` is the mean of. A patch is unusual in one place, small changes all over an image are not.
    Layers whose neurons lie in no places are left out; of a network without any nothing is measured.
    """

    name = "forward concentration"
    says = ("unusual activity in one place",)

    def layers(self, header: Header, walked: Sequence[str]) -> tuple[str, ...]:
        """Return the layers of the sample whose neurons lie in places."""
        return layers_in_places(header)

    def by_layer(self, seen: Evidence) -> FloatArray:
        """Measure the share, [B, layers]; NaN of an empty set, and where the class was not met."""
        shares = []
        for name, rarity in seen.rarities.items():
            sides = sides_of(seen.passes.graph, name, rarity.shape[1])
            shares.append(share_in_window(torch.from_numpy(rarity).view(-1, *sides)))
        found: FloatArray = torch.stack(shares, 1).numpy() if shares else seen.logits[:, :0]
        return found

    def in_words(self, value: float, usual: float, label: str) -> str:
        """Say how much of it lies together."""
        return (
            f"{percent(value)} of what is unusual in its activity for class {label} lies within half of its "
            f"height and width, usually {percent(usual)}"
        )


def share_in_window(weights: Tensor) -> Tensor:
    """Return the largest share of weights [B, sides …] that a window of half of each side holds, [B].

    Half is rounded up. NaN where the weights sum to 0; they are 0 or more.
    """
    whole, found = weights.flatten(1).sum(1), weights
    for axis in range(1, weights.dim()):
        side = (weights.shape[axis] + 1) // 2
        before = torch.cat([torch.zeros_like(found.narrow(axis, 0, 1)), found.cumsum(axis)], axis)
        windows = before.shape[axis] - side
        found = before.narrow(axis, side, windows) - before.narrow(axis, 0, windows)
    return found.flatten(1).amax(1) / torch.where(whole > 0, whole, torch.nan)
