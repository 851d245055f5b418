"""``effpath profile``: class paths of a network over labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import AllowMissing, ClassPathFile, Data, Extraction, Output, Source, parse_shard

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
        str | None, typer.Option(help="i/n: the i-th of n shards of the images; `effpath merge` unites them.")
    ] = None,
    levels: Annotated[str, typer.Option(help="Sets to store.")] = "synapses,neurons,weights",
    counts: Annotated[bool, typer.Option("--counts", help="Store how many images used each element.")] = False,
    allow_missing: AllowMissing = False,
) -> None:
    r"""Build class paths: for each class, the union over its correctly predicted images.

    Unfinished work is kept in OUTPUT.partial, about once a minute; the same command on the same images resumes
    from there.

    Examples:

      effpath profile effpath.demo.lenet:LeNet5 mnist:DIR \
        --weights lenet.safetensors -o mnist.safetensors

      effpath profile torchvision:resnet50 imagefolder:imagenet \
        --weights resnet50.safetensors --per-class 100 \
        --levels weights,neurons --shard 1/4 -o part1.safetensors
    """
    import torch

    from effpath.class_paths.build import BuildOptions, Description, build_class_paths
    from effpath.data import Part
    from effpath.errors import InputError
    from effpath.files.cache import check_output, fingerprint, move

    check_output(output)
    network = source.open()
    dataset = network.dataset(data)
    images = network.part(dataset, "train", "all")
    rows = torch.arange(len(images))
    if per_class is not None:
        rows = Part(rows, images.labels).first_of_each_class(per_class).images[:]
    if shard is not None:
        first, count = parse_shard(shard)
        rows = rows[first - 1 :: count]
        if not len(rows):
            raise InputError(
                f"expected at most as many shards as images, got {shard} of {len(images)} images, which is empty"
            )
    origin = fingerprint(dataset.name, source.part, dataset.classes, images.labels, list(images.names))
    images = images.take(rows)
    graph = network.capture(images.images)
    outputs = network.outputs(dataset, graph.classes)
    names = tuple(getattr(network.model, "classes", ()))
    if len(names) != graph.classes:
        at = dict(zip(outputs.tolist(), dataset.classes, strict=True))
        names = tuple(at.get(output, "") for output in range(graph.classes))
    part = source.part or ("train" if "train" in dataset.parts else "all")
    described = f"{dataset.name} {part}, seed {source.seed}"
    described += f", first {per_class} of each class" * (per_class is not None)
    described += f", shard {shard}" * (shard is not None)
    partial = output.with_name(f"{output.name}.partial")
    kept = [name.strip() for name in levels.split(",")]
    with to.track(f"class paths of {len(images)} images") as progress:
        found = build_class_paths(
            graph,
            images.images,
            outputs[images.labels],
            options=BuildOptions(kept, counts, source.batch_size, allow_missing),  # type: ignore[arg-type]
            description=Description(names, described, origin, rows),
            checkpoint=partial,
            progress=progress,
            **extraction.arguments,
        )
    move(partial, output)
    show(found, output, to)


def show(found: ClassPaths, output: Path, to: Output) -> None:
    """Print what class paths hold: images, density and class-wise similarity."""
    from effpath.cli.output import percent, print_first, print_json

    rows = [
        {
            "class": label,
            "name": found.names[label] if label < len(found.names) else "",
            "images": found[label].images,
            **{f"{level}_density": found[label].density(level) for level in found.levels},
        }
        for label in found.classes
    ]
    overall = {level: found.overall.density(level) for level in found.levels}
    if to.as_json:
        about = {"output": str(output), "fingerprint": found.header.fingerprint, "images": found.seen}
        print_json({**about, "correct": found.images, "overall_density": overall, "classes": rows})
        return
    cells = [
        [percent(value) if isinstance(value, float) else str(value) for value in row.values()] for row in rows
    ]
    more = print_first(["class", "name", "images", *found.levels], cells)
    shares = ", ".join(f"{percent(share)} of the {level}" for level, share in overall.items())
    print(
        f"{len(rows)} classes{more}, {found.images} of {found.seen} images predicted correctly; overall: {shares}"
    )
    print(f"class paths: {output}")
