"""``effpath fit``: a detector for a trained network, in one file."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from effpath.cli.options import (
    AllowPickle,
    AsJson,
    BatchSize,
    ClassMap,
    Data,
    InputSize,
    Layers,
    Model,
    Preset,
    Quiet,
    Theta,
    Weights,
    parse_attack,
    parse_layers,
)


def fit(
    model: Model,
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="guard.safetensors.")],
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    input_size: InputSize = None,
    class_map: ClassMap = None,
    kind: Annotated[
        str, typer.Option(help="clean, from clean images alone; linear or surprise, from attacks too.")
    ] = "clean",
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="To learn from; may be given again. NAME or NAME:setting=value,…; FGSM and PGD if not given."
        ),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(min=1, help="The first so many training images of each class for the class paths."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Test images to fit and calibrate on; half of them, 1000 at most, if not given."),
    ] = None,
    fpr: Annotated[float, typer.Option(min=0, max=1, help="Share of clean images that may be flagged.")] = 0.05,
    preset: Preset = "default",
    theta: Theta = None,
    layers: Layers = None,
    seed: Annotated[int, typer.Option(help="Of random weights, splits, attacks and the classifier.")] = 0,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build class paths, fit a detector and fix its threshold; `effpath detect` scores images with the file.

    Class paths come from the training part of the data, the rest from its test or else its validation part: of the
    images drawn there, those that the network gets right are halved, one half to fit (and to attack), one to fix
    the threshold. Class paths so far are kept in OUTPUT.partial, finished attacks in the cache; the same command
    goes on from there.

    Examples:

      effpath fit net.py:make imagefolder:DIR --weights net.safetensors -o guard.safetensors

      effpath fit effpath.lenet:LeNet5 mnist:DIR --weights lenet.safetensors --kind linear
      --attack FGSM --attack PGD:epsilon=0.2,steps=40 --fpr 0.01 --batch-size 256 -o guard.safetensors
    """
    from effpath.cache import default_cache_dir
    from effpath.cli.sources import open_data, open_model
    from effpath.detect.classifiers import CLASSIFIERS
    from effpath.detect.store import save_detector
    from effpath.errors import OptionError
    from effpath.fitting import ATTACKED_WITH, FitOptions, fit_detector
    from effpath.progress import track

    if attack and kind in CLASSIFIERS and CLASSIFIERS[kind].clean_only:
        raise OptionError(f"a detector of kind {kind!r} learns from clean images alone: leave out --attack")
    named = [parse_attack(text) for text in attack or []]
    if len(dict(named)) < len(named):
        raise OptionError(f"expected each attack once, got {', '.join(name for name, _ in named)}")
    network, wanted = open_model(model, weights, allow_pickle=allow_pickle, seed=seed, input_size=input_size)
    options = FitOptions(
        kind=kind,
        attacks=dict(named) or ATTACKED_WITH,
        preset=preset,
        theta=theta,
        layers=parse_layers(layers),
        per_class=per_class,
        images=images,
        fpr=fpr,
        seed=seed,
        batch_size=batch_size,
    )
    dataset = open_data(data, network, wanted, seed=seed, class_map=class_map)
    partial_file = output.with_name(f"{output.name}.partial")
    detector = fit_detector(
        network,
        dataset,
        options,
        checkpoint=partial_file,
        cache=default_cache_dir(),
        track=partial(track, quiet=quiet),
    )
    save_detector(detector, output)
    partial_file.unlink(missing_ok=True)
    about = detector.about
    counts = {name: len(rows) for name, rows in about["rows"].items()}
    if as_json:
        shown = {name: value for name, value in about.items() if name != "rows"}
        found = {"output": str(output), "kind": kind, "threshold": detector.threshold, "fpr": fpr, **shown}
        print(json.dumps({**found, "images": counts, "fingerprint": detector.graph.fingerprint}, indent=1))
        return
    paths = about["class_paths"]
    print(
        f"class paths: {paths['classes']} classes, {paths['images']} of {paths['seen']} images predicted correctly"
    )
    for name, made in about["attacks"].items():
        print(f"{name}: {made['succeeded']} of {made['tried']} images fool the network")
    print(
        f"kind {kind}, fitted on {counts['fit']} clean images; threshold {detector.threshold:.4g}, above "
        f"which lie at most {fpr:.1%} of {counts['calibrate']} others"
    )
    print(f"detector: {output}")
