"""Which selection should be the default? Target, bias and fallback on trained networks, by size and by detection.

    python studies/default_preset.py --model 'FILE.py:factory' --data imagefolder:DIR --output DIR/NAME.json
    python studies/default_preset.py --plot DIR/*.json --output FILE.svg

Every combination of target (output, sum), bias (value, candidate) and fallback (positive, argmax) is measured
from the same recorded activations: the synapses of an image's whole path; the share of its active neurons that
fall back, whose target is out of reach, and at which the path ends (no synapse is chosen); and how well attacks
are detected by class paths of the last layers. Detectors are trained and tested on disjoint source images, with
several splits. Intervals are a bootstrap over source images, with the same resamples for every combination, so
that differences between combinations are judged on equal images. FGSM and DeepFool are cached; a result that is
there is kept.
"""

from __future__ import annotations

import argparse
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
from detection.judge import Protocol, judge_groups
from detection.resampling import interval
from drawing import Panel, Series, intervals
from effpath import ClassPaths, Features, Graph, Options
from effpath.attacks import attack
from effpath.class_paths.fused import Unions, similarity
from effpath.data import Dataset, Part
from effpath.detect.evaluate import Group
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from effpath.models.predict import correct_rows
from effpath.rules import plan_for
from effpath.rules.kinds import Weighted
from effpath.walk.recording import Recorded, record, recordings
from effpath.walk.visit import paths_of
from sources import NETWORK_OPTIONS, Row, open_network, run_study

COMBINATIONS = {
    f"{target}, {bias}, {fallback}": Options(target=target, bias=bias, fallback=fallback)
    for target, bias, fallback in product(("output", "sum"), ("value", "candidate"), ("positive", "argmax"))
}
TODAY = "output, candidate, positive"  # the reference of the differences
DETECTORS = ("linear", "clean")
FRACTIONS = (0.4, 0.1, 0.5)  # of the sources: train, calibrate, test


