"""``effpath report``: a network reported on one page, from its class paths or its detector."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from effpath.cli.options import Auxiliary, Output, Source, Without, argument

if TYPE_CHECKING:
    from effpath.class_paths import ClassPaths
    from effpath.cli.network import Network
    from effpath.data import Part
    from effpath.detect.saved import SavedDetector
    from effpath.graph.graph import Graph
    from effpath.rules.plan import Level
    from effpath.views.report.report import Report


def report(
    source: Annotated[Source, Without("seed")],
    file: Annotated[
        Path,
        argument(
            metavar="CLASS_PATHS|DETECTOR",
            help="From `effpath profile`, a file or a store, or from `effpath fit`.",
        ),
    ],
    to: Output,
    auxiliary: Auxiliary,
    images: Annotated[
        list[str] | None,
        argument(
            help="For a detector to judge: arrays, pictures, folders; or one data set, such as imagefolder:DIR."
        ),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.")] = Path("report.html"),
    level: Annotated[
        str | None,
        typer.Option(help="Compare classes by synapses, neurons or weights; the first that is kept if not given."),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Explain at most N flagged images.")] = 6,
    seed: Annotated[
        int | None, typer.Option(help="Seed of splits and random weights; the detector's if not given.")
    ] = None,
) -> None:
    r"""Report a network on one page: what it is, how much of it its classes use, how alike they are.

    The page has the network and its layers; the density of the overall path and of each class path; a map of how
    similar the class paths are, in the order of a tree that joins the most similar classes; the most and the least
    special classes; and the layers that tell classes apart. From a detector's file also what that was calibrated
    on, and, with images, its verdicts and the explanations of those that it finds most suspicious.

    It is one file that loads nothing from elsewhere, for phones and desks, light and dark.

    Examples:

      effpath report net.py:make classes.safetensors --weights net.safetensors

      effpath report torchvision:resnet50 classes.safetensors \
        --weights resnet50.safetensors --level weights -o resnet50.html

      effpath report net.py:make guard.safetensors uploads/ \
        --weights net.safetensors --examples 3 --json
    """
    from effpath.class_paths import ClassPaths
    from effpath.cli.output import check_files, deliver
    from effpath.models.predict import output_names
    from effpath.views.report.report import report as reported

    check_files([output])
    network, graph, paths, part = _opened(source, auxiliary, file, images, seed)
    known = paths.names if isinstance(paths, ClassPaths) else paths.class_paths.names
    found = reported(
        graph,
        paths,
        part,
        name=source.name,
        classes=output_names(network.model, graph.classes, known),
        level=cast("Level | None", level),
        examples=examples,
        batch_size=source.batch_size,
        track=to.track,
    )
    with to.track("figures drawn") as progress:
        page = found.html
        progress(1, 1)
    deliver(found.to_dict(), partial(show, found), [output], lambda: page, as_json=to.as_json)


def _opened(
    source: Source, auxiliary: Auxiliary, file: Path, images: list[str] | None, seed: int | None
) -> tuple[Network, Graph, ClassPaths | SavedDetector, Part | None]:
    """Return the network, its graph, what the file or the folder of a store has of it, and the images to judge."""
    from dataclasses import replace

    import torch

    from effpath.class_paths.store import class_paths_in, provenance_of
    from effpath.detect.saved import detector_about
    from effpath.errors import OptionError
    from effpath.files.sealed import SealedFile

    alone = OptionError(
        f"expected the file of a detector to judge images, got class paths in {file}: make one with effpath fit, "
        "or leave out the images"
    )
    if file.is_dir():
        if images:
            raise alone
        network = replace(source, seed=seed or 0).open()
        return network, *network.class_paths(file), None
    with SealedFile(file, "class paths or a detector") as opened:
        structure = provenance_of(opened).get("structure")
        judges = "detector" in opened.about
        if images and not judges:
            raise alone
        if seed is None:
            seed = int(detector_about(opened)["about"].get("seed", 0)) if judges else 0
        network = replace(source, seed=seed).open()
        named = network.opened(images) if images else None
        shown = None if named is None else named.images.images
        graph = network.capture(shown, structure)
        if not judges:
            return network, graph, class_paths_in(opened, graph), None
        detector = auxiliary.open_detector(opened, network, graph, shown)
    if named is None:
        return network, graph, detector, None
    labels = torch.from_numpy(network.labels(named, graph.classes))
    return network, graph, detector, replace(named.images, labels=labels)


def show(found: Report) -> None:
    """Print the classes, the most special first, the layers, and what the page says at its top."""
    from effpath.cli.output import print_first, print_table, print_text
    from effpath.files.plain import percent
    from effpath.views.page.network import introduction

    seen = found.overview
    rows = []
    for place in seen.class_means.argsort(kind="stable").tolist():
        nearest = seen.nearest(place)
        densities = [percent(shares[place]) for shares in seen.class_density.values()]
        alike = [f"{seen.class_means[place]:.3f}", f"{seen.classes[nearest.second]}: {nearest.similarity:.3f}"]
        rows.append([seen.classes[place], f"{seen.class_images[place]:,}", *densities, *alike])
    head = ["class", "images", *seen.class_density, "mean similarity", "most similar class"]
    more = print_first(head, rows, left=1)
    print(f"{len(rows)} classes{more}, the most special first\n")
    print_table(
        ["layer", "mean similarity of two classes"],
        [[key, f"{value:.3f}"] for key, value in seen.layers_apart],
        left=1,
    )
    for sentence in introduction(found):
        print_text(sentence)
