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
from effpath.detect.signs.bit_depth import BitDepth
from effpath.detect.signs.cancellation import Cancellation
from effpath.detect.signs.collect import collect
from effpath.detect.signs.forward_frequency import ForwardMargin, ForwardTypicality
from effpath.detect.signs.forward_sets import ForwardSets
from effpath.detect.signs.jpeg import JPEG
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.log_odds import LogOdds
from effpath.detect.signs.neighbours import Neighbours
from effpath.detect.signs.pixels import Pixels
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.detect.signs.reference import Reference
from effpath.detect.signs.resize_and_pad import ResizeAndPad
from effpath.detect.signs.size import Effort, PathSize
from effpath.detect.signs.typicality import Typicality
from effpath.detect.signs.unusual_pixels import SecondOpinion, UnusualPixels
from effpath.files.progress import track

SIGNS = "signs"  # the name of what is measured here, beside those of rivals
FAST = PROFILES["fast"]  # its walk ends early, so that its signs are measured apart


PROPOSED = Profile(
    "proposed",
    (
        LogOdds(), JPEG(), ResizeAndPad(), ForwardSets(), ForwardTypicality(), ForwardMargin(), UnusualPixels(),
        SecondOpinion(),
    ),
)  # fmt: skip
"""What may become ``standard``: three passes and no walk."""
TRIED = (
    ForwardTypicality(), ForwardMargin(), UnusualPixels(), SecondOpinion(), Margin("early"), Typicality("early"),
    PathSize(), Effort(), Cancellation(), Neighbours(), BitDepth(), ResizeAndPad(10),
)  # fmt: skip
"""Signs that are measured whether a profile has them or not."""


def _whole() -> Profile:
    """Return the profile of all signs that look at the whole walk, or at none."""
    signs = {sign.says: sign for name, profile in PROFILES.items() if name != "fast" for sign in profile.signs}
    return Profile("whole", tuple((signs | {sign.says: sign for sign in TRIED}).values()))


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
        counts = {name.removeprefix("counts/"): each for name, each in arrays.items() if "counts/" in name}
        spaces = {name.removeprefix("pixels/"): each for name, each in arrays.items() if "pixels/" in name}
        pixels = Pixels.read(spaces, len(arrays["classes"]))
        plain = arrays["classes"], arrays["images"], counts, arrays["shares"], arrays["labels"]
        reference = Reference(*plain, pixels)
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
