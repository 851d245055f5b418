"""The demo's steps, in the order of the paper."""

from __future__ import annotations

import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import sklearn
import torch
from torch import nn

from effpath.attacks import ATTACKS, AdversarialSet, attack
from effpath.class_paths.build import build_class_paths
from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.data import Dataset, Part, align_labels, load_data
from effpath.demo.network import TRAINING, trained_lenet
from effpath.demo.result import AttackResult, DemoResult, Example, headline_of
from effpath.detect.classifiers import OURS
from effpath.detect.evaluate import BASELINES, Evaluation, Group, evaluate
from effpath.detect.features import path_features
from effpath.errors import InputError
from effpath.files.cache import default_cache_dir, fingerprint
from effpath.files.progress import Track
from effpath.graph import Graph, capture
from effpath.images import format_of, pixel_range_of, resized
from effpath.models import load_model
from effpath.models.predict import count_classes, predict
from effpath.rules import LEVELS

_PAPER = {
    "mnist": {
        "density": 0.138,
        "class similarity": 0.5,
        "most special": "1",
        "AUC": (0.92, 0.95),
        "random detected": 0.9385,
    }
}


@dataclass(frozen=True)
class DemoOptions:
    """What the demo is run with.

    Attributes:
        data: as in `load_data`; a class for each output of the network.
        model: as in `load_model`, with ``weights``; None trains LeNet-5, on ``digits`` and ``mnist:DIR`` only.
        weights, allow_pickle: as in `load_model`.
        input_size: (C, H, W), if not the model's own.
        seed: of training, attacks, splits and classifiers.
        preset, theta, layers: of the extraction.
        batch_size: images extracted and attacked together.
        images: test images that are attacked, at most.
        train_images: training images for network and class paths, at most; None for all. With ``model`` equally
            many of each class.
        attacks: names, in the order of the table.
        unseen: attacks that the detectors are not trained on.
        fractions: shares of the attacked images for training, calibration and test.
        fpr: where the threshold is fixed.
        threads: of torch; one is fastest for networks as small as LeNet-5, and gives the same weights on
            machines with more or fewer cores.
    """

    data: str = "digits"
    model: str | None = None
    weights: Path | None = None
    allow_pickle: bool = False
    input_size: tuple[int, int, int] | None = None
    seed: int = 0
    preset: str = "default"
    theta: float | None = None
    layers: int | Sequence[str] | None = None
    batch_size: int = 256
    images: int = 1000
    train_images: int | None = None
    attacks: Sequence[str] = ("FGSM", "BIM", "DeepFool", "CWL2", "Random")
    unseen: Sequence[str] = ("Random",)
    fractions: Sequence[float] = (0.1, 0.2, 0.7)
    fpr: float = 0.05
    threads: int = 1


