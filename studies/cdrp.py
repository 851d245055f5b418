"""Critical data routing paths beside effective paths: how well each finds attacks, and what an image takes.

    python studies/cdrp.py --data digits --output docs/results/cdrp/digits.json
    python studies/cdrp.py --model FILE.py:factory --data imagefolder:DIR --output DIR/NAME.json
    python studies/cdrp.py --plot DIR/*.json --output FILE.svg

Both methods see the same images, and their four classifiers are trained and tested on the same splits, disjoint by
source image; the linear one is the joint similarity of paths, and an elastic net without signs for gates. AUCs are
means over splits, with a 95 % interval from a bootstrap over source images, the same resamples for both. Times are
process times of one thread, of batches of one size, in one run. Without a model LeNet-5 is trained on the data.
Attacks are cached; a result that is there is kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from default_preset import Row, adversarial, attack_settings, interval, resampled_aucs
from effpath.attacks.judge import correct_rows
from effpath.cache import default_cache_dir
from effpath.cdrp import cdrp_gates, gated_nodes
from effpath.data import Dataset, load_data
from effpath.detect.evaluate import BASELINES
from effpath.progress import track
from sources import is_done, open_network, save_figure, train_lenet, write_result

CLASSIFIERS = {
    "linear": "gates",
    "forest": "forest",
    "adaboost": "adaboost",
    "boosting": "boosting",
}  # paths: CDRP
ROUNDS = 5


def median_times(works: Mapping[str, Callable[[], Any]], images: int) -> Row:
    """Return ms an image of process time, the median of rounds that take each work once."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for work in works.values():
        work()
    for _ in range(ROUNDS):
        for name, work in works.items():
            start = time.process_time()
            work()
            times[name].append(1e3 * (time.process_time() - start) / images)
    return {name: float(np.median(found)) for name, found in times.items()}


