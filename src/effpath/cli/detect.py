"""``effpath detect``: which images are suspicious, and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from effpath.cli.options import Auxiliary, ImageSources, Output, Source, Without, argument

if TYPE_CHECKING:
    from effpath.detect.saved import SavedDetector
    from effpath.detect.scoring import FloatArray


def detect(
    source: Annotated[Source, Without("seed")],
    detector: Annotated[Path, argument(help="From `effpath fit`.")],
    images: ImageSources,
    auxiliary: Auxiliary,
    to: Output,
    clean: Annotated[
        str | None, typer.Option(help="Clean images to compare with: an array, a folder or a data set.")
    ] = None,
    held_out: Annotated[
        bool,
        typer.Option("--held-out", help="Of a data set, only images that the detector was not made from."),
    ] = False,
    seed: Annotated[
        int | None, typer.Option(help="Seed of splits and random weights; the detector's if not given.")
    ] = None,
) -> None:
    r"""Score images: class, runner-up, suspicion, flagged or not, and the layers that point most to an attack.

    Arrays are [N, C, H, W] or [N, H, W, C], floats in [0, 1] or uint8. Where labels are known (an .npz with images
    and labels, numbered as the network's outputs; or a data set) it says how many images fool the network and how
    many of those are flagged; with --clean also the AUC against clean images, with a 95 % interval.

    Of twenty images or more it says once whether, all together, they look as those that fixed the threshold.

    An image that cannot be read, or holds NaN, is named with the reason, and the others are scored. An image of a
    class without a class path is flagged. The exit code is 0 whether or not an image is flagged, and 1 for errors,
    for example if no image can be read.

    Examples:

      effpath detect net.py:make guard.safetensors cat.jpg uploads/ \
        --weights net.safetensors

      effpath detect net.py:make guard.safetensors adversarial.npz \
        --clean imagefolder:DIR --held-out --json
    """
    import numpy as np

    from effpath.class_paths.store import provenance_of
    from effpath.cli.output import print_json, say
    from effpath.cli.verdicts import rows_of, show
    from effpath.data.load import is_data
    from effpath.detect.explain import strongest_layers, strongest_signs
    from effpath.detect.saved import WHAT, detector_about
    from effpath.detect.splits import unseen
    from effpath.detect.verdicts import summarise
    from effpath.errors import InputError, OptionError
    from effpath.files.sealed import SealedFile
    from effpath.images import tolerant
    from effpath.models.predict import output_names

    with SealedFile(detector, WHAT) as file:
        about = detector_about(file)["about"]
        made_with = int(about.get("seed", 0))
        named = [images] + ([[clean]] if clean is not None else [])
        if held_out:
            if not any(is_data(name) for names in named for name in names):
                raise InputError("expected a data set for --held-out, such as imagefolder:DIR, got files")
            if seed not in (None, made_with):
                raise OptionError(
                    f"expected --seed {made_with}, the detector's, for --held-out, got {seed}: another seed "
                    "divides the data differently, and images that the detector has seen would be among the rest; "
                    "leave out --seed"
                )
            damaged_out = source.skip_damaged or bool(about.get("skip_damaged"))
            source = replace(source, part=source.part or about.get("part"), skip_damaged=damaged_out)
        seed = made_with if seed is None else seed
        network = replace(source, seed=seed).open()
        opened = []
        for names in named:
            found = network.opened(names)
            if held_out and found.data is not None:
                found = found.take(unseen(about, found.data.name, found.part, found.images.images))
            opened.append(found)
        graph = network.capture(opened[0].images.images, provenance_of(file).get("structure"))
        saved = auxiliary.open_detector(file, network, graph, opened[0].images.images)
    verdicts, labels, damaged = [], [], []
    for found in opened:
        readable, unreadable = tolerant(found.images.images)
        known = network.labels(found, graph.classes)
        with to.track(f"paths of {len(readable)} images") as progress:
            features = saved.features(readable, batch_size=source.batch_size, progress=progress)
        read = np.setdiff1d(np.arange(len(readable)), list(unreadable))
        verdicts.append(saved.detect(features[read]))
        labels.append(known[read])
        damaged.append(unreadable)
    if clean is not None:
        for row, why in damaged[1].items():
            say(f"left out of the clean images, cannot be read: {opened[1].images.names[row]}: {why}")
    against = (verdicts[1], labels[1]) if clean is not None else (None, None)
    summary = summarise(verdicts[0], labels[0], *against, seed=seed)
    features, classes = verdicts[0].features, output_names(network.model, graph.classes, saved.class_paths.names)
    told = strongest_layers(saved, features), strongest_signs(saved, features)
    own = frozenset(saved.class_paths.classes)
    rows = rows_of(opened[0].images.names, damaged[0], verdicts[0], labels[0], *told, classes, own)
    drift = _drift(saved, verdicts[0].scores, seed)
    if to.as_json:
        made = {"kind": saved.name, "threshold": saved.threshold, "class_thresholds": saved.class_thresholds}
        made |= {"fpr": saved.fpr, "drift": drift, "not_read": len(damaged[0])}
        print_json({"fingerprint": graph.fingerprint, **made, **summary.to_dict(), "rows": rows})
        return
    show(rows, summary, saved, drift)


def _drift(detector: SavedDetector, scores: FloatArray, seed: int) -> float | None:
    """Return the evidence that images look otherwise than those of the calibration; None if it cannot be told."""
    from effpath.detect.conformal import drift_evidence

    return None if detector.calibration is None else drift_evidence(scores, detector.calibration, seed=seed)
