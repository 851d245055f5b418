"""Ours beside every rival: the same images, the same split, one threshold for all attacks.

    python studies/rivals_study.py --output DIR/digits.json
    python studies/rivals_study.py --data mnist:DIR --output DIR/mnist.json
    python studies/rivals_study.py --model 'FILE.py:factory' --data imagefolder:DIR --output DIR/NAME.json
    python studies/rivals_study.py --plot DIR/*.json --output FILE.svg

Rivals are fitted on the training images that the class paths are built from. Correctly classified test images
are attacked (the attacks are cached) and divided by source image: on one part the detectors that need attacks
learn from all but the unseen ones, on another the threshold of each is fixed, the third is tested. A rival that
is not for the network, or needs a library that is missing, is listed with the reason. Without a model LeNet-5
is trained on the data, digits or MNIST. ``--attacks CWL2 CWL2:confidence=14`` are two rows, the second of higher
confidence. Seconds are process time of fitting and measuring, without what is learnt afterwards of the
measurements. A result that is there is kept.
"""

from __future__ import annotations

import argparse
import ast
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from effpath.attacks import attack
from effpath.attacks.judge import correct_rows
from effpath.cache import default_cache_dir
from effpath.data import Dataset, load_data
from effpath.detect.classifiers import CLASSIFIERS
from effpath.detect.evaluate import BASELINES, Evaluation, Group, evaluate
from effpath.detect.features import path_features
from effpath.progress import track
from rivals.table import RIVALS, Rival, entrants, fit_rivals
from sources import is_done, open_network, save_figure, train_lenet, write_result

Row = dict[str, Any]


def settings_of(attack_name: str) -> Row:
    """Return the settings of an attack named with them.

    >>> settings_of("PGD:epsilon=0.3,steps=40"), settings_of("FGSM")
    ({'epsilon': 0.3, 'steps': 40}, {})
    """
    pairs = [pair.split("=", 1) for pair in attack_name.partition(":")[2].split(",") if pair]
    return {key: ast.literal_eval(value) for key, value in pairs}


def attacked(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Mapping[str, Row],
    seed: int,
    batch: int,
    cache: Path,
) -> tuple[dict[str, tuple[Tensor, np.ndarray]], dict[str, Row]]:
    """Return by attack the images that fool the model with their sources, and how it went."""
    pixels, about = {}, {}
    for name, settings in attacks.items():
        with track(name) as progress:
            made = attack(
                model, images, labels, name.partition(":")[0], settings=settings, seed=seed, batch_size=batch,
                cache=cache, progress=progress,
            )  # fmt: skip
        pixels[name] = made.images[made.succeeded], made.source[made.succeeded].numpy()
        norms = {key: round(value, 4) for key, value in made.norms()._asdict().items() if value == value}
        about[name] = {
            "succeeded": made.successes, "tried": made.tried, "settings": dict(made.settings), "median": norms
        }  # fmt: skip
    return pixels, about


def measure(
    model: nn.Module,
    data: Dataset,
    *,
    attacks: Mapping[str, Row],
    unseen: Sequence[str] = ("Random",),
    rivals: Mapping[str, Rival] = RIVALS,
    per_class: int | None = None,
    sources: int = 1000,
    layers: int | None = None,
    fractions: Sequence[float] = (0.1, 0.2, 0.7),
    fpr: float = 0.05,
    seed: int = 0,
    batch: int = 256,
    cache: Path,
) -> Row:
    """Judge ours and every rival on one network.

    Args:
        model, data: fitted on the training part, attacked on the test or validation part.
        attacks: settings by name; what follows a colon tells two of one kind apart.
        unseen: attacks that no detector learns from.
        rivals: what ours is compared with.
        per_class: training images of a class; None for all.
        sources: correctly classified test images that are attacked, at most.
        layers: how many of the last layers our detectors use; None for all.
        fractions: of the attacked images: train, calibrate, test.
        fpr: where each threshold is fixed.
        seed: of attacks, rivals, split and classifiers.
        batch: images together.
        cache: folder of the attacks.
    """
    train, test = data.part("train"), data.part("test", "val")
    train = train if per_class is None else train.first_of_each_class(per_class)
    graph = effpath.capture(model, train.images[:1])
    images, labels, accuracy = correct_images(model, test.images[:], test.labels, sources, seed, batch)
    made, about = attacked(model, images, labels, attacks, seed, batch, cache)
    groups = {"clean": (images, np.arange(len(images))), **made}
    seconds: Row = {}
    clock = time.process_time()
    with track("class paths") as progress:
        class_paths = effpath.build_class_paths(
            graph, train.images, train.labels, layers=layers, counts=False, batch_size=batch, progress=progress
        )
    features = {
        name: path_features(graph, class_paths, pixels, batch_size=batch) for name, (pixels, _) in groups.items()
    }
    seconds["effective paths"] = round(time.process_time() - clock, 1)
    fitted, skipped, arrays = {}, {}, {name: {} for name in groups}
    for rival in rivals:
        clock = time.process_time()
        with track(rival):
            own, why = fit_rivals(graph, train.images[:], train.labels, seed=seed, rivals={rival: rivals[rival]})
            fitted, skipped = {**fitted, **own}, {**skipped, **why}
            for name, (pixels, _) in groups.items() if rival in own else ():
                arrays[name][rival] = own[rival].measure(pixels)
        seconds[rival] = round(time.process_time() - clock, 1)
    clean, *others = (Group(name, features[name], groups[name][1], arrays[name]) for name in groups)
    judged = evaluate(
        clean, others, others=entrants(fitted, rivals), unseen=unseen, fractions=fractions, fpr=fpr, seed=seed
    )
    return {
        "data": data.name,
        "settings": {
            "per_class": per_class or "all", "layers": layers or "all", "unseen": list(unseen), "seed": seed,
            "fractions": list(fractions), "fpr": fpr, "theta": class_paths.header.options.theta,
        },
        "accuracy": round(accuracy, 4),
        "training_images": len(train),
        "sizes": dict(judged.sizes),
        "attacks": {name: {**row, "tested": len(judged.test[name])} for name, row in about.items()},
        "seconds": seconds,
        "skipped": skipped,
        "detectors": scores_of(judged),
    }  # fmt: skip


