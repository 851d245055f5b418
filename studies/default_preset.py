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
from torch.nn import functional

import effpath
from detection.judge import Protocol, judge_groups
from detection.resampling import interval
from effpath import ClassPaths, Features, Graph, Options
from effpath.attacks import attack
from effpath.class_paths.similarity import similarity
from effpath.class_paths.unions import Unions
from effpath.data import Dataset, Part
from effpath.detect.evaluate import Group
from effpath.files.cache import default_cache_dir
from effpath.files.progress import track
from effpath.models.predict import correct_rows, predict
from effpath.rules import plan_for
from effpath.rules.kinds import Weighted
from effpath.walk.recording import Recorded, record, recordings
from effpath.walk.visit import paths_of
from sources import is_done, open_network, save_figure, write_result

COMBINATIONS = {
    f"{target}, {bias}, {fallback}": Options(target=target, bias=bias, fallback=fallback)
    for target, bias, fallback in product(("output", "sum"), ("value", "candidate"), ("positive", "argmax"))
}
TODAY = "output, candidate, positive"  # the reference of the differences
DETECTORS = ("linear", "clean")
FRACTIONS = (0.4, 0.1, 0.5)  # of the sources: train, calibrate, test
Row = dict[str, Any]


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


def pgd(
    model: nn.Module, images: Tensor, labels: Tensor, *, epsilon: float, steps: int, batch: int = 16
) -> Tensor:
    """Projected gradient descent (Madry 2018), no random start, steps of ε/4; it does not stop early."""
    found = []
    for clean, truth in zip(images.split(batch), labels.split(batch), strict=True):
        x = clean.clone()
        for _ in range(steps):
            x.requires_grad_()
            (slope,) = torch.autograd.grad(functional.cross_entropy(model(x), truth, reduction="sum"), x)
            x = (x.detach() + epsilon / 4 * slope.sign()).clamp(0, 1)
            x = torch.minimum(torch.maximum(x, clean - epsilon), clean + epsilon)
        found.append(x.detach())
    return torch.cat(found)


def adversarial(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Mapping[str, Row],
    seed: int,
    cache: Path,
    batch: int = 16,
) -> dict[str, tuple[Tensor, np.ndarray, Row]]:
    """Return by attack the images that fool the model, their sources, and how it went."""
    found = {}
    for name, settings in attacks.items():
        with track(name) as progress:
            if name == "PGD":
                made = pgd(model, images, labels, **settings, batch=batch)
                fooled = predict(model, made, batch) != labels
                source, made = fooled.nonzero()[:, 0].numpy(), made[fooled]
            else:
                result = attack(
                    model, images, labels, name, settings=settings, seed=seed, batch_size=batch, cache=cache,
                    progress=progress,
                )  # fmt: skip
                source, made = result.fooling_rows.numpy(), result.fooling
        difference = (made - images[source]).flatten(1)
        row = {
            "succeeded": len(made), "tried": len(images), "settings": dict(settings),
            "median_l2": round(float(difference.norm(dim=1).median()), 4),
            "median_linf": round(float(difference.abs().amax(1).median()), 4),
        }  # fmt: skip
        found[name] = made, source, row
    return found


def class_paths_of(graph: Graph, part: Part, layers: int | None, batch: int) -> dict[str, ClassPaths]:
    """Return by combination the class paths of the last layers, from one forward pass of each image."""
    paths: dict[str, dict[int, effpath.Path]] = {name: {} for name in COMBINATIONS}
    first = record(graph, part.images[:1], options=COMBINATIONS[TODAY], layers=layers).header
    headers = {name: replace(first, options=options) for name, options in COMBINATIONS.items()}
    for label in sorted(set(part.labels.tolist())):
        own = part.take(part.labels == label)
        unions, count = {name: Unions(header) for name, header in headers.items()}, 0
        for _, _, recorded in recordings(
            graph, own.images, options=first.options, layers=layers, batch_size=batch
        ):
            recorded = recorded.select(recorded.ranked(1) == label)
            count += len(recorded)
            for name, options in COMBINATIONS.items() if len(recorded) else ():
                unions[name].add(under(recorded, options), [label] * len(recorded))
        for name in COMBINATIONS:
            paths[name].update(unions[name].paths(("synapses",), {label: count}))
    return {name: ClassPaths(headers[name], ("synapses",), own) for name, own in paths.items()}


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
        for name, own in class_paths.items():
            mine = under(recorded, own.header.options)
            values[name].append(np.concatenate([similarity(mine, own, rank=rank) for rank in (1, 2)], axis=1))
    names = tuple(n for rank in (1, 2) for n in class_paths[TODAY].feature_names("synapses", rank))
    about = np.concatenate(classes), np.concatenate(logits)
    return {name: Features(np.concatenate(own), names, *about) for name, own in values.items()}


