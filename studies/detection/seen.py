"""What detectors see of a case, and the pieces of it that are kept on disk, one file each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from detection.cases import Case
from effpath import Features
from effpath.detect.evaluate import Group
from sources import Row, write_arrays


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of one kind.

    Attributes:
        images: [N, C, H, W].
        source: int64 [N], the row of the clean image that each was made from; −1 where there is none.
        labels: int64 [N], their true classes; −1 where there is none.
    """

    images: Tensor
    source: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Seen:
    """A case as detectors see it.

    Attributes:
        groups: ``clean`` first, then attacks; the arrays of rivals with them.
        controls: images that were not attacked, to be flagged no more often than clean ones: noise as large as an
            attack, and natural mistakes.
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
        """All groups but the clean one."""
        return [group for name, group in self.groups.items() if name != "clean"]


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


def paths_piece(
    groups: Mapping[str, Features], images: Mapping[str, Pixels], controls: Sequence[str], about: Row
) -> Piece:
    """Return features, sources and labels of groups and controls as a piece."""
    arrays = {
        f"{name}|{key}": array
        for name, seen in groups.items()
        for key, array in {
            "values": seen.values, "classes": seen.classes, "logits": seen.logits, "fit": seen.likelihood,
            "source": images[name].source, "labels": images[name].labels,
        }.items()
    }  # fmt: skip
    first = groups["clean"]
    columns = {"names": first.names, "fitted": first.likelihood_classes}
    return Piece(arrays, {**about, "controls": list(controls), **columns})


def assembled(case: Case, paths: Piece, others: Mapping[str, Piece], further: Row) -> Seen:
    """Return what is seen, of the paths and of what other detectors measured."""
    about = {**paths.about, **further}
    controls, names, fitted = (tuple(about.pop(key)) for key in ("controls", "names", "fitted"))
    made, labels = {}, {}
    for name in dict.fromkeys(key.partition("|")[0] for key in paths.arrays):
        values, classes, logits, fit, source, labels[name] = (
            paths.arrays[f"{name}|{key}"] for key in ("values", "classes", "logits", "fit", "source", "labels")
        )
        measured = {other: piece.arrays[name] for other, piece in others.items() if name in piece.arrays}
        made[name] = Group(name, Features(values, names, classes, logits, fit, fitted), source, measured)
    seconds = {other: piece.about["seconds"] for other, piece in others.items()}
    about["seconds"] = {"effective paths": about["seconds"], **seconds}
    about["skipped"] = {name: piece.about["skipped"] for name, piece in others.items() if "skipped" in piece.about}
    groups = {name: group for name, group in made.items() if name not in controls}
    return Seen(groups, {name: made[name] for name in controls}, labels, case, about)