def measure(
    model: nn.Module,
    data: Dataset,
    *,
    attacks: Mapping[str, Row],
    gated: Sequence[str] | Literal["auto"] = "auto",
    layers: int | None = None,
    per_class: int | None = None,
    sources: int = 30,
    fractions: Sequence[float] = (0.1, 0.2, 0.7),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    timed: int = 64,
    batch: int = 16,
    cache: Path,
) -> Row:
    """Measure both methods on one network.

    Args:
        model, data: class paths are of the training part, attacked images of the test or validation part.
        attacks: settings by name; ``PGD`` takes epsilon and steps.
        gated: the nodes whose channels have gates.
        layers: how many of the last layers paths use; None for all.
        per_class: training images of a class for its path; None for all.
        sources: images of a class that are attacked.
        fractions: of the sources, for training, calibration and test.
        seeds: of the splits; the first also of the attacks.
        timed: clean images whose time is taken.
        batch: images together.
        cache: folder of the attacks.
    """
    train, test = data.part("train"), data.part("test", "val").first_of_each_class(sources)
    if per_class is not None:
        train = train.first_of_each_class(per_class)
    graph = effpath.capture(model, train.images[:1])
    images = test.images[:]
    correct = correct_rows(model, images, test.labels, batch)
    images, labels = images[correct], test.labels[correct]
    made = adversarial(model, images, labels, attacks, seeds[0], cache, batch)
    with track("class paths") as progress:
        class_paths = effpath.build_class_paths(
            graph, train.images, train.labels, layers=layers, counts=False, batch_size=batch, progress=progress
        )

    def by_paths(pixels: Tensor) -> effpath.Features:
        return effpath.path_features(graph, class_paths, pixels, batch_size=batch)

    def by_gates(pixels: Tensor) -> effpath.Features:
        with track("gates") as progress:
            return cdrp_gates(graph, pixels, gated=gated, batch_size=batch, progress=progress).features()

    pixels = {"clean": images, **{name: own for name, (own, _, _) in made.items()}}
    rows = {"clean": np.arange(len(images)), **{name: source for name, (_, source, _) in made.items()}}
    paths, gates = ({name: of(own) for name, own in pixels.items()} for of in (by_paths, by_gates))
    auc = {
        "paths": resampled_aucs(paths, rows, tuple(CLASSIFIERS), fractions, seeds),
        "cdrp": resampled_aucs(gates, rows, tuple(CLASSIFIERS.values()), fractions, seeds),
    }
    mean = {
        method: {kind: np.mean(list(found.values()), axis=0) for kind, found in own.items()}
        for method, own in auc.items()
    }
    table = {
        method: {
            kind: {
                **{name: interval(values) for name, values in found.items()},
                "mean": interval(mean[method][kind]),
            }
            for kind, found in own.items()
            if kind not in BASELINES or method == "paths"
        }
        for method, own in auc.items()
    }
    beyond = {kind: interval(mean["paths"][kind] - mean["cdrp"][other]) for kind, other in CLASSIFIERS.items()}

    some = images[:timed]
    ms = median_times(
        {
            "forward": lambda: [graph.run(part) for part in some.split(batch)],
            "paths": lambda: by_paths(some),
            "cdrp": lambda: cdrp_gates(graph, some, gated=gated, batch_size=batch),
        },
        len(some),
    )
    return {
        "data": data.name,
        "settings": {
            "gated": list(gated_nodes(graph, gated)), "layers": layers or "all", "per_class": per_class or "all",
            "fractions": list(fractions), "seeds": list(seeds), "batch": batch,
        },
        "accuracy": round(len(correct) / len(test), 4),
        "class_path_images": class_paths.images,
        "sources": len(images),
        "similarities": paths["clean"].values.shape[1],
        "gates": gates["clean"].values.shape[1],
        "closed_gates": {name: round(float((own.values == 0).mean()), 4) for name, own in gates.items()},
        "attacks": {name: row for name, (_, _, row) in made.items()},
        "auc": table,
        "paths_beyond_cdrp": beyond,
        "time": {
            "images": len(some), "batch": batch, "rounds": ROUNDS, "threads": torch.get_num_threads(),
            **{f"{name}_ms_an_image": float(f"{value:.4g}") for name, value in ms.items()},
            **{f"{name}_by_forward": float(f"{ms[name] / ms['forward']:.4g}") for name in ("paths", "cdrp")},
        },
    }  # fmt: skip


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the AUC by attack, a row a network, a column a classifier."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.3 * len(CLASSIFIERS) + 1, 2.6 * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), len(CLASSIFIERS), squeeze=False, sharex=True, sharey="row")
    for line, (network, table) in zip(grid, tables.items(), strict=True):
        attacks = [*table["attacks"], "mean"]
        places = np.arange(len(attacks))[::-1]
        for axes, (kind, other) in zip(line, CLASSIFIERS.items(), strict=True):
            for method, own, shift in (("paths", kind, 0.12), ("cdrp", other, -0.12)):
                value, low, high = np.array([table["auc"][method][own][name] for name in attacks]).T
                label = {"paths": "effective paths", "cdrp": "CDRP"}[method]
                axes.errorbar(value, places + shift, xerr=[value - low, high - value], fmt="o", label=label)
            axes.axvline(0.5, color="grey", linewidth=0.8)
            axes.set(title=f"{network}, {kind}", xlabel="AUC")
        line[0].set_yticks(places, attacks)
    grid[0, 0].legend(fontsize="small")
    save_figure(figure, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, nargs="+", help="draw these results instead of measuring")
    parser.add_argument("--model", help="FILE.py:factory or a library's model; without, LeNet-5 is trained")
    parser.add_argument("--data", default="digits", help="digits, mnist:DIR, imagefolder:DIR, cifar10:DIR …")
    parser.add_argument("--output", type=Path, required=True, help="a .json file; an .svg file with --plot")
    parser.add_argument("--gated", nargs="+", default="auto", help="nodes with gates; without, see `gated_nodes`")
    parser.add_argument("--layers", type=int, help="the last so many layers of paths; without, all")
    parser.add_argument("--per-class", type=int, help="images of a class path; without, all")
    parser.add_argument("--sources", type=int, default=30, help="attacked images of a class")
    parser.add_argument("--fractions", type=float, nargs=3, default=[0.1, 0.2, 0.7])
    parser.add_argument("--attacks", nargs="+", default=["FGSM", "BIM", "DeepFool", "CWL2", "PGD"])
    parser.add_argument("--reach", type=float, default=1.0, help="largest ε of FGSM, in steps of 1/1000")
    parser.add_argument("--candidates", type=int, default=10, help="of DeepFool")
    parser.add_argument("--epsilon", type=float, default=51, help="of PGD, in 1/255; 8 for photographs")
    parser.add_argument("--steps", type=int, default=40, help="of PGD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--timed", type=int, default=64, help="images whose time is taken")
    parser.add_argument("--batch", type=int, default=16)
    options = parser.parse_args()
    if is_done(options, plot):
        return
    torch.set_num_threads(1)
    settings = attack_settings(options)
    if options.model:
        model, data = open_network(options.model, options.data)
    else:
        data = load_data(options.data)
        model = train_lenet(data, options.seeds[0])
    table = measure(
        model, data, attacks={name: settings.get(name, {}) for name in options.attacks}, gated=options.gated,
        layers=options.layers, per_class=options.per_class, sources=options.sources, fractions=options.fractions,
        seeds=options.seeds, timed=options.timed, batch=options.batch, cache=default_cache_dir(),
    )  # fmt: skip
    write_result({"network": options.output.stem, **table}, options.output)
    for kind, other in CLASSIFIERS.items():
        print(kind, table["auc"]["paths"][kind]["mean"], table["auc"]["cdrp"][other]["mean"])
    print(table["time"])


if __name__ == "__main__":
    main()
