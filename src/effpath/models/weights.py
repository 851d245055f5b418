"""Weights from a file into a network: safetensors; pickles only on request."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from effpath.errors import InputError, StoreError


def load_weights(network: nn.Module, file: Path, *, allow_pickle: bool = False) -> None:
    """Put the state dict in a file into the network.

    Auxiliary classifiers (``aux…``), which are used in training only, may be missing from the file.

    Raises:
        InputError: a pickle, and ``allow_pickle`` is not set.
        StoreError: the file cannot be read or does not fit.
    """
    if file.suffix == ".safetensors":
        try:
            state = load_file(file)
        except (OSError, SafetensorError) as error:
            raise StoreError(f"cannot read weights from {file}: {error}; copy or export them again") from error
    elif allow_pickle:
        state = _read_pickle(file)
    else:
        raise InputError(
            f"expected weights as a .safetensors file, got {file}; pickles can run code. Write it once, from a "
            "source you trust, with safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), or "
            "give --allow-pickle (allow_pickle=True)"
        )
    _drop_unused_heads(network, state)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise StoreError(
            f"the weights in {file} do not fit the model: {error}; for another number of classes give "
            "--classes N, for another architecture its own name"
        ) from error


def _read_pickle(file: Path) -> dict[str, Tensor]:
    """Return the state dict in a pickle, read without running its code where that is possible."""
    try:
        try:
            held = torch.load(file, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError:  # more than tensors in it
            held = torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:
        raise StoreError(f"cannot read weights from {file}: {error}; copy or export them again") from error
    for key in ("state_dict", "model"):  # how training scripts wrap it
        if isinstance(held, Mapping) and key in held and not isinstance(held[key], Tensor):
            held = held[key]
    state: Any = held.state_dict() if isinstance(held, nn.Module) else held
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise StoreError(f"expected a state dict in {file}, names with tensors, got {type(held).__name__}")
    parallel = all(name.startswith("module.") for name in state)  # saved from DataParallel
    return {name.removeprefix("module.") if parallel else name: value for name, value in state.items()}


def _drop_unused_heads(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    for name, _ in list(network.named_children()):
        if name.lower().startswith("aux") and not any(key.startswith(f"{name}.") for key in state):
            setattr(network, name, None)
