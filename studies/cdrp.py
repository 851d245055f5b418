"""Critical data routing paths beside effective paths: how well each finds attacks, and what an image takes.

    python studies/cdrp.py --case lenet_digits --output DIR/cdrp/lenet_digits.json
    python studies/cdrp.py --case alexnet_imagenette --images 40 --gathered FGSM DeepFool --output FILE.json
    python studies/cdrp.py --plot DIR/cdrp/*.json --output DIR/cdrp.svg

Both methods see the same images, and their four classifiers are trained and tested on the same splits, disjoint by
source image; the linear one is the joint similarity of paths, and an elastic net without signs for gates. AUCs are
means over splits, with a 95 % interval from a bootstrap over source images, the same resamples for both. Times are
process times of one thread, of batches of one size, in one run. A result that is there is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

import effpath
from detection.cases import Case, named
from detection.command import parser
from detection.gather import class_paths_of, made_of, open_case, thinned, training_part
from detection.judge import FRACTIONS, GATES, SEEDS, Protocol, gate_detectors, judge_groups
from detection.resampling import interval
from effpath.data import Dataset
from effpath.detect import path_features
from effpath.detect.evaluate import Group
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from rivals.cdrp import cdrp_gates, gated_nodes
from sources import is_done, save_figure, write_result

Row = dict[str, Any]
KINDS = dict(zip(("linear", "forest", "adaboost", "boosting"), GATES, strict=True))  # of paths: of gates
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
    case: Case,
    model: nn.Module,
    data: Dataset,
    *,
    gated: Sequence[str] | Literal["auto"] = "auto",
    images: int | None = None,
    attacks: Sequence[str] = (),
    seeds: Sequence[int] = SEEDS,
    timed: int = 64,
    seed: int = 0,
    cache: Path,
) -> Row:
    """Measure both methods on one network.

    Args:
        case, model, data: what is attacked, with what.
        gated: the nodes whose channels have gates.
        images: attacked images that gates are trained for, with what was made of them; None for all, and the
            clean images that were not attacked.
        attacks: of the case; all if empty.
        seeds: of the splits.
        timed: clean images whose time is taken.
        seed: of images and attacks.
        cache: folder of the attacks.
    """
    wanted = {name: planned for name, planned in case.attacks.items() if not attacks or name in attacks}
    made, _, about = made_of(replace(case, attacks=wanted), model, data, seed, cache)
    groups = thinned(made, images)
    train = training_part(data, case)
    graph = effpath.capture(model, train.images[:1])
    class_paths = class_paths_of(graph, train, case)
    paths = {
        name: path_features(graph, class_paths, own.images, batch_size=case.batch) for name, own in groups.items()
    }
    gates = {}
    for name, own in groups.items():
        with track(f"gates of {name}") as progress:
            gates[name] = cdrp_gates(graph, own.images, gated=gated, batch_size=16, progress=progress)
    clean, *others = (
        Group(name, paths[name], own.source, {"CDRP": gates[name].features().values})
        for name, own in groups.items()
    )
    unseen = [name for name in groups if name in wanted and wanted[name].unseen]
    judged = judge_groups(
        clean, others, Protocol(kinds=tuple(KINDS), others=gate_detectors(), unseen=unseen, seeds=seeds)
    )
    some = groups["clean"].images[:timed]
    ms = median_times(
        {
            "forward": lambda: [graph.run(part) for part in some.split(16)],
            "paths": lambda: path_features(graph, class_paths, some, batch_size=16),
            "cdrp": lambda: cdrp_gates(graph, some, gated=gated, batch_size=16),
        },
        len(some),
    )
    return {
        "data": data.name,
        "settings": {
            "gated": list(gated_nodes(graph, gated)), "fractions": list(FRACTIONS), "seeds": list(seeds),
            "unseen": unseen, "seed": seed,
        },
        "accuracy": about["accuracy"],
        "class_path_images": class_paths.images,
        "sources": len(clean.source),
        "similarities": clean.features.values.shape[1],
        "gates": gates["clean"].values.shape[1],
        "closed_gates": {name: round(float((own.values == 0).mean()), 4) for name, own in gates.items()},
        "attacks": {
            name: {**about["attacks"][name], "used": len(groups[name].images)} for name in groups if name in wanted
        },
        "detectors": judged.table(),
        "paths_beyond_cdrp": {
            kind: interval(judged.mean[kind] - judged.mean[other]) for kind, other in KINDS.items()
        },
        "time": {
            "images": len(some), "batch": 16, "rounds": ROUNDS, "threads": torch.get_num_threads(),
            **{f"{name}_ms_an_image": float(f"{value:.4g}") for name, value in ms.items()},
            **{f"{name}_by_forward": float(f"{ms[name] / ms['forward']:.4g}") for name in ("paths", "cdrp")},
        },
    }  # fmt: skip


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the AUC by attack, a row a network, a column a classifier."""
    from matplotlib.figure import Figure

    heights = [len(table["attacks"]) + 1 for table in tables.values()]
    figure = Figure(figsize=(2.3 * len(KINDS) + 1, 0.2 * sum(heights) + 0.9 * len(tables)), layout="constrained")
    grid = figure.subplots(len(tables), len(KINDS), squeeze=False, sharex=True, height_ratios=heights)
    for line, (network, table) in zip(grid, tables.items(), strict=True):
        attacks = [*table["attacks"], "mean"]
        places = np.arange(len(attacks))[::-1]
        for axes, (kind, other) in zip(line, KINDS.items(), strict=True):
            for detector, shift in ((kind, 0.12), (other, -0.12)):
                own = table["detectors"][detector]
                value, low, high = np.array([own["auc"].get(name, own["mean"]) for name in attacks]).T
                label = "CDRP" if detector == other else "effective paths"
                axes.errorbar(value, places + shift, xerr=[value - low, high - value], fmt="o", ms=3, label=label)
            axes.axvline(0.5, color="grey", linewidth=0.8)
            axes.set_title(f"{network}, {kind}", fontsize="small")
            axes.set_yticks(places, attacks if kind == "linear" else [])
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower right", ncols=2, fontsize="x-small")
    save_figure(figure, file)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--gated", nargs="+", default="auto", help="nodes with gates; without, see `gated_nodes`")
    made.add_argument("--images", type=int, help="attacked images that gates are trained for; without, all")
    made.add_argument("--gathered", nargs="+", default=[], help="of the case's attacks; without, all")
    made.add_argument("--timed", type=int, default=64, help="images whose time is taken")
    options = made.parse_args()
    if is_done(options, plot):
        return
    torch.set_num_threads(options.threads)
    case = named(options.case, data=options.data, model=options.model, attacks=options.attacks)
    model, data = open_case(case, options.seed)
    table = measure(
        case, model, data, gated=options.gated, images=options.images, attacks=options.gathered,
        timed=options.timed, seed=options.seed, cache=default_cache_dir(),
    )  # fmt: skip
    write_result({"network": options.name or options.output.stem, **table}, options.output)
    for kind, other in KINDS.items():
        print(kind, table["detectors"][kind]["mean"], "CDRP", table["detectors"][other]["mean"])
    print(table["time"])


if __name__ == "__main__":
    main()
