"""The whole way from a network and data to a detector."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from effpath.class_paths.build import BuildOptions, Description
from effpath.data import Dataset, Part
from effpath.detect.classifiers import reading_of
from effpath.detect.detector import Detector
from effpath.detect.fitting.options import FitOptions
from effpath.detect.fitting.sources import draw, sources_of
from effpath.detect.fitting.steps import attacked_images, class_paths_step
from effpath.detect.splits import digest_of, drawn_rows
from effpath.errors import InputError
from effpath.files.progress import Track
from effpath.graph.graph import Graph
from effpath.rules.plan import plan_for


def fit_detector(
    graph: Graph,
    model: nn.Module,
    data: Dataset,
    options: FitOptions,
    *,
    checkpoint: Path | None = None,
    cache: Path | None = None,
    track: Track,
    note: Callable[[str], None] = lambda text: None,
) -> Detector:
    """Return a detector for the network, fitted and calibrated, with what it was made from in ``about``.

    Class paths are built over the training part. Test (or else validation) images are drawn by the seed; those
    that the network gets right are divided in two: one half is for fitting, clean and, where the kind needs it,
    attacked; the other fixes the threshold. No attack is made of an image that fixes the threshold. Every option
    is checked before the first image is read.

    Args:
        graph: of the model.
        model: in eval mode, from pixels in [0, 1] to logits.
        data: labelled by the outputs of the network, with images of every output unless outputs may be missing.
        options: see there.
        checkpoint: a file that keeps the class paths so far.
        cache: a folder that keeps finished attacks.
        track: gives a progress callback for a named step.
        note: takes what a person should know: images and classes that are left out.

    Raises:
        OptionError: an option outside its range, or layers that the network does not have.
        InputError: too few images, or attacks none of which succeeds.
        ClassPathError: no training image of a class is predicted correctly.
    """
    options.check()
    plan_for(graph, gates=False).choose_layers(options.layers)
    source = sources_of(data, options, note)
    train = source.train
    _check_outputs(graph.classes, train, data, options, note)
    parts = draw(model, source.test, options)
    counts = reading_of(options.kind).wants_likelihood
    described = (
        f"{data.name} {source.train_name}, seed {options.seed}"
        + f", without {options.held_out_share} of each class" * (options.held_out_share is not None)
        + f", first {options.per_class} of each class" * bool(options.per_class)
    )
    class_paths = class_paths_step(
        graph,
        train,
        track,
        preset=options.preset,
        theta=options.theta,
        layers=options.layers,
        options=BuildOptions(("synapses",), counts, options.batch_size, options.allow_missing),
        description=Description(data.classes, described),
        checkpoint=checkpoint,
    )
    detector = Detector(graph, class_paths, kind=options.kind, seed=options.seed)
    images = {name: source.test.take(parts[name]) for name in ("fit", "calibrate")}
    features = {}
    for name, part in images.items():
        with track(f"paths of {len(part)} clean images to {name}") as progress:
            features[name] = detector.features(part.images, batch_size=options.batch_size, progress=progress)
    known = [label in class_paths for label in images["fit"].labels.tolist()]
    clean = features["fit"][np.flatnonzero(known)]
    attacked: dict[str, Any] = {}
    if detector.clean_only:
        detector.fit(clean)
    else:
        part = images["fit"].take(torch.tensor(known))
        pixels, attacked = attacked_images(model, graph.classes, class_paths, part, options, cache, track)
        with track(f"paths of {len(pixels)} adversarial images") as progress:
            detector.fit(clean, detector.features(pixels, batch_size=options.batch_size, progress=progress))
    detector.calibrate(features["calibrate"], fpr=options.fpr)
    rows = {name: source.rows[drawn].tolist() for name, drawn in parts.items()}
    detector.about = {
        "data": data.name,
        **source.about,
        "rows": rows,
        "digest": digest_of(source.whole.images, drawn_rows({"rows": rows})),
        "class_paths": {"images": class_paths.images, "seen": class_paths.seen, "classes": len(class_paths)},
        "attacks": attacked,
        "seed": options.seed,
        "batch_size": options.batch_size,
    }
    return detector


def _check_outputs(
    outputs: int, train: Part, data: Dataset, options: FitOptions, note: Callable[[str], None]
) -> None:
    """Refuse, or note, outputs that no training image is labelled as."""
    lacking = sorted(set(range(outputs)) - set(train.labels.tolist()))
    if not lacking:
        return
    known = dict(enumerate(data.classes))
    names = [f"{known[at]} ({at})" if known.get(at) else str(at) for at in lacking]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if not options.allow_missing:
        raise InputError(
            f"expected data with training images of each of the network's {outputs} outputs, so that every one "
            f"has a class path, got none of {shown}; give --allow-missing (allow_missing=True) to leave these "
            "out: what the network takes for one of them is then flagged"
        )
    note(f"no training images of {shown}: what the network takes for one of these outputs will be flagged")
