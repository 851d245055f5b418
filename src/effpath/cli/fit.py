"""``effpath fit``: a detector for a trained network, in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from effpath.cli.options import AllowMissing, Auxiliary, Data, Extraction, Output, Source, Without, parse_attack

if TYPE_CHECKING:
    from effpath.detect import Detector

FURTHER = 1.5  # times the rate that was asked for: images are named that keep one calibration below it


def fit(
    source: Annotated[Source, Without("part")],
    data: Data,
    output: Annotated[Path, typer.Option("--output", "-o", help="guard.safetensors.")],
    extraction: Extraction,
    auxiliary: Auxiliary,
    to: Output,
    kind: Annotated[
        str | None,
        typer.Option(
            help="standard (if not given), fast or thorough, or paired (if --auxiliary is given), whose signs "
            "attacks weigh; surprise or linear, fitted on attacks too; clean, fitted on clean images alone."
        ),
    ] = None,
    attack: Annotated[
        list[str] | None,
        typer.Option(
            help="Attack to learn from: NAME or NAME:setting=value,…; may be repeated. FGSM and PGD if not given, "
            "as strong as the network needs; none for standard, fast, thorough or paired from clean images alone."
        ),
    ] = None,
    per_class: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first N training images per class for the class paths."),
    ] = None,
    images: Annotated[
        int | None,
        typer.Option(min=1, help="Test images to fit and calibrate on; half of them, at most 1000, if not given."),
    ] = None,
    held_out_share: Annotated[
        float | None,
        typer.Option(
            help="Of data without a test or validation part: the share of each class to fit and calibrate on."
        ),
    ] = None,
    fpr: Annotated[float, typer.Option(help="Share of clean images, in (0, 1), that may be flagged.")] = 0.05,
    allow_missing: AllowMissing = False,
) -> None:
    r"""Build class paths, fit a detector and fix its threshold; `effpath detect` scores images with the file.

    Class paths come from the training part of the data. The test part, or else the validation part, or what
    --held-out-share takes out of undivided data, gives the rest. The images drawn there are halved: of one half,
    those that the network classifies correctly are to fit (and to attack); all of the other fix the threshold.

    Unfinished class paths are kept in OUTPUT.partial, finished attacks in the cache; the same command resumes from
    there.

    Examples:

      effpath fit net.py:make imagefolder:DIR \
        --weights net.safetensors -o guard.safetensors

      effpath fit torchvision:resnet18 imagefolder:DIR --weights tuned.pth \
        --classes 7 --held-out-share 0.2 -o guard.safetensors

      effpath fit net.py:make imagefolder:DIR \
        --weights net.safetensors --auxiliary older.py:make \
        --auxiliary-weights older.safetensors -o guard.safetensors

      effpath fit effpath.demo.lenet:LeNet5 mnist:DIR \
        --weights lenet.safetensors --kind linear --fpr 0.01 --batch-size 256 \
        --attack FGSM --attack PGD:epsilon=0.2,steps=40 -o guard.safetensors
    """
    import shutil

    from effpath.cli.output import print_json, say
    from effpath.data.labels import by_outputs
    from effpath.detect.classifiers import DEFAULT_KIND, PAIRED_KIND
    from effpath.detect.conformal import true_rate
    from effpath.detect.fitting import FitOptions, fit_detector
    from effpath.detect.store import save_detector
    from effpath.errors import OptionError
    from effpath.files.cache import check_output, default_cache_dir
    from effpath.files.plain import percent

    kind = kind or (DEFAULT_KIND if auxiliary.auxiliary is None else PAIRED_KIND)
    named = [parse_attack(text) for text in attack or []]
    if len(dict(named)) < len(named):
        raise OptionError(f"expected each attack once, got {', '.join(name for name, _ in named)}")
    attacks = dict(named) if named else None
    if attacks is not None and "none" in attacks:
        if len(attacks) > 1 or attacks["none"]:
            raise OptionError("expected --attack none alone, without settings and without another --attack")
        attacks = {}
    options = FitOptions(
        kind=kind,
        attacks=attacks,
        per_class=per_class,
        images=images,
        fpr=fpr,
        held_out_share=held_out_share,
        allow_missing=allow_missing,
        skip_damaged=source.skip_damaged,
        seed=source.seed,
        batch_size=source.batch_size,
        **extraction.arguments,
    )
    options.check()
    if output.suffix != ".safetensors":
        raise OptionError(f"expected --output as a .safetensors file, such as guard.safetensors, got {output}")
    check_output(output)
    network = source.open()
    dataset = network.dataset(data)
    example = next(iter(dataset.parts.values())).images
    graph = network.capture(example)
    partial = output.with_name(f"{output.name}.partial")
    detector = fit_detector(
        graph,
        network.model,
        by_outputs(dataset, network.model, graph.classes, source.class_map),
        options,
        auxiliary=auxiliary.capture(network, graph, example),
        store=partial,
        cache=default_cache_dir(),
        track=to.track,
        note=say,
    )
    save_detector(detector, output)
    shutil.rmtree(partial, ignore_errors=True)
    assert detector.calibration is not None
    about, scored, shared = detector.about, len(detector.calibration), _images(detector)
    own = {label: _images(detector, label) for label in detector.class_thresholds}
    counts = {name: len(rows) for name, rows in about["rows"].items()}
    if to.as_json:
        shown = {name: value for name, value in about.items() if name not in ("rows", "held_out")}
        fixed = {"threshold": detector.threshold, "fpr": fpr, "true_rate": true_rate(shared, fpr)._asdict()}
        by_class = {
            str(label): {"threshold": limit, "images": size, "true_rate": true_rate(size, fpr)._asdict()}
            for (label, limit), size in zip(detector.class_thresholds.items(), own.values(), strict=True)
        }
        found = {"output": str(output), "kind": kind, **fixed, "class_thresholds": by_class, **shown}
        print_json({**found, "images": counts, "fingerprint": detector.graph.fingerprint})
        return
    paths = about["class_paths"]
    print(
        f"class paths: {paths['classes']} classes, {paths['images']} of {paths['seen']} images predicted correctly"
    )
    for name, made in about["attacks"].items():
        print(f"{name}: {made['succeeded']} of {made['tried']} images fool the network{_chosen(made)}")
    whose = " of the classes without one of their own" if own else ""
    print(
        f"kind {kind}, fitted on {counts['fit']} clean images; threshold {detector.threshold:.4g}{whose}, fixed "
        f"on {shared} others, so that on average at most {percent(fpr)} of new ones lie above it"
    )
    if "auxiliary" in about:
        print(_agreement(**about["auxiliary"]))
    wrong = about["calibrated_mistakes"]
    said = f"drawn for that: {counts['calibrate']} images, of which the network gets {wrong} wrong"
    if always := counts["calibrate"] - scored:
        said += f" and puts {always} in classes without a class path, which are flagged without a score"
    print(said)
    print(_promise(shared, fpr))
    if own:
        limits, few, most = detector.class_thresholds.values(), min(own.values()), max(own.values())
        rate = true_rate(few, fpr)
        print(
            f"classes with a threshold of their own: {len(own)} of {paths['classes']}, {min(limits):.4g} to "
            f"{max(limits):.4g}, fixed on {few} to {most} of these images; each keeps the rate on average, and "
            f"one of {few} images flags {percent(rate.low)} to {percent(rate.high)}, nine times in ten"
        )
    print(f"detector: {output}")


def _chosen(made: dict[str, Any]) -> str:
    """Say at which ε an attack was made that was not named, and what smaller ones did."""
    if "chosen_from" not in made:
        return ""
    *weaker, last = made["chosen_from"]
    found = f", at ε {last['epsilon']:.3g}"
    if weaker:
        found += ", as " + ", ".join(f"{each['epsilon']:.3g} fools {each['succeeded']}" for each in weaker)
    return found


def _agreement(agreed: int, images: int) -> str:
    """Say of how many clean images another network believes the answer, and what follows where these are few."""
    from effpath.detect.signs.auxiliary import WORSE

    said = f"the other network believes the answer for {agreed} of these {images} images"
    if agreed < WORSE * images:
        said += ": too few to be sure that it helps; compare with a detector of kind standard, without it"
    return said


def _images(detector: Detector, label: int | None = None) -> int:
    """Return how many images fixed the threshold of a class; without one, that which classes share."""
    scores = detector.fixed_on(label)
    return 0 if scores is None else len(scores)


def _promise(count: int, fpr: float) -> str:
    """Say how far one calibration may be from the rate that was asked for, and how many images keep it near."""
    from effpath.detect.conformal import images_for, true_rate
    from effpath.files.plain import percent

    rate, most = true_rate(count, fpr), FURTHER * fpr
    said = f"one threshold of {count} images flags {percent(rate.low)} to {percent(rate.high)}, nine times in ten"
    if most < 1 and (enough := images_for(fpr, most)) > count:
        said += f"; {enough} images would keep it below {percent(most)}"
    return said
