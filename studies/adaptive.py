"""How much of an attack passes the detector when the attacker knows it: success over the size of the change.

    python studies/adaptive.py --case lenet_digits --output docs/results/adaptive/lenet_digits.json
    python studies/adaptive.py --case alexnet_imagenette --sources 16 --output DIR/alexnet_imagenette.json
    python studies/adaptive.py --plot DIR/*.json --output FILE.svg  # and prints the rates

Correctly classified test images are divided into those that detectors are trained on (with the seen attacks),
those that fix the thresholds, and those that are attacked; of digits the first 100, on which defaults of the
attacks were chosen, are not attacked. SR@5 and SR@50 are the shares of the attacked images that are misclassified
and not flagged, with the threshold at 5 % and 50 % false positives. Every attack of `effpath.adaptive` is measured
at every ε, *all* takes the best of them image by image, and *unaware* is PGD by one who knows only the network.
The black box, which sees nothing but decisions, is run once for each threshold, and the better of both is taken.
Detectors without gradient are attacked by way of the linear one. Attacks on the training images are cached; a
result that is there is kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from detection.cases import named
from detection.gather import open_case
from effpath import Detector
from effpath.adaptive import ADAPTIVE, AdaptiveResult, Target, adaptive_curve, success_rates
from effpath.attacks import attack
from effpath.data import Dataset
from effpath.detect import threshold_at_fpr
from effpath.detect.classifiers import reading_of
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from effpath.models.predict import correct_rows
from sources import is_done, save_figure, write_result

FPRS = (0.05, 0.5)
GRADIENT = ("linear", "clean", "surprise")  # detectors whose suspicion has one
SMALL = {"Linf": (13, 26, 39, 51, 77, 255), "L2": (0.5, 1, 1.5, 2, 3, 8)}  # L∞ in 1/255
PHOTOGRAPHS = {"Linf": (2, 4, 8, 16), "L2": (1, 2, 4, 8)}
Row = dict[str, Any]


def unaware(
    model: nn.Module, images: Tensor, labels: Tensor, detector: Detector, epsilons: Sequence[float], batch: int
) -> list[AdaptiveResult]:
    """Return what PGD finds that knows no detector: its last images, scored by the detector."""
    found = []
    for epsilon in epsilons:
        made = attack(model, images, labels, "PGD", settings={"epsilon": epsilon}, batch_size=batch)
        clean = images[made.source]
        found.append(
            AdaptiveResult(
                "unaware", {"norm": "Linf"}, epsilon, made.images, clean, made.source, made.labels, made.predicted,
                made.succeeded, detector.score(made.images), detector.threshold, 0,
            )
        )  # fmt: skip
    return found


def best_of(curves: Sequence[Sequence[AdaptiveResult]]) -> list[AdaptiveResult]:
    """Return at each ε, for each image, the least suspicious misclassified of several attacks."""
    found = []
    for results in zip(*curves, strict=True):
        scores = np.stack([np.where(each.misclassified, each.scores, np.inf) for each in results])
        fooled = np.isfinite(scores).any(0)
        least = np.where(fooled, scores.min(0), results[0].scores)
        found.append(replace(results[0], name="all", misclassified=torch.from_numpy(fooled), scores=least))
    return found


def curve_of(results: Sequence[AdaptiveResult], clean_scores: np.ndarray) -> list[Row]:
    return [
        {
            "epsilon": round(rate.epsilon, 6), "misclassified": round(rate.misclassified, 4),
            **{f"sr{round(100 * fpr)}": round(share, 4) for fpr, share in rate.at.items()},
        }
        for rate in success_rates(results, clean_scores, FPRS)
    ]  # fmt: skip


def measure(
    model: nn.Module,
    data: Dataset,
    *,
    training: Mapping[str, tuple[str, Row]],
    attacks: Mapping[str, Row],
    epsilons: Sequence[float],
    norm: str = "Linf",
    detectors: Sequence[str] = GRADIENT,
    sources: int = 60,
    fitted: int = 200,
    held_out: int = 200,
    spared: int = 0,
    per_class: int | None = None,
    layers: int | None = None,
    guides: int = 20,
    decided: int | None = None,
    batch: int = 64,
    seed: int = 0,
    cache: Path | None = None,
) -> Row:
    """Measure each attack on each detector of one network.

    Args:
        model, data: class paths are of the training part, all else of the test or validation part.
        training: attacks that detectors learn from, by row: name and settings.
        attacks: settings by name of `ADAPTIVE`, beside the norm.
        epsilons, norm: the bounds.
        detectors: kinds.
        sources, fitted, held_out: images that are attacked, learned from, and that fix the thresholds.
        spared: the first so many test images, which are not attacked.
        per_class: training images of a class for its path; None for all.
        layers: the last so many layers of class paths; None for all.
        guides: training images of a class that may be mimicked.
        decided: how many of the attacked images the black box is tried on; None for all.
        batch: images together.
        seed: of the division and of the attacks.
        cache: folder of the training attacks.
    """
    train, test = data.part("train"), data.part("test", "val")
    chosen = train if per_class is None else train.first_of_each_class(per_class)
    graph = effpath.capture(model, train.images[:1])
    correct = correct_rows(model, test.images[:], test.labels, batch)
    order = correct[torch.randperm(len(correct), generator=torch.Generator().manual_seed(seed))]
    attacked = order[order >= spared][:sources]
    others = order[~torch.isin(order, attacked)]
    learned, kept = torch.split(others[: fitted + held_out], [fitted, held_out])
    counts = any(reading_of(kind).wants_likelihood for kind in detectors)
    with track("class paths") as progress:
        class_paths = effpath.build_class_paths(
            graph, chosen.images, chosen.labels, layers=layers, counts=counts, batch_size=batch, progress=progress
        )
    made = {}
    for row, (name, settings) in training.items():
        with track(row) as progress:
            made[row] = attack(
                model, test.images[learned], test.labels[learned], name, settings=settings, seed=seed,
                batch_size=batch, cache=cache, progress=progress,
            )  # fmt: skip
    images, labels, threshold_images = test.images[attacked], test.labels[attacked], test.images[kept]
    mimicked = train.first_of_each_class(guides)
    adversarial = torch.cat([own.fooling for own in made.values()])

    def fit(kind: str) -> Detector:
        found = Detector(graph, class_paths, kind=kind, seed=seed)
        return found.fit(test.images[learned], None if found.clean_only else adversarial)

    linear = fit("linear")
    table: Row = {}
    thresholds: Row = {}
    for kind in detectors:
        detector = fit(kind)
        clean_scores = detector.score(threshold_images)
        thresholds[kind] = {f"sr{round(100 * fpr)}": threshold_at_fpr(clean_scores, fpr) for fpr in FPRS}
        surrogate = None if kind in GRADIENT else linear
        target = Target(detector, model, surrogate, (mimicked.images[:], mimicked.labels))
        curves: list[list[AdaptiveResult]] = []
        rows: Row = {}
        for name, settings in attacks.items():
            runs: list[list[AdaptiveResult]] = []
            start = time.process_time()
            bounded = ADAPTIVE[name].bounded
            some = slice(len(images) if bounded else decided)
            for fpr in FPRS[:1] if bounded else FPRS:
                detector.calibrate(threshold_images, fpr=fpr)
                with track(f"{name} on {kind}") as progress:
                    runs.append(adaptive_curve(
                        target, images[some], labels[some], name, epsilons=epsilons,
                        settings={**settings, "norm": norm}, seed=seed, batch_size=batch, progress=progress,
                    ))  # fmt: skip
            if len(runs[0][0]) == len(images):
                curves += runs
            rates = curve_of(best_of(runs), clean_scores)
            seconds = round(time.process_time() - start, 1)
            rows[name] = {
                "curve": rates,
                "attacked": len(runs[0][0]),
                "queries": sum(run[-1].queries for run in runs),
                "process_seconds": seconds,
                "settings": runs[0][-1].settings,
            }
            print(
                kind, name, seconds, "s", *((row["epsilon"], row["sr5"], row["sr50"]) for row in rates), flush=True
            )
        rows["all"] = {"curve": curve_of(best_of(curves), clean_scores)}
        if norm == "Linf":
            detector.calibrate(threshold_images, fpr=FPRS[0])
            rows["unaware"] = {
                "curve": curve_of(unaware(model, images, labels, detector, epsilons, batch), clean_scores)
            }
        table[kind] = rows
    return {
        "data": data.name,
        "norm": norm,
        "accuracy": round(len(correct) / len(test), 4),
        "class_path_images": class_paths.images,
        "layers": [layer.name for layer in class_paths.header.layers],
        "attacked": len(attacked),
        "fitted": len(learned),
        "held_out": len(kept),
        "spared": spared,
        "guides": len(mimicked),
        "batch": batch,
        "seed": seed,
        "training": {
            row: {"succeeded": own.successes, "tried": own.tried, "settings": dict(own.settings)}
            for row, own in made.items()
        },
        "thresholds": thresholds,
        "detectors": table,
    }


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw SR@5 and SR@50 over ε: a row for each network and detector."""
    from matplotlib.figure import Figure

    panels = [(network, table, kind) for network, table in tables.items() for kind in table["detectors"]]
    figure = Figure(figsize=(10, 3 * len(panels)), layout="constrained")
    grid = figure.subplots(len(panels), 2, squeeze=False, sharey=True)
    for line, (network, table, kind) in zip(grid, panels, strict=True):
        unit = 255 if table["norm"] == "Linf" else 1
        for axes, key in zip(line, ("sr5", "sr50"), strict=True):
            for name, row in table["detectors"][kind].items():
                epsilon = [unit * point["epsilon"] for point in row["curve"]]
                style = {"all": "k-", "unaware": "k:"}.get(name, "o-")
                axes.plot(epsilon, [point[key] for point in row["curve"]], style, label=name, markersize=3)
            axes.set(xscale="log", ylim=(-0.03, 1.03), title=f"{network}, {kind}, SR@{key[2:]}")
            axes.set_xticks(epsilon, [f"{value:.3g}" for value in epsilon], minor=False)
            axes.minorticks_off()
            axes.set_xlabel("ε · 255, L∞" if unit == 255 else "ε, L2")
        line[0].set_ylabel("success rate")
    grid[0, 0].legend(fontsize="small")
    save_figure(figure, file)


