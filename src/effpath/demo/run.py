"""The demo's steps, in the order of the paper."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from safetensors.torch import load_file, save_file

from effpath.attacks import ATTACKS, AdversarialSet, attack
from effpath.cache import atomic_write, default_cache_dir, fingerprint
from effpath.data import Dataset, load_data
from effpath.demo.result import AttackResult, DemoResult, Example
from effpath.detect.evaluate import BASELINES, Evaluation, Group, evaluate
from effpath.detect.features import path_features
from effpath.errors import InputError
from effpath.graph import Graph, capture
from effpath.lenet import LeNet5
from effpath.paths.class_paths import ClassPaths
from effpath.profile import build_class_paths
from effpath.rules import LEVELS
from effpath.train import accuracy, train_classifier

Track = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]

# Training of LeNet-5 and the split of the sources, by data set; the paper trains the detector on 10 %.
_TRAINING: dict[str, dict[str, Any]] = {
    "digits": {"epochs": 40, "batch_size": 64, "learning_rate": 1e-2},
    "mnist": {"epochs": 5},
}
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
        data: ``digits`` or ``mnist:DIR``.
        seed: of training, attacks, splits and classifiers.
        preset, theta: of the extraction.
        images: test images that are attacked, at most.
        train_images: training images for network and class paths, at most; None for all.
        attacks: names, in the order of the table.
        unseen: attacks that the detectors are not trained on.
        fractions: shares of the attacked images for training, calibration and test.
        fpr: where the threshold is fixed.
        threads: of torch; one is fastest for networks as small as LeNet-5, and gives the same weights on
            machines with more or fewer cores.
    """

    data: str = "digits"
    seed: int = 0
    preset: str = "default"
    theta: float | None = None
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

    data = load_data(options.data, seed=options.seed)
    train_images = data.train_images[: options.train_images]
    train_labels = data.train_labels[: options.train_images]
    with track(f"training LeNet-5 on {len(train_images)} images") as progress:
        model = _trained(data, train_images, train_labels, options, folder, progress)
    measured = accuracy(model, data.test_images, data.test_labels)
    graph = capture(model, train_images[:1])
    lap("training")
    with track(f"class paths of {len(train_images)} images") as progress:
        class_paths = build_class_paths(
            graph,
            train_images,
            train_labels,
            preset=options.preset,
            theta=options.theta,
            names=data.classes,
            data=f"{data.name} train, seed {options.seed}, first {len(train_images)}",
            checkpoint=folder / f"class_paths-{_key(graph, options)}.safetensors",
            progress=progress,
        )
    lap("class paths")
    chosen = _images_to_attack(model, data, options)
    images, labels = data.test_images[chosen], data.test_labels[chosen]
    sets: dict[str, AdversarialSet] = {}
    for name in options.attacks:
        with track(f"{name} on {len(images)} images") as progress:
            sets[name] = attack(
                model, images, labels, name, seed=options.seed, cache=default_cache_dir(), progress=progress
            )
        lap(name)
    groups = {}
    with track("paths of clean and adversarial images") as progress:
        total = len(images) + sum(found.successes for found in sets.values())
        done = 0

        def group(name: str, pixels: torch.Tensor, source: torch.Tensor) -> Group:
            nonlocal done
            features = path_features(graph, class_paths, pixels, progress=lambda n, _: progress(done + n, total))
            done += len(pixels)
            return Group(name, features, source.numpy())

        clean = group("clean", images, torch.arange(len(images)))
        for name, found in sets.items():
            if not found.successes:
                raise InputError(f"no {name} attack succeeded on {found.tried} images; attack more images")
            groups[name] = group(name, found.images[found.succeeded], found.source[found.succeeded])
    lap("path similarity")
    judged = evaluate(
        clean,
        list(groups.values()),
        unseen=options.unseen,
        fractions=options.fractions,
        fpr=options.fpr,
        seed=options.seed,
    )
    lap("detection")
    return _result(
        data, measured, class_paths, clean, groups, sets, judged, images, labels, options, seconds, command
    )


def _trained(
    data: Dataset,
    images: torch.Tensor,
    labels: torch.Tensor,
    options: DemoOptions,
    folder: Path,
    progress: Callable[[int, int], None],
) -> LeNet5:
    """Train LeNet-5, or read the weights that the same training left in the folder."""
    settings = _TRAINING[data.name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        model = LeNet5(image_size=images.shape[-1], classes=len(data.classes))
    file = folder / f"lenet5-{fingerprint(settings, options.seed, images, labels)[:12]}.safetensors"
    if file.exists():
        model.load_state_dict(load_file(file))
        return model.eval()
    train_classifier(model, images, labels, seed=options.seed, progress=progress, **settings)
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    atomic_write(file, lambda temporary: save_file(state, temporary))
    return model


def _key(graph: Graph, options: DemoOptions) -> str:
    return fingerprint(graph.fingerprint, options.preset, options.theta, options.train_images)[:12]


def _images_to_attack(model: torch.nn.Module, data: Dataset, options: DemoOptions) -> torch.Tensor:
    """Return correctly classified test images, drawn by the seed, in ascending order."""
    with torch.no_grad():
        predicted = torch.cat([model(batch).argmax(1) for batch in torch.split(data.test_images, 1000)])
    correct = (predicted == data.test_labels).nonzero()[:, 0]
    order = torch.randperm(len(correct), generator=torch.Generator().manual_seed(options.seed))
    return correct[order[: options.images]].sort().values


def _result(
    data: Dataset,
    measured: float,
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
        title=f"LeNet-5 on {data.name}",
        provenance={
            "command": command,
            **asdict(options),
            "data": data.name,
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
        network="LeNet-5",
        accuracy=measured,
        test_images=len(data.test_images),
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
        paper=_PAPER.get(data.name, {}),
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
    scores, threshold = judged.suspicion["linear"], judged.threshold["linear"]
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
                    found.images[found.succeeded][row].numpy(),
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
