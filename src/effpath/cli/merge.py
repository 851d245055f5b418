"""``effpath merge``: class paths that were built apart, united."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from effpath.cli.options import ClassPathFile, JsonOutput, NetworkSource, argument


def merge(
    source: NetworkSource,
    files: Annotated[list[Path], argument(help="Class paths of disjoint images: files, or folders of stores.")],
    output: ClassPathFile,
    to: JsonOutput,
) -> None:
    r"""Unite class paths of one network that were built over disjoint images; an image in two of them is an error.

    Stores become a store, a class at a time, whatever their size; or, like files, one .safetensors file. One store
    alone is written to a file so.

    Examples:

      effpath merge torchvision:resnet50 part1/ part2/ \
        --weights resnet50.safetensors -o classes/

      effpath merge torchvision:resnet50 classes/ \
        --weights resnet50.safetensors -o classes.safetensors
    """
    from effpath.class_paths.folder.merge import check_ended, merge_stores
    from effpath.class_paths.folder.store import Store, check_folder
    from effpath.class_paths.store import load_class_paths, save_class_paths
    from effpath.cli.output import say
    from effpath.cli.profile import is_file, show
    from effpath.errors import OptionError
    from effpath.files.cache import check_output

    if is_file(output):
        check_output(output)
    else:
        check_folder(output)
    network = source.open()
    graph, found = network.class_paths(files[0])
    if not is_file(output):
        show(merge_stores(output, files, graph), output, to)
        return
    for file in files:
        if file.is_dir():
            check_ended(Store.open(file))
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