def under(recorded: Recorded, options: Options) -> Recorded:
    """Return the same activations for another selection."""
    return replace(recorded, header=replace(recorded.header, options=options))


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
    found: dict[str, list[Row]] = {name: [] for name in COMBINATIONS}
    for _, _, recorded in recordings(graph, images, options=COMBINATIONS[TODAY], batch_size=1):  # sums are large
        plain = recorded.plainly()
        layers = {layer.name: plain.plan.kinds[layer.name] for layer in recorded.header.layers}
        sums = {name: signed_sums(plain, name, kind) for name, kind in layers.items()}
        for combination, options in COMBINATIONS.items():
            path = paths_of(under(recorded, options))[0]
            active = fall = out = ends = 0
            for layer in recorded.header.layers:
                ids = torch.from_numpy(path.neurons[layer.name].ids)
                pair = trouble(plain, layer.name, layers[layer.name], sums[layer.name], options)
                fall, out = fall + int(pair[0][0, ids].sum()), out + int(pair[1][0, ids].sum())
                going_on = np.unique(path.synapses[layer.name].ids // layer.window.candidates)
                active, ends = active + len(ids), ends + len(ids) - len(going_on)
            synapses = sum(map(len, path.synapses.values()))
            row = {"synapses": synapses, "active": active, "fall": fall, "out": out, "ends": ends}
            found[combination].append(row)
    result = {}
    for combination, rows in found.items():
        sums_of = {key: sum(row[key] for row in rows) for key in rows[0]}
        result[combination] = {
            "synapses_mean": round(sums_of["synapses"] / len(rows)),
            "synapses_sd": round(float(np.std([row["synapses"] for row in rows]))),
            "active_neurons_mean": round(sums_of["active"] / len(rows)),
            "fall_back": round(sums_of["fall"] / sums_of["active"], 4),
            "unreachable": round(sums_of["out"] / sums_of["active"], 4),
            "path_ends": round(sums_of["ends"] / sums_of["active"], 4),
        }
    return result


# ---------------------------------------------------------------- detection


PGD = {"rel_stepsize": 0.25, "random_start": False}  # Madry 2018, without the random start


def adversarial(
    model: nn.Module, images: Tensor, labels: Tensor, attacks: Mapping[str, Row], seed: int, cache: Path
) -> dict[str, tuple[Tensor, np.ndarray, Row]]:
    """Return by attack the images that fool the model, their sources, and how it went."""
    found = {}
    for name, given in attacks.items():
        settings = {**PGD, **given} if name == "PGD" else given
        with track(name) as progress:
            made = attack(
                model, images, labels, name, settings=settings, seed=seed, batch_size=16, cache=cache,
                progress=progress,
            )  # fmt: skip
        norms = made.norms()
        row = {
            "succeeded": made.successes, "tried": made.tried, "settings": dict(given),
            "median_l2": round(norms.l2, 4), "median_linf": round(norms.linf, 4),
        }  # fmt: skip
        found[name] = made.fooling, made.fooling_rows.numpy(), row
    return found


def class_paths_of(graph: Graph, part: Part, layers: int | None, batch: int) -> dict[str, ClassPaths]:
    """Return by combination the class paths of the last layers, from one forward pass of each image."""
    paths: dict[str, dict[int, effpath.Path]] = {name: {} for name in COMBINATIONS}
    first = record(graph, part.images[:1], options=COMBINATIONS[TODAY], layers=layers).header
    headers = {name: replace(first, options=options) for name, options in COMBINATIONS.items()}
    for label in sorted(set(part.labels.tolist())):
        members = part.take(part.labels == label)
        unions, count = {name: Unions(header) for name, header in headers.items()}, 0
        for _, _, recorded in recordings(
            graph, members.images, options=first.options, layers=layers, batch_size=batch
        ):
            recorded = recorded.select(recorded.ranked(1) == label)
            count += len(recorded)
            for name, options in COMBINATIONS.items() if len(recorded) else ():
                unions[name].add(under(recorded, options), [label] * len(recorded))
        for name in COMBINATIONS:
            paths[name].update(unions[name].paths(("synapses",), {label: count}))
    return {name: ClassPaths(headers[name], ("synapses",), by_class) for name, by_class in paths.items()}


def features_of(
    graph: Graph, class_paths: Mapping[str, ClassPaths], images: Tensor, batch: int
) -> dict[str, Features]:
    """Return by combination the features of images for ranks 1 and 2, from one forward pass of each."""
    values: dict[str, list[np.ndarray]] = {name: [] for name in class_paths}
    classes, logits = [], []
    header = class_paths[TODAY].header
    layers = [layer.name for layer in header.layers]
    for _, _, recorded in recordings(graph, images, options=header.options, layers=layers, batch_size=batch):
        classes.append(np.stack([recorded.ranked(rank).numpy() for rank in (1, 2)], axis=1))
        logits.append(recorded.logits.numpy())
        for name, known in class_paths.items():
            selected = under(recorded, known.header.options)
            values[name].append(
                np.concatenate([similarity(selected, known, rank=rank) for rank in (1, 2)], axis=1)
            )
    names = tuple(n for rank in (1, 2) for n in class_paths[TODAY].feature_names("synapses", rank))
    about = np.concatenate(classes), np.concatenate(logits)
    return {name: Features(np.concatenate(rows), names, *about) for name, rows in values.items()}


def judge(
    groups: Mapping[str, Mapping[str, Features]], sources: Mapping[str, np.ndarray], seeds: Sequence[int]
) -> dict[str, Row]:
    """Return by combination and detector: AUC by attack and over attacks, and its distance to today's default.

    Args:
        groups: by group (``clean`` first, then attacks) and combination, the features.
        sources: by group, the source image of each row.
        seeds: of the splits; AUCs are means over them.
    """
    judged = {}
    for combination in COMBINATIONS:
        clean, *attacks = (Group(name, features[combination], sources[name]) for name, features in groups.items())
        protocol = Protocol(DETECTORS, fractions=FRACTIONS, seeds=seeds)
        judged[combination] = judge_groups(clean, attacks, protocol)
    return {
        combination: {
            detector: {**auc, "beyond today": interval(found.mean[detector] - judged[TODAY].mean[detector])}
            for detector, auc in found.aucs().items()
        }
        for combination, found in judged.items()
    }


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
    """Measure every combination on one network.

    Args:
        model, data: class paths are of the training part, attacked images of the test or validation part.
        attacks: settings by name; ``PGD`` takes epsilon and steps.
        layers: how many of the last layers detection uses.
        per_class: training images per class for its path.
        sources: images per class that are attacked.
        sized: images whose whole paths are measured.
        seeds: of the splits; the first also of the attacks.
        batch: images together.
        cache: folder of the attacks.
    """
    train = data.part("train").first_of_each_class(per_class)
    test = data.part("test", "val").first_of_each_class(sources)
    graph = effpath.capture(model, train.images[:1])
    layers = None if layers is not None and layers >= len(plan_for(graph).layers) else layers
    images = test.images[:]
    correct = correct_rows(model, images, test.labels, batch)
    images, labels = images[correct], test.labels[correct]
    spread = torch.linspace(0, len(images) - 1, sized).long()
    sizes = path_sizes(graph, images[spread])
    made = adversarial(model, images, labels, attacks, seeds[0], cache)
    class_paths = class_paths_of(graph, train, layers, batch)
    pixels = {"clean": images, **{name: group for name, (group, _, _) in made.items()}}
    rows = {"clean": np.arange(len(images)), **{name: source for name, (_, source, _) in made.items()}}
    groups = {name: features_of(graph, class_paths, group, batch) for name, group in pixels.items()}
    judged = judge(groups, rows, seeds)
    return {
        "data": data.name,
        "settings": {
            "layers": layers or "all", "per_class": per_class, "sized": sized, "seeds": list(seeds),
            "fractions": FRACTIONS, "theta": COMBINATIONS[TODAY].theta,
        },
        "accuracy": round(len(correct) / len(test), 4),
        "class_path_images": sum(path.images for path in class_paths[TODAY].paths.values()),
        "sources": len(images),
        "attacks": {name: row for name, (_, _, row) in made.items()},
        "combinations": {
            name: {**sizes[name], "class_path_synapses": class_synapses(class_paths[name]), "auc": judged[name]}
            for name in COMBINATIONS
        },
    }  # fmt: skip


def class_synapses(class_paths: ClassPaths) -> int:
    return round(float(np.mean([sum(map(len, p.synapses.values())) for p in class_paths.paths.values()])))


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw by combination the synapses of an image and the AUC beyond today's default, a line for each network."""
    found = []
    for network, table in tables.items():
        rows = table["combinations"].values()
        sizes = [Series("synapses per image", [row["synapses_mean"] for row in rows], style={"color": "grey"})]
        beyond = [Series(kind, [row["auc"][kind]["beyond today"] for row in rows]) for kind in DETECTORS]
        names = list(table["combinations"])
        found += [
            Panel(network, sizes, names, network, line=0, axes={"xlabel": "synapses per image"}),
            Panel(network, beyond, names, network, line=0, axes={"xlabel": "AUC beyond today's default"}),
        ]
    intervals(found, file, 2)


def measure_network(options: argparse.Namespace) -> Row:
    settings: dict[str, Row] = {
        "FGSM": {"epsilons": round(1000 * options.reach), "max_epsilon": options.reach},
        "DeepFool": {"candidates": options.candidates},
        "PGD": {"epsilon": options.epsilon / 255, "steps": options.steps},
    }
    model, data = open_network(options.model, options.data)
    table = measure(
        model, data, attacks={name: settings[name] for name in options.attacks}, layers=options.layers,
        per_class=options.per_class, sources=options.sources, sized=options.sized, seeds=options.seeds,
        cache=default_cache_dir(),
    )  # fmt: skip
    for name, row in table["combinations"].items():
        print(name, row["synapses_mean"], row["auc"]["linear"]["mean"], row["auc"]["clean"]["mean"])
    return table


OPTIONS: dict[str, Row] = {
    **NETWORK_OPTIONS,
    "layers": {"type": int, "default": 8, "help": "the last layers that detection reads"},
    "per-class": {"type": int, "default": 20, "help": "training images per class"},
    "sources": {"type": int, "default": 10, "help": "attacked images per class"},
    "sized": {"type": int, "default": 5, "help": "images whose whole path is measured"},
    "attacks": {"nargs": "+", "default": ["FGSM", "DeepFool", "PGD"]},
    "reach": {"type": float, "default": 1.0, "help": "largest ε of FGSM, in steps of 1/1000"},
    "candidates": {"type": int, "default": 3, "help": "of DeepFool"},
    "epsilon": {"type": float, "default": 8, "help": "of PGD, in 1/255"},
    "steps": {"type": int, "default": 10, "help": "of PGD"},
    "seeds": {"type": int, "nargs": "+", "default": [0, 1, 2, 3, 4]},
}

if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure_network, draw)
