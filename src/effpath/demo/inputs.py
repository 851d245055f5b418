"""The network and the images of a demo."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from effpath.data import Dataset, Part, align_labels, load_data
from effpath.demo.network import TRAINING, trained_lenet
from effpath.demo.options import DemoOptions
from effpath.errors import InputError
from effpath.files.progress import Track
from effpath.images import format_of, pixel_range_of, resized
from effpath.models import load_model
from effpath.models.predict import count_classes


def network_and_data(options: DemoOptions, folder: Path, track: Track) -> tuple[nn.Module, Dataset]:
    """Return the network, trained or as it is named, and data whose labels are the network's outputs.

    Raises:
        InputError: data that LeNet-5 is not trained on, or without a class for each output of the named network.
    """
    return _trained(options, folder, track) if options.model is None else _named(options, options.model)


def _trained(options: DemoOptions, folder: Path, track: Track) -> tuple[nn.Module, Dataset]:
    data = load_data(options.data, seed=options.seed)
    if data.name not in TRAINING:
        raise InputError(
            f"LeNet-5 is trained on {' and '.join(TRAINING)} only, got {options.data}; name a model with "
            "--model, and its --weights"
        )
    images, labels = data.train_images[: options.train_images], data.train_labels[: options.train_images]
    with track(f"training LeNet-5 on {len(labels)} images") as progress:
        lenet = trained_lenet(
            images,
            labels,
            classes=len(data.classes),
            data=data.name,
            seed=options.seed,
            folder=folder,
            progress=progress,
        )
    return lenet, data


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


def training_part(data: Dataset, options: DemoOptions) -> Part:
    """Return at most ``train_images``: the first; of a named model's data, which may be sorted, of each class."""
    train = data.part("train")
    if options.train_images is None or options.model is None:
        return train.take(torch.arange(len(train))[: options.train_images])
    return train.first_of_each_class(max(1, options.train_images // len(data.classes)))


def images_to_attack(test: Part, correct: torch.Tensor, options: DemoOptions) -> Part:
    """Return correctly classified test images, drawn by the seed, in their order, in memory."""
    rows = correct.nonzero()[:, 0]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(options.seed))
    chosen = rows[order[: options.images]].sort().values
    return Part(test.images[chosen], test.labels[chosen])
