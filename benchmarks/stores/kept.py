"""What detection loses where class paths keep less: other levels, or the last layers only.

    EFFPATH_DATA=DIR python -m benchmarks.stores.kept --output docs/results/stores/kept.json

Joint similarity on one network and Imagenette's validation images, the same images and attacks for all that may be
kept; AUC with the 95 % interval over source images. Synapses of the last layers are judged on more images and
attacks by `studies/reproduce.py`, in docs/results/detection/layers.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import effpath
from benchmarks.networks import imagenette, research_folder
from benchmarks.page import table
from benchmarks.sets import load_images
from benchmarks.stores.result import RESULTS, short, source, write_result
from benchmarks.stores.sizes import KEPT, kept_of
from effpath.detect.evaluate import Group, evaluate
from effpath.detect.features import Features
from effpath.files.progress import track
from effpath.models import load_model

ATTACKS: dict[str, dict[str, Any]] = {"FGSM": {"epsilons": 100}, "PGD": {"epsilon": 4 / 255, "steps": 10}}
TOGETHER = 8  # images
LAST = (1, 3, 10)
Row = dict[str, Any]
Similarities = dict[str, np.ndarray]


def seen(model: torch.nn.Module, class_paths: effpath.ClassPaths, graph: effpath.Graph, images: Tensor) -> Row:
    """Return the similarities of both ranks by level, the classes and the logits of images."""
    parts: list[Row] = []
    for start in range(0, len(images), TOGETHER):
        some = images[start : start + TOGETHER]
        ranked = [effpath.extract(graph, some, rank=rank) for rank in (1, 2)]
        with torch.no_grad():
            logits = model(some).numpy()
        found = {level: np.stack([class_paths.similarity(paths, level) for paths in ranked], 1) for level in
                 class_paths.levels}  # fmt: skip
        parts.append({"logits": logits, "classes": np.stack([paths.classes for paths in ranked], 1), **found})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def group(name: str, found: Row, kept: Row, class_paths: effpath.ClassPaths, sources: np.ndarray) -> Group:
    """Return a group of images as a detector sees it that knows only what is kept."""
    level, last = kept["levels"], kept.get("layers", 10**6)
    values = found[level][:, :, -last:]
    names = [name for rank in (1, 2) for name in class_paths.feature_names(level, rank)[-last:]]
    flat = values.reshape(len(values), -1)
    return Group(name, Features(flat, tuple(names), found["classes"], found["logits"]), sources)


def measure(network: str, per_class: int, clean: int, attacked: int, seed: int) -> Row:
    """Return the AUC of each that may be kept, by attack."""
    model = load_model(f"{research_folder() / 'load.py'}:{network}")
    some = [load_images(model, label, per_class) for label in range(10)]
    labels = torch.arange(10).repeat_interleave(per_class)
    images = imagenette(clean, model.input_size[-1])
    graph = effpath.capture(model, images[:1])
    truth = torch.arange(clean) % 10
    right = torch.as_tensor(graph.predict(images)) == truth
    images, truth = images[right], truth[right]
    with track(network) as progress:
        options = effpath.BuildOptions(counts=False)
        class_paths = effpath.build_class_paths(graph, torch.cat(some), labels, options=options)
        progress(1, len(ATTACKS) + 2)
        groups = {"clean": (seen(model, class_paths, graph, images), np.arange(len(images)))}
        progress(2, len(ATTACKS) + 2)
        for name, settings in ATTACKS.items():
            found = effpath.attack(
                model, images[:attacked], truth[:attacked], name, settings=settings, seed=seed, batch_size=16
            )
            groups[name] = seen(model, class_paths, graph, found.fooling), found.source[found.succeeded].numpy()
            progress(len(groups) + 1, len(ATTACKS) + 2)
    aucs: dict[str, Row] = {}
    for kept, about in KEPT.items():
        every = [group(name, what, about, class_paths, sources) for name, (what, sources) in groups.items()]
        scores = evaluate(every[0], every[1:], kinds=("linear",), seed=seed).scores["linear"]
        aucs[kept] = {name: [round(float(value), 4) for value in score.auc] for name, score in scores.items()}
    return {
        "of_layers": len(class_paths.header.layers), "class_path_images": per_class, "clean_images": len(images),
        "attacked_images": {name: len(sources) for name, (_, sources) in groups.items() if name != "clean"},
        "aucs": aucs,
    }  # fmt: skip


def shown(found: Row) -> str:
    """Return AUCs by what is kept."""
    lines = []
    for network, row in found["networks"].items():
        for kept in kept_of(row["of_layers"]):
            aucs = row["aucs"][kept]
            cells = ["{:.3f} ({:.3f} – {:.3f})".format(*aucs[attack]) for attack in found["attacks"]]
            lines.append([short(network), kept, *cells])
    counts = "; ".join(
        f"{short(network)}: class paths of {row['class_path_images']} images per class, {row['clean_images']} "
        + "clean images, "
        + ", ".join(f"{count} by {name}" for name, count in row["attacked_images"].items())
        for network, row in found["networks"].items()
    )
    return table(["network", "kept", *(f"{name}, AUC" for name in found["attacks"])], lines) + (
        f"\n\n{counts}; 70 % of them tested. {source(found)}"
    )


def shown_by_layers(networks: Sequence[str] = ("alexnet_imagenette", "resnet50_imagenette")) -> str:
    """Return AUCs of detectors that see the last layers only, which the studies of detection have measured."""
    lines = []
    for network in networks:
        file = RESULTS.parent / "detection" / "layers" / f"{network}.json"
        found = json.loads(file.read_text(encoding="utf-8"))
        count = len(found["layers"])
        for last in sorted({min(count, each) for each in (*LAST, count)}):
            aucs = found["last"][str(last)]
            cells = ["{:.3f} ({:.3f} – {:.3f})".format(*aucs[kind]["mean"]) for kind in ("linear", "surprise")]
            n = f"{found['clean_images']} + {found['attacked_images']}"
            attacks = len(aucs["linear"].keys() - {"mean"})
            lines.append([short(network), f"{last} of {count}", n, f"{attacks}", *cells])
    heads = ["network", "last layers", "clean + attacked images", "attacks", "joint similarity, AUC",
             "joint surprise, AUC"]  # fmt: skip
    return table(heads, lines) + (
        "\n\nSynapses; mean over the attacks, 95 % interval over source images: the results of [layers]"
        "(detection.md), `python studies/reproduce.py`."
    )


def main() -> None:
    """Measure all networks, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", default=["alexnet_imagenette"])
    parser.add_argument("--per-class", type=int, default=30, help="images of a class path")
    parser.add_argument("--clean", type=int, default=200)
    parser.add_argument("--attacked", type=int, default=60, help="by each attack, at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    networks = {
        name: measure(name, asked.per_class, asked.clean, asked.attacked, asked.seed) for name in asked.networks
    }
    found = {"seed": asked.seed, "attacks": list(ATTACKS), "networks": networks}
    write_result(asked.output, "kept", found, ("torch", "numpy", "foolbox"), research=True)


if __name__ == "__main__":
    main()
