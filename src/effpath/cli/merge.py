"""``effpath merge``: class paths that were built in shards, united."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from effpath.cli.options import ClassPathFile, JsonOutput, NetworkSource, argument


def merge(
    source: NetworkSource,
    files: Annotated[list[Path], argument(help="Class paths of disjoint images.")],
    output: ClassPathFile,
    to: JsonOutput,
) -> None:
    r"""Unite class paths of one network that were built over disjoint images; an image in two of them is an error.

    Examples:

      effpath merge torchvision:resnet50 part1.safetensors part2.safetensors \
        --weights resnet50.safetensors -o classes.safetensors
    """
    from effpath.class_paths.store import load_class_paths, save_class_paths
    from effpath.cli.output import say
    from effpath.cli.profile import show
    from effpath.errors import OptionError
    from effpath.files.cache import check_output

    check_output(output)
    network = source.open()
    graph, found = network.class_paths(files[0])
    unknown = [] if found.shards else [files[0]]
    for file in files[1:]:
        shard = load_class_paths(file, graph)
        unknown += [] if shard.shards else [file]
        try:
            found |= shard
        except OptionError as error:
            raise OptionError(f"cannot merge {file} with the files before it: {error}") from error
    for file in unknown:
        say(f"{file}, of an earlier version, does not say which images it was built from: overlaps go unnoticed")
    save_class_paths(found, output)
    show(found, output, to)
