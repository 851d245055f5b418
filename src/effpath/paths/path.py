"""The effective path of one image, or a union of several."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from effpath.errors import NO_LAYER, CaptureError, OptionError
from effpath.paths.forms import Ids
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.rules.plan import LEVELS, Level

Sets = Mapping[str, IdSet]


class Path:
    """An effective path P = (N, S, W): sets of neurons, synapses and weights, kept per layer (Sec. 2.1).

    Attributes:
        header: network, options, layers.
        synapses: slot ids by layer (`pairs` turns them into output and input ids).
        neurons: ids of the layer's active outputs in C·H·W order, by layer.
        weights: flat ids into the parameter, by parameter; None where they were not kept.
        images: number of images in the union.
    """

    def __init__(
        self,
        header: Header,
        synapses: Sets | None,
        neurons: Sets | None,
        weights: Sets | None = None,
        images: int = 1,
    ) -> None:
        """Hold the sets; weights follow from the synapses where they are not given."""
        self.header = header
        self.images = images
        self._synapses, self._neurons, self._weights = synapses, neurons, weights

    @property
    def synapses(self) -> Sets:
        """Slot ids by layer."""
        return self._kept(self._synapses, "synapses")

    @property
    def neurons(self) -> Sets:
        """Active outputs by layer."""
        return self._kept(self._neurons, "neurons")

    @property
    def weights(self) -> Sets:
        """Weight ids by parameter; derived from the synapses at first use."""
        if self._weights is None and self._synapses is not None:
            self._weights = weights_of(self.header, {k: s.ids for k, s in self._synapses.items()})
        return self._kept(self._weights, "weights")

    @staticmethod
    def _kept(sets: Sets | None, level: Level) -> Sets:
        if sets is None:
            raise OptionError(f"this path keeps no {level}; build it with levels=({level!r}, …)")
        return sets

    @property
    def levels(self) -> tuple[Level, ...]:
        """Levels that this path can give."""
        has: dict[Level, bool] = {
            "synapses": self._synapses is not None,
            "neurons": self._neurons is not None,
            "weights": self._weights is not None or self._synapses is not None,
        }
        return tuple(level for level in LEVELS if has[level])

    def sets(self, level: Level) -> Sets:
        """Return the sets of a level."""
        if level not in LEVELS:
            raise OptionError(f"level must be one of {LEVELS}, got {level!r}")
        by_level: dict[Level, Callable[[], Sets]] = {
            "synapses": lambda: self.synapses,
            "neurons": lambda: self.neurons,
            "weights": lambda: self.weights,
        }
        return by_level[level]()

    def pairs(self, layer: str) -> tuple[Ids, Ids]:
        """Return the layer's synapses as (output ids, input ids), each int64 [n], C·H·W order, no padding.

        Inputs are those of the tensor before its padding: where a border copies an element, as a reflection does,
        a pair may come several times, once per tap. A padding by another value than zero is an input of its own.
        """
        outputs, inputs = self.header.layer(layer).window.ends(torch.from_numpy(self.synapses[layer].ids))
        return outputs.numpy(), inputs.numpy()

    def density(self, level: Level = "synapses") -> float:
        """Share of the network that the path uses: Σ|set| ÷ Σ|all| over the layers (Eq. 4)."""
        sets = self.sets(level)
        if not sets:
            raise CaptureError(NO_LAYER)
        return sum(map(len, sets.values())) / sum(self.header.total(level, key) for key in sets)

    def layer_density(self, level: Level = "synapses") -> dict[str, float]:
        """Density of each layer (parameter, for weights)."""
        return {key: len(s) / self.header.total(level, key) for key, s in self.sets(level).items()}

    def jaccard(self, other: Path, level: Level = "synapses") -> float:
        """Class-wise path similarity: |A ∩ B| ÷ |A ∪ B| over all layers (Eq. 5); NaN where both are empty."""
        self.header.check_same(other.header)
        others = other.sets(level)
        pairs = [(members, others[key]) for key, members in self.sets(level).items()]
        both = sum(one.intersection_size(two) for one, two in pairs)
        either = sum(len(one) + len(two) for one, two in pairs) - both
        return both / either if either else float("nan")

    def layer_jaccard(self, other: Path, level: Level = "synapses") -> dict[str, float]:
        """Jaccard of each layer."""
        self.header.check_same(other.header)
        others = other.sets(level)
        return {key: members.jaccard(others[key]) for key, members in self.sets(level).items()}

    def __or__(self, other: Path) -> Path:
        """Union of two paths of one network."""
        self.header.check_same(other.header)

        def union(one: Sets | None, two: Sets | None) -> Sets | None:
            if one is None or two is None:
                return None
            return {key: members | two[key] for key, members in one.items()}

        weights = None
        if self._synapses is None or other._synapses is None:
            weights = union(self._weights, other._weights)
        return Path(
            self.header,
            union(self._synapses, other._synapses),
            union(self._neurons, other._neurons),
            weights,
            self.images + other.images,
        )

    def __le__(self, other: Path) -> bool:
        """Tell whether every set lies inside the other's."""
        self.header.check_same(other.header)
        levels = [level for level in self.levels if level in other.levels]
        return all(s <= other.sets(level)[key] for level in levels for key, s in self.sets(level).items())

    def __eq__(self, other: object) -> bool:
        """Equal sets on all levels, same network, options and layers; the number of images does not count."""
        if not isinstance(other, Path):
            return NotImplemented
        return (
            self.header.fingerprint == other.header.fingerprint
            and self.header.options == other.header.options
            and self.levels == other.levels
            and all(dict(self.sets(level)) == dict(other.sets(level)) for level in self.levels)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """Levels and sizes."""
        sizes = ", ".join(f"{sum(map(len, self.sets(lv).values()))} {lv}" for lv in self.levels)
        return f"Path({sizes}; {self.images} images, {len(self.header.layers)} layers)"


def weights_of(header: Header, slots: Mapping[str, Ids]) -> dict[str, IdSet]:
    """Return the weights behind synapse slots, by parameter; layers that share one are united."""
    found: dict[str, IdSet] = {}
    for layer in header.layers:
        if layer.parameter is None:
            continue
        ids = layer.window.weights_of(torch.from_numpy(slots[layer.name])).numpy()
        used = IdSet(ids, size=layer.window.weights)
        found[layer.parameter] = found[layer.parameter] | used if layer.parameter in found else used
    return found
