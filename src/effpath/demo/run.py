"""The demo's steps, in the order of the paper."""

from __future__ import annotations

import time
from pathlib import Path

import torch

from effpath.attacks import AdversarialSet
from effpath.attacks.spec import Settings
from effpath.class_paths.build import BuildOptions, Description
from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.data import Dataset, Part
from effpath.demo.collect import Measured, result_of
from effpath.demo.inputs import images_to_attack, network_and_data, training_part
from effpath.demo.options import DemoOptions
from effpath.demo.result import DemoResult
from effpath.detect.classifiers import OURS
from effpath.detect.evaluate import Group, evaluate
from effpath.detect.features import path_features
from effpath.detect.fitting.steps import attack_steps, class_paths_step
from effpath.errors import InputError
from effpath.files.cache import default_cache_dir, fingerprint
from effpath.files.progress import Track
from effpath.graph import Graph, capture
from effpath.models.predict import predict


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
    clock = _Clock()
    model, data = network_and_data(options, folder, track)
    train, test = training_part(data, options), data.part("test", "val")
    graph = capture(model, train.images[:1])
    correct = predict(model, test.images, 256) == test.labels
    clock.lap("training")
    class_paths = _class_paths(graph, data, train, options, folder, track)
    clock.lap("class paths")
    clean = images_to_attack(test, correct, options)
    attacked: dict[str, AdversarialSet] = {}
    how = {"seed": options.seed, "batch_size": options.batch_size, "cache": default_cache_dir()}
    settings: dict[str, Settings] = {name: {} for name in options.attacks}
    for name, made in zip(settings, attack_steps(model, clean, settings, track, **how), strict=True):
        attacked[name] = made
        clock.lap(name)
    groups = _features(graph, class_paths, clean, attacked, options, track)
    clock.lap("path similarity")
    with track("detectors trained and tested") as progress:
        judged = evaluate(
            groups["clean"],
            [groups[name] for name in attacked],
            kinds=OURS,
            unseen=options.unseen,
            fractions=options.fractions,
            fpr=options.fpr,
            seed=options.seed,
        )
        progress(len(judged.scores), len(judged.scores))
    clock.lap("detection")
    return result_of(
        Measured(
            options=options,
            data=data,
            accuracy=float(correct.double().mean()),
            test_images=len(test),
            class_paths=class_paths,
            clean=clean,
            attacked=attacked,
            groups=groups,
            judged=judged,
            seconds=clock.seconds,
        )
    )


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
        options=BuildOptions(batch_size=options.batch_size),
        description=Description(data.classes, described),
        checkpoint=folder / f"class_paths-{key}.safetensors",
    )


def _features(
    graph: Graph,
    class_paths: ClassPaths,
    clean: Part,
    attacked: dict[str, AdversarialSet],
    options: DemoOptions,
    track: Track,
) -> dict[str, Group]:
    """Return what detectors look at: of the clean images first, then of what each attack made of them."""
    for name, made in attacked.items():
        if not made.successes:
            raise InputError(f"no {name} attack succeeded on {made.tried} images; attack more images")
    pixels = {"clean": clean.images, **{name: made.fooling for name, made in attacked.items()}}
    sources = {"clean": torch.arange(len(clean))}
    sources |= {name: made.fooling_rows for name, made in attacked.items()}
    total, done = sum(map(len, pixels.values())), 0
    likelihood = PathLikelihood(class_paths)
    groups = {}
    with track("paths of clean and adversarial images") as progress:
        for name, images in pixels.items():
            features = path_features(
                graph,
                class_paths,
                images,
                likelihood=likelihood,
                batch_size=options.batch_size,
                progress=lambda count, _, done=done: progress(done + count, total),  # type: ignore[misc]
            )
            done += len(images)
            groups[name] = Group(name, features, sources[name].numpy())
    return groups


class _Clock:
    """Seconds of each step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = time.perf_counter()

    def lap(self, step: str) -> None:
        """Note what has passed since the step before."""
        now = time.perf_counter()
        self.seconds[step] = round(now - self._started, 2)
        self._started = now
