"""What is told of one image: the verdict, layer by layer, channel by channel, and in the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from effpath.detect.verdicts import Verdict
from effpath.views.page.words import title_of
from effpath.views.pixels import Pixels


@dataclass(frozen=True)
class ChannelView:
    """A channel in which a path leaves the class path.

    Attributes:
        layer: its name.
        channel: number of the output channel; of a linear layer, the output.
        synapses: of the path in this channel.
        outside: how many of them are not in the class path.
        added: its share of what the layer's rank-1 similarity adds to the score, by ``outside``; None where the
            detector's score is no sum over layers.
    """

    layer: str
    channel: int
    synapses: int
    outside: int
    added: float | None


@dataclass(frozen=True)
class LayerView:
    """A layer of the rank-1 path beside the class path of the predicted class.

    Attributes:
        layer: its name.
        similarity: the share of the path's synapses that lies in the class path; NaN where the path has none.
        low, median, high: quantiles of 5, 50 and 95 % of this similarity among clean images; NaN where they are
            not known.
        added: what the similarities of the layer add to the score, beside their usual values; None where the
            detector's score is no sum over layers.
        synapses: of the path in this layer.
        outside: how many of them are not in the class path.
        channels: those with synapses outside, the most first.
    """

    layer: str
    similarity: float
    low: float
    median: float
    high: float
    added: float | None
    synapses: int
    outside: int
    channels: tuple[ChannelView, ...]

    @property
    def below(self) -> bool:
        """Whether less of the path lies in the class path than in 95 % of the clean images."""
        return self.similarity < self.low


@dataclass(frozen=True)
class ClosestClasses:
    """The classes whose paths are closest to the path of an image.

    Attributes:
        measure: ``likelihood``, the mean log frequency of the path's synapses among the images of a class; or
            ``similarity``, the mean share of the path that lies in the class path.
        ranking: class and value, the closest first.
        compared: the number of classes that were compared.
    """

    measure: str
    ranking: tuple[tuple[int, float], ...]
    compared: int

    @property
    def best(self) -> int:
        """The closest class."""
        return self.ranking[0][0]


@dataclass(frozen=True, eq=False)
class PixelPath:
    """The part of a path that lies in the image.

    Attributes:
        label: the class that the path starts from.
        counts: float32 [C, H, W], how many synapses read each element; 0 outside of the path.
    """

    label: int
    counts: Pixels

    @property
    def share(self) -> float:
        """The share of the image's elements that are on the path."""
        return float((self.counts > 0).mean())


@dataclass(frozen=True, eq=False)
class Neighbour:
    """The clean image whose path is nearest.

    Attributes:
        name: of the image.
        label: the class that the network predicts for it.
        similarity: Jaccard similarity of the two paths' synapses.
        image: float32 [C, H, W].
    """

    name: str
    label: int
    similarity: float
    image: Pixels


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why a detector flags an image, or does not.

    Attributes:
        name: of the image.
        image: float32 [C, H, W].
        verdict: what the detector says.
        threshold: that the score is compared with: of its class, where that has one of its own, or of all.
        fpr: of the detector.
        added_to: what ``added`` is a part of: the score, or one of its signs.
        layers: in forward order; empty where the predicted class has no class path.
        band_images: the number of clean images behind the bands; 0 where there are none.
        band_label: the class that these are predicted as; None for all classes.
        closest: the classes whose paths are closest; None where they cannot be compared.
        pixels: the pixel paths of the predicted class and of the runner-up.
        neighbour: None unless clean images were given.
        names: of the classes.
        notes: what is missing, and why.
    """

    name: str
    image: Pixels
    verdict: Verdict
    threshold: float
    fpr: float | None
    added_to: str
    layers: tuple[LayerView, ...]
    band_images: int
    band_label: int | None
    closest: ClosestClasses | None
    pixels: tuple[PixelPath, ...]
    neighbour: Neighbour | None
    names: Sequence[str]
    notes: tuple[str, ...]

    def title(self, label: int) -> str:
        """Return the number of a class, with its name where it has one."""
        return title_of(label, self.names)

    @property
    def below(self) -> list[LayerView]:
        """The layers whose similarity lies below the clean band."""
        return [layer for layer in self.layers if layer.below]

    def strongest_channels(self, count: int = 12) -> list[ChannelView]:
        """Return the channels that add most to the score; where that is not known, those with most outside."""
        found = [channel for layer in self.layers for channel in layer.channels]
        if any(channel.added is None for channel in found):
            return sorted(found, key=lambda channel: -channel.outside)[:count]
        found = [channel for channel in found if (channel.added or 0) > 0]
        return sorted(found, key=lambda channel: -(channel.added or 0))[:count]

    def to_dict(self) -> dict[str, Any]:
        """Return the values, without pixels, for JSON."""
        verdict = self.verdict
        return {
            "image": self.name,
            "flagged": verdict.flagged,
            "class": verdict.predicted,
            "runner_up": verdict.runner_up,
            "score": verdict.score,
            "threshold": self.threshold,
            "fpr": self.fpr,
            "p_value": verdict.p_value,
            "reasons": list(verdict.reasons),
            "closest": None if self.closest is None else {"best": self.closest.best, **asdict(self.closest)},
            "band": {"images": self.band_images, "class": self.band_label},
            "added_to": self.added_to,
            "layers": [asdict(layer) for layer in self.layers],
            "pixels": [{"class": path.label, "share": path.share} for path in self.pixels],
            "neighbour": None
            if self.neighbour is None
            else {
                "image": self.neighbour.name,
                "class": self.neighbour.label,
                "similarity": self.neighbour.similarity,
            },
            "notes": list(self.notes),
        }
