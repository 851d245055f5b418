"""``effpath profile``: class paths of a network over labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import (
    AllowMissing,
    ClassPathFile,
    Data,
    Extraction,
    Output,
    Source,
    parse_memory,
    parse_shard,
)

if TYPE_CHECKING:
    from effpath.class_paths import ClassPaths


def profile(
    source: Source,
    data: Data,
    output: ClassPathFile,
    extraction: Extraction,
    to: Output,
    per_class: Annotated[int | None, typer.Option(min=1, help="Only the first N images of each class.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: the i-th of n parts of the images; `effpath merge` unites them.")
    ] = None,
    levels: Annotated[str, typer.Option(help="Sets to store.")] = "synapses,neurons,weights",
    counts: Annotated[bool, typer.Option("--counts", help="Store how many images used each element.")] = False,
    allow_missing: AllowMissing = False,
    add: Annotated[bool, typer.Option("--add", help="Add images of other data than are in the store.")] = False,
    shard_size: Annotated[
        int, typer.Option(min=1, help="Images that are built together; what an interruption may lose.")
    ] = 512,
    engine: Annotated[
        str | None,
        typer.Option(
            help="What builds: processes, inline (this process) or ray.",
            show_default="processes, once this one has built for 5 seconds",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Shards built at a time; as many as processors if not given.")
    ] = None,
    gpus: Annotated[float, typer.Option(min=0, help="GPUs that --engine ray reserves for each shard.")] = 0,
    memory: Annotated[
        str | None, typer.Option(help="What each process may take, such as 4G; --batch-size is reduced to fit.")
    ] = None,
) -> None:
    r"""Build class paths: for each class, the union over its correctly predicted images.

    OUTPUT is the folder of a store: the same command takes it up again, whatever interrupted it, and adds images
    that are new. If it ends in .safetensors it is one file, whose unfinished work is kept in OUTPUT.partial.

    Examples:

      effpath profile effpath.demo.lenet:LeNet5 mnist:DIR \
        --weights lenet.safetensors -o mnist.safetensors

      effpath profile torchvision:resnet50 imagefolder:imagenet \
        --weights resnet50.safetensors --levels weights,neurons \
        --skip-damaged -o classes/

      effpath profile torchvision:resnet50 imagefolder:imagenet \
        --weights resnet50.safetensors --shard 1/4 -o part1/
    """
    import shutil
    from contextlib import closing
    from dataclasses import replace

    from effpath.class_paths.folder.build import fill_store
    from effpath.class_paths.folder.options import StoreOptions
    from effpath.class_paths.folder.store import Store, check_folder
    from effpath.class_paths.store import save_class_paths
    from effpath.cli.output import say
    from effpath.cli.work import Job, parse_engine
    from effpath.files.cache import check_output

    one_file = is_file(output)
    folder = output.with_name(f"{output.name}.partial") if one_file else output
    if one_file:
        check_output(output)
    check_folder(folder)
    kept = tuple(name.strip() for name in levels.split(","))
    options = StoreOptions(
        kept,  # type: ignore[arg-type]
        counts,
        source.batch_size,
        allow_missing,
        parse_memory(memory),
        shard_size=shard_size,
        strict=not source.skip_damaged,
        add=add,
    )
    part = None if shard is None else parse_shard(shard)
    job = Job(source, data, extraction, options, per_class, part)
    with closing(parse_engine(engine, workers, gpus)) as runs:
        work = job.open()
        elsewhere = None if engine == "inline" else replace(job, structure=work.graph.structure)
        with to.track(f"class paths of {len(work.images)} images", "images") as progress:
            found = fill_store(folder, work, options, engine=runs, open_work=elsewhere, progress=progress)
    for name, why in Store.open(folder).manifest.damaged.items():
        say(f"left out, cannot be read: {name}: {why}")
    if one_file:
        found = found.loaded()
        save_class_paths(found, output)
        shutil.rmtree(folder)
    show(found, output, to)


def is_file(output: Path) -> bool:
    """Tell whether class paths are written to one file there, not to a store."""
    return output.suffix == ".safetensors"


def show(found: ClassPaths, output: Path, to: Output) -> None:
    """Print what class paths hold: images, density and class-wise similarity."""
    from effpath.cli.output import print_first, print_json, print_text
    from effpath.files.plain import percent

    rows = [
        {
            "class": label,
            "name": found.names[label] if label < len(found.names) else "",
            "images": path.images,
            **{f"{level}_density": path.density(level) for level in found.levels},
        }
        for label, path in found.items()
    ]
    whole = found.overall
    overall = {level: whole.density(level) for level in found.levels}
    if to.as_json:
        about = {"output": str(output), "fingerprint": found.header.fingerprint, "images": found.seen}
        print_json({**about, "correct": found.images, "overall_density": overall, "classes": rows})
        return
    cells = [
        [percent(value) if isinstance(value, float) else str(value) for value in row.values()] for row in rows
    ]
    more = print_first(["class", "name", "images", *found.levels], cells, left=2)
    shares = ", ".join(f"{percent(share)} of the {level}" for level, share in overall.items())
    print_text(
        f"{len(rows)} classes{more}, {found.images} of {found.seen} images predicted correctly; overall: {shares}"
    )
    print(f"class paths: {output}")
