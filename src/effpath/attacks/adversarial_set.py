"""The outcome of an attack, in memory and in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from effpath.files.sealed import UNREADABLE, SealedFile, write_sealed


class Norms(NamedTuple):
    """Median sizes of the successful perturbations; NaN where there are none."""

    l0: float  # number of values (pixel × channel) that changed by more than 1e-6
    l2: float
    linf: float


@dataclass(frozen=True, eq=False)
class AdversarialSet:
    """The result of one attack on a model's correctly classified images, one row per image; all on the CPU.

    The row of a failed attack holds the clean image, with ``predicted`` equal to ``labels``. A targeted attack
    succeeds only if ``predicted`` is its target, which is not the label.

    Attributes:
        name, settings: of the attack, defaults included.
        images: float32 [N, C, H, W] in [0, 1].
        source: int64 [N], rows among the clean images given; −1 for random images.
        labels: int64 [N], true classes of the sources; −1 for random images.
        targets: int64 [N], the classes to reach; −1 where any class but the label counts.
        predicted: int64 [N], the model's classes for ``images``.
        succeeded: bool [N].
        distances: float32 [N, 3], L0, L2 and L∞ from the source; NaN for random images.
    """

    name: str
    settings: Mapping[str, Any]
    images: Tensor
    source: Tensor
    labels: Tensor
    targets: Tensor
    predicted: Tensor
    succeeded: Tensor
    distances: Tensor

    @property
    def tried(self) -> int:
        """Number of images attacked."""
        return len(self.source)

    @property
    def successes(self) -> int:
        """Number of successful attacks."""
        return int(self.succeeded.sum())

    @property
    def fooling(self) -> Tensor:
        """The images that fool the model, float32 [successes, C, H, W]."""
        return self.images[self.succeeded]

    @property
    def fooling_labels(self) -> Tensor:
        """The true classes of `fooling`, int64 [successes]."""
        return self.labels[self.succeeded]

    @property
    def fooling_rows(self) -> Tensor:
        """The rows of `fooling` among the clean images given, int64 [successes]."""
        return self.source[self.succeeded]

    def norms(self) -> Norms:
        """Return the median L0, L2 and L∞ of the successful perturbations."""
        sizes = self.distances[self.succeeded]
        return Norms(*(sizes.quantile(0.5, dim=0).tolist() if len(sizes) else [float("nan")] * 3))


def measure(images: Tensor, clean: Tensor) -> Tensor:
    """Return L0, L2 and L∞, float32 [N, 3], of the differences between two batches [N, C, H, W].

    L0 counts changes above 1e-6: C&W's change of variables moves every pixel by about 5e-7.
    """
    difference = (images - clean).flatten(1).abs().double()
    return torch.stack([(difference > 1e-6).sum(1), difference.norm(dim=1), difference.amax(1)], 1).float()


def join(sets: Sequence[AdversarialSet]) -> AdversarialSet:
    """Return the rows of all sets, which are of one attack, concatenated."""
    columns = {field: torch.cat([getattr(part, field) for part in sets]) for field in _TENSORS}
    return AdversarialSet(name=sets[0].name, settings=sets[0].settings, **columns)


def save(adversarial: AdversarialSet, path: Path, key: str) -> None:
    """Write a set, atomically, to a safetensors file whose header names the attack and ``key``."""
    about = {"kind": "AdversarialSet", "key": key, "name": adversarial.name, "settings": {**adversarial.settings}}
    arrays = {field: getattr(adversarial, field).numpy() for field in _TENSORS}
    write_sealed(path, arrays, {"effpath": json.dumps(about)})


def load(path: Path, key: str) -> AdversarialSet:
    """Read a file written by `save`; StoreError if a bit of it changed or it was saved under another key."""
    with SealedFile(path, "an adversarial set") as file:
        try:
            about = json.loads(file.about["effpath"])
            known = file.sealed and about["kind"] == "AdversarialSet" and about["key"] == key
        except UNREADABLE as error:
            raise file.damaged(str(error)) from error
        if not known:
            raise file.damaged("it contains another set than the expected one")
        tensors = {field: torch.from_numpy(file.array(field)) for field in _TENSORS}
        return AdversarialSet(name=about["name"], settings=about["settings"], **tensors)


_TENSORS = ("images", "source", "labels", "targets", "predicted", "succeeded", "distances")
