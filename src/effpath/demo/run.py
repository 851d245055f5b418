"""The demo's steps, in the order of the paper, and its result of what they left."""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import sklearn
import torch

from effpath.attacks import AdversarialSet
from effpath.class_paths.build import Description
from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.folder.options import StoreOptions
from effpath.data import Dataset, Part
from effpath.demo.features import path_step, sign_step
from effpath.demo.network import network_and_data
from effpath.demo.options import DemoOptions
from effpath.demo.result import AttackResult, DemoResult, Example, headline_of
from effpath.detect.classifiers import DEFAULT_KIND, PATH_CLASSIFIERS, reading_of, scoring_of
from effpath.detect.evaluate import BASELINES, Evaluation, Group, evaluate
from effpath.detect.explain import signs_of_images
from effpath.detect.fitting.steps import attack_steps, class_paths_step
from effpath.errors import InputError
from effpath.files.cache import default_cache_dir, fingerprint
from effpath.files.progress import Track
from effpath.graph import Graph, capture
from effpath.models.predict import predict
from effpath.views.report.overview import Overview, overview_of

KINDS = (DEFAULT_KIND, "surprise", *PATH_CLASSIFIERS)
"""The detectors that are judged: the default, ours that reads paths, and those of similarities."""
_PAPER = {  # of LeNet-5 on MNIST
    "density": 0.138, "class similarity": 0.5, "most special": "1", "AUC": (0.92, 0.95), "random detected": 0.9385,
}  # fmt: skip


def run_demo(options: DemoOptions, folder: Path, track: Track) -> DemoResult:
    """Train, extract, build class paths, attack, detect; keep in ``folder`` what a second run can use again.

    Args:
        options: what to run.
        folder: for the trained weights and the class paths.
        track: gives a progress callback for a named step.

    Raises:
        EffpathError: whatever the steps raise.
    """
    options.check()
    torch.set_num_threads(options.threads)
    ended = {"": time.perf_counter()}  # each step
    model, data = network_and_data(options, folder, track)
    train, test = options.training_part(data), data.part("test", "val")
    graph = capture(model, train.images[:1])
    correct = predict(model, test.images, 256) == test.labels
    ended["training"] = time.perf_counter()
    class_paths = _class_paths(graph, data, train, options, folder, track)
    ended["class paths"] = time.perf_counter()
    clean = options.images_to_attack(test, correct)
    attacked: dict[str, AdversarialSet] = {}
    how = {"seed": options.seed, "batch_size": options.batch_size, "cache": default_cache_dir()}
    for made in attack_steps(model, clean, options.settings, track, **how):
        attacked[made.name], ended[made.name] = made, time.perf_counter()
        if not made.successes:
            raise InputError(f"no {made.name} attack succeeded on {made.tried} images; attack more images")
    pixels = {"clean": clean.images, **{name: made.fooling for name, made in attacked.items()}}
    features = path_step(graph, class_paths, pixels, options.batch_size, track)
    ended["path similarity"] = time.perf_counter()
    features = sign_step(graph, class_paths, train, pixels, features, options.batch_size, track)
    ended["signs"] = time.perf_counter()
    sources = {"clean": torch.arange(len(clean)), **{name: made.fooling_rows for name, made in attacked.items()}}
    groups = {name: Group(name, features[name], rows.numpy()) for name, rows in sources.items()}
    with track("detectors trained and tested") as progress:
        judged = evaluate(
            groups["clean"],
            [groups[name] for name in attacked],
            kinds=KINDS,
            unseen=options.unseen,
            fractions=options.fractions,
            fpr=options.fpr,
            seed=options.seed,
        )
        progress(len(judged.scores), len(judged.scores))
    ended["detection"] = time.perf_counter()
    seconds = {step: round(end - start, 2) for (_, start), (step, end) in pairwise(ended.items())}
    overview = replace(overview_of(graph, class_paths, name=options.network), classes=data.classes)
    return result_of(options, data, correct, overview, clean, attacked, groups, judged, seconds)


