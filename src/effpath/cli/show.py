"""``effpath show``: the path of one image, drawn through the layers."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from effpath.cli.diff import ONE_IMAGE, Start
from effpath.cli.options import Extraction, JsonOutput, NetworkSource, Without, argument

if TYPE_CHECKING:
    from effpath.views.drawing import By, PathDrawing


def show(
    source: NetworkSource,
    image: Annotated[str, argument(help=ONE_IMAGE)],
    extraction: Annotated[Extraction, Without("layers")],
    to: JsonOutput,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Page to write: path.html.")] = None,
    rank: Annotated[int, typer.Option(help="Start at the class with the N-th highest logit.")] = 1,
    start: Start = None,
    by: Annotated[
        str | None,
        typer.Option(help="neurons or channels; if not given, neurons where they are few enough to draw."),
    ] = None,
) -> None:
    r"""Draw the path of one image through the network, from its pixels to its class: a page to scroll and hover.

    Needs no detector. Of a small network each neuron and synapse on the path is drawn; of a large one its
    channels, and the strongest lines between them.

    Examples:

      effpath show net.py:make cat.jpg --weights net.safetensors -o path.html

      effpath show torchvision:resnet50 cat.jpg --weights w.safetensors \
        --rank 2 -o runner-up.html
    """
    from effpath.cli.output import check_files, deliver
    from effpath.errors import InputError
    from effpath.models.predict import output_names
    from effpath.views.drawing import draw_path
    from effpath.views.page.pages import drawing_page

    files = [] if output is None else [output]
    check_files(files)
    network = source.open()
    pixels, names = network.images([image])
    if len(names) != 1:
        raise InputError(f"expected one image to draw the path of, got {len(names)} in {image}")
    graph = network.capture(pixels)
    chosen = extraction.arguments
    found = draw_path(
        graph,
        pixels[:],
        rank=rank,
        start=start,
        by=cast("By | None", by),
        preset=chosen["preset"],
        theta=chosen["theta"],
        name=names[0],
        classes=output_names(network.model, graph.classes),
    )
    deliver(
        {"fingerprint": graph.fingerprint, **found.to_dict()},
        partial(tell, found),
        files,
        partial(drawing_page, found, source.name),
        as_json=to.as_json,
    )


def tell(found: PathDrawing) -> None:
    """Print what of each row is on the path."""
    from effpath.cli.output import print_table, print_text
    from effpath.views.page.sentences import drawn

    rows = [
        [row.name, row.operator, *(f"{count:,}" for count in (row.active, row.neurons, row.synapses))]
        for row in found.rows
    ]
    print_table(["layer", "operator", "neurons on the path", "of", "synapses on the path"], rows, left=2)
    print_text(drawn(found)[0])
