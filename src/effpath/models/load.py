"""Models by name, in eval mode: of a library, or made by a factory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from effpath.errors import InputError
from effpath.models import library
from effpath.models.factory import from_factory
from effpath.models.weights import load_weights

LIBRARIES: dict[str, Callable[[str, int | None], nn.Module]] = {
    "torchvision": library.from_torchvision,
    "timm": library.from_timm,
}
"""Scheme → maker(name, number of classes); a new library is a function and a line here."""


def from_library(spec: str) -> bool:
    """Return whether a model comes from a library, with random weights unless a file of weights is given."""
    return spec.partition(":")[0] in LIBRARIES


def load_model(
    spec: str,
    weights: str | Path | None = None,
    *,
    allow_pickle: bool = False,
    seed: int = 0,
    classes: int | None = None,
) -> nn.Module:
    """Return the model that ``spec`` names, in eval mode. Nothing is downloaded.

    - ``torchvision:resnet50``, or ``torchvision:resnet50.IMAGENET1K_V1`` for the preprocessing of other than
      the default weights; ``timm:inception_v4``, ``timm:resnetv2_50.a1h_in1k``: the library's network as a
      `PixelModel`, with the library's preprocessing as the first layer, so that it takes RGB in [0, 1].
    - ``path/to/file.py:factory``, ``package.module:factory``: the model that the factory returns, called without
      arguments. With the attributes ``input_size`` (C, H, W) and ``classes`` (names), pictures are resized and
      classes named.

    Args:
        spec: as above.
        weights: a file with the state dict, .safetensors or a pickle of tensors, with the names of the library
            or the factory, see `load_weights`.
        allow_pickle: also read pickles that hold more than tensors; they can run code.
        seed: of the random weights if no file is given; torch's global generator is left as it was.
        classes: number of outputs, for a library's network trained on other classes.

    Raises:
        InputError: no such model, file, module or factory, or the factory fails or returns no torch.nn.Module.
        MissingExtraError: the library is not installed.
        StoreError: the weights cannot be read or do not fit.

    Example:
        >>> load_model("effpath.demo.lenet:LeNet5").fc3.out_features
        10
    """
    scheme, _, name = spec.partition(":")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if from_library(spec):
            model = LIBRARIES[scheme](name, classes)
        elif classes is None:
            model = from_factory(spec)
        else:
            raise InputError(
                f"the number of classes can be set for {' and '.join(LIBRARIES)} only; have the factory of "
                f"{spec!r} make the network with {classes}"
            )
    if weights is not None:
        inner = model.network if from_library(spec) else model
        assert isinstance(inner, nn.Module)
        load_weights(inner, Path(weights), allow_pickle=allow_pickle)
    return model.eval()