def judge(
    groups: Mapping[str, Mapping[str, Features]], sources: Mapping[str, np.ndarray], seeds: Sequence[int]
) -> dict[str, Row]:
    """Return by combination and detector: AUC by attack and over attacks, and its distance to today's default.

    Args:
        groups: by group (``clean`` first, then attacks) and combination, the features.
        sources: by group, the source image of each row.
        seeds: of the splits; AUCs are means over them.
    """
    auc = {}
    for combination in COMBINATIONS:
        clean, *attacks = (Group(name, own[combination], sources[name]) for name, own in groups.items())
        auc[combination] = judge_groups(clean, attacks, Protocol(DETECTORS, fractions=FRACTIONS, seeds=seeds)).auc
    means = {
        combination: {detector: np.mean(list(found.values()), axis=0) for detector, found in own.items()}
        for combination, own in auc.items()
    }
    return {
        combination: {
            detector: {
                **{name: interval(values) for name, values in found.items()},
                "mean": interval(means[combination][detector]),
                "beyond today": interval(means[combination][detector] - means[TODAY][detector]),
            }
            for detector, found in own.items()
        }
        for combination, own in auc.items()
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
        per_class: training images of a class for its path.
        sources: images of a class that are attacked.
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
    pixels = {"clean": images, **{name: own for name, (own, _, _) in made.items()}}
    rows = {"clean": np.arange(len(images)), **{name: source for name, (_, source, _) in made.items()}}
    groups = {name: features_of(graph, class_paths, own, batch) for name, own in pixels.items()}
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


def plot(tables: Mapping[str, Row], file: Path) -> None:
    """Draw by combination the synapses of an image and the AUC beyond today's default, a column a network."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.9 * len(tables) + 2.2, 6), layout="constrained")
    names = list(COMBINATIONS)
    places = np.arange(len(names))[::-1]
    grid = figure.subplots(2, len(tables), squeeze=False, sharey=True)
    for (top, bottom), (network, table) in zip(grid.T, tables.items(), strict=True):
        rows = table["combinations"]
        top.plot([rows[name]["synapses_mean"] for name in names], places, "o", color="tab:grey")
        top.set(title=network, xlabel="synapses an image", xlim=0)
        top.ticklabel_format(axis="x", style="sci", scilimits=(0, 3))
        bottom.axvline(0, color="grey", linewidth=0.8)
        for detector, shift in zip(DETECTORS, (0.15, -0.15), strict=True):
            value, low, high = np.array([rows[name]["auc"][detector]["beyond today"] for name in names]).T
            bottom.errorbar(value, places + shift, xerr=[value - low, high - value], fmt="o", label=detector)
        bottom.set(xlabel="AUC beyond today's default")
    grid[0, 0].set_yticks(places, names)
    grid[1, 0].legend(fontsize="small")
    save_figure(figure, file)


def attack_settings(options: argparse.Namespace) -> dict[str, Row]:
    """Return settings by attack from ``--reach``, ``--candidates``, ``--epsilon`` and ``--steps``."""
    return {
        "FGSM": {"epsilons": round(1000 * options.reach), "max_epsilon": options.reach},
        "DeepFool": {"candidates": options.candidates},
        "PGD": {"epsilon": options.epsilon / 255, "steps": options.steps},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plot", type=Path, nargs="+", help="draw these results instead of measuring")
    parser.add_argument("--model", help="FILE.py:factory or a library's model")
    parser.add_argument("--data", help="imagefolder:DIR, cifar10:DIR …")
    parser.add_argument("--output", type=Path, required=True, help="a .json file; an .svg file with --plot")
    parser.add_argument("--layers", type=int, default=8)
    parser.add_argument("--per-class", type=int, default=20)
    parser.add_argument("--sources", type=int, default=10, help="attacked images of a class")
    parser.add_argument("--sized", type=int, default=5, help="images whose whole path is measured")
    parser.add_argument("--attacks", nargs="+", default=["FGSM", "DeepFool", "PGD"])
    parser.add_argument("--reach", type=float, default=1.0, help="largest ε of FGSM, in steps of 1/1000")
    parser.add_argument("--candidates", type=int, default=3, help="of DeepFool")
    parser.add_argument("--epsilon", type=float, default=8, help="of PGD, in 1/255")
    parser.add_argument("--steps", type=int, default=10, help="of PGD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args()
    if is_done(options, plot):
        return
    torch.set_num_threads(1)
    settings = attack_settings(options)
    model, data = open_network(options.model, options.data)
    table = measure(
        model, data, attacks={name: settings[name] for name in options.attacks}, layers=options.layers,
        per_class=options.per_class, sources=options.sources, sized=options.sized, seeds=options.seeds,
        cache=default_cache_dir(),
    )  # fmt: skip
    write_result({"network": options.output.stem, **table}, options.output)
    for name, row in table["combinations"].items():
        print(name, row["synapses_mean"], row["auc"]["linear"]["mean"], row["auc"]["clean"]["mean"])


if __name__ == "__main__":
    main()
