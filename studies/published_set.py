"""A universal perturbation that others published, against detectors in files.

    effpath fit MODEL DATA -o clean.safetensors --kind clean
    effpath fit MODEL DATA -o linear.safetensors --kind linear
    python studies/published_set.py --perturbation GoogLeNet.mat --model MODEL --data DATA \\
        --guards clean.safetensors linear.safetensors --arrays attacked.npz --output DIR/NAME.json
    python studies/published_set.py --plot DIR/*.json --output FILE.svg

The perturbation is a .mat or .npy of rows × columns × RGB in steps of 0 … 255, as Moosavi-Dezfooli et al. (CVPR
2017) publish theirs. It is added to images that none of the detectors was made from and that the network gets
right; what then falls into another class counts as an attack. Noise of the same L2, drawn for each image, is the
control.
``--arrays`` writes the attacked images with their labels, for ``effpath detect``. A result that is there is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.io import loadmat
from sklearn.metrics import roc_curve
from torch import Tensor, nn

import effpath
from drawing import Panel, Series, curves
from effpath.data import Dataset
from effpath.detect.evaluate import BASELINES
from effpath.detect.features import Features
from effpath.detect.metrics import auc_interval, tpr_interval
from effpath.detect.splits import unseen_rows
from effpath.files.progress import track
from effpath.models.predict import correct_rows, predict
from sources import NETWORK_OPTIONS, Row, open_network, run_study, write_arrays


def read_published(file: Path) -> Tensor:
    """Return a perturbation, float32 [C, H, W] in units of [0, 1]."""
    if file.suffix == ".mat":
        (array,) = (value for name, value in loadmat(str(file)).items() if not name.startswith("__"))
    else:
        array = np.load(file, allow_pickle=False)
    array = array.reshape(array.shape[-3:])  # [1, H, W, C] goes too
    return torch.from_numpy(np.moveaxis(array.astype(np.float32) / 255, 2, 0).copy())


def measure(
    model: nn.Module,
    data: Dataset,
    perturbation: Tensor,
    guards: Mapping[str, effpath.Detector],
    *,
    images: int | None = None,
    seed: int = 0,
    batch: int = 8,
) -> tuple[Row, Tensor, Tensor]:
    """Return what each detector makes of the attacked images; these images; their labels.

    Args:
        model, data: as `open_network` gives them.
        perturbation: [C, H, W].
        guards: detectors by name, made from this data.
        images, seed, batch: as the options say.
    """
    abouts = [guard.about for guard in guards.values()]
    part = data.part(abouts[0]["part"])
    left = [unseen_rows(about, data.name, about["part"], len(part)).tolist() for about in abouts]
    rows = torch.tensor(sorted(set.intersection(*map(set, left))))
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))
    chosen = part.take(rows[order[:images].sort().values])
    pixels, labels = chosen.images[:], chosen.labels
    right = correct_rows(model, pixels, labels, batch)
    accuracy = len(right) / len(labels)
    clean, labels = pixels[right], labels[right]
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(seed))
    noise *= perturbation.norm() / noise.flatten(1).norm(dim=1)[:, None, None, None]
    attacked = {"published": (clean + perturbation).clamp(0, 1), "noise": (clean + noise).clamp(0, 1)}
    fooled = {name: np.flatnonzero(predict(model, own, batch).ne(labels)) for name, own in attacked.items()}
    groups = {"clean": clean, **attacked}
    scores: dict[str, dict[str, np.ndarray]] = {}
    features: dict[str, Features] = {}
    for guard_name, guard in guards.items():
        for name, group in groups.items():
            with track(f"paths of {len(group)} images, {name}, for {guard_name}") as progress:
                features[name] = guard.features(group, batch_size=batch, progress=progress)
        scores[guard_name] = {name: guard.score(found) for name, found in features.items()}
    for name, score in BASELINES.items():
        scores[name] = {group: score(found) for group, found in features.items()}
    table = {
        "images": len(chosen), "accuracy": round(accuracy, 4), "attacked": len(clean), "seed": seed,
        "fooled": {name: len(found) for name, found in fooled.items()},
        "linf": round(float(perturbation.abs().max()), 4), "l2": round(float(perturbation.norm()), 3),
        "detectors": {
            name: judged(by_group, fooled["published"], guards[name].threshold if name in guards else None, seed)
            for name, by_group in scores.items()
        },
        "guards": {
            name: {"kind": guard.name, "fpr": guard.fpr, "threshold": guard.threshold}
            | {key: guard.about[key] for key in ("class_paths", "attacks", "seed")}
            | {key: len(rows) for key, rows in guard.about["rows"].items()}
            for name, guard in guards.items()
        },
    }  # fmt: skip
    return table, groups["published"], labels


def judged(scores: Mapping[str, np.ndarray], fooled: np.ndarray, threshold: float | None, seed: int) -> Row:
    """Return AUC and shares flagged, of attacked images that fool the network; the scores, for the curve.

    A baseline has no threshold of its own: it gets one at 5 % of these clean images, which flatters it.
    """
    clean, attacked = scores["clean"], scores["published"][fooled]
    y, groups = np.repeat([0, 1], [len(clean), len(fooled)]), np.concatenate([np.arange(len(clean)), fooled])
    cut = np.sort(clean)[::-1][int(0.05 * len(clean))] if threshold is None else threshold
    return {
        "auc": rounded(auc_interval(y, np.concatenate([clean, attacked]), groups, seed=seed)),
        "found": rounded(tpr_interval(attacked, fooled, cut, seed=seed)),
        "clean_flagged": round(float((clean > cut).mean()), 4),
        "noise_flagged": round(float((scores["noise"] > cut).mean()), 4),
        "own_threshold": threshold is not None,
        "scores": {"clean": rounded(clean), "published": rounded(attacked)},
    }


def rounded(values: Sequence[float] | np.ndarray) -> list[float]:
    return [round(float(value), 4) for value in values]


def draw(tables: Mapping[str, Row], file: Path) -> None:
    """Draw the ROC curve of every detector, a panel for each network; the AUC in the legend."""
    found = []
    for network, table in tables.items():
        drawn = []
        for detector, row in table["detectors"].items():
            clean, attacked = row["scores"]["clean"], row["scores"]["published"]
            fpr, tpr, _ = roc_curve(np.repeat([0, 1], [len(clean), len(attacked)]), clean + attacked)
            style = {"linestyle": "-" if row["own_threshold"] else "--"}
            drawn.append(Series(f"{detector}, AUC {row['auc'][0]:.2f}", tpr, fpr, style))
        axes = {"xlabel": "clean images flagged", "ylabel": "attacks flagged"}
        found.append(Panel(network, drawn, axes=axes))
    curves(found, file, 3)


def measure_published(
    *, model: str, data: str, perturbation: Path, guards: Sequence[Path], arrays: Path | None = None, **rest: Any
) -> Row:
    network, images = open_network(model, data)
    graph = effpath.capture(network, next(iter(images.parts.values())).images[:1])
    detectors = {file.stem: effpath.load_detector(file, graph) for file in guards}
    table, attacked, labels = measure(network, images, read_published(perturbation), detectors, **rest)
    if arrays:
        write_arrays(arrays, images=attacked.numpy(), labels=labels.numpy())
    print(f"{table['fooled']['published']} of {table['attacked']} images fool the network")
    for name, row in table["detectors"].items():
        print(f"{name:14} AUC {row['auc']}  found {row['found']}  clean flagged {row['clean_flagged']}")
    return {"perturbation": perturbation.name, **table}


OPTIONS: dict[str, Row] = {
    "perturbation": {"type": Path, "help": ".mat or .npy, rows × columns × RGB, 0 … 255"},
    **NETWORK_OPTIONS,
    "guards": {"type": Path, "nargs": "+", "help": "files of `effpath fit`, made from these data"},
    "images": {"type": int, "help": "at most so many of the images that are left"},
    "arrays": {"type": Path, "help": "an .npz file for the attacked images"},
    "batch": {"type": int, "help": "images together; 8"},
    "seed": {"type": int, "help": "of the noise and the bootstrap; 0"},
}

if __name__ == "__main__":
    run_study(__doc__, OPTIONS, measure_published, draw)
