"""``effpath profile``: class paths of a network over labelled images."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import (
    AllowMissing,
    AllowPickle,
    AsJson,
    BatchSize,
    Classes,
    ClassMap,
    ClassPathFile,
    Data,
    InputSize,
    Layers,
    Model,
    Part,
    Preset,
    Quiet,
    Seed,
    SkipDamaged,
    Theta,
    Weights,
    parse_layers,
)

if TYPE_CHECKING:
    from effpath.class_paths import ClassPaths


def profile(
    model: Model,
    data: Data,
    output: ClassPathFile,
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    seed: Seed = 0,
    classes: Classes = None,
    input_size: InputSize = None,
    part: Part = None,
    per_class: Annotated[int | None, typer.Option(min=1, help="The first so many images of each class.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: the i-th of n shares of the images; `effpath merge` unites them.")
    ] = None,
    class_map: ClassMap = None,
    preset: Preset = "default",
    theta: Theta = None,
    layers: Layers = None,
    levels: Annotated[str, typer.Option(help="Sets to keep.")] = "synapses,neurons,weights",
    counts: Annotated[bool, typer.Option("--counts", help="Keep how many images used each element.")] = False,
    allow_missing: AllowMissing = False,
    skip_damaged: SkipDamaged = False,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build class paths: for each class, the union over its correctly predicted images.

    The work is kept in OUTPUT.partial about once a minute; the same command on the same images goes on there.

    Examples:

      effpath profile effpath.demo.lenet:LeNet5 mnist:path/mnist --weights lenet.safetensors -o mnist.safetensors

      effpath profile torchvision:resnet50 imagefolder:imagenet --weights resnet50.safetensors
      --per-class 100 --levels weights,neurons --shard 1/4 -o part1.safetensors
    """
    import torch

    from effpath.class_paths.build import build_class_paths
    from effpath.cli.sources import open_dataset, open_model, open_part, outputs_of
    from effpath.data import Part
    from effpath.errors import InputError
    from effpath.files.cache import check_output, fingerprint, move
    from effpath.files.progress import track
    from effpath.graph import capture

    check_output(output)
    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    dataset = open_dataset(data, network, wanted, seed=seed)
    images = open_part(dataset, part, "train", "all", skip_damaged=skip_damaged)
    rows = torch.arange(len(images))
    if per_class is not None:
        rows = Part(rows, images.labels).first_of_each_class(per_class).images[:]
    if shard is not None:
        first, count = parse_shard(shard)
        rows = rows[first - 1 :: count]
        if not len(rows):
            raise InputError(
                f"share {shard} of {len(images)} images has none; expected no more shares than images"
            )
    origin = fingerprint(dataset.name, part, dataset.classes, images.labels, list(images.names))
    images = images.take(rows)
    graph = capture(network, images.images[:1])
    outputs = outputs_of(dataset, network, graph.classes, class_map)
    names = tuple(getattr(network, "classes", ()))
    if len(names) != graph.classes:
        at = dict(zip(outputs.tolist(), dataset.classes, strict=True))
        names = tuple(at.get(output, "") for output in range(graph.classes))
    described = ", ".join(
        [f"{dataset.name} {part or ('train' if 'train' in dataset.parts else 'all')}", f"seed {seed}"]
        + [f"first {per_class} of each class"] * (per_class is not None)
        + [f"shard {shard}"] * (shard is not None)
    )
    partial = output.with_name(f"{output.name}.partial")
    with track(f"class paths of {len(images)} images", quiet=quiet) as progress:
        found = build_class_paths(
            graph,
            images.images,
            outputs[images.labels],
            preset=preset,
            theta=theta,
            layers=parse_layers(layers),
            levels=[name.strip() for name in levels.split(",")],  # type: ignore[misc]
            counts=counts,
            batch_size=batch_size,
            names=names,
            data=described,
            origin=origin,
            rows=rows,
            checkpoint=partial,
            allow_missing=allow_missing,
            progress=progress,
        )
    move(partial, output)
    show(found, output, as_json)


def parse_shard(text: str) -> tuple[int, int]:
    """Return (i, n) of ``--shard i/n``."""
    matched = re.fullmatch(r"(\d+)/(\d+)", text)
    if matched and 1 <= int(matched[1]) <= int(matched[2]):
        return int(matched[1]), int(matched[2])
    raise typer.BadParameter(f"expected --shard i/n with i in 1 … n, got {text!r}")


def show(found: ClassPaths, output: Path, as_json: bool) -> None:
    """Print what class paths hold: images, density and class-wise similarity."""
    from effpath.cli.output import print_json, print_table

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
    if as_json:
        about = {"output": str(output), "fingerprint": found.header.fingerprint, "images": found.seen}
        print_json({**about, "correct": found.images, "overall_density": overall, "classes": rows})
        return
    cells = []
    for row in rows[:20]:
        densities = [f"{100 * float(row[f'{level}_density']):.3g} %" for level in found.levels]  # type: ignore[arg-type]
        cells.append([str(row["class"]), str(row["name"]), str(row["images"]), *densities])
    print_table(["class", "name", "images", *found.levels], cells)
    more = f" (and {len(rows) - 20} more)" if len(rows) > 20 else ""
    shares = ", ".join(f"{100 * share:.3g} % of the {level}" for level, share in overall.items())
    print(
        f"{len(rows)} classes{more}, {found.images} of {found.seen} images predicted correctly; overall: {shares}"
    )
    print(f"class paths: {output}")
