"""``effpath extract``: the paths of images, as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from effpath.cli.options import (
    AllowPickle,
    AsJson,
    BatchSize,
    Classes,
    ImageSources,
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


def extract(
    model: Model,
    images: ImageSources,
    output: Annotated[Path, typer.Option("--output", "-o", help="paths.npz or paths.safetensors.")],
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    seed: Seed = 0,
    classes: Classes = None,
    input_size: InputSize = None,
    part: Part = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only the first so many images.")] = None,
    preset: Preset = "default",
    theta: Theta = None,
    rank: Annotated[int, typer.Option(help="Start at the class with the rank-th highest logit.")] = 1,
    layers: Layers = None,
    skip_damaged: SkipDamaged = False,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write the effective path of each image: synapses, neurons and weights of every layer.

    Examples:

      effpath extract effpath.demo.lenet:LeNet5 digits.npy -o paths.npz

      effpath extract torchvision:resnet50 cat.jpg dogs/ --weights resnet50.safetensors --layers 3
      -o paths.safetensors

      effpath extract net.py:make cifar10:path/to/cifar10 --part test --first 100 -o paths.npz
    """
    from effpath.cli.output import print_json, print_table
    from effpath.cli.sources import open_images, open_model
    from effpath.files.progress import track
    from effpath.graph import capture
    from effpath.paths.export import export_paths
    from effpath.walk.extract import extract as extract_paths

    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    pixels, names = open_images(
        images, wanted, model=network, seed=seed, part=part, skip_damaged=skip_damaged, first=first
    )
    graph = capture(network, pixels[:1])
    kept = parse_layers(layers)
    batches = []
    with track(f"paths of {len(names)} images", quiet=quiet) as progress:
        for start in range(0, len(names), batch_size):
            batch = pixels[start : min(start + batch_size, len(names))]
            batches.append(extract_paths(graph, batch, rank=rank, layers=kept, preset=preset, theta=theta))
            progress(start + len(batch), len(names))
    export_paths(batches, output, names=names)
    known = tuple(getattr(network, "classes", ()))
    rows: list[dict[str, Any]] = [
        {
            "image": name,
            "class": int(paths.classes[i]),
            **({"name": known[int(paths.classes[i])]} if len(known) == graph.classes else {}),
            **{f"{level}_density": paths[i].density(level) for level in ("synapses", "neurons", "weights")},
        }
        for name, (paths, i) in zip(names, ((b, i) for b in batches for i in range(len(b))), strict=True)
    ]
    if as_json:
        print_json({"output": str(output), "fingerprint": graph.fingerprint, "images": rows})
        return
    cells = []
    for row in rows[:20]:
        label = f"{row['class']} {row.get('name', '')}".strip()
        cells.append([row["image"], label, *(f"{100 * v:.3g} %" for k, v in row.items() if "density" in k)])
    print_table(["image", "class", "synapses", "neurons", "weights"], cells)
    more = f" (and {len(rows) - 20} more)" if len(rows) > 20 else ""
    print(f"{len(rows)} images{more}; paths: {output}")
