"""``effpath merge``: class paths that were built in shares, united."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

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
    """Unite class paths of one network that were built over disjoint images; an image in two of them is an error.

    Examples:

      effpath merge torchvision:resnet50 part1.safetensors part2.safetensors
      --weights resnet50.safetensors -o classes.safetensors
    """
    import torch

    from effpath.class_paths.store import load_class_paths, read_header, save_class_paths
    from effpath.cli.profile import show
    from effpath.cli.sources import open_model, say
    from effpath.errors import InputError, OptionError
    from effpath.files.cache import check_output
    from effpath.graph import capture
    from effpath.images import unknown_size

    check_output(output)
    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    if wanted is None:
        raise InputError(unknown_size(model))
    graph = capture(network, torch.zeros(1, *wanted.shape), structure=read_header(files[0]).get("structure"))
    found = load_class_paths(files[0], graph)
    unknown = [] if found.shares else [files[0]]
    for file in files[1:]:
        share = load_class_paths(file, graph)
        unknown += [] if share.shares else [file]
        try:
            found |= share
        except OptionError as error:
            raise OptionError(f"cannot merge {file} with the files before it: {error}") from error
    for file in unknown:
        say(f"{file}, of an earlier version, does not say which images it was built from: overlaps cannot be seen")
    save_class_paths(found, output)
    show(found, output, as_json)
