"""``effpath score``: how far the paths of images lie inside the class paths."""

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
    Model,
    Part,
    Quiet,
    Seed,
    SkipDamaged,
    Weights,
)


def score(
    model: Model,
    class_paths: Annotated[Path, typer.Argument(help="From `effpath profile`.", show_default=False)],
    images: ImageSources,
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    seed: Seed = 0,
    classes: Classes = None,
    input_size: InputSize = None,
    part: Part = None,
    level: Annotated[
        str | None, typer.Option(help="synapses, neurons or weights; the first that is kept.")
    ] = None,
    skip_damaged: SkipDamaged = False,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Print the image-class path similarity of each image: of rank 1 (high is normal) and rank 2 (low is normal).

    Examples:

      effpath score torchvision:resnet50 classes.safetensors cat.jpg dogs/ --weights resnet50.safetensors

      effpath score net.py:make classes.safetensors imagefolder:DIR --part val --json
    """
    import numpy as np

    from effpath.class_paths.store import load_class_paths, read_header
    from effpath.cli.output import print_json, print_table
    from effpath.cli.sources import open_images, open_model
    from effpath.detect.features import path_features
    from effpath.errors import OptionError
    from effpath.files.progress import track
    from effpath.graph import capture
    from effpath.rules import LEVELS

    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    pixels, names = open_images(images, wanted, model=network, seed=seed, part=part, skip_damaged=skip_damaged)
    graph = capture(network, pixels[:1], structure=read_header(class_paths).get("structure"))
    known = load_class_paths(class_paths, graph)
    kept = next((name for name in LEVELS if name in known.levels and level in (None, name)), None)
    if kept is None:
        raise OptionError(
            f"expected --level to be one of {', '.join(known.levels)}, that were kept, got {level!r}"
        )
    with track(f"paths of {len(names)} images", quiet=quiet) as progress:
        found = path_features(graph, known, pixels, level=kept, batch_size=batch_size, progress=progress)
    half = len(found.names) // 2
    layers = [name.split(":", 2)[2] for name in found.names[:half]]
    rows: list[dict[str, Any]] = []
    for name, values, ranked in zip(names, found.values, found.classes, strict=True):
        plain = [None if np.isnan(value) else float(value) for value in values]
        rows.append(
            {
                "image": name,
                "classes": ranked.tolist(),
                "rank1": dict(zip(layers, plain[:half], strict=True)),
                "rank2": dict(zip(layers, plain[half:], strict=True)),
            }
        )
    if as_json:
        print_json({"fingerprint": graph.fingerprint, "level": kept, "images": rows})
        return
    cells = []
    for row in rows[:20]:
        means = [
            np.mean([v for v in row[rank].values() if v is not None] or [np.nan]) for rank in ("rank1", "rank2")
        ]
        titles = [
            f"{label} {known.names[label]}".strip() if label < len(known.names) else str(label)
            for label in row["classes"]
        ]
        cells.append([row["image"], *titles, *(f"{mean:.3f}" for mean in means)])
    print_table(["image", "class", "second", "mean similarity, rank 1", "mean similarity, rank 2"], cells)
    more = f" (and {len(rows) - 20} more)" if len(rows) > 20 else ""
    print(f"{len(rows)} images{more}; similarity of {kept}; of each layer with --json")
