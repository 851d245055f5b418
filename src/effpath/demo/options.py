"""What the demo is run with, and which images that are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from effpath.attacks import ATTACKS
from effpath.attacks.spec import Settings
from effpath.data import Dataset, Part
from effpath.errors import InputError

QUICK: dict[str, Settings] = {"CWL2": {"steps": 200, "stepsize": 0.05}}
"""Settings of attacks on LeNet-5, in which longer steps end as near as many short ones."""


@dataclass(frozen=True)
class DemoOptions:
    """What the demo is run with.

    Attributes:
        data: as in `load_data`; a class for each output of the network.
        model: as in `load_model`, with ``weights``; None trains LeNet-5, on ``digits`` and ``mnist:DIR`` only.
        weights, allow_pickle: as in `load_model`.
        input_size: (C, H, W), if not the model's own.
        seed: of training, attacks, splits and classifiers.
        preset, theta, layers: of the extraction.
        batch_size: images extracted and attacked together.
        images: test images that are attacked, at most.
        train_images: training images for network and class paths, at most; None for all. With ``model``, the same
            number per class.
        attacks: names, in the order of the table.
        unseen: attacks that the detectors are not trained on.
        fractions: shares of the attacked images for training, calibration and test.
        fpr: where the threshold is fixed.
        threads: of torch; one is fastest for networks as small as LeNet-5, and gives the same weights on
            machines with more or fewer cores.
    """

    data: str = "digits"
    model: str | None = None
    weights: Path | None = None
    allow_pickle: bool = False
    input_size: tuple[int, int, int] | None = None
    seed: int = 0
    preset: str = "default"
    theta: float | None = None
    layers: int | Sequence[str] | None = None
    batch_size: int = 256
    images: int = 1000
    train_images: int | None = None
    attacks: Sequence[str] = ("FGSM", "BIM", "DeepFool", "CWL2", "Random")
    unseen: Sequence[str] = ("Random",)
    fractions: Sequence[float] = (0.1, 0.2, 0.7)
    fpr: float = 0.05
    threads: int = 1

    def check(self) -> None:
        """Raise InputError for an unknown attack, before any work is done."""
        unknown = [name for name in self.attacks if name not in ATTACKS]
        if unknown:
            raise InputError(f"unknown attacks {', '.join(unknown)}; there are {', '.join(ATTACKS)}")

    def training_part(self, data: Dataset) -> Part:
        """Return at most ``train_images``: the first; of a named model's data, as many of each class."""
        train = data.part("train")
        if self.train_images is None or self.model is None:
            return train.take(torch.arange(len(train))[: self.train_images])
        return train.first_of_each_class(max(1, self.train_images // len(data.classes)))  # the data may be sorted

    def images_to_attack(self, test: Part, correct: torch.Tensor) -> Part:
        """Return correctly classified test images, drawn by the seed, in their order, in memory."""
        rows = correct.nonzero()[:, 0]
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(self.seed))
        chosen = rows[order[: self.images]].sort().values
        return Part(test.images[chosen], test.labels[chosen])

    @property
    def settings(self) -> dict[str, Settings]:
        """Settings of the attacks, by name, where they are not the attack's own."""
        return {name: QUICK.get(name, {}) if self.model is None else {} for name in self.attacks}

    @property
    def network(self) -> str:
        """Name of the network."""
        return "LeNet-5" if self.model is None else self.model.rpartition(":")[2]

    @property
    def command(self) -> str:
        """The command line that gives these options, without the folders of this machine."""
        scheme, colon, argument = self.data.partition(":")
        place = {"digits": argument, "npz": "FILE"}.get(scheme, "DIR") if colon else ""
        shown = ["effpath demo", f"--data {scheme}{colon}{place}"]
        if self.model is not None:
            source, _, name = self.model.rpartition(":")
            shown.append(f"--model {Path(source).name}:{name}")
            if self.weights is not None:
                shown.append(f"--weights {self.weights.name}")
            if self.input_size is not None:
                shown.append(f"--input-size {','.join(map(str, self.input_size))}")
            shown.append(f"--batch-size {self.batch_size}")
        shown += [f"--images {self.images}", f"--preset {self.preset}", f"--seed {self.seed}"]
        shown += [f"--attacks {','.join(self.attacks)}", f"--threads {self.threads}"]
        if self.theta is not None:
            shown.append(f"--theta {self.theta}")
        if self.layers is not None:
            shown.append(f"--layers {self.layers if isinstance(self.layers, int) else ','.join(self.layers)}")
        if self.train_images:
            shown.append(f"--train-images {self.train_images}")
        return " ".join(shown)