def tabulate(table: Row) -> str:
    """Return the rates of the best attack on each detector, and of who does not know it, as a Markdown table."""
    unit = 255 if table["norm"] == "Linf" else 1
    epsilons = [point["epsilon"] for point in next(iter(table["detectors"].values()))["all"]["curve"]]
    lines = [
        f"| ε{' · 255' if unit == 255 else ''} | | "
        + " | ".join(f"{unit * each:.3g}" for each in epsilons)
        + " |",
        "|---|---|" + "---|" * len(epsilons),
    ]
    for kind, rows in table["detectors"].items():
        for name, key in (("all", "sr5"), ("all", "sr50"), ("unaware", "sr5")):
            if name in rows:
                rate = f"SR@{key[2:]}" + (", unaware" if name == "unaware" else "")
                shares = " | ".join(f"{point[key]:.0%}" for point in rows[name]["curve"])
                lines.append(f"| {kind} | {rate} | {shares} |")
    return "\n".join(lines)


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the curves, and print the rates of each network."""
    plot(tables, file)
    for network, table in tables.items():
        print(f"{network}\n\n{tabulate(table)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, nargs="+", help="draw these results instead of measuring")
    parser.add_argument("--case", default="lenet_digits", help="of studies/detection/cases.py")
    parser.add_argument("--data", help="other data than the case's")
    parser.add_argument("--model", help="another model than the case's")
    parser.add_argument("--output", type=Path, required=True, help="a .json file; an .svg file with --plot")
    parser.add_argument("--attacks", nargs="+", default=list(ADAPTIVE))
    parser.add_argument("--detectors", nargs="+", default=list(GRADIENT))
    parser.add_argument("--training", nargs="+", default=["FGSM", "BIM", "DeepFool"], help="rows of the case")
    parser.add_argument("--norm", choices=("Linf", "L2"), default="Linf")
    parser.add_argument("--epsilons", type=float, nargs="+", help="L∞ in 1/255; without, those of the study")
    parser.add_argument("--sources", type=int, default=60, help="attacked images")
    parser.add_argument("--fitted", type=int, help="images to learn from; 200, or 100 photographs")
    parser.add_argument("--held-out", type=int, help="images that fix thresholds; 200, or 150 photographs")
    parser.add_argument(
        "--spared", type=int, help="first test images that are not attacked; 100, or none of photographs"
    )
    parser.add_argument("--layers", type=int, help="the last so many layers; all, or 3 for photographs")
    parser.add_argument(
        "--guides", type=int, help="training images of a class to be mimicked; 20, or 5 photographs"
    )
    parser.add_argument("--decided", type=int, help="images of the black box; all, or 6 photographs")
    parser.add_argument("--steps", type=int, help="of each descent; 40, or 12 for photographs")
    parser.add_argument("--confidence", type=float, default=0.5, help="lead of the other class that is aimed at")
    parser.add_argument("--queries", type=int, help="steps of the black box; 20, or 4 for photographs")
    parser.add_argument("--batch", type=int, help="64, or 6 photographs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if is_done(options, draw):
        return
    torch.set_num_threads(1)
    case = named(options.case, data=options.data, model=options.model, attacks=())
    model, data = open_case(case, options.seed)
    photographs = data.part("test", "val").images[:1].shape[-1] > 64
    steps = options.steps or (12 if photographs else 40)
    descent = {"steps": steps, "judge_every": 3 if photographs else 1}
    slopes = {**descent, "refresh": 2 if photographs else 1, "confidence": options.confidence}
    settings: dict[str, Row] = {
        "mimic": {**descent, **({"mimics": 2, "layers": (1, 3)} if photographs else {})},
        "surrogate": {**slopes, "tradeoffs": (0.3, 1.0)} if photographs else slopes,
        "orthogonal_pgd": {**slopes, **({"restarts": 1} if photographs else {})},
        "selective_pgd": {**slopes, **({"restarts": 1} if photographs else {})},
        "black_box": {"steps": options.queries or (4 if photographs else 20)},
    }
    given = options.epsilons or (PHOTOGRAPHS if photographs else SMALL)[options.norm]
    training = {row: (case.attacks[row].attack, dict(case.attacks[row].settings)) for row in options.training}
    table = measure(
        model, data, training=training, attacks={name: settings[name] for name in options.attacks},
        epsilons=[value / 255 if options.norm == "Linf" else value for value in given], norm=options.norm,
        detectors=options.detectors, sources=options.sources,
        fitted=options.fitted or (100 if photographs else 200),
        held_out=options.held_out or (150 if photographs else 200),
        spared=(0 if photographs else 100) if options.spared is None else options.spared,
        per_class=case.per_class, layers=options.layers or (3 if photographs else None),
        guides=options.guides or (5 if photographs else 20),
        decided=options.decided or (6 if photographs else None),
        batch=options.batch or (6 if photographs else 64), seed=options.seed, cache=default_cache_dir(),
    )  # fmt: skip
    write_result({"network": options.output.stem, **table}, options.output)


if __name__ == "__main__":
    main()