def _class_paths(
    graph: Graph, data: Dataset, train: Part, options: DemoOptions, folder: Path, track: Track
) -> ClassPaths:
    """Return the class paths of the training images; what is built is kept in the folder."""
    layers = [] if options.layers is None else [options.layers]
    how = options.preset, options.theta, options.train_images
    key = fingerprint(graph.fingerprint, *how, train.labels, list(train.names), *layers)[:12]
    equal = " in equal shares of the classes" if options.model and options.train_images else ""
    described = f"{data.name} train, seed {options.seed}, first {len(train)}{equal}"
    return class_paths_step(
        graph,
        train,
        track,
        preset=options.preset,
        theta=options.theta,
        layers=options.layers,
        options=StoreOptions(batch_size=options.batch_size, strict=True),
        description=Description(data.classes, described),
        store=folder / f"class_paths-{key}",
    )


def result_of(
    options: DemoOptions,
    data: Dataset,
    correct: torch.Tensor,
    overview: Overview,
    clean: Part,
    attacked: Mapping[str, AdversarialSet],
    groups: Mapping[str, Group],
    judged: Evaluation,
    seconds: Mapping[str, float],
) -> DemoResult:
    """Return everything that table and report show.

    Args:
        options: what was run.
        data: labelled by the network's outputs.
        correct: bool [N], which test images the network classifies as labelled.
        overview: of the class paths of the training images.
        clean: the test images that were attacked.
        attacked: what each attack made of them.
        groups: what detectors look at, ``clean`` first, then by attack.
        judged: how well they do.
        seconds: by step.
    """
    detectors = (*judged.classifiers, *BASELINES)
    return DemoResult(
        title=f"{options.network} on {data.name}",
        provenance={
            "command": options.command,
            **{name: value for name, value in asdict(options).items() if name not in ("model", "weights")},
            "data": data.name,
            "model": options.network,
            "theta": overview.options.theta,
            "train_images": overview.seen,
            "sources": dict(judged.sizes),
            "fingerprint": overview.fingerprint,
            "seconds": dict(seconds),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "scikit-learn": sklearn.__version__,
                "numpy": np.__version__,
            },
        },
        network=options.network,
        accuracy=float(correct.double().mean()),
        test_images=len(correct),
        overview=overview,
        similarity={name: group.features.values[judged.test[name]] for name, group in groups.items()},
        roc=judged.suspicion,
        threshold=judged.threshold,
        fpr=judged.fpr,
        detectors=detectors,
        attacks=tuple(
            AttackResult(
                name,
                made.settings,
                made.tried,
                made.successes,
                *made.norms(),
                tested=len(judged.test[name]),
                seen=name not in options.unseen,
                scores={detector: judged.scores[detector][name] for detector in detectors},
            )
            for name, made in attacked.items()
        ),
        examples=examples_of(data.classes, clean, attacked, groups, judged),
        paper=_PAPER if data.name == "mnist" and options.model is None else {},
    )


def examples_of(
    classes: Sequence[str],
    clean: Part,
    attacked: Mapping[str, AdversarialSet],
    groups: Mapping[str, Group],
    judged: Evaluation,
) -> tuple[Example, ...]:
    """Return at most three flagged images, of different attacks and classes, whose originals are not flagged."""
    detector, labels = headline_of(judged.classifiers), clean.labels.tolist()
    scoring, reading = scoring_of(judged.classifiers[detector]), reading_of(detector)
    scores, threshold = judged.suspicion[detector], judged.threshold[detector]
    tested = groups["clean"].source[judged.test["clean"]].tolist()
    clean_score = dict(zip(tested, scores["clean"].tolist(), strict=True))
    picked: list[Example] = []
    used: set[int] = set()
    for name, made in attacked.items():
        rows = judged.test[name].tolist()
        for row, score in sorted(zip(rows, scores[name].tolist(), strict=True), key=lambda pair: -pair[1]):
            source = int(groups[name].source[row])
            if source < 0 or labels[source] in used or score <= threshold or clean_score[source] > threshold:
                continue
            used.add(labels[source])
            signs = signs_of_images(scoring, reading, groups[name].features[row : row + 1])
            picked.append(
                Example(
                    attack=name,
                    clean=clean.images[source : source + 1][0].numpy(),
                    adversarial=made.fooling[row].numpy(),
                    label=classes[labels[source]],
                    predicted=classes[int(groups[name].features.classes[row, 0])],
                    clean_score=clean_score[source],
                    score=score,
                    threshold=threshold,
                    clean_similarity=groups["clean"].features.values[source],
                    similarity=groups[name].features.values[row],
                    signs=() if signs is None else tuple(signs[0]),
                )
            )
            break
    return tuple(picked[-3:])
