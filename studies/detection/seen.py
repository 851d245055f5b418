"""What detectors see of a case, and the pieces of it that are kept on disk, one file each."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detection.cases import Case
from effpath import Features
from effpath.attacks.saving import STEPS
from effpath.detect.evaluate import Group
from sources import Row, write_arrays

MISTAKES = "natural mistakes"


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of one kind.

    Attributes:
        images: [N, C, H, W].
        source: int64 [N], the row of the clean image that each was made from; −1 where there is none.
        labels: int64 [N], their true classes; −1 where there is none.
        clusters: int64 [N], the patch in each; None where there are no patches.
    """

    images: Tensor
    source: np.ndarray
    labels: np.ndarray
    clusters: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Pixels:
        """Return some of the images."""
        clusters = None if self.clusters is None else self.clusters[rows]
        return Pixels(self.images[rows], self.source[rows], self.labels[rows], clusters)


@dataclass(frozen=True, eq=False)
class Seen:
    """A case as detectors see it.

    Attributes:
        groups: ``clean`` first, then attacks; the arrays of rivals with them.
        controls: images that were not attacked, to be flagged no more often than clean ones: noise as large as an
            attack, harmless squares, and natural mistakes; the arrays of rivals with them.
        labels: true classes by group, −1 where there is none.
        case: what was attacked, with what.
        about: how it was made: accuracy, attacks, seconds, rivals left out.
    """

    groups: Mapping[str, Group]
    controls: Mapping[str, Group]
    labels: Mapping[str, np.ndarray]
    case: Case
    about: Row

    @property
    def unseen(self) -> tuple[str, ...]:
        """Attacks that detectors do without in training."""
        return tuple(name for name, planned in self.case.attacks.items() if planned.unseen)

    @property
    def attacks(self) -> list[Group]:
        """The attacks whose images can be saved."""
        return [group for name, group in self.groups.items() if name != "clean" and not self._floats(name)]

    @property
    def shown(self) -> list[Group]:
        """Clean images, then the attacks whose images can be saved."""
        return [self.groups["clean"], *self.attacks]

    @property
    def floats(self) -> list[Group]:
        """The attacks whose images are not rounded, which count in no mean."""
        return [group for name, group in self.groups.items() if self._floats(name)]

    def _floats(self, name: str) -> bool:
        return name in self.case.attacks and self.case.attacks[name].floats

    @property
    def mistakes(self) -> Group | None:
        """Clean images that the network gets wrong, as many as come with the correct ones."""
        accuracy, correct = self.about["accuracy"], len(self.groups["clean"].source)
        found = self.controls.get(MISTAKES)
        count = round(correct * (1 - accuracy) / accuracy)
        return some_of(found, np.arange(min(count, len(found.source)))) if found is not None and count else None

    def successes(self, name: str) -> int:
        """Return how many images of an attack fooled the network."""
        return len(self.groups[name].source)


def some_of(group: Group, rows: np.ndarray) -> Group:
    """Return some of the images of a group."""
    arrays = {name: array[rows] for name, array in group.arrays.items()}
    clusters = None if group.clusters is None else group.clusters[rows]
    return Group(group.name, group.features[rows], group.source[rows], arrays, clusters)


@dataclass(frozen=True, eq=False)
class Piece:
    """One file of what is seen: arrays by name, and how they were made."""

    arrays: Mapping[str, np.ndarray]
    about: Row


def kept(file: Path, make: Callable[[], Piece]) -> Piece:
    """Read a piece from its file; where there is none it is made and written first, so killed work goes on."""
    if not file.exists():
        made = make()
        write_arrays(file, about=np.array(json.dumps(made.about)), **made.arrays)
    with np.load(file) as held:
        arrays = {name: held[name] for name in held.files if name != "about"}
        return Piece(arrays, json.loads(str(held["about"])))


def pixels_piece(shots: Pixels) -> Piece:
    """Return images as a piece: of 8 bits per value where they have no more."""
    bytes_ = (shots.images * STEPS).round().byte()
    images = bytes_ if torch.equal(bytes_ / STEPS, shots.images) else shots.images
    clusters = {} if shots.clusters is None else {"clusters": shots.clusters}
    return Piece({"images": images.numpy(), "source": shots.source, "labels": shots.labels, **clusters}, {})


def pixels_of(piece: Piece) -> Pixels:
    """Return the images of a piece, bit for bit."""
    images = torch.from_numpy(piece.arrays["images"])
    whole = images / STEPS if images.dtype == torch.uint8 else images
    return Pixels(whole, piece.arrays["source"], piece.arrays["labels"], piece.arrays.get("clusters"))


def paths_piece(look: Callable[[Tensor], Features], shown: Pixels) -> Piece:
    """Return features, sources and labels of a group as a piece."""
    clock = time.process_time()
    seen = look(shown.images)
    arrays = {
        "values": seen.values, "classes": seen.classes, "logits": seen.logits, "fit": seen.likelihood,
        "source": shown.source, "labels": shown.labels,
        **({} if shown.clusters is None else {"clusters": shown.clusters}),
    }  # fmt: skip
    seconds = round(time.process_time() - clock, 1)
    return Piece(arrays, {"names": seen.names, "fitted": seen.likelihood_classes, "seconds": seconds})


def assembled(case: Case, heading: Piece, paths: Mapping[str, Piece], others: Mapping[str, Piece]) -> Seen:
    """Return what is seen, of the paths of each group and of what other detectors measured of all."""
    about = {key: value for key, value in heading.about.items() if key not in ("groups", "controls")}
    made, labels = {}, {}
    for name, piece in paths.items():
        values, classes, logits, fit, source, labels[name] = (
            piece.arrays[key] for key in ("values", "classes", "logits", "fit", "source", "labels")
        )
        names, fitted = tuple(piece.about["names"]), tuple(piece.about["fitted"])
        measured = {other: found.arrays[name] for other, found in others.items() if name in found.arrays}
        features = Features(values, names, classes, logits, fit, fitted)
        made[name] = Group(name, features, source, measured, piece.arrays.get("clusters"))
    seconds = {other: piece.about["seconds"] for other, piece in others.items()}
    walked = round(sum(piece.about["seconds"] for piece in paths.values()), 1)
    about["seconds"] = {"effective paths": walked, **seconds}
    about["skipped"] = {name: piece.about["skipped"] for name, piece in others.items() if "skipped" in piece.about}
    groups, controls = (
        {name: made[name] for name in heading.about[part] if name in made} for part in ("groups", "controls")
    )
    return Seen(groups, controls, labels, case, about)
