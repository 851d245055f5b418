"""``effpath detect``: which images are suspicious, and why."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from torch import nn

from effpath.cli.options import (
    AllowPickle,
    AsJson,
    BatchSize,
    ClassMap,
    ImageSources,
    InputSize,
    Model,
    Part,
    Quiet,
    Seed,
    SkipDamaged,
    Weights,
)
from effpath.cli.sources import Opened, open_labelled, open_model, outputs_of, say
from effpath.detect.detector import Detector, Verdicts
from effpath.detect.explain import Reason
from effpath.detect.summary import Summary
from effpath.errors import InputError


def detect(
    model: Model,
    detector: Annotated[Path, typer.Argument(help="From `effpath fit`.", show_default=False)],
    images: ImageSources,
    weights: Weights = None,
    allow_pickle: AllowPickle = False,
    input_size: InputSize = None,
    class_map: ClassMap = None,
    part: Part = None,
    clean: Annotated[
        str | None, typer.Option(help="Clean images to compare with: an array, a folder or a data set.")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Of a data set only the images that the detector was not made from.")
    ] = False,
    seed: Seed = 0,
    skip_damaged: SkipDamaged = False,
    batch_size: BatchSize = 8,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score images: class, runner-up, suspicion, flagged or not, and the layers that speak most for an attack.

    Arrays are [N, C, H, W] or [N, H, W, C], floats in [0, 1] or uint8. Where labels are known (an .npz with images
    and labels, numbered as the network's outputs; or a data set) it says how many images fool the network and how
    many of those are flagged; with --clean also the AUC against clean images, with a 95 % interval.

    The exit code is 0 whether or not an image is flagged, and 1 for errors.

    Examples:

      effpath detect net.py:make guard.safetensors cat.jpg uploads/ --weights net.safetensors

      effpath detect net.py:make guard.safetensors adversarial.npz --clean imagefolder:DIR --held-out --json
    """
    from effpath.detect.explain import explain, strongest_signs
    from effpath.detect.store import load_detector, read_detector_header
    from effpath.detect.summary import summarise
    from effpath.fitting import unseen_rows
    from effpath.graph import capture
    from effpath.progress import track

    about = read_detector_header(detector)["about"]
    network, wanted = open_model(model, weights, allow_pickle=allow_pickle, seed=seed, input_size=input_size)
    opened = []
    for sources in [images] + ([[clean]] if clean is not None else []):
        chosen = part or (about.get("part") if held_out else None)
        found = open_labelled(sources, wanted, model=network, seed=seed, part=chosen, skip_damaged=skip_damaged)
        if held_out and found.data is not None:
            found = found.take(unseen_rows(about, found.data.name, found.part, len(found.names)))
        opened.append(found)
    if held_out and all(found.data is None for found in opened):
        raise InputError("expected a data set for --held-out, such as imagefolder:DIR, got files")
    graph = capture(network, opened[0].images[:1])
    guard = load_detector(detector, graph)
    verdicts, labels = [], []
    for found in opened:
        labels.append(labels_of(found, network, graph.classes, class_map))
        with track(f"paths of {len(found.names)} images", quiet=quiet) as progress:
            features = guard.features(found.images, batch_size=batch_size, progress=progress)
        verdicts.append(guard.detect(features))
    reasons = explain(guard, verdicts[0].features)
    signs = strongest_signs(guard, verdicts[0].features)
    against = (verdicts[1], labels[1]) if clean is not None else (None, None)
    summary = summarise(verdicts[0], labels[0], *against, seed=seed)
    if as_json:
        rows = rows_of(opened[0].names, verdicts[0], labels[0], reasons, signs)
        made = {"kind": guard.name, "threshold": guard.threshold, "fpr": guard.fpr}
        print(json.dumps({"fingerprint": graph.fingerprint, **made, **summary.to_dict(), "rows": rows}, indent=1))
        return
    show(opened[0].names, verdicts[0], reasons, signs, summary, guard)


def labels_of(found: Opened, network: nn.Module, outputs: int, class_map: Path | None) -> np.ndarray[Any, Any]:
    """Return the output that each label means, int64 [N]; −1 where it is not known."""
    if found.data is not None:
        try:
            return outputs_of(found.data, network, outputs, class_map)[found.labels].numpy()
        except InputError as error:
            say(f"scored without labels: {error}")
            return np.full(len(found.names), -1)
    if not bool(((found.labels >= -1) & (found.labels < outputs)).all()):
        low, high = int(found.labels.min()), int(found.labels.max())
        raise InputError(f"labels must be 0 … {outputs - 1} (the network's logits), got {low} … {high}")
    return found.labels.numpy()


def rows_of(
    names: list[str],
    verdicts: Verdicts,
    labels: np.ndarray[Any, Any],
    reasons: list[list[Reason]],
    signs: list[str] | None,
) -> list[dict[str, Any]]:
    """Return what is said of each image, for JSON."""
    return [
        {
            "image": name,
            "label": None if labels[i] < 0 else int(labels[i]),
            "class": int(verdicts.predicted[i]),
            "runner_up": int(verdicts.runner_up[i]),
            "score": float(verdicts.scores[i]),
            "flagged": bool(verdicts.flagged[i]),
            **({"sign": signs[i]} if signs else {}),
            "reasons": [asdict(reason) for reason in reasons[i]],
        }
        for i, name in enumerate(names)
    ]


def show(
    names: list[str],
    verdicts: Verdicts,
    reasons: list[list[Reason]],
    signs: list[str] | None,
    summary: Summary,
    guard: Detector,
) -> None:
    """Print a line an image, below it the layers that speak most for an attack, and what came out over all."""
    for i, name in enumerate(names):
        mark = "FLAGGED" if verdicts.flagged[i] else "ok     "
        first, second = titled(guard, verdicts.predicted[i]), titled(guard, verdicts.runner_up[i])
        print(f"{mark}  {verdicts.scores[i]:8.3f}  {name}  class {first}, then {second}")
        if signs:
            print(f"{'':19}most surprising: {signs[i]}")
        for reason in map(str, reasons[i]):
            print(f"{'':19}{reason}")
    if summary.correct is not None:
        print(
            f"{summary.labelled} images with labels: accuracy {summary.correct / summary.labelled:.1%}; "
            f"{summary.fooling} are put in another class (fool the network), "
            f"{summary.fooling_flagged} of these are flagged"
        )
    if summary.clean is not None:
        print(f"clean images: {summary.clean_flagged} of {summary.clean} flagged")
    for detector, (value, low, high) in (summary.auc or {}).items():
        print(f"AUC against the clean images, {detector}: {value:.3f} ({low:.3f} to {high:.3f})")
    print(
        f"{summary.flagged} of {summary.images} images flagged: score above {guard.threshold:.4g}, fixed for "
        f"{guard.fpr:.1%} of clean images"
    )


def titled(guard: Detector, label: int) -> str:
    """Return a class with its name, where it has one of its own."""
    known = guard.class_paths.names
    name = known[label] if label < len(known) else ""
    return str(label) if name in ("", str(label)) else f"{label} ({name})"
