"""The union of the paths of many images, class by class, without making the paths (compiled backend)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from effpath.backends.compiled import CompiledWalk, Sets
from effpath.kernels.arguments import BITS
from effpath.paths.header import Header
from effpath.paths.idset import IdSet
from effpath.paths.path import Path
from effpath.rules.kinds import Selection
from effpath.rules.plan import Level
from effpath.walk.recording import Recorded
from effpath.walk.visit import Masks, paths_of, visit

Bytes = NDArray[np.uint8]
OPEN_BYTES = 2 << 30  # classes are kept as bits while all of them take less than this


class Unions:
    """Unions of rank-1 paths by class.

    A class that images come for is open: one bit per synapse slot, which the walk sets as it chooses. Where the
    bits of all open classes would take too much room, those without an image in the batch are closed, to sets: of
    images that come class by class one class is open at a time.
    """

    def __init__(self, header: Header) -> None:
        """Start with no class."""
        self.header = header
        self._slots = {layer.name: layer.window.slots for layer in header.layers}
        self._outputs = {layer.name: layer.window.outputs for layer in header.layers}
        self._cost = sum(self._slots.values()) // 8 + sum(self._outputs.values())
        self._open: dict[int, tuple[dict[str, Bytes], dict[str, Bytes]]] = {}
        self._closed: dict[int, Path] = {}

    def add(self, recorded: Recorded, labels: Sequence[int]) -> None:
        """Add the path of each recorded image to the union of its class."""
        if not recorded.compiled:
            paths = paths_of(recorded)
            for label in sorted(set(labels)):
                self.put(label, paths.union([row for row, found in enumerate(labels) if found == label]))
            return
        for label in sorted(set(labels)):
            if label not in self._open:
                self._make_room(set(labels))
                bits = {name: np.zeros((size + 7) // 8, np.uint8) for name, size in self._slots.items()}
                self._open[label] = bits, {name: np.zeros(size, np.uint8) for name, size in self._outputs.items()}

        def unite(masks: Masks, name: str, kind: Selection) -> None:
            assert isinstance(masks, CompiledWalk)
            bits = tuple(self._open[label][0][name] for label in labels)
            table = np.array([[BITS, slots.ctypes.data, 0] for slots in bits], np.int64)
            masks.decide(name, kind, sets=Sets(table, True, bits))
            for label, mask in zip(labels, masks.mask(name), strict=True):
                self._open[label][1][name] |= mask.view(np.uint8)

        visit(recorded, recorded.start(recorded.ranked(1)), unite, torch.get_num_threads())

    def put(self, label: int, path: Path) -> None:
        """Add a path to the union of a class."""
        self._closed[label] = self._closed[label] | path if label in self._closed else path

    def paths(self, levels: Sequence[Level], images: Mapping[int, int]) -> dict[int, Path]:
        """Return the unions so far, with the number of images behind each."""
        for label in list(self._open):
            self._close(label)
        found = {}
        for label, path in sorted(self._closed.items()):
            found[label] = Path(self.header, {level: path.sets(level) for level in levels}, images[label])
        return found

    def _make_room(self, needed: set[int]) -> None:
        for label in [label for label in self._open if label not in needed]:
            if (len(self._open) + 1) * self._cost <= OPEN_BYTES:
                return
            self._close(label)

    def _close(self, label: int) -> None:
        bits, neurons = self._open.pop(label)
        synapses = {name: IdSet.from_bits(slots, size=self._slots[name]) for name, slots in bits.items()}
        active = {name: IdSet.from_mask(mask.view(np.bool_)) for name, mask in neurons.items()}
        self.put(label, Path(self.header, {"synapses": synapses, "neurons": active}))
