"""``effpath explain``: why images are flagged, or not, as text, a page or a figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import Auxiliary, ImageSources, Output, Source, Without, argument

if TYPE_CHECKING:
    from effpath.views.explanation import Explanation


def explain(
    source: Annotated[Source, Without("seed", "class_map")],
    detector: Annotated[Path, argument(help="From `effpath fit`.")],
    images: ImageSources,
    auxiliary: Auxiliary,
    to: Output,
    output: Annotated[
        list[Path] | None,
        typer.Option("--output", "-o", help="explained.html, .png or .svg; may be repeated."),
    ] = None,
    clean: Annotated[
        str | None,
        typer.Option(help="Clean images to find the nearest among: a folder, an array or a data set."),
    ] = None,
    first: Annotated[int | None, typer.Option(min=1, help="Only the first N images.")] = None,
) -> None:
    r"""Explain why images are flagged, or not: where their paths leave the path of their class.

    For each image: the verdict; how much of the path lies in the class path, layer by layer, beside the middle
    90 % of the clean images that the detector was calibrated on; which channels leave the class path, and what
    they add to the score; the class whose path is closest; on a page or in a figure also the pixels that the path
    reads, for the predicted class and the runner-up. With --clean also the clean image whose path is nearest; of
    a data set the training part.

    Examples:

      effpath explain net.py:make guard.safetensors cat.jpg \
        --weights net.safetensors -o cat.html

      effpath explain net.py:make guard.safetensors uploads/ --clean train/ \
        -o uploads.html -o uploads.png

      effpath explain net.py:make guard.safetensors cat.jpg --json
    """
    from effpath.class_paths.store import provenance_of
    from effpath.cli.output import PAGE, check_files, deliver
    from effpath.data.load import is_data
    from effpath.detect.saved import WHAT, detector_about
    from effpath.files.sealed import SealedFile
    from effpath.models.predict import output_names
    from effpath.views.explain import explain as explained
    from effpath.views.page.figure import KINDS, write_figure
    from effpath.views.page.pages import explanations_page

    files = output or []
    check_files(files, (PAGE, *KINDS))
    with SealedFile(detector, WHAT) as opened:
        seed = int(detector_about(opened)["about"].get("seed", 0))
        network = replace(source, seed=seed).open()
        pixels, names = network.images(images, first)
        graph = network.capture(pixels, provenance_of(opened).get("structure"))
        saved = auxiliary.open_detector(opened, network, graph, pixels)
    part = None
    if clean is not None and is_data(clean):
        part = network.dataset(clean).part("train", "all")
    elif clean is not None:
        part = network.opened([clean]).images
    with to.track("clean images compared" if part else f"{len(names)} images explained") as progress:
        found = explained(
            saved,
            pixels,
            names=names,
            classes=output_names(network.model, graph.classes, saved.class_paths.names),
            clean=None if part is None else part.images,
            clean_names=() if part is None else part.names,
            batch_size=source.batch_size,
            progress=progress,
        )
    made = {"kind": saved.name, "fingerprint": graph.fingerprint, "images": [one.to_dict() for one in found]}
    page, figure = partial(explanations_page, found, source.name), partial(write_figure, found)
    deliver(made, partial(show, found), files, page, figure, as_json=to.as_json)


def show(found: Sequence[Explanation]) -> None:
    """Print explanations."""
    import math

    from effpath.cli.output import plain, print_table, print_text
    from effpath.files.plain import percent
    from effpath.views.page.sentences import pointing, summary, verdict_of
    from effpath.views.page.words import signed

    for one in found:
        print_text(f"{one.name}: {verdict_of(one)}", "  ")
        for sentence in (*summary(one), *one.notes):
            print_text(f"  {sentence}", "  ")
        if one.verdict.reasons:
            print_text(f"  {pointing(one)}:", "  ")
        for reason, behind in one.verdict.grouped_reasons:
            print_text(f"    {reason}", "    ")
            for below in behind:
                print_text(f"      {below}", "      ")
        rows, summed = [], bool(one.layers) and one.layers[0].added is not None
        for layer in one.layers:
            band = "-" if math.isnan(layer.low) else f"{percent(layer.low)} to {percent(layer.high)}"
            adds = [] if layer.added is None else [plain(signed(layer.added))]
            channels = ", ".join(f"{channel.channel} ({channel.outside:,})" for channel in layer.channels[:3])
            shown = "-" if math.isnan(layer.similarity) else percent(layer.similarity)
            rows.append([layer.layer, shown, band, *adds, channels or "-"])
        if rows:
            head = ["layer", "this image", "clean, 5 to 95 %", *["adds"] * summed, "channels (synapses outside)"]
            print_table(head, rows, left=1)
            if summed:
                what = f'  "adds" is what a layer adds to {one.added_to}; above 0 speaks for an attack'
                print_text(what, "  ")
