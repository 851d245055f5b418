"""``effpath score``: how far the paths of images lie inside the class paths."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from effpath.cli.options import ImageSources, Output, Source, Without, argument


def score(
    source: Annotated[Source, Without("class_map")],
    class_paths: Annotated[Path, argument(help="From `effpath profile`.")],
    images: ImageSources,
    to: Output,
    level: Annotated[
        str | None, typer.Option(help="synapses, neurons or weights; the first that is kept if not given.")
    ] = None,
) -> None:
    r"""Print the image-class path similarity of each image: of rank 1 (high is normal) and rank 2 (low is normal).

    Examples:

      effpath score torchvision:resnet50 classes.safetensors cat.jpg dogs/ \
        --weights resnet50.safetensors

      effpath score net.py:make classes.safetensors imagefolder:DIR \
        --part val --json
    """
    import numpy as np

    from effpath.cli.output import print_first, print_json
    from effpath.detect.features import path_features
    from effpath.errors import OptionError
    from effpath.rules import LEVELS

    network = source.open()
    pixels, names = network.images(images)
    graph, known = network.class_paths(class_paths, pixels)
    kept = next((name for name in LEVELS if name in known.levels and level in (None, name)), None)
    if kept is None:
        raise OptionError(
            f"expected --level to be one of {', '.join(known.levels)}, which are kept, got {level!r}"
        )
    with to.track(f"paths of {len(names)} images") as progress:
        found = path_features(graph, known, pixels, level=kept, batch_size=source.batch_size, progress=progress)
    layers = [name.split(":", 2)[2] for name in found.names[: len(found.names) // 2]]
    rows: list[dict[str, Any]] = []
    cells: list[list[str]] = []
    for name, values, ranked in zip(names, found.values, found.classes.tolist(), strict=True):
        ranks = np.split(values, 2)
        similarities = [dict(zip(layers, rank.tolist(), strict=True)) for rank in ranks]
        rows.append({"image": name, "classes": ranked, "rank1": similarities[0], "rank2": similarities[1]})
        titles = [f"{label} {dict(enumerate(known.names)).get(label, '')}".strip() for label in ranked]
        means = [np.mean(rank[~np.isnan(rank)]) if not np.isnan(rank).all() else np.nan for rank in ranks]
        cells.append([name, *titles, *(f"{mean:.3f}" for mean in means)])
    if to.as_json:
        print_json({"fingerprint": graph.fingerprint, "level": kept, "images": rows})
        return
    more = print_first(["image", "class", "second", "mean similarity, rank 1", "mean similarity, rank 2"], cells)
    print(f"{len(rows)} images{more}; similarity of {kept}; of each layer with --json")
