"""The effective path of one image, or a union of several."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from effpath.errors import NO_LAYER, CaptureError, OptionError
from effpath.paths.header import Header
from effpath.paths.idset import Ids, IdSet
from effpath.rules.plan import LEVELS, Level

Sets = Mapping[str, IdSet]


class Path:
    """An effective path P = (N, S, W): sets of neurons, synapses and weights, kept per layer (Sec. 2.1).

    Attributes:
        header: network, options, layers.
        images: number of images in the union.
        levels: which sets this path has, weights included where they follow from its synapses.
    """

    def __init__(self, header: Header, sets: Mapping[Level, Sets], images: int = 1) -> None:
        """Hold the sets by level; weights follow from the synapses where they are not given."""
        self.header, self.images, self._sets = header, images, dict(sets)
        has = {*sets, "weights"} if "synapses" in sets else {*sets}
        self.levels: tuple[Level, ...] = tuple(level for level in LEVELS if level in has)

    @property
    def synapses(self) -> Sets:
        """Slot ids by layer; `pairs` turns them into output and input ids."""
        return self.sets("synapses")

    @property
    def neurons(self) -> Sets:
        """Ids of the layer's active outputs in C·H·W order, by layer."""
        return self.sets("neurons")

    @property
    def weights(self) -> Sets:
        """Flat ids into the parameter, by parameter; derived from the synapses at first use."""
        return self.sets("weights")

    def sets(self, level: Level) -> Sets:
        """Return the sets of a level; OptionError where it is not kept."""
        if level not in LEVELS:
            raise OptionError(f"level must be one of {LEVELS}, got {level!r}")
        if level not in self.levels:
            raise OptionError(f"this path keeps no {level}; build it with levels=({level!r}, …)")
        if level not in self._sets:
            self._sets[level] = self._derived_weights()
        return self._sets[level]

    def _derived_weights(self) -> Sets:
        """Return the weights behind the synapses; layers that share a parameter are united."""
        found: dict[str, IdSet] = {}
        for layer in self.header.layers:
            if layer.parameter is not None:
                ids = layer.window.weights_of(torch.from_numpy(self.synapses[layer.name].ids)).numpy()
                used = IdSet(ids, size=layer.window.weights)
                found[layer.parameter] = found[layer.parameter] | used if layer.parameter in found else used
        return found

    def pairs(self, layer: str) -> tuple[Ids, Ids]:
        """Return the layer's synapses as (output ids, input ids), each int64 [n], C·H·W order, no padding.

        Inputs are those of the tensor before its padding: where a border copies an element, as a reflection does,
        a pair may come several times, once per tap. A padding by another value than zero is an input of its own.
        """
        outputs, inputs = self.header.layer(layer).window.ends(torch.from_numpy(self.synapses[layer].ids))
        return outputs.numpy(), inputs.numpy()

    def density(self, level: Level = "synapses") -> float:
        """Return the fraction of the network that the path uses: Σ|set| ÷ Σ|all| over the layers (Eq. 4)."""
        sets = self.sets(level)
        if not sets:
            raise CaptureError(NO_LAYER)
        return sum(map(len, sets.values())) / sum(self.header.total(level, key) for key in sets)

    def layer_density(self, level: Level = "synapses") -> dict[str, float]:
        """Return the density of each layer (parameter, for weights)."""
        return {key: len(s) / self.header.total(level, key) for key, s in self.sets(level).items()}

    def jaccard(self, other: Path, level: Level = "synapses") -> float:
        """Return the class-wise similarity |A ∩ B| ÷ |A ∪ B| over all layers (Eq. 5); NaN where both are empty."""
        self.header.check_same(other.header)
        others = other.sets(level)
        pairs = [(members, others[key]) for key, members in self.sets(level).items()]
        both = sum(one.intersection_size(two) for one, two in pairs)
        either = sum(len(one) + len(two) for one, two in pairs) - both
        return both / either if either else float("nan")

    def layer_jaccard(self, other: Path, level: Level = "synapses") -> dict[str, float]:
        """Return the Jaccard similarity of each layer."""
        self.header.check_same(other.header)
        others = other.sets(level)
        return {key: members.jaccard(others[key]) for key, members in self.sets(level).items()}

    def __or__(self, other: Path) -> Path:
        """Union of two paths of one network, with the levels that both have."""
        self.header.check_same(other.header)
        levels = [level for level in self.levels if level in other.levels]
        if "synapses" in levels:
            levels.remove("weights")  # they follow
        sets = {
            level: {key: members | other.sets(level)[key] for key, members in self.sets(level).items()}
            for level in levels
        }
        return Path(self.header, sets, self.images + other.images)

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
        sizes = ", ".join(f"{sum(map(len, self.sets(lv).values()))} {lv}" for lv in self.levels)
        return f"Path({sizes}; {self.images} images, {len(self.header.layers)} layers)"
