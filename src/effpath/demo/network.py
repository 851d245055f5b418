"""The embedded network: LeNet-5 trained on digits or MNIST, once."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from effpath.demo.lenet import LeNet5
from effpath.demo.train import train_classifier
from effpath.errors import StoreError
from effpath.files.cache import fingerprint
from effpath.files.sealed import SealedFile, write_sealed

# of LeNet-5, by data set
TRAINING: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 40, "batch_size": 64, "learning_rate": 1e-2},
    "mnist": {"epochs": 5},
}


def trained_lenet(
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    classes: int,
    data: str,
    seed: int = 0,
    folder: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> LeNet5:
    """Train LeNet-5, or read the weights that the same training left in the folder.

    Torch computes with one thread meanwhile, so that machines with more or fewer cores give the same weights.

    Args:
        images, labels: all that it is trained on.
        classes: number of outputs.
        data: a name of `TRAINING`; settings of other data are MNIST's.
        seed: of weights and batches.
        folder: for the weights; None keeps none.
        progress: called with batches done and in total.
    """
    settings = TRAINING.get(data, TRAINING["mnist"])
    threads = torch.get_num_threads()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LeNet5(image_size=images.shape[-1], classes=classes)
    file = folder and folder / f"lenet5-{fingerprint(settings, seed, images, labels)[:12]}.safetensors"
    if file and file.exists() and _read(model, file):
        return model.eval()
    torch.set_num_threads(1)
    try:
        train_classifier(model, images, labels, seed=seed, progress=progress, **settings)
    finally:
        torch.set_num_threads(threads)
    if file:
        write_sealed(file, {name: value.numpy() for name, value in model.state_dict().items()}, {})
    return model


def _read(model: LeNet5, file: Path) -> bool:
    """Give the model the weights of a file; False, with a warning, where it is damaged."""
    try:
        with SealedFile(file, "trained weights") as opened:
            if not opened.sealed:
                raise opened.damaged("it has no checksums")
            model.load_state_dict({name: torch.from_numpy(opened.array(name)) for name in opened.names})
    except StoreError as error:
        warnings.warn(f"training again: {error}", stacklevel=3)
        return False
    return True
