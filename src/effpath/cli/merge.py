"""``effpath merge``: class paths that were built in shares, united."""

from __future__ import annotations

from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated

import torch
import typer

from effpath.cli.options import AllowPickle, AsJson, Classes, ClassPathFile, InputSize, Model, Seed, Weights


def merge(
    model: Model,
    files: Annotated[list[Path], typer.Argument(help="Class paths of disjoint images.", show_default=False)],
    output: ClassPathFile,
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    seed: Seed = 0,
    classes: Classes = None,
    input_size: InputSize = None,
    as_json: AsJson = False,
) -> None:
    """Unite class paths of one network that were built over disjoint images.

    Examples:

      effpath merge torchvision:resnet50 part1.safetensors part2.safetensors
      --weights resnet50.safetensors -o classes.safetensors
    """
    from effpath.cli.profile import show
    from effpath.cli.sources import open_model
    from effpath.errors import InputError
    from effpath.graph import capture
    from effpath.images import unknown_size
    from effpath.paths.store import load_class_paths, save_class_paths

    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    if wanted is None:
        raise InputError(unknown_size(model))
    graph = capture(network, torch.zeros(1, *wanted.shape))
    found = reduce(or_, (load_class_paths(file, graph) for file in files))
    save_class_paths(found, output)
    show(found, output, as_json)
