"""The network and data of a demo: LeNet-5, trained once on digits or MNIST, or a network and data by name."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from effpath.data import Dataset, align_labels, load_data
from effpath.demo.lenet import LeNet5
from effpath.demo.options import DemoOptions
from effpath.demo.train import train_classifier
from effpath.errors import InputError, StoreError
from effpath.files.cache import fingerprint
from effpath.files.progress import Track
from effpath.files.sealed import SealedFile, write_sealed
from effpath.images import format_of, pixel_range_of, resized
from effpath.models import load_model
from effpath.models.predict import count_classes

# of LeNet-5, by data set
TRAINING: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 40, "batch_size": 64, "learning_rate": 1e-2},
    "mnist": {"epochs": 5},
}


def network_and_data(options: DemoOptions, folder: Path, track: Track) -> tuple[nn.Module, Dataset]:
    """Return the network, trained or as it is named, and data whose labels are the network's outputs.

    Raises:
        InputError: data that LeNet-5 is not trained on, or without a class for each output of the named network.
    """
    if options.model is not None:
        return _named(options, options.model)
    data = load_data(options.data, seed=options.seed)
    if data.name not in TRAINING:
        raise InputError(
            f"LeNet-5 is trained on {' and '.join(TRAINING)} only, got {options.data}; name a model with "
            "--model, and its --weights"
        )
    images, labels = data.train_images[: options.train_images], data.train_labels[: options.train_images]
    how = {"classes": len(data.classes), "data": data.name, "seed": options.seed, "folder": folder}
    with track(f"training LeNet-5 on {len(labels)} images") as progress:
        return trained_lenet(images, labels, progress=progress, **how), data  # type: ignore[arg-type]


def _named(options: DemoOptions, name: str) -> tuple[nn.Module, Dataset]:
    model = load_model(name, options.weights, allow_pickle=options.allow_pickle, seed=options.seed)
    shown = resized(format_of(model), options.input_size)
    data = load_data(options.data, seed=options.seed, picture_format=shown, pixel_range=pixel_range_of(model))
    outputs = count_classes(model, data.part("train").images)
    if len(data.classes) != outputs:
        raise InputError(
            f"expected data with a class for each of the network's {outputs} outputs, so that every one has a "
            f"class path, got {len(data.classes)} classes in {options.data}"
        )
    at = align_labels(data.classes, outputs, tuple(getattr(model, "classes", ())))
    return model, data.relabelled(at, tuple(data.classes[i] for i in at.argsort().tolist()))


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
