"""What the signs of our profiles of cost measure of images: every sign once, for whatever is combined of them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from detection.seen import Piece, kept
from effpath import ClassPaths, Graph
from effpath.data import Part
from effpath.detect.signs.auxiliary import AuxiliaryNetwork
from effpath.detect.signs.cancellation import Cancellation
from effpath.detect.signs.collect import collect
from effpath.detect.signs.likelihood import Margin
from effpath.detect.signs.pixels import Pixels
from effpath.detect.signs.profiles import PROFILES, Profile
from effpath.detect.signs.reader import SignReader
from effpath.detect.signs.reference import Reference
from effpath.detect.signs.size import Effort, PathSize
from effpath.detect.signs.typicality import Typicality
from effpath.errors import StoreError
from effpath.files.progress import track

SIGNS = "signs"  # the name of what is measured here, beside those of rivals
TRIED = (Margin(), Typicality(), Margin("early"), Typicality("early"), PathSize(), Effort(), Cancellation())
"""Signs that are measured though no profile has them."""


def _profiles() -> tuple[Profile, Profile]:
    """Return the profiles of all signs of the network itself: over a whole walk or none, and over its end."""
    fast = PROFILES["fast"]
    others = [profile for name, profile in PROFILES.items() if name != "fast"]
    asking = AuxiliaryNetwork.says  # what PID measures, on another network
    signs = {sign.says: sign for profile in others for sign in profile.signs if sign.says != asking}
    signs |= {sign.says: sign for sign in TRIED}
    late = (sign for sign in fast.signs if sign.says not in signs)
    return Profile("whole", tuple(signs.values())), Profile("late", tuple(late), fast.late)


WHOLE, LATE = _profiles()
SAYS = tuple(dict.fromkeys((*PROFILES["fast"].says, *WHOLE.says)))
"""What the columns that are measured say, in words: those of `effpath.detect.signs.sign.Sign.says`."""
_PLACES = [(*WHOLE.says, *LATE.says).index(title) for title in SAYS]


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
        """Measure the signs of images: one forward pass and one walk, beside the passes that signs take."""
        late, whole = (SignReader.of(profile, self.class_paths) for profile in (LATE, WHOLE))
        parts = []
        for _, pixels, passes in whole.batches(self.graph, images, batch_size=self.batch):
            all_layers = whole.look(pixels, passes, self.reference)
            last_ones = late.look(pixels, passes, self.reference, paths=all_layers.paths)
            found = [whole.suspicions(all_layers), late.suspicions(last_ones)]
            parts.append(np.concatenate(found, axis=1)[:, _PLACES])
        return np.concatenate(parts)


def measured(signs: Signs, images: Tensor) -> Piece:
    """Return what signs measure of images as a piece, with the seconds of the process and what the columns say."""
    clock = time.process_time()
    found = signs.measure(images)
    return Piece({"found": found}, {"seconds": round(time.process_time() - clock, 1), "says": SAYS})


def columns_of(piece: Piece) -> np.ndarray:
    """Return the columns of `SAYS`, [N, len(SAYS)], of a piece that may have others, or another order.

    Raises:
        StoreError: it lacks some.
    """
    at = {title: column for column, title in enumerate(piece.about["says"])}
    missing = [title for title in SAYS if title not in at]
    if missing:
        raise StoreError(f"expected signs that say {', '.join(map(repr, missing))}, got a piece without them")
    return piece.arrays["found"][:, [at[title] for title in SAYS]]