def correct_images(
    model: nn.Module, images: Tensor, labels: Tensor, count: int, seed: int, batch: int
) -> tuple[Tensor, Tensor, float]:
    """Return correctly classified images drawn by the seed, their labels, and the accuracy."""
    correct = correct_rows(model, images, labels, batch)
    order = torch.randperm(len(correct), generator=torch.Generator().manual_seed(seed))
    rows = correct[order[:count]].sort().values
    return images[rows], labels[rows], len(correct) / len(labels)


def scores_of(judged: Evaluation) -> dict[str, Row]:
    """Return by detector: whose it is, the measured FPR, and by attack AUC and TPR with their intervals."""
    return {
        detector: {
            "whose": "ours" if detector in CLASSIFIERS else "baseline" if detector in BASELINES else "rival",
            "fpr": round(judged.fpr[detector], 4),
            "auc": {name: rounded(score.auc) for name, score in scores.items()},
            "tpr": {name: rounded(score.tpr) for name, score in scores.items()},
        }
        for detector, scores in judged.scores.items()
    }


def rounded(values: Sequence[float]) -> list[float]:
    return [round(float(value), 4) for value in values]


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the AUC of every detector with its interval, a row a network, a column an attack; ours in colour."""
    from matplotlib.figure import Figure

    colours = {"ours": "tab:red", "baseline": "black", "rival": "tab:grey"}
    columns = max(len(table["attacks"]) for table in tables.values())
    tallest = max(len(table["detectors"]) for table in tables.values())
    figure = Figure(figsize=(2 + 1.9 * columns, 0.8 + 0.22 * tallest * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), columns, squeeze=False, sharex=True)
    for line, (network, table) in zip(grid, tables.items(), strict=True):
        detectors = table["detectors"]
        places = np.arange(len(detectors))[::-1]
        for axes, name in zip(line, table["attacks"], strict=False):
            for place, row in zip(places, detectors.values(), strict=True):
                value, low, high = row["auc"][name]
                axes.plot([low, high], [place, place], color=colours[row["whose"]], linewidth=1.2)
                axes.plot(value, place, "o", color=colours[row["whose"]], markersize=4)
            unseen = " (unseen)" if name in table["settings"]["unseen"] else ""
            axes.axvline(0.5, color="lightgrey", linewidth=0.8, zorder=0)
            axes.set(title=name + unseen, xlabel="AUC", yticks=places, yticklabels=[])
        line[0].set_yticks(places, list(detectors))
        line[0].set_ylabel(network)
    save_figure(figure, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, nargs="+", help="draw these results instead of measuring")
    parser.add_argument("--model", help="FILE.py:factory or a library's model; none trains LeNet-5")
    parser.add_argument("--data", default="digits", help="digits, mnist:DIR, imagefolder:DIR, cifar10:DIR …")
    parser.add_argument("--output", type=Path, required=True, help="a .json file; an .svg file with --plot")
    parser.add_argument("--attacks", nargs="+", default=["FGSM", "BIM", "DeepFool", "CWL2", "Random"])
    parser.add_argument("--unseen", nargs="*", default=["Random"], help="attacks that no detector learns from")
    parser.add_argument("--per-class", type=int, help="training images of a class")
    parser.add_argument("--sources", type=int, default=1000, help="test images that are attacked, at most")
    parser.add_argument("--layers", type=int, help="of the last layers, for our detectors")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if is_done(options, plot):
        return
    torch.set_num_threads(1)
    if options.model:
        model, data = open_network(options.model, options.data)
    else:
        data = load_data(options.data, seed=options.seed)
        model = train_lenet(data, options.seed)
    table = measure(
        model, data, attacks={name: settings_of(name) for name in options.attacks}, unseen=options.unseen,
        per_class=options.per_class, sources=options.sources, layers=options.layers, seed=options.seed,
        batch=options.batch, cache=default_cache_dir(),
    )  # fmt: skip
    write_result({"network": options.output.stem, **table}, options.output)
    for detector, row in table["detectors"].items():
        print(f"{detector:28}", *(f"{name} {value[0]:.3f}" for name, value in row["auc"].items()))
    for rival, why in table["skipped"].items():
        print(f"{rival} skipped: {why}")


if __name__ == "__main__":
    main()
