"""``effpath slice``: a network reduced to the classes that are needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effpath.cli.options import Output, Source, argument, of_images

if TYPE_CHECKING:
    from torch import Tensor

    from effpath.data import Part
    from effpath.files.progress import Progress


def slice_(
    source: Source,
    class_paths: Annotated[Path, argument(help="From `effpath profile`.")],
    keep: Annotated[str, typer.Option(help="Classes to keep: outputs or their names, separated by commas.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="State dict: sliced.safetensors or sliced.pth.")],
    to: Output,
    data: Annotated[str | None, of_images(help="Measure the accuracy on mnist:DIR, imagefolder:DIR …")] = None,
) -> None:
    r"""Reduce a network to some classes: keep the weights of their class paths, set all others to zero.

    The result is an ordinary state dict of the same network. Biases, norms and layers without class paths stay as
    they are. With --data it prints the accuracy on the images of these classes, among all outputs and among those
    kept, beside the whole network and beside as many weights of largest magnitude, of all layers together and of
    each layer.

    Examples:

      effpath slice net.py:make classes.safetensors --keep 3,5,8 \
        --weights net.safetensors --data mnist:DIR -o sliced.safetensors

      effpath slice torchvision:resnet50 classes.safetensors \
        --keep tench,church --weights resnet50.safetensors -o sliced.pth
    """
    from dataclasses import replace
    from functools import reduce
    from operator import or_

    import torch

    from effpath.cli.output import print_json
    from effpath.errors import InputError
    from effpath.files.cache import check_output
    from effpath.masks import Masked
    from effpath.masks.weights import pruned_to, state_with_weights
    from effpath.models import from_library
    from effpath.models.predict import output_names
    from effpath.models.weights import save_weights

    check_output(output)
    network = source.open()
    dataset = None if data is None else network.dataset(data)
    part = None if dataset is None else network.part(dataset, "test", "val", "all")
    graph, known = network.class_paths(class_paths, None if part is None else part.images)
    names = output_names(network.model, graph.classes, known.names)
    kept = parse_classes(keep, names)
    if part is not None and dataset is not None:
        labels = network.outputs(dataset, graph.classes)[part.labels]
        wanted = torch.isin(labels, torch.tensor(kept))
        part = replace(part.take(wanted), labels=labels[wanted])
        if not len(part):
            raise InputError(f"expected images of the classes {keep} in {dataset.name}, got none")
    sets = {
        key: reduce(or_, (known[label].weights[key] for label in kept)) for key in known.header.keys("weights")
    }
    state = network.model.state_dict()
    prefix = "network." if from_library(source.model) else ""  # of `PixelModel`
    sliced = state_with_weights(state, graph, sets)
    save_weights({name.removeprefix(prefix): value for name, value in sliced.items()}, output)
    found: dict[str, Any] = {
        "output": str(output),
        "fingerprint": graph.fingerprint,
        "keep": [{"class": label, "name": names[label]} for label in kept],
        "weights": {key: {"all": members.size, "kept": len(members)} for key, members in sets.items()},
    }
    if part is not None:
        networks: dict[str, Callable[[Any], Tensor]] = {
            "whole": graph,
            "sliced": Masked(graph, sets, "weights", keep=True),
        }
        for name, by_layer in (("largest weights", False), ("largest weights of each layer", True)):
            networks[name] = Masked(graph, pruned_to(state, sets, by_layer=by_layer), "weights", keep=True)
        with to.track(f"accuracy on {len(part)} images") as progress:
            found["images"] = len(part)
            found["accuracy"] = accuracies(networks, part, kept, source.batch_size, progress)
    if to.as_json:
        print_json(found)
    else:
        show(found)


def parse_classes(text: str, names: Sequence[str]) -> list[int]:
    """Return the outputs that ``--keep`` names, ascending.

    >>> parse_classes("bird, 0", ["cat", "dog", "bird"])
    [0, 2]
    """
    found = set()
    for word in map(str.strip, text.split(",")):
        if word.isdecimal() and int(word) < len(names):
            found.add(int(word))
        elif word and word in names:
            found.add(names.index(word))
        else:
            raise typer.BadParameter(
                f"expected --keep with outputs in 0 … {len(names) - 1} or their names, separated by commas, got "
                f"{word!r}"
            )
    return sorted(found)


def accuracies(
    networks: Mapping[str, Callable[[Tensor], Tensor]],
    part: Part,
    kept: Sequence[int],
    batch_size: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return the share of images that each network gets right, among all outputs and among those kept."""
    import torch

    outputs = torch.tensor(kept)
    right = {name: [0, 0] for name in networks}
    for start in range(0, len(part), batch_size):
        end = min(start + batch_size, len(part))
        pixels, labels = part.images[start:end], part.labels[start:end]
        for name, network in networks.items():
            logits = network(pixels).cpu()
            right[name][0] += int((logits.argmax(1) == labels).sum())
            right[name][1] += int((outputs[logits[:, outputs].argmax(1)] == labels).sum())
        progress(end, len(part))
    return [
        {"network": name, "among_all": every / len(part), "among_kept": own / len(part)}
        for name, (every, own) in right.items()
    ]


def show(found: Mapping[str, Any]) -> None:
    """Print how many weights remain in each layer, and the accuracies."""
    from effpath.cli.output import print_table
    from effpath.files.plain import percent

    rows = [[key, row["all"], row["kept"]] for key, row in found["weights"].items()]
    total, left = (sum(row[column] for row in rows) for column in (1, 2))
    cells = [[key, f"{every:,}", f"{kept:,}", percent(kept / every)] for key, every, kept in rows]
    print_table(["weights of", "all", "kept", "share"], cells, left=1)
    titles = [
        str(row["class"]) if row["name"] in ("", str(row["class"])) else f"{row['class']} ({row['name']})"
        for row in found["keep"]
    ]
    print(f"{left:,} of {total:,} weights kept ({percent(left / total)}), for {', '.join(titles)}\n")
    if "accuracy" in found:
        print_table(
            [f"accuracy on {found['images']} images", "among all outputs", "among those kept"],
            [[row["network"], percent(row["among_all"]), percent(row["among_kept"])] for row in found["accuracy"]],
            left=1,
        )
    print(f"weights: {found['output']}")