def run_demo(options: DemoOptions, folder: Path, track: Track, command: str = "") -> DemoResult:
    """Train, extract, build class paths, attack, detect; keep in ``folder`` what a second run can use again.

    Args:
        options: what to run.
        folder: for the trained weights and the class paths.
        track: gives a progress callback for a named step.
        command: how the demo was called, for the report.

    Raises:
        EffpathError: whatever the steps raise.
    """
    unknown = [name for name in options.attacks if name not in ATTACKS]
    if unknown:
        raise InputError(f"unknown attacks {', '.join(unknown)}; there are {', '.join(ATTACKS)}")
    torch.set_num_threads(options.threads)
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(step: str) -> None:
        nonlocal clock
        seconds[step] = round(time.perf_counter() - clock, 2)
        clock = time.perf_counter()

    model, data = _model_and_data(options, folder, track)
    train, test = data.part("train"), data.part("test", "val")
    train = _limited(train, options, len(data.classes))
    predicted = predict(model, test.images, 256)
    measured = float((predicted == test.labels).double().mean())
    graph = capture(model, train.images[:1])
    lap("training")
    with track(f"class paths of {len(train)} images") as progress:
        class_paths = build_class_paths(
            graph,
            train.images,
            train.labels,
            preset=options.preset,
            theta=options.theta,
            layers=options.layers,
            batch_size=options.batch_size,
            names=data.classes,
            data=f"{data.name} train, seed {options.seed}, first {len(train)}"
            + (" in equal shares of the classes" if options.model and options.train_images else ""),
            checkpoint=folder / f"class_paths-{_key(graph, options, train)}.safetensors",
            progress=progress,
        )
    lap("class paths")
    chosen = _images_to_attack(predicted == test.labels, options)
    images, labels = test.images[chosen], test.labels[chosen]
    sets: dict[str, AdversarialSet] = {}
    for name in options.attacks:
        with track(f"{name} on {len(images)} images") as progress:
            sets[name] = attack(
                model,
                images,
                labels,
                name,
                seed=options.seed,
                batch_size=options.batch_size,
                cache=default_cache_dir(),
                progress=progress,
            )
        lap(name)
    groups = {}
    likelihood = PathLikelihood(class_paths)
    with track("paths of clean and adversarial images") as progress:
        total = len(images) + sum(found.successes for found in sets.values())
        done = 0

        def group(name: str, pixels: torch.Tensor, source: torch.Tensor) -> Group:
            nonlocal done
            features = path_features(
                graph,
                class_paths,
                pixels,
                likelihood=likelihood,
                batch_size=options.batch_size,
                progress=lambda n, _: progress(done + n, total),
            )
            done += len(pixels)
            return Group(name, features, source.numpy())

        clean = group("clean", images, torch.arange(len(images)))
        for name, found in sets.items():
            if not found.successes:
                raise InputError(f"no {name} attack succeeded on {found.tried} images; attack more images")
            groups[name] = group(name, found.fooling, found.fooling_rows)
    lap("path similarity")
    with track("detectors trained and tested") as progress:
        judged = evaluate(
            clean,
            list(groups.values()),
            kinds=OURS,
            unseen=options.unseen,
            fractions=options.fractions,
            fpr=options.fpr,
            seed=options.seed,
        )
        progress(len(judged.scores), len(judged.scores))
    lap("detection")
    return _result(
        data,
        measured,
        len(test),
        class_paths,
        clean,
        groups,
        sets,
        judged,
        images,
        labels,
        options,
        seconds,
        command,
    )


def _model_and_data(options: DemoOptions, folder: Path, track: Track) -> tuple[nn.Module, Dataset]:
    """Return the network, trained or as it is named, and data whose labels are the network's outputs."""
    if options.model is None:
        data = load_data(options.data, seed=options.seed)
        if data.name not in TRAINING:
            raise InputError(
                f"LeNet-5 is trained on {' and '.join(TRAINING)} only, got {options.data}; name a model with "
                "--model, and its --weights"
            )
        count = len(data.train_labels[: options.train_images])
        with track(f"training LeNet-5 on {count} images") as progress:
            images, labels = data.train_images[:count], data.train_labels[:count]
            lenet = trained_lenet(
                images,
                labels,
                classes=len(data.classes),
                data=data.name,
                seed=options.seed,
                folder=folder,
                progress=progress,
            )
        return lenet, data
    model = load_model(options.model, options.weights, allow_pickle=options.allow_pickle, seed=options.seed)
    wanted = resized(format_of(model), options.input_size)
    data = load_data(options.data, seed=options.seed, picture_format=wanted, pixel_range=pixel_range_of(model))
    outputs = count_classes(model, data.part("train").images)
    if len(data.classes) != outputs:
        raise InputError(
            f"expected data with a class for each of the network's {outputs} outputs, so that every one has a "
            f"class path, got {len(data.classes)} classes in {options.data}"
        )
    at = align_labels(data.classes, outputs, tuple(getattr(model, "classes", ())))
    return model, data.relabelled(at, tuple(data.classes[i] for i in at.argsort().tolist()))


def _key(graph: Graph, options: DemoOptions, train: Part) -> str:
    layers = [] if options.layers is None else [options.layers]
    data = train.labels, list(train.names)
    return fingerprint(graph.fingerprint, options.preset, options.theta, options.train_images, *data, *layers)[:12]


