"""What the signs of our profiles of cost measure of images: every sign once, for whatever is combined of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from detection.seen import Piece, kept
from effpath import ClassPaths, Graph
from effpath.data import Part
from effpath.detect.signs.collect import collect
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.detect.signs.reference import Reference
from effpath.files.progress import track

SIGNS = "signs"  # the name of what is measured here, beside those of rivals
FAST = PROFILES["fast"]  # its walk ends early, so that its signs are measured apart


def _whole() -> Profile:
    """Return the profile of all signs that look at the whole walk, or at none."""
    signs = {sign.says: sign for name, profile in PROFILES.items() if name != "fast" for sign in profile.signs}
    return Profile("whole", tuple(signs.values()))


WHOLE = _whole()
SAYS = tuple(dict.fromkeys((*FAST.says, *WHOLE.says)))
"""What the columns that are measured say, in words: those of `effpath.detect.signs.sign.Sign.says`."""


@dataclass(frozen=True, eq=False)
class Signs:
    """What measures the signs: [N, len(SAYS)] of images [N, C, H, W], each high where suspicious."""

    graph: Graph
    class_paths: ClassPaths
    reference: Reference
    batch: int

    @classmethod
    def of(cls, graph: Graph, class_paths: ClassPaths, train: Part, batch: int, file: Path) -> Signs:
        """Collect from training images what signs compare with, as `effpath fit` does, or read it from a file."""

        def collected() -> Piece:
            with track(f"{len(train)} images, to compare others with") as progress:
                reader = SignReader.of(WHOLE, class_paths)
                found = collect(graph, reader, train.images, train.labels, batch_size=batch, progress=progress)
            return Piece(found.arrays, {})

        arrays = dict(kept(file, collected).arrays)
        forward = {
            key.removeprefix("forward/"): bits for key, bits in arrays.items() if key.startswith("forward/")
        }
        reference = Reference(arrays["classes"], forward, {}, arrays["shares"], arrays["labels"])
        return cls(graph, class_paths, reference, batch)

    def measure(self, images: Tensor) -> np.ndarray:
        """Measure the signs of images: two forward passes and walks, beside those of the signs themselves."""
        found: dict[str, np.ndarray] = {}
        for profile in (FAST, WHOLE):
            reader = SignReader.of(profile, self.class_paths)
            seen = sign_features(self.graph, reader, images, reference=self.reference, batch_size=self.batch)
            found |= dict(zip(profile.says, seen.suspicions(profile.says).T, strict=True))
        return np.stack([found[title] for title in SAYS], axis=1)


def timed(measure: Callable[[Tensor], np.ndarray], images: Tensor) -> Piece:
    """Return what is measured of images as a piece, with the seconds of the process that it took."""
    clock = time.process_time()
    found: Any = measure(images)
    return Piece({"found": found}, {"seconds": round(time.process_time() - clock, 1)})
