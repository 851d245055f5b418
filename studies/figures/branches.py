"""Both branches of a residual sum followed, or what θ keeps of them: is either path the better detector?

At θ = 0.5 the larger branch alone explains a sum of two, so that paths skip blocks. Here the same images, class
paths of the same training images and detectors are judged on both paths. Of each path three signs over the first
half of the layers stand alone, which no attack teaches: similarity of the rank-1 path with its class path, how
usual the path is in its class, and how much more usual it is in another. Differences are paired over the same
resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

import effpath
from detection.cases import Case
from detection.judge import Protocol, Resampled, interval, judge_groups
from detection.making import Making
from detection.seen import Pixels
from drawing import Panel, Series
from effpath import BuildOptions, Features, Graph
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect import path_features
from effpath.detect.evaluate import Entrant, Group
from effpath.detect.fitting import class_paths_step
from effpath.detect.scoring import FloatArray
from effpath.files.progress import track
from effpath.rules.kinds import Gate, Kind, Route, Weighted
from effpath.rules.plan import Plan, plan_for
from sources import Row

KEPT, BOTH = "what θ keeps", "both branches"
KINDS = ("surprise", "linear")
SIGNS = ("early layers outside its class path", "unusual early path", "early path fits another class")
SUMS = ("add", "sub")
LOOKED_AT = 20  # clean images whose paths' layers are counted


def measure(
    case: Case,
    *,
    gathered: Sequence[str] = (),
    images: int | None = None,
    per_class: int | None = None,
    seed: int = 0,
) -> Row:
    """Judge detectors on both paths.

    Args:
        case: what is attacked, with what.
        gathered: these of the case's attacks; none for all whose images can be saved.
        images: attacked images; None for the case's.
        per_class: training images of class paths, of each class; None for the case's.
        seed: of training, images and attacks.
    """
    named = gathered or [name for name, planned in case.attacks.items() if not planned.floats]
    chosen = {name: planned for name, planned in case.attacks.items() if name in named}
    making = Making(replace(case, attacks=chosen, sources=images or case.sources), seed)
    made, _, about = making.made
    train = making.train if per_class is None else making.train.first_of_each_class(per_class)
    unseen = [name for name in made if name in chosen and chosen[name].unseen]
    judged: dict[str, Resampled] = {}
    paths: Row = {}
    for how, graph in ((KEPT, making.graph), (BOTH, both_branches(making.graph))):
        class_paths = class_paths_step(graph, train, track, options=BuildOptions(batch_size=case.batch))
        likelihood = PathLikelihood(class_paths)
        with track(f"paths, {how}"):
            groups = [
                group_of(name, path_features(graph, class_paths, shots.images, likelihood=likelihood), shots)
                for name, shots in made.items()
            ]
        others = {sign: Entrant(lambda group, sign=sign: group.arrays[sign]) for sign in SIGNS}
        protocol = Protocol(KINDS, others, unseen=unseen, baselines=False)
        judged[how] = judge_groups(groups[0], groups[1:], protocol)
        found = effpath.extract(graph, made["clean"].images[:LOOKED_AT])
        held = [sum(share > 0 for share in path.layer_density("synapses").values()) for path in found]
        paths[how] = {
            "layers": len(class_paths.header.layers),
            "layers_with_synapses": round(float(np.mean(held)), 2),
            "density": round(float(np.mean([path.density() for path in found])), 5),
            "class_path_density": round(
                float(np.mean([class_paths[c].density() for c in class_paths.classes])), 5
            ),
        }
    return {
        "data": making.data.name,
        "settings": {"unseen": unseen, "seed": seed},
        "accuracy": about["accuracy"],
        "class_path_images": len(train),
        "attacks": {name: about["attacks"][name] for name in made if name in chosen},
        "paths": paths,
        "auc": {how: each.aucs() for how, each in judged.items()},
        "added": {
            detector: {
                **{name: interval(judged[BOTH].auc[detector][name] - auc) for name, auc in own.items()},
                "mean": interval(judged[BOTH].mean[detector] - judged[KEPT].mean[detector]),
            }
            for detector, own in judged[KEPT].auc.items()
        },
    }


def both_branches(graph: Graph) -> Graph:
    """Return the graph with a plan in which a sum of two tensors of its shape leads to both in any case."""
    found = replace(graph)
    plan = plan_for(graph)
    kinds = {name: _of_both(graph, name, kind) for name, kind in plan.kinds.items()}
    found.plans[False] = Plan(found, kinds, tuple(layer for layer in plan.every if kinds[layer.name].selects))
    return found


def _of_both(graph: Graph, name: str, kind: Kind) -> Kind:
    sizes = [graph.size(each) for each in (name, *kind.sources)] if isinstance(kind, Weighted) else []
    if graph.by_name[name].op not in SUMS or len(sizes) != 3 or len(set(sizes)) > 1:
        return kind
    one, other = (Route((source,)) for source in kind.sources)
    return Gate(one, (other,), equal=True)


def early_similarity(seen: Features) -> FloatArray:
    """Return the mean similarity of the rank-1 path over the first half of the layers, [N]."""
    layers = seen.values.shape[1] // 2  # rank 1, then rank 2
    found: FloatArray = np.nanmean(seen.values[:, : (layers + 1) // 2], 1)
    return found


def group_of(name: str, seen: Features, shots: Pixels) -> Group:
    """Return a group of images with what stands alone of their paths, high where suspicious."""
    early = (seen.likelihood.shape[1] + 1) // 2  # layers
    rows = np.arange(len(seen.classes))
    own = np.searchsorted(seen.likelihood_classes, seen.classes[:, 0])
    frequency = np.nanmean(seen.likelihood[:, :early], 1)  # [images, classes]
    others = frequency.copy()
    others[rows, own] = -np.inf
    arrays = dict(zip(SIGNS, (
        -early_similarity(seen), -frequency[rows, own], others.max(1) - frequency[rows, own]
    ), strict=True))  # fmt: skip
    return Group(name, seen, shots.source, arrays, shots.clusters)


def panels(network: str, table: Row) -> list[Panel]:
    """Draw the AUC by attack of each detector on both paths."""
    attacks = [*table["attacks"], "mean"]
    low = min(auc[detector][each][1] for auc in table["auc"].values() for detector in auc for each in attacks)
    found = []
    for detector in table["added"]:
        drawn = [Series(how, [auc[detector][each] for each in attacks]) for how, auc in table["auc"].items()]
        found.append(Panel(detector, drawn, attacks, network, (low - 0.02, 1.02), axes={"xlabel": "AUC"}))
    return found
