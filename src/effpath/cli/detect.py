"""``effpath detect``: which images are suspicious, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from effpath.cli.options import (
    AllowPickle,
    AsJson,
    BatchSize,
    Classes,
    ClassMap,
    ImageSources,
    InputSize,
    Model,
    Part,
    Quiet,
    SkipDamaged,
    Weights,
)


def detect(
    model: Model,
    detector: Annotated[Path, typer.Argument(help="From `effpath fit`.", show_default=False)],
    images: ImageSources,
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    classes: Classes = None,
    input_size: InputSize = None,
    class_map: ClassMap = None,
    part: Part = None,
    clean: Annotated[
        str | None, typer.Option(help="Clean images to compare with: an array, a folder or a data set.")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Of a data set only the images that the detector was not made from.")
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Of random weights and splits; the detector's own if not given.")
    ] = None,
    skip_damaged: SkipDamaged = False,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score images: class, runner-up, suspicion, flagged or not, and the layers that speak most for an attack.

    Arrays are [N, C, H, W] or [N, H, W, C], floats in [0, 1] or uint8. Where labels are known (an .npz with images
    and labels, numbered as the network's outputs; or a data set) it says how many images fool the network and how
    many of those are flagged; with --clean also the AUC against clean images, with a 95 % interval.

    An image that cannot be read, or holds NaN, is named with the reason, and the others are scored. One that the
    network takes for a class without a class path is flagged. The exit code is 0 whether or not an image is
    flagged, and 1 for errors, such as that no image can be read.

    Examples:

      effpath detect net.py:make guard.safetensors cat.jpg uploads/ --weights net.safetensors

      effpath detect net.py:make guard.safetensors adversarial.npz --clean imagefolder:DIR --held-out --json
    """
    import numpy as np

    from effpath.cli.output import print_json
    from effpath.cli.sources import example_of, labels_of, open_labelled, open_model, say
    from effpath.cli.verdicts import Shown, rows_of, show
    from effpath.data.load import is_data
    from effpath.detect.explain import explain, strongest_signs
    from effpath.detect.header import read_detector_header
    from effpath.detect.held_out import unseen
    from effpath.detect.saved import open_detector
    from effpath.detect.summary import summarise
    from effpath.errors import InputError, OptionError
    from effpath.files.progress import track
    from effpath.graph import capture
    from effpath.images import tolerant
    from effpath.models.naming import output_names

    header = read_detector_header(detector)
    about = header["about"]
    own_seed = int(about.get("seed", 0))
    all_sources = [images] + ([[clean]] if clean is not None else [])
    if held_out and not any(is_data(source) for sources in all_sources for source in sources):
        raise InputError("expected a data set for --held-out, such as imagefolder:DIR, got files")
    if held_out and seed not in (None, own_seed):
        raise OptionError(
            f"expected --seed {own_seed}, the detector's own, for --held-out, got {seed}: another seed divides "
            "the data in another way, and what the detector has seen would be among the rest; leave out --seed"
        )
    seed = own_seed if seed is None else seed
    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    opened = []
    for sources in all_sources:
        left_out = skip_damaged or (held_out and bool(about.get("skip_damaged")))
        chosen = part or (about.get("part") if held_out else None)
        found = open_labelled(sources, wanted, model=network, seed=seed, part=chosen, skip_damaged=left_out)
        if held_out and found.data is not None:
            found = found.take(unseen(about, found.data.name, found.part, found.images))
        opened.append(found)
    graph = capture(network, example_of(opened[0].images, wanted), structure=header["structure"])
    saved = open_detector(detector, graph)
    verdicts, labels, damaged = [], [], []
    for found in opened:
        readable, unreadable = tolerant(found.images)
        own_labels = labels_of(found, network, graph.classes, class_map)
        with track(f"paths of {len(found.names)} images", quiet=quiet) as progress:
            features = saved.features(readable, batch_size=batch_size, progress=progress)
        read = np.setdiff1d(np.arange(len(found.names)), list(unreadable))
        verdicts.append(saved.detect(features[read]))
        labels.append(own_labels[read])
        damaged.append(unreadable)
    if clean is not None:
        for row, why in damaged[1].items():
            say(f"left out of the clean images, cannot be read: {opened[1].names[row]}: {why}")
    against = (verdicts[1], labels[1]) if clean is not None else (None, None)
    summary = summarise(verdicts[0], labels[0], *against, seed=seed)
    shown = Shown(
        names=opened[0].names,
        verdicts=verdicts[0],
        labels=labels[0],
        damaged=damaged[0],
        reasons=explain(saved, verdicts[0].features),
        signs=strongest_signs(saved, verdicts[0].features),
        classes=output_names(network, graph.classes, saved.class_paths.names),
        known=frozenset(saved.class_paths.classes),
    )
    if as_json:
        made = {"kind": saved.name, "threshold": saved.threshold, "fpr": saved.fpr, "not_read": len(damaged[0])}
        print_json({"fingerprint": graph.fingerprint, **made, **summary.to_dict(), "rows": rows_of(shown)})
        return
    show(shown, summary, saved)
