"""Networks and images by name.

``lenet5`` is trained on scikit-learn's digits in the run; ``data:NAME`` is a trained network of the folder
$EFFPATH_DATA, with real images of its Imagenette validation set; ``torchvision:NAME`` has random weights from the
seed, and the same images where the folder is there, else random ones.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effpath.data import load_data
from effpath.demo.lenet import LeNet5
from effpath.demo.train import train_classifier
from effpath.models import load_model


@dataclass(frozen=True)
class Network:
    """A model in eval mode, images float [N, C, H, W] for it, and what both are."""

    model: nn.Module
    images: Tensor
    weights: str
    pictures: str


def load_network(name: str, count: int, seed: int) -> Network:
    """Return a network and so many images."""
    kind, _, rest = name.partition(":")
    if kind == "lenet5":
        return _lenet5(count, seed)
    if kind == "torchvision":
        model, weights = load_model(name, seed=seed), f"random, seed {seed}"
    elif kind == "data":
        model, weights = load_model(f"{research_folder() / 'load.py'}:{rest}"), "trained"
    else:
        raise SystemExit(f"unknown network {name!r}; lenet5, torchvision:NAME or data:NAME")
    side: Any = model.input_size
    if "EFFPATH_DATA" in os.environ:
        return Network(model, imagenette(count, side[-1]), weights, "Imagenette, validation")
    generator = torch.Generator().manual_seed(seed)
    return Network(model, torch.rand(count, *side, generator=generator), weights, f"random, seed {seed}")


def _lenet5(count: int, seed: int) -> Network:
    digits = load_data("digits")
    torch.manual_seed(seed)
    model = LeNet5(image_size=8)
    train_classifier(
        model, digits.train_images, digits.train_labels, epochs=20, seed=seed, batch_size=64, learning_rate=1e-2
    )
    return Network(model.eval(), digits.test_images[:count], "trained", "digits, test")


def research_folder() -> Path:
    """Return $EFFPATH_DATA, the folder of trained networks and images."""
    if "EFFPATH_DATA" not in os.environ:
        raise SystemExit("expected the folder of trained networks in EFFPATH_DATA, which is not set")
    return Path(os.environ["EFFPATH_DATA"])


def research_loader() -> Any:
    """Return the module load.py of the folder."""
    found = importlib.util.spec_from_file_location("effpath_data_load", research_folder() / "load.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module
    found.loader.exec_module(module)
    return module


def imagenette(count: int, size: int) -> Tensor:
    """Return images of the validation set, classes in turn."""
    loader = research_loader()
    classes = 10
    images, labels = loader.load_images("imagenette", "val", size=size, per_class=-(-count // classes))
    order = sorted(range(len(labels)), key=lambda i: (sum(labels[:i] == labels[i]), labels[i]))
    images = loader.to_tensor(images[order[:count]])
    if len(images) < count:
        raise SystemExit(f"expected {count} images, the validation set has {len(images)}")
    return images
