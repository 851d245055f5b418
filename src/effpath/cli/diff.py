"""``effpath diff``: where the paths of two images part."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import Extraction, JsonOutput, NetworkSource, argument

if TYPE_CHECKING:
    from effpath.views.difference import Difference

ONE_IMAGE = "A picture, or an .npy or .npz with one image."
Start = Annotated[int | None, typer.Option(min=0, help="Start at this class, not at the predicted one.")]


def diff(
    source: NetworkSource,
    first: Annotated[str, argument(help=ONE_IMAGE)],
    second: Annotated[str, argument(help=ONE_IMAGE)],
    extraction: Extraction,
    to: JsonOutput,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Page to write: difference.html.")] = None,
    start: Start = None,
) -> None:
    r"""Compare the paths of two images layer by layer: which synapses, neurons and channels they share.

    Needs no detector. Each path starts from the class that the network predicts for its image, or from --start.

    Examples:

      effpath diff net.py:make cat.jpg attacked.png --weights net.safetensors

      effpath diff torchvision:resnet50 a.jpg b.jpg --weights w.safetensors \
        --layers 3 -o difference.html
    """
    from effpath.cli.output import check_files, deliver
    from effpath.errors import InputError
    from effpath.models.predict import output_names
    from effpath.views.difference import difference
    from effpath.views.page.pages import difference_page

    files = [] if output is None else [output]
    check_files(files)
    network = source.open()
    pixels, names = network.images([first, second])
    if len(names) != 2:
        raise InputError(f"expected two images to compare, got {len(names)} in {first} and {second}")
    graph = network.capture(pixels)
    found = difference(
        graph,
        pixels[:],
        start=start,
        names=(names[0], names[1]),
        classes=output_names(network.model, graph.classes),
        **extraction.arguments,
    )
    deliver(
        {"fingerprint": graph.fingerprint, **found.to_dict()},
        partial(show, found),
        files,
        partial(difference_page, found, source.name),
        as_json=to.as_json,
    )


def show(found: Difference) -> None:
    """Print what two paths share, of each layer and in all."""
    from effpath.cli.output import print_table, print_text
    from effpath.files.plain import percent
    from effpath.views.page.sentences import compared

    rows = [
        [
            layer.layer,
            *(f"{count:,}" for count in (layer.synapses.both, layer.synapses.first, layer.synapses.second)),
            percent(layer.synapses.jaccard),
            percent(layer.neurons.jaccard),
            f"{len(layer.first_channels)} / {len(layer.second_channels)}",
        ]
        for layer in found.layers
    ]
    head = ["layer", "synapses of both", "of the first", "of the second", "shared", "neurons shared"]
    print_table([*head, "channels of one alone"], rows, left=1)
    for sentence in compared(found):
        print_text(sentence)
