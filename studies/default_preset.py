"""Which selection should be the default? Target, bias and fallback on trained networks, by size and by detection.

    python studies/default_preset.py --model 'FILE.py:factory' --data imagefolder:DIR --output DIR/NAME.json
    python studies/default_preset.py --plot DIR/*.json --output FILE.svg

Every combination of target (output, sum), bias (value, candidate) and fallback (positive, argmax) is measured
on the same images: the synapses of an image's whole path; the share of its active neurons that fall back, whose
target is out of reach, and at which the path ends (no synapse is chosen); and how well attacks are detected by
class paths of the last layers. Detectors are trained and tested on disjoint source images, with
several splits. Intervals are a bootstrap over source images, with the same resamples for every combination, so
that differences between combinations are judged on equal images. FGSM and DeepFool are cached; a result that is
there is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from detection.judge import Protocol, interval, judge_groups
from drawing import Panel, Series, intervals
from effpath import Graph, Options
from effpath.data import Dataset, Part
from effpath.detect import path_features
from effpath.detect.evaluate import Group
from effpath.detect.fitting import attack_steps, class_paths_step
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from effpath.models.predict import correct_rows
from effpath.rules import plan_for
from effpath.rules.kinds import Weighted
from effpath.walk.recording import Recorded, recordings
from effpath.walk.visit import paths_of
from sources import NETWORK_OPTIONS, Row, open_network, run_study

COMBINATIONS = {
    f"{target}, {bias}, {fallback}": Options(target=target, bias=bias, fallback=fallback)
    for target, bias, fallback in product(("output", "sum"), ("value", "candidate"), ("positive", "argmax"))
}
TODAY = "output, candidate, positive"  # the reference of the differences
DETECTORS = ("linear", "clean")
FRACTIONS = (0.4, 0.1, 0.5)  # of the sources: train, calibrate, test
PGD = {"rel_stepsize": 0.25, "random_start": False}  # Madry 2018, without the random start


# ---------------------------------------------------------------- size of paths


def signed_sums(recorded: Recorded, name: str, kind: Weighted) -> tuple[Tensor, Tensor]:
    """Return the sums of the positive and of the negative contributions of every output, [B, outputs] each."""
    graph, (source,) = recorded.plan.graph, kind.sources
    x = recorded.values[source].reshape(-1, *graph.shape(source)[1:]).double()
    weight = graph.constants[kind.weight].double()

    def lookup(given: Mapping[str, Tensor], at: str) -> Any:
        if at in given or at in graph.constants:
            return given.get(at, graph.constants.get(at))
        return graph.by_name[at].call(partial(lookup, given))  # a padding before the operator

    def total(part: Tensor, factor: Tensor) -> Tensor:
        given = {source: part, kind.weight: factor}
        if kind.bias is not None:
            given[kind.bias] = torch.zeros_like(graph.constants[kind.bias], dtype=torch.float64)
        return graph.by_name[name].call(partial(lookup, given)).flatten(1)

    (up, down), (plus, minus) = ((t.clamp(min=0), (-t).clamp(min=0)) for t in (x, weight))
    return total(up, plus) + total(down, minus), total(up, minus) + total(down, plus)


def trouble(
    recorded: Recorded, name: str, kind: Weighted, sums: tuple[Tensor, Tensor], options: Options
) -> tuple[Tensor, Tensor]:
    """Return which outputs of a layer fall back, and which targets are out of reach, bool [B, outputs] each."""
    value = recorded.values[name].double()
    flip = value < 0
    positive, negative = torch.where(flip, sums[1], sums[0]), torch.where(flip, sums[0], sums[1])
    target = options.theta * (value.abs() if options.target == "output" else positive - negative)
    reach = positive
    if options.bias == "candidate" and kind.bias is not None:
        bias = recorded.plan.graph.constants[kind.bias].double()
        bias = bias.repeat_interleave(value.shape[1] // len(bias))  # channels first
        reach = reach + torch.where(flip, -bias, bias).clamp(min=0)
    falls = (target <= 0) | (positive == 0)
    return falls, ~falls & (reach < target * (1 - 1e-9))


def path_sizes(graph: Graph, images: Tensor) -> dict[str, Row]:
    """Return by combination: synapses of an image, shares of its active neurons in trouble."""
    found: dict[str, list[np.ndarray]] = {name: [] for name in COMBINATIONS}
    for _, _, recorded in recordings(graph, images, options=COMBINATIONS[TODAY], batch_size=1):  # sums are large
        plain = recorded.plainly()
        layers = {layer.name: plain.plan.kinds[layer.name] for layer in recorded.header.layers}
        sums = {name: signed_sums(plain, name, kind) for name, kind in layers.items()}
        for combination, options in COMBINATIONS.items():
            path = paths_of(replace(recorded, header=replace(recorded.header, options=options)))[0]
            counts = []  # by layer: synapses, active neurons, and of these the ones in each kind of trouble
            for layer in recorded.header.layers:
                synapses, ids = path.synapses[layer.name], torch.from_numpy(path.neurons[layer.name].ids)
                falls, out = trouble(plain, layer.name, layers[layer.name], sums[layer.name], options)
                ends = len(ids) - len(np.unique(synapses.ids // layer.window.candidates))
                counts.append((len(synapses), len(ids), int(falls[0, ids].sum()), int(out[0, ids].sum()), ends))
            found[combination].append(np.sum(counts, axis=0))
    result = {}
    for combination, rows in found.items():
        chosen, active, *troubled = np.sum(rows, axis=0).tolist()
        shares = zip(("fall_back", "unreachable", "path_ends"), troubled, strict=True)
        result[combination] = {
            "synapses_mean": round(chosen / len(rows)),
            "synapses_sd": round(float(np.std([row[0] for row in rows]))),
            "active_neurons_mean": round(active / len(rows)),
            **{name: round(count / active, 4) for name, count in shares},
        }
    return result


# ---------------------------------------------------------------- one network


def measure(
    model: nn.Module,
    data: Dataset,
    *,
    attacks: Mapping[str, Row],
    layers: int | None = 8,
    per_class: int = 20,
    sources: int = 10,
    sized: int = 5,
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    batch: int = 8,
    cache: Path,
) -> Row:
    """Measure every combination on one network, as the options say.

    Class paths are of the training part, attacked images of the test or validation part. ``attacks`` are settings
    by name; AUCs are means over the splits of ``seeds``, the first of which is that of the attacks too; ``batch``
    images are taken together; ``cache`` is the folder of the attacks.
    """
    train = data.part("train").first_of_each_class(per_class)
    train = Part(train.images[:], train.labels)  # read once for all combinations
    test = data.part("test", "val").first_of_each_class(sources)
    graph = effpath.capture(model, train.images[:1])
    layers = None if layers is not None and layers >= len(plan_for(graph).layers) else layers
    images = test.images[:]
    correct = correct_rows(model, images, test.labels, batch)
    images, labels = images[correct], test.labels[correct]
    sizes = path_sizes(graph, images[torch.linspace(0, len(images) - 1, sized).long()])
    settings = {name: {**PGD, **given} if name == "PGD" else given for name, given in attacks.items()}
    steps = attack_steps(model, Part(images, labels), settings, track, seed=seeds[0], batch_size=16, cache=cache)
    pixels, rows = {"clean": (images, np.arange(len(images)))}, {}
    for made in steps:
        pixels[made.name], norms = (made.fooling, made.fooling_rows.numpy()), made.norms()
        rows[made.name] = {
            "succeeded": made.successes, "tried": made.tried, "settings": dict(attacks[made.name]),
            "median_l2": round(norms.l2, 4), "median_linf": round(norms.linf, 4),
        }  # fmt: skip
    judged = {}
    for name, options in COMBINATIONS.items():
        class_paths = class_paths_step(
            graph, train, track, preset=options, layers=layers,
            options=effpath.BuildOptions(("synapses",), counts=False, batch_size=batch, allow_missing=True),
        )  # fmt: skip
        synapses = [sum(map(len, path.synapses.values())) for path in class_paths.values()]
        sizes[name]["class_path_synapses"] = round(float(np.mean(synapses)))
        clean, *attacked = (
            Group(group, path_features(graph, class_paths, shots, batch_size=batch), source)
            for group, (shots, source) in pixels.items()
        )
        judged[name] = judge_groups(clean, attacked, Protocol(DETECTORS, fractions=FRACTIONS, seeds=seeds))
    today = judged[TODAY].mean
    return {
        "data": data.name,
        "settings": {
            "layers": layers or "all", "per_class": per_class, "sized": sized, "seeds": list(seeds),
            "fractions": FRACTIONS, "theta": COMBINATIONS[TODAY].theta,
        },
        "accuracy": round(len(correct) / len(test), 4),
        "class_path_images": class_paths.images,
        "sources": len(images),
        "attacks": rows,
        "combinations": {
            name: {
                **sizes[name],
                "auc": {
                    detector: {**auc, "beyond today": interval(found.mean[detector] - today[detector])}
                    for detector, auc in found.aucs().items()
                },
            }
            for name, found in judged.items()
        },
    }  # fmt: skip


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw by combination the synapses of an image and the AUC beyond today's default, a line for each network."""
    found = []
    for network, table in tables.items():
        rows = table["combinations"].values()
        sizes = [Series("synapses per image", [row["synapses_mean"] for row in rows], style={"color": "grey"})]
        beyond = [Series(kind, [row["auc"][kind]["beyond today"] for row in rows]) for kind in DETECTORS]
        found += [
            Panel(network, drawn, list(table["combinations"]), network, line=0, axes={"xlabel": label})
            for drawn, label in ((sizes, "synapses per image"), (beyond, "AUC beyond today's default"))
        ]
    intervals(found, file, 2)


