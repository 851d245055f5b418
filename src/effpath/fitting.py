"""From a trained network and labelled images to a detector that is fitted and calibrated."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from effpath.attacks import ATTACKS, attack
from effpath.attacks.judge import device_of, predict
from effpath.data import Dataset, Part
from effpath.detect.classifiers import CLASSIFIERS
from effpath.detect.detector import Detector
from effpath.detect.splits import split_sources
from effpath.detect.store import SAVED
from effpath.errors import InputError, OptionError
from effpath.graph import capture
from effpath.profile import build_class_paths

Track = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

ATTACKED_WITH: dict[str, dict[str, Any]] = {"FGSM": {}, "PGD": {}}
"""What detectors that need attacks learn from, where nothing else is named."""


@dataclass(frozen=True)
class FitOptions:
    """How a detector is made.

    Attributes:
        kind: one that can be saved.
        attacks: settings by name; for kinds that learn from adversarial images too.
        preset, theta, layers: of the extraction.
        per_class: the first so many training images of each class for the class paths; None for all.
        images: test images for fitting and calibration together, at most; None for half of them, 1000 at most.
        fpr: where the threshold is fixed.
        seed: of the choice of images, the attacks and the classifier.
        batch_size: images extracted and attacked together.
    """

    kind: str = "clean"
    attacks: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: ATTACKED_WITH)
    preset: str = "default"
    theta: float | None = None
    layers: int | str | Sequence[str] | None = None
    per_class: int | None = None
    images: int | None = None
    fpr: float = 0.05
    seed: int = 0
    batch_size: int = 8


def fit_detector(
    model: nn.Module,
    data: Dataset,
    options: FitOptions,
    *,
    checkpoint: Path | None = None,
    cache: Path | None = None,
    track: Track,
) -> Detector:
    """Return a detector for the network, fitted and calibrated, with what it was made from in ``about``.

    Class paths are built over the training part. Test (or else validation) images are drawn by the seed; those
    that the network gets right are divided in two: one half is for fitting, clean and, where the kind needs it,
    attacked; the other fixes the threshold. No attack is made of an image that fixes the threshold.

    Args:
        model: in eval mode, from pixels in [0, 1] to logits.
        data: labelled by the outputs of the network, with images of every output.
        options: see there.
        checkpoint: a file that keeps the class paths so far.
        cache: a folder that keeps finished attacks.
        track: gives a progress callback for a named step.

    Raises:
        OptionError: a kind that cannot be saved, or an unknown attack.
        InputError: too few images, or attacks none of which succeeds.
        ClassPathError: no training image of a class is predicted correctly.
    """
    if options.kind not in SAVED:
        raise OptionError(f"kind must be one of {', '.join(SAVED)}, that can be saved; got {options.kind!r}")
    unknown = [name for name in options.attacks if name not in ATTACKS]
    if unknown:
        raise OptionError(f"unknown attacks {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    train = data.part("train")
    if options.per_class is not None:
        train = train.first_of_each_class(options.per_class)
    part = next((name for name in ("test", "val") if name in data.parts), "test")
    parts = _divide(model, data.part(part), options)
    graph = capture(model, train.images[:1])
    with track(f"class paths of {len(train)} images") as progress:
        class_paths = build_class_paths(
            graph,
            train.images,
            train.labels,
            preset=options.preset,
            theta=options.theta,
            layers=options.layers,
            levels=("synapses",),
            counts=CLASSIFIERS[options.kind].wants_fit,
            batch_size=options.batch_size,
            names=data.classes,
            data=f"{data.name} train, seed {options.seed}"
            + (f", first {options.per_class} of each class" * bool(options.per_class)),
            checkpoint=checkpoint,
            progress=progress,
        )
    detector = Detector(graph, class_paths, kind=options.kind, seed=options.seed)
    images = {name: data.part(part).take(parts[name]) for name in ("fit", "calibrate")}
    features = {}
    for name, own in images.items():
        with track(f"paths of {len(own)} clean images to {name}") as progress:
            features[name] = detector.features(own.images, batch_size=options.batch_size, progress=progress)
    attacked: dict[str, Any] = {}
    if detector.clean_only:
        detector.fit(features["fit"])
    else:
        pixels, attacked = _attacked(model, images["fit"], options, cache, track)
        with track(f"paths of {len(pixels)} adversarial images") as progress:
            detector.fit(
                features["fit"], detector.features(pixels, batch_size=options.batch_size, progress=progress)
            )
    detector.calibrate(features["calibrate"], fpr=options.fpr)
    detector.about = {
        "data": data.name,
        "class_paths": {"images": class_paths.images, "seen": class_paths.seen, "classes": len(class_paths)},
        "part": part,
        "part_size": len(data.part(part)),
        "rows": {name: rows.tolist() for name, rows in parts.items()},
        "attacks": attacked,
        "seed": options.seed,
        "batch_size": options.batch_size,
    }
    return detector


def unseen_rows(about: Mapping[str, Any], data: str, part: str, size: int) -> Tensor:
    """Return the rows of a part, ascending, that were not drawn when a detector was made.

    Args:
        about: the detector's.
        data, part, size: name of the data set, name of the part, number of its images.

    Raises:
        InputError: the detector was made from something else, or from all of it.
    """
    here = {"data": data, "part": part, "part_size": size}
    made = {name: about.get(name) for name in here}
    if here != made:
        raise InputError(
            f"expected the data that the detector was made from, to leave that out: {made}; got {here}"
        )
    rest = torch.ones(size, dtype=torch.bool)
    rest[[row for rows in about["rows"].values() for row in rows]] = False
    if not bool(rest.any()):
        raise InputError(f"the detector was made from all {size} images of {data} {part}; none is left")
    return rest.nonzero()[:, 0]


def _divide(model: nn.Module, part: Part, options: FitOptions) -> dict[str, Tensor]:
    """Return the rows to fit on and those to calibrate on, ascending; ``wrong`` are those drawn for neither."""
    wanted = min(1000, len(part) // 2) if options.images is None else options.images
    order = torch.randperm(len(part), generator=torch.Generator().manual_seed(options.seed))
    drawn = order[:wanted].sort().values
    own = part.take(drawn)
    right = torch.zeros(len(own), dtype=torch.bool)
    for start in range(0, len(own), options.batch_size):
        rows = slice(start, start + options.batch_size)
        right[rows] = predict(model, own.images[rows].to(device_of(model))).cpu() == own.labels[rows]
    correct = drawn[right]
    if len(correct) < 4:
        raise InputError(
            f"expected at least 4 images that the network gets right, to fit and to calibrate, got {len(correct)} "
            f"of {len(own)}; give more images, or check that labels and preprocessing fit the model"
        )
    halves = split_sources(correct.numpy(), fractions={"fit": 0.5, "calibrate": 0.5}, seed=options.seed)
    return {**{name: correct[torch.from_numpy(rows)] for name, rows in halves.items()}, "wrong": drawn[~right]}


def _attacked(
    model: nn.Module, part: Part, options: FitOptions, cache: Path | None, track: Track
) -> tuple[Tensor, dict[str, Any]]:
    """Return the adversarial images that all attacks made of a part, and how each went."""
    pixels, about = [], {}
    for name, settings in options.attacks.items():
        with track(f"{name} on {len(part)} images") as progress:
            made = attack(
                model,
                part.images[:],
                part.labels,
                name,
                settings=settings,
                seed=options.seed,
                batch_size=options.batch_size,
                cache=cache,
                progress=progress,
            )
        pixels.append(made.images[made.succeeded])
        about[name] = {"settings": dict(made.settings), "tried": made.tried, "succeeded": made.successes}
    if not sum(map(len, pixels)):
        raise InputError(
            f"none of {', '.join(options.attacks)} fools the network on any of {len(part)} images: there is "
            "nothing to learn from; choose other attacks or settings, or kind clean, which needs none"
        )
    return torch.cat(pixels), about
