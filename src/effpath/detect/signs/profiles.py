"""Profiles of cost: which signs a detector looks at, by name; how they were chosen: docs/detection.md."""

from __future__ import annotations

from dataclasses import dataclass

from effpath.detect.signs.auxiliary import AuxiliaryNetwork
from effpath.detect.signs.bit_depth import BitDepth
from effpath.detect.signs.forward_concentration import ForwardConcentration
from effpath.detect.signs.forward_frequency import ForwardMargin, ForwardTypicality
from effpath.detect.signs.forward_sets import ForwardSets
from effpath.detect.signs.jpeg import JPEG
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.log_odds import LogOdds
from effpath.detect.signs.neighbours import Neighbours
from effpath.detect.signs.passes import Change
from effpath.detect.signs.resize_and_pad import ResizeAndPad
from effpath.detect.signs.sample import late_layers
from effpath.detect.signs.sign import LayerSign, Sign
from effpath.detect.signs.similarity import EarlySimilarity
from effpath.detect.signs.typicality import Typicality
from effpath.detect.signs.unusual_pixels import SecondOpinion, Surroundings, UnusualPixels
from effpath.paths.header import Header


@dataclass(frozen=True, eq=False)
class Profile:
    """Signs that are looked at together.

    Attributes:
        name: the kind of a detector that reads them.
        signs: the signs.
        late: the share of the layers, from the last back, that the walk covers; 1 for all.
    """

    name: str
    signs: tuple[Sign, ...]
    late: float = 1.0

    @property
    def says(self) -> tuple[str, ...]:
        """What each suspicion of the signs shows, in words."""
        return tuple(title for sign in self.signs for title in sign.says)

    @property
    def changes(self) -> tuple[Change, ...]:
        """Of the image, in the order of the signs that ask for their answers."""
        return tuple(change for sign in self.signs for change in sign.changes)

    @property
    def passes(self) -> int:
        """Forward passes of the network per image; an auxiliary network makes one more."""
        return 1 + sum(sign.passes for sign in self.signs)

    @property
    def walks(self) -> int:
        """Walks per image; one that covers some of the layers counts as one."""
        return max(sign.walks for sign in self.signs)

    def layer_signs(self, header: Header) -> tuple[tuple[LayerSign, str], ...]:
        """Return the signs that are means over layers, each with each of its layers in class paths of a header."""
        walked = late_layers(header, self.late)
        layered = (sign for sign in self.signs if isinstance(sign, LayerSign))
        return tuple((sign, layer) for sign in layered for layer in sign.layers(header, walked))

    def wants(self, *needs: str) -> bool:
        """Tell whether a sign has one of the needs."""
        return any(need in sign.needs for sign in self.signs for need in needs)

    @property
    def asks(self) -> bool:
        """Whether a sign asks another network."""
        return self.wants("auxiliary network")

    @property
    def compares(self) -> bool:
        """Whether a sign compares images with what is collected from clean ones."""
        return self.wants("forward sets", "neighbours", "pixels")


LATE = 1 / 3
"""The share of the layers that the walk of ``fast`` covers."""
_FORWARD = (ForwardSets(), ForwardTypicality(), ForwardMargin(), ForwardConcentration())
_PIXELS = (UnusualPixels(), Surroundings(), SecondOpinion())
PROFILES = {
    profile.name: profile
    for profile in (
        Profile("fast", (LogOdds(), *_FORWARD, *_PIXELS, Margin("late"), Typicality("late")), LATE),
        Profile("standard", (LogOdds(), JPEG(), ResizeAndPad(), *_FORWARD, *_PIXELS)),
        Profile("paired", (LogOdds(), AuxiliaryNetwork(), JPEG(), *_FORWARD, *_PIXELS)),
        Profile(
            "thorough",
            (
                LogOdds(), JPEG(), ResizeAndPad(10), BitDepth(), *_FORWARD, *_PIXELS, EarlySimilarity(),
                Neighbours(),
            ),
        ),
    )
}  # fmt: skip
"""By name: one pass and a part of a walk; three passes; two and one of another network; many and a walk."""
