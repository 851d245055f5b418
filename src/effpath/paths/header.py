"""What a path was made of and how."""

from __future__ import annotations

from dataclasses import dataclass, field

from effpath.errors import FingerprintError, OptionError
from effpath.graph.graph import Graph
from effpath.kernels.options import Options
from effpath.rules.plan import Layer, Level


@dataclass(frozen=True, eq=False)
class Header:
    """What a path was made of and how; two paths can be compared only where these agree.

    Attributes:
        fingerprint: of the network's graph.
        options: of the selection.
        layers: in forward order; the layers that sets are kept for.
        pixels: elements of one input image.
        architecture: fingerprint of the graph apart from its weights; "" where it is not known.
        structure: `Graph.structure`, with which files let the network be captured again at once.
    """

    fingerprint: str
    options: Options
    layers: tuple[Layer, ...]
    pixels: int
    architecture: str = ""
    structure: str | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, graph: Graph, options: Options, layers: tuple[Layer, ...]) -> Header:
        """Return the header of paths of a network."""
        pixels = graph.size(graph.input)
        return cls(graph.fingerprint, options, layers, pixels, graph.architecture, graph.structure)

    def layer(self, name: str) -> Layer:
        """Return a layer by name."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        raise OptionError(f"no layer {name!r} in this path; it has {', '.join(la.name for la in self.layers)}")

    def keys(self, level: Level) -> list[str]:
        """Return the names of the sets of a level, in forward order: layers; for weights parameters, each once."""
        if level == "weights":
            return list(dict.fromkeys(layer.parameter for layer in self.layers if layer.parameter))
        return [layer.name for layer in self.layers]

    def universe(self, level: Level, key: str) -> int:
        """Return the size of the universe of one set."""
        return self._of(level, key).universe(level)

    def total(self, level: Level, key: str) -> int:
        """Return the number of elements that exist (in-bounds synapses, neurons or weights)."""
        return self._of(level, key).total(level)

    def _of(self, level: Level, key: str) -> Layer:
        if level == "weights":
            return next(layer for layer in self.layers if layer.parameter == key)
        return self.layer(key)

    def check_same(self, other: Header) -> None:
        """Raise FingerprintError or OptionError where two headers do not agree."""
        if self.fingerprint != other.fingerprint:
            raise FingerprintError(
                f"paths of different networks: fingerprint {self.fingerprint} and {other.fingerprint}; "
                f"extract both with the same graph: {differing(self.architecture, other.architecture)}"
            )
        if self.options != other.options:
            raise OptionError(f"paths of different options: {self.options} and {other.options}")
        if [la.name for la in self.layers] != [la.name for la in other.layers]:
            raise OptionError(f"paths of different layers: {self.keys('neurons')} and {other.keys('neurons')}")


def differing(built: str, here: str) -> str:
    """Return what to do about two networks, given their architectures: "" is one that is not known."""
    if built == here != "":
        return (
            "the architecture is the same and the weights differ: load the weights that they were built with "
            "(--weights; without it a network has random ones), or build them again"
        )
    if built and here:
        return "the architectures differ: load the model that they were built with, or build them again"
    return "load the model that they were built with, with its weights (--weights), or build them again"
