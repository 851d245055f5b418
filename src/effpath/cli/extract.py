"""``effpath extract``: the paths of images, as arrays."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table


def extract(
    model: Annotated[str, typer.Argument(help="path/to/file.py:factory or package.module:factory.")],
    images: Annotated[list[str], typer.Argument(help=".npy, .npz, pictures, folders of pictures.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="paths.npz or paths.safetensors.")],
    weights: Annotated[Path | None, typer.Option(help="State dict, .safetensors.")] = None,
    input_size: Annotated[
        str | None, typer.Option(help="C,H,W; the model's input_size attribute if not given.")
    ] = None,
    preset: Annotated[str, typer.Option(help="default, paper or authors.")] = "default",
    theta: Annotated[float | None, typer.Option(help="θ in (0, 1]; the preset's 0.5 if not given.")] = None,
    rank: Annotated[int, typer.Option(help="Start at the class with the rank-th highest logit.")] = 1,
    last: Annotated[int | None, typer.Option(help="Only the last so many layers.")] = None,
    batch_size: Annotated[int, typer.Option(help="Images extracted together.")] = 8,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress bar.")] = False,
) -> None:
    """Write the effective path of each image: synapses, neurons and weights of every layer.

    Examples:

      effpath extract effpath.lenet:LeNet5 digits.npy -o paths.npz

      effpath extract net.py:make cat.jpg dogs/ --weights net.safetensors --last 3 -o paths.safetensors
    """
    from effpath.extract import extract as extract_paths
    from effpath.graph import capture
    from effpath.images import load_images
    from effpath.models import load_model
    from effpath.paths.export import export_paths
    from effpath.progress import track

    network = load_model(model, weights)
    pixels, names = load_images(images, _size(input_size) or getattr(network, "input_size", None))
    graph = capture(network, pixels[:1])
    batches = []
    with track(f"paths of {len(pixels)} images", quiet=quiet) as progress:
        for start in range(0, len(pixels), batch_size):
            batch = pixels[start : start + batch_size]
            batches.append(extract_paths(graph, batch, rank=rank, layers=last, preset=preset, theta=theta))
            progress(start + len(batch), len(pixels))
    export_paths(batches, output, names=names)
    rows: list[dict[str, Any]] = [
        {
            "image": name,
            "class": int(paths.classes[i]),
            **{f"{level}_density": paths[i].density(level) for level in ("synapses", "neurons", "weights")},
        }
        for name, (paths, i) in zip(names, ((b, i) for b in batches for i in range(len(b))), strict=True)
    ]
    if as_json:
        print(json.dumps({"output": str(output), "fingerprint": graph.fingerprint, "images": rows}, indent=1))
        return
    table = Table("image", "class", "synapses", "neurons", "weights")
    for row in rows[:20]:
        table.add_row(row["image"], str(row["class"]), *(f"{100 * v:.3g} %" for v in list(row.values())[2:]))
    console = Console(file=sys.stdout)
    console.print(table)
    more = f" (and {len(rows) - 20} more)" if len(rows) > 20 else ""
    print(f"{len(rows)} images{more}; paths: {output}")


def _size(text: str | None) -> tuple[int, int, int] | None:
    if text is None:
        return None
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isdigit() for part in parts):
        raise typer.BadParameter(f"wanted --input-size C,H,W such as 3,224,224, got {text!r}")
    channels, height, width = (int(part) for part in parts)
    return channels, height, width
