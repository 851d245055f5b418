"""``effpath fit``: a detector for a trained network, in one file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from effpath.cli.options import (
    AllowMissing,
    AllowPickle,
    AsJson,
    BatchSize,
    Classes,
    ClassMap,
    Data,
    InputSize,
    Layers,
    Model,
    Preset,
    Quiet,
    SkipDamaged,
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
    classes: Classes = None,
    input_size: InputSize = None,
    class_map: ClassMap = None,
    kind: Annotated[
        str | None,
        typer.Option(help="surprise (if not given) or linear, from attacks too; clean, from clean images alone."),
    ] = None,
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
    held_out_share: Annotated[
        float | None,
        typer.Option(
            help="Of data without a test or validation part: the share of each class to fit and calibrate on."
        ),
    ] = None,
    fpr: Annotated[float, typer.Option(help="Share of clean images, in (0, 1), that may be flagged.")] = 0.05,
    preset: Preset = "default",
    theta: Theta = None,
    layers: Layers = None,
    allow_missing: AllowMissing = False,
    skip_damaged: SkipDamaged = False,
    seed: Annotated[int, typer.Option(help="Of random weights, splits, attacks and the classifier.")] = 0,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Build class paths, fit a detector and fix its threshold; `effpath detect` scores images with the file.

    Class paths come from the training part of the data, the rest from its test or else its validation part, or
    from what --held-out-share takes out of undivided data: of the images drawn there, those that the network gets
    right are halved, one half to fit (and to attack), one to fix the threshold. Class paths so far are kept in
    OUTPUT.partial, finished attacks in the cache; the same command goes on from there.

    Examples:

      effpath fit net.py:make imagefolder:DIR --weights net.safetensors -o guard.safetensors

      effpath fit torchvision:resnet18 imagefolder:DIR --weights tuned.pth --classes 7 --held-out-share 0.2
      -o guard.safetensors

      effpath fit effpath.demo.lenet:LeNet5 mnist:DIR --weights lenet.safetensors --kind linear
      --attack FGSM --attack PGD:epsilon=0.2,steps=40 --fpr 0.01 --batch-size 256 -o guard.safetensors
    """
    from effpath.cli.output import print_json
    from effpath.cli.sources import by_outputs, example_of, open_dataset, open_model, say
    from effpath.detect.classifiers import CLASSIFIERS, DEFAULT_KIND, is_clean_only
    from effpath.detect.fitting import ATTACKED_WITH, FitOptions, fit_detector
    from effpath.detect.store import save_detector
    from effpath.errors import OptionError
    from effpath.files.cache import default_cache_dir
    from effpath.files.progress import track
    from effpath.graph import capture

    kind = kind or DEFAULT_KIND
    if attack and kind in CLASSIFIERS and is_clean_only(kind):
        raise OptionError(f"a detector of kind {kind!r} learns from clean images alone: leave out --attack")
    named = [parse_attack(text) for text in attack or []]
    if len(dict(named)) < len(named):
        raise OptionError(f"expected each attack once, got {', '.join(name for name, _ in named)}")
    options = FitOptions(
        kind=kind,
        attacks=dict(named) or ATTACKED_WITH,
        preset=preset,
        theta=theta,
        layers=parse_layers(layers),
        per_class=per_class,
        images=images,
        fpr=fpr,
        held_out_share=held_out_share,
        allow_missing=allow_missing,
        skip_damaged=skip_damaged,
        seed=seed,
        batch_size=batch_size,
    )
    options.check()
    check_output(output)
    network, wanted = open_model(
        model, weights, allow_pickle=allow_pickle, seed=seed, classes=classes, input_size=input_size
    )
    dataset = open_dataset(data, network, wanted, seed=seed)
    graph = capture(network, example_of(next(iter(dataset.parts.values())).images, wanted))
    partial_file = output.with_name(f"{output.name}.partial")
    detector = fit_detector(
        graph,
        network,
        by_outputs(dataset, network, graph.classes, class_map),
        options,
        checkpoint=partial_file,
        cache=default_cache_dir(),
        track=partial(track, quiet=quiet),
        note=say,
    )
    save_detector(detector, output)
    partial_file.unlink(missing_ok=True)
    about = detector.about
    counts = {name: len(rows) for name, rows in about["rows"].items()}
    if as_json:
        shown = {name: value for name, value in about.items() if name not in ("rows", "held_out")}
        found = {"output": str(output), "kind": kind, "threshold": detector.threshold, "fpr": fpr, **shown}
        print_json({**found, "images": counts, "fingerprint": detector.graph.fingerprint})
        return
    paths = about["class_paths"]
    print(
        f"class paths: {paths['classes']} classes, {paths['images']} of {paths['seen']} images predicted correctly"
    )
    for name, made in about["attacks"].items():
        print(f"{name}: {made['succeeded']} of {made['tried']} images fool the network")
    print(
        f"kind {kind}, fitted on {counts['fit']} clean images; threshold {detector.threshold:.4g}, fixed on "
        f"{counts['calibrate']} others, so that on average at most {fpr:.2%} of new ones lie above it"
    )
    print(f"detector: {output}")


def check_output(file: Path) -> None:
    """Refuse, before the work, a file that could not be written after it.

    Raises:
        OptionError: another kind of file, or a folder.
        StoreError: a folder that cannot be written to.
    """
    import os

    from effpath.errors import OptionError, StoreError

    if file.suffix != ".safetensors":
        raise OptionError(f"expected --output as a .safetensors file, such as guard.safetensors, got {file}")
    if file.is_dir():
        raise OptionError(f"expected --output as a file, got the folder {file}; name a file in it")
    folder = next(above for above in file.absolute().parents if above.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise StoreError(f"cannot write {file}: {folder} is no folder that may be written to; choose another")
