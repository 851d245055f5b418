"""The outcome of an attack, in memory and in one file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from effpath.errors import StoreError
from effpath.files.sealed import UNREADABLE, SealedFile, write_sealed


class Norms(NamedTuple):
    """Median size of the successful perturbations; NaN where there is none."""

    l0: float  # values (pixel × channel) that changed by more than 1e-6
    l2: float
    linf: float


@dataclass(frozen=True, eq=False)
class AdversarialSet:
    """What one attack made of a model's correctly classified images, one row for each; all on the CPU.

    A row that failed holds its clean image, with ``predicted`` equal to ``labels``. Where there is a target, a row
    succeeded only if ``predicted`` is that target, which is not its label.
    """

    name: str
    settings: Mapping[str, Any]  # every setting, defaults included
    images: torch.Tensor  # float32 [N, C, H, W] in [0, 1]
    source: torch.Tensor  # int64 [N], row among the clean images given; −1 for random images
    labels: torch.Tensor  # int64 [N], the source's true class; −1 for random images
    targets: torch.Tensor  # int64 [N], the class that the attack had to reach; −1 where any but the label would do
    predicted: torch.Tensor  # int64 [N], the model's class for ``images``
    succeeded: torch.Tensor  # bool [N]
    distances: torch.Tensor  # float32 [N, 3], L0, L2 and L∞ from the source; NaN for random images

    @property
    def tried(self) -> int:
        """How many images were attacked."""
        return len(self.source)

    @property
    def successes(self) -> int:
        """How many attacks succeeded."""
        return int(self.succeeded.sum())

    @property
    def fooling(self) -> torch.Tensor:
        """The images that fool the model, float32 [successes, C, H, W]."""
        return self.images[self.succeeded]

    @property
    def fooling_labels(self) -> torch.Tensor:
        """The true classes of `fooling`, int64 [successes]."""
        return self.labels[self.succeeded]

    @property
    def fooling_rows(self) -> torch.Tensor:
        """The rows of `fooling` among the clean images given, int64 [successes]."""
        return self.source[self.succeeded]

    def norms(self) -> Norms:
        """Median L0, L2 and L∞ over the successes."""
        sizes = self.distances[self.succeeded]
        if len(sizes) == 0:
            return Norms(float("nan"), float("nan"), float("nan"))
        return Norms(*torch.quantile(sizes, 0.5, dim=0).tolist())


def measure(images: torch.Tensor, clean: torch.Tensor) -> torch.Tensor:
    """L0, L2 and L∞ [N, 3] of the differences of two batches [N, C, H, W].

    L0 counts changes above 1e-6: C&W's change of variables moves every pixel by about 5e-7.
    """
    difference = (images - clean).flatten(1).abs().double()
    return torch.stack([(difference > 1e-6).sum(1), difference.norm(dim=1), difference.amax(1)], 1).float()


def join(sets: Sequence[AdversarialSet]) -> AdversarialSet:
    """The rows of all sets, which are of one attack, in order."""
    columns = {field: torch.cat([getattr(part, field) for part in sets]) for field in _TENSORS}
    return AdversarialSet(name=sets[0].name, settings=sets[0].settings, **columns)


def save(adversarial: AdversarialSet, path: Path, key: str) -> None:
    """Write the set, atomically, to a safetensors file whose header names the attack and ``key``."""
    about = {
        "kind": "AdversarialSet",
        "key": key,
        "name": adversarial.name,
        "settings": dict(adversarial.settings),
    }
    arrays = {field: getattr(adversarial, field).numpy() for field in _TENSORS}
    write_sealed(path, arrays, {"effpath": json.dumps(about)})


def load(path: Path, key: str) -> AdversarialSet:
    """Read what `save` wrote; `StoreError` where a bit of the file changed or it was saved under another key."""
    with SealedFile(path, "an adversarial set") as file:
        try:
            about = json.loads(file.about["effpath"])
            if about["kind"] != "AdversarialSet" or about["key"] != key or not file.sealed:
                raise ValueError("it holds another set than the one looked for")
            tensors = {field: torch.from_numpy(file.array(field)) for field in _TENSORS}
            return AdversarialSet(name=about["name"], settings=about["settings"], **tensors)
        except StoreError:
            raise
        except UNREADABLE as error:
            raise file.damaged(str(error)) from error


_TENSORS = ("images", "source", "labels", "targets", "predicted", "succeeded", "distances")