def measure_network(
    *,
    model: str,
    data: str,
    attacks: Sequence[str] = ("FGSM", "DeepFool", "PGD"),
    reach: float = 1.0,
    candidates: int = 3,
    epsilon: float = 8,
    steps: int = 10,
    **sizes: Any,
) -> Row:
    settings: dict[str, Row] = {
        "FGSM": {"epsilons": round(1000 * reach), "max_epsilon": reach},
        "DeepFool": {"candidates": candidates},
        "PGD": {"epsilon": epsilon / 255, "steps": steps},
    }
    chosen = {name: settings[name] for name in attacks}
    table = measure(*open_network(model, data), attacks=chosen, cache=default_cache_dir(), **sizes)
    for name, row in table["combinations"].items():
        print(name, row["synapses_mean"], row["auc"]["linear"]["mean"], row["auc"]["clean"]["mean"])
    return table


OPTIONS: dict[str, Row] = {
    **NETWORK_OPTIONS,
    "layers": {"type": int, "help": "the last layers that detection reads; 8"},
    "per-class": {"type": int, "help": "training images per class for its path; 20"},
    "sources": {"type": int, "help": "attacked images per class; 10"},
    "sized": {"type": int, "help": "images whose whole path is measured; 5"},
    "attacks": {"nargs": "+", "help": "FGSM DeepFool PGD"},
    "reach": {"type": float, "help": "largest ε of FGSM, in steps of 1/1000; 1"},
    "candidates": {"type": int, "help": "of DeepFool; 3"},
    "epsilon": {"type": float, "help": "of PGD, in 1/255; 8"},
    "steps": {"type": int, "help": "of PGD; 10"},
    "seeds": {"type": int, "nargs": "+", "help": "of the splits, the first of the attacks too; 0 1 2 3 4"},
}

if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure_network, draw)
