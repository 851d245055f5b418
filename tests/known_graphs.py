"""Graphs that several tests capture are exported once, by whichever process of a test run comes to them first.

torch.export takes half a second for the smallest network. The structure that it gave is kept in a folder that all
processes of a run know by the environment variable ``EFFPATH_TEST_GRAPHS``; later captures start from it.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from effpath import Graph
from effpath.demo.lenet import LeNet5
from effpath.graph import capture
from effpath.graph.structure import read_structure, write_structure

FOLDER = "EFFPATH_TEST_GRAPHS"
KNOWN = {
    LeNet5, nn.Sequential, nn.Flatten, nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d, nn.AvgPool2d,
}  # fmt: skip
"""Modules whose text says what they compute, but for the values of their parameters."""


def captured(name: str, model: nn.Module, example: torch.Tensor) -> Graph:
    """Capture a network; models of one name differ in nothing but the values of their parameters."""
    if FOLDER not in os.environ:
        return capture(model, example)
    file = _file(name)
    graph = capture(model, example, structure=file.read_text() if file.exists() else None)
    _write(file, graph.structure)
    return graph


def exported_once(exported: Callable[..., Graph], model: nn.Module, pair: torch.Tensor, output: int) -> Graph:
    """Do what `effpath.graph.export.exported` does, but for a network of known modules only once."""
    name = _text_of(model)
    if name is None:
        return exported(model, pair, output)
    file = _file(f"{name} of {tuple(pair.shape)} {pair.dtype}, output {output}")
    draft = read_structure(file.read_text(), model) if file.exists() else None
    if draft is None:
        draft = exported(model, pair, output)
        _write(file, write_structure(draft, model))
    return draft


def _text_of(model: nn.Module) -> str | None:
    """Return what tells a network from others, None where not all of it is known."""
    for module in model.modules():
        plain = not (module.training or module._forward_hooks or module._forward_pre_hooks)
        if type(module) not in KNOWN or "forward" in vars(module) or not plain:
            return None
    held = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    if len({id(tensor) for _, tensor in held}) < len(held) or any(
        tensor.device.type != "cpu" for _, tensor in held
    ):
        return None
    return repr((model, [(name, tensor.shape, tensor.dtype) for name, tensor in held]))


def _file(name: str) -> Path:
    return Path(os.environ[FOLDER]) / hashlib.sha256(name.encode()).hexdigest()


def _write(file: Path, structure: str | None) -> None:
    if structure is not None and not file.exists():
        own = file.with_suffix(f".{os.getpid()}")
        own.write_text(structure)
        own.replace(file)
