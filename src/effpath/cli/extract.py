"""``effpath extract``: the paths of images, as arrays."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from effpath.cli.options import Extraction, ImageSources, Output, Source, Without, parse_layers


def extract(
    source: Annotated[Source, Without("class_map")],
    images: ImageSources,
    output: Annotated[Path, typer.Option("--output", "-o", help="paths.npz or paths.safetensors.")],
    extraction: Extraction,
    to: Output,
    first: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
    rank: Annotated[int, typer.Option(help="Start at the class with the N-th highest logit.")] = 1,
) -> None:
    r"""Write the effective path of each image: synapses, neurons and weights of every layer.

    At most --batch-size images are processed together; fewer where their activations would take more than 384 MiB.

    Examples:

      effpath extract effpath.demo.lenet:LeNet5 digits.npy -o paths.npz

      effpath extract torchvision:resnet50 cat.jpg dogs/ \
        --weights resnet50.safetensors --layers 3 -o paths.safetensors

      effpath extract net.py:make cifar10:DIR --part test --first 100 -o paths.npz
    """
    from effpath.cli.output import print_first, print_json
    from effpath.files.plain import percent
    from effpath.graph.inputs import images_within_bytes
    from effpath.kernels.options import make_options
    from effpath.paths.export import export_paths
    from effpath.rules import LEVELS
    from effpath.walk.recording import bytes_per_image, recordings
    from effpath.walk.visit import paths_of

    network = source.open()
    pixels, names = network.images(images, first)
    graph = network.capture(pixels)
    options, layers = make_options(extraction.preset, theta=extraction.theta), parse_layers(extraction.layers)
    size = min(source.batch_size, images_within_bytes(bytes_per_image(graph, options, layers)))
    with to.track(f"paths of {len(names)} images") as progress:
        found = recordings(graph, pixels, options=options, layers=layers, batch_size=size, progress=progress)
        batches = [paths_of(batch.recorded, rank=rank) for batch in found]
    export_paths(batches, output, names=names)
    known = tuple(getattr(network.model, "classes", ()))
    rows: list[dict[str, Any]] = []
    for batch in batches:
        for label, path in zip(batch.classes.tolist(), batch, strict=True):
            named = {"name": known[label]} if len(known) == graph.classes else {}
            densities = {f"{level}_density": path.density(level) for level in LEVELS}
            rows.append({"image": names[len(rows)], "class": label, **named, **densities})
    if to.as_json:
        print_json({"output": str(output), "fingerprint": graph.fingerprint, "images": rows})
        return
    cells = [
        [
            row["image"],
            f"{row['class']} {row.get('name', '')}".strip(),
            *(percent(row[f"{level}_density"]) for level in LEVELS),
        ]
        for row in rows
    ]
    more = print_first(["image", "class", *LEVELS], cells)
    print(f"{len(rows)} images{more}; paths: {output}")