def _limited(train: Part, options: DemoOptions, classes: int) -> Part:
    """Return at most ``train_images``: the first; of a named model's data, which may be sorted, of each class."""
    if options.train_images is None or options.model is None:
        return train.take(torch.arange(len(train))[: options.train_images])
    return train.first_of_each_class(max(1, options.train_images // classes))


def _images_to_attack(correct_ones: torch.Tensor, options: DemoOptions) -> torch.Tensor:
    """Return correctly classified test images, drawn by the seed, in ascending order."""
    correct = correct_ones.nonzero()[:, 0]
    order = torch.randperm(len(correct), generator=torch.Generator().manual_seed(options.seed))
    return correct[order[: options.images]].sort().values


def _result(
    data: Dataset,
    measured: float,
    test_images: int,
    class_paths: ClassPaths,
    clean: Group,
    groups: dict[str, Group],
    sets: dict[str, AdversarialSet],
    judged: Evaluation,
    images: torch.Tensor,
    labels: torch.Tensor,
    options: DemoOptions,
    seconds: dict[str, float],
    command: str,
) -> DemoResult:
    overall = class_paths.overall
    network = "LeNet-5" if options.model is None else options.model.rpartition(":")[2]
    detectors = (*judged.classifiers, *BASELINES)
    attacks = []
    for name, found in sets.items():
        norms = found.norms()
        attacks.append(
            AttackResult(
                name,
                found.settings,
                found.tried,
                found.successes,
                norms.l0,
                norms.l2,
                norms.linf,
                len(judged.test[name]),
                name not in options.unseen,
                {detector: judged.scores[detector][name] for detector in detectors},
            )
        )
    return DemoResult(
        title=f"{network} on {data.name}",
        provenance={
            "command": command,
            **{name: value for name, value in asdict(options).items() if name not in ("model", "weights")},
            "data": data.name,
            "model": network,
            "theta": class_paths.header.options.theta,
            "train_images": class_paths.seen,
            "sources": dict(judged.sizes),
            "fingerprint": class_paths.header.fingerprint,
            "seconds": seconds,
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "scikit-learn": sklearn.__version__,
                "numpy": np.__version__,
            },
        },
        network=network,
        accuracy=measured,
        test_images=test_images,
        density={level: overall.density(level) for level in LEVELS},
        layer_density={level: overall.layer_density(level) for level in LEVELS},
        classes=data.classes,
        class_images=tuple(class_paths[label].images for label in class_paths.classes),
        class_similarity=class_paths.class_similarity(),
        layers=tuple(layer.name for layer in class_paths.header.layers),
        similarity={
            group.name: group.features.values[judged.test[group.name]] for group in (clean, *groups.values())
        },
        roc=judged.suspicion,
        threshold=judged.threshold,
        fpr=judged.fpr,
        detectors=detectors,
        attacks=tuple(attacks),
        examples=_examples(data, clean, groups, sets, judged, images, labels),
        paper=_PAPER.get(data.name, {}) if options.model is None else {},
    )


def _examples(
    data: Dataset,
    clean: Group,
    groups: dict[str, Group],
    sets: dict[str, AdversarialSet],
    judged: Evaluation,
    images: torch.Tensor,
    labels: torch.Tensor,
    count: int = 3,
) -> tuple[Example, ...]:
    """Pick flagged test images of different attacks and classes whose clean originals are not flagged."""
    detector = headline_of(judged.classifiers)
    scores, threshold = judged.suspicion[detector], judged.threshold[detector]
    clean_score = dict(zip(clean.source[judged.test["clean"]].tolist(), scores["clean"].tolist(), strict=True))
    picked: list[Example] = []
    used: set[int] = set()
    for name, group in groups.items():
        rows = judged.test[name]
        for row, score in sorted(zip(rows.tolist(), scores[name].tolist(), strict=True), key=lambda p: -p[1]):
            source = int(group.source[row])
            if source < 0 or int(labels[source]) in used or score <= threshold or clean_score[source] > threshold:
                continue
            used.add(int(labels[source]))
            found = sets[name]
            picked.append(
                Example(
                    name,
                    images[source].numpy(),
                    found.fooling[row].numpy(),
                    data.classes[int(labels[source])],
                    data.classes[int(group.features.classes[row, 0])],
                    clean_score[source],
                    score,
                    threshold,
                    clean.features.values[source],
                    group.features.values[row],
                )
            )
            break
    return tuple(picked[-count:])
