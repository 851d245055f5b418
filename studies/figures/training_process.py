"""How paths change while a network is trained (Fig. 21, E.1).

At checkpoints from random weights to the trained network, evenly spread over the logarithm of the steps: accuracy
on test images, density of the overall path, and the similarity of each two class paths as boxes (quartiles;
whiskers end at the last pair within 1.5 times their distance). LeNet-5 is trained as the demo does, and ends as
the network of the other studies; of a case with another network ResNet-20 is trained, by `training`. Paths start
from the logits of the labels of the images, right or wrong, so that all checkpoints have as many paths, and as
many of each class: an untrained network gets nearly no image of most classes right. Where nothing is needed for a
logit, its bias being enough, the path is empty; pairs of classes whose paths are both empty are left out.

The rule for three phases: *before* lasts until accuracy has risen by a tenth of what it rises in all, *learning*
until it has risen by nine tenths for good, *settled* to the end. In each, density and mean similarity rise, fall,
or stay (within a tenth of their range). The phases are found in the paths if each is longer than one checkpoint,
and density or similarity takes another course in it than in the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import nn

import effpath
from detection.cases import Case
from detection.making import spread
from drawing import LOG_DENSITY, MARKED, TICKS, Panel, Series
from effpath.data import Dataset, Part, load_data
from effpath.demo.lenet import LeNet5
from effpath.demo.network import TRAINING
from effpath.demo.train import train_classifier
from effpath.errors import InputError
from effpath.files.progress import track
from effpath.models.predict import device_of
from effpath.models.weights import load_weights, save_weights
from effpath.rules import LEVELS
from small_resnet import SmallResNet
from sources import Row, once, place_of, read_result
from training import After, Recipe, device_name, folder_of, seeded, train

CHECKPOINTS = 13
SPREAD = 500  # the steps of the last checkpoint by those of the first after random weights
PER_CLASS = 200  # training images per class whose paths are taken
TESTED = 2000  # test images at most
RECIPE = Recipe()  # of ResNet-20
SHOWN = ("synapses", "weights")
PHASES = ("before", "learning", "settled")
SMALL = 0.1  # of what accuracy rises in all; of the range of density and similarity
TOGETHER = 100  # images whose paths are united at once


def measure(
    case: Case, seed: int = 0, images: int | None = None, per_class: int | None = None, device: str = "cpu"
) -> Row:
    """Train, and measure every checkpoint; what was trained and measured before a run was killed is kept.

    Args:
        case: its data; without a model LeNet-5 is trained, else ResNet-20.
        seed: of weights and batches.
        images: test images, evenly spread; without, 2000 at most.
        per_class: training images per class whose paths are taken; without, 200.
        device: of the training; paths and accuracy are the processor's.
    """
    data = load_data(place_of(case.data), seed=seed)
    test = spread(data.part("test", "val"), images or TESTED)
    taken = data.part("train").first_of_each_class(per_class or PER_CLASS)
    model, folder, name = (lenet if case.model is None else resnet)(data, seed, device)
    finished = read_result(folder / "finished.json")
    steps = sorted(checkpoints(finished["steps"]))
    rows = []
    with track("checkpoints") as progress:
        for step in steps:
            file = folder / f"{step}-{len(taken)}-{len(test)}.json"
            rows.append(once(file, partial(checkpoint, model, folder / f"{step}.safetensors", taken, test)))
            progress(len(rows), len(steps))
    accuracy = [row["accuracy"] for row in rows]
    levels = {level: {key: [row[level][key] for row in rows] for key in rows[0][level]} for level in SHOWN}
    return {
        "data": data.name,
        "seed": seed,
        "trained": name,
        "trained_on": finished.get("device", "cpu"),
        "network_fingerprint": rows[-1]["fingerprint"],
        "training_images": len(data.part("train")),
        "path_images": len(taken),
        "test_images": len(test),
        "classes": len(data.classes),
        "steps": steps,
        "accuracy": accuracy,
        "levels": levels,
        **phases(accuracy, levels),
    }


# ---------------------------------------------------------------- training


def checkpoints(total: int) -> set[int]:
    """Return the steps of a training of so many that are checkpoints."""
    further = np.geomspace(max(1, total / SPREAD), total, CHECKPOINTS - 1).round().astype(int)
    return {0, *further.tolist()}


def lenet(data: Dataset, seed: int, device: str) -> tuple[nn.Module, Path, str]:
    """Return LeNet-5, the folder with its weights at the checkpoints, and its name."""
    part, settings = data.part("train"), {"batch_size": 128, **TRAINING.get(data.name, TRAINING["mnist"])}
    model = seeded(partial(LeNet5, part.images.shape[-1], len(data.classes)), seed)
    folder = folder_of("lenet5", {**settings, "seed": seed}, part)

    def run(after: After) -> None:
        after(0, settings["epochs"] * -(-len(part) // settings["batch_size"]))
        train_classifier(model, part.images[:], part.labels, seed=seed, progress=after, **settings)

    trained(model.to(device), folder, run)
    return model.cpu(), folder, "LeNet-5"


def resnet(data: Dataset, seed: int, device: str) -> tuple[nn.Module, Path, str]:
    """Return ResNet-20, the folder with its weights at the checkpoints, and its name."""
    part, recipe = data.part("train"), replace(RECIPE, seed=seed)
    model = seeded(partial(SmallResNet, len(data.classes), part.images.shape[1]), seed)
    folder = folder_of("resnet20", asdict(recipe), part)
    trained(model.to(device), folder, partial(resumed, model, part, recipe, folder / "epoch.pt"))
    return model.cpu(), folder, f"ResNet-20, {recipe.epochs} epochs"


def resumed(model: nn.Module, part: Part, recipe: Recipe, file: Path, after: After) -> None:
    train(model, part, recipe, checkpoint=file, after=after)


def trained(model: nn.Module, folder: Path, run: Callable[[After], None]) -> None:
    """Train a network, writing its weights at the checkpoints, if that was not finished before."""

    def make() -> Row:
        steps = 0
        with track(f"training {folder.name.partition('-')[0]}") as progress:

            def after(done: int, total: int) -> None:
                nonlocal steps
                steps = total
                if done in checkpoints(total):
                    save_weights(model.state_dict(), folder / f"{done}.safetensors")
                progress(done, total)

            run(after)
        return {"steps": steps, "device": device_name(str(device_of(model))), "threads": torch.get_num_threads()}

    once(folder / "finished.json", make)


# ---------------------------------------------------------------- measuring


def checkpoint(model: nn.Module, state: Path, taken: Part, test: Part) -> Row:
    """Measure a network with the weights of a checkpoint."""
    load_weights(model, state)
    model.eval()
    graph = effpath.capture(model, taken.images[:1])
    class_paths = paths_of_labels(graph, taken)
    overall = class_paths.overall
    row: Row = {
        "fingerprint": graph.fingerprint,
        "accuracy": round(float((graph.predict(test.images) == test.labels).double().mean()), 4),
    }
    for level in SHOWN:
        matrix = class_paths.class_similarity(level)
        similarity = matrix[np.triu_indices(len(matrix), 1)]
        similarity = similarity[np.isfinite(similarity)]  # two empty paths have none
        row[level] = {
            "density": float(f"{overall.density(level):.5g}"),
            "mean": round(float(similarity.mean()), 4) if len(similarity) else None,
            "box": box(similarity) if len(similarity) else None,
            "pairs": len(similarity),
        }
    return row


def paths_of_labels(graph: effpath.Graph, part: Part) -> effpath.ClassPaths:
    """Return the union of the paths of each label's images, all started from the label's logit."""
    paths: dict[int, effpath.Path] = {}
    for label in part.labels.unique().tolist():
        for rows in (part.labels == label).nonzero()[:, 0].split(TOGETHER):
            path = effpath.extract(graph, part.images[rows], classes=[label] * len(rows)).union()
            paths[label] = paths[label] | path if label in paths else path
    if len(paths) < 2:
        raise InputError(f"expected training images of two classes at least, got {len(paths)}")
    return effpath.ClassPaths(next(iter(paths.values())).header, LEVELS, paths)


def box(values: np.ndarray) -> list[float]:
    """Return whisker, quartile, median, quartile and whisker."""
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    reach = 1.5 * (high - low)
    inside = values[(values >= low - reach) & (values <= high + reach)]
    return [round(float(value), 4) for value in (inside.min(), low, median, high, inside.max())]


def phases(accuracy: Sequence[float], levels: Mapping[str, Mapping[str, Sequence[float | None]]]) -> Row:
    """Return where the phases end, what density and mean similarity do in each, and whether phases are found.

    Args:
        accuracy: at each checkpoint.
        levels: density and mean similarity at each checkpoint, by level.
    """
    gained, end = np.array(accuracy) - accuracy[0], len(accuracy) - 1
    rise = gained / gained.max() if gained.max() > 0 else np.zeros(len(gained))
    risen = np.flatnonzero(rise >= SMALL)
    last_before = int(risen[0]) - 1 if len(risen) else end
    settled = min(int(np.flatnonzero(rise < 1 - SMALL)[-1]) + 1, end)
    ends = [0, last_before, settled, end]
    found: Row = {}
    for level, rows in levels.items():
        done = {key: [course(rows[key], *phase) for phase in pairwise(ends)] for key in ("density", "mean")}
        turned = [any(row[at] != row[at + 1] for row in done.values()) for at in range(len(PHASES) - 1)]
        found[level] = {**done, "found": all(turned) and all(start < stop for start, stop in pairwise(ends))}
    return {"ends": ends[1:3], "phases": found}


def course(values: Sequence[float | None], start: int, end: int) -> str:
    """Tell what values do between two checkpoints, or the first and last of them that have one."""
    there = [value for value in values if value is not None]
    own = [value for value in values[start : end + 1] if value is not None]
    if not own:
        return "unknown"
    change, span = own[-1] - own[0], max(there) - min(there)
    return "stays" if abs(change) <= SMALL * span else "rises" if change > 0 else "falls"


# ---------------------------------------------------------------- showing


def panels(network: str, table: Row) -> list[Panel]:
    """Draw accuracy, density and similarity over the checkpoints; dotted lines are where phases end."""
    steps = table["steps"]
    ticks = list(range(len(steps)))[:: -(-len(steps) // TICKS)]
    shown = {"xlabel": "step of training (0: random weights)", "xticks": ticks}
    shown["xticklabels"] = [f"{steps[place]}" for place in ticks]
    paths = f"n = {table['path_images']} images of {table['classes']} classes"
    tested = f"n = {table['test_images']} test images"
    where = {"row": network, "marks": table["ends"]}
    accuracy = [Series("accuracy", table["accuracy"], style={**MARKED, "color": "black"})]
    densities = [Series(level, row["density"], style=MARKED) for level, row in table["levels"].items()]
    found = [
        Panel(f"{network}: accuracy of {table['trained']}\n{tested}", accuracy, span=(-0.02, 1.02),
              axes={**shown, "ylabel": "accuracy"}, **where),
        Panel(f"{network}: density of the overall path\n{paths}", densities,
              axes={**shown, "ylabel": LOG_DENSITY, "yscale": "log"}, **where),
    ]  # fmt: skip
    for level, row in table["levels"].items():
        title = f"{network}: similarity of class paths, {level}\n{paths}"
        axes = {**shown, "ylabel": "Jaccard of two classes"}
        found.append(Panel(title, [Series(level, row["box"])], axes=axes, **where))
    return found


def told(row: Row) -> str:
    """Return what density and similarity do in each phase."""
    done = zip(PHASES, row["density"], row["mean"], strict=True)
    return "; ".join(f"{phase}: density {density}, similarity {mean}" for phase, density, mean in done)


def sentence(table: Row) -> str:
    """Return what there is to see."""
    said = [
        f"{'found' if row['found'] else 'not found'} in {level} ({told(row)})"
        for level, row in table["phases"].items()
    ]
    before, settled = (table["steps"][place] for place in table["ends"])
    return (
        f"By the rule above, three phases are {' and '.join(said)}; the dotted lines are where they end, at "
        f"steps {before} and {settled}."
    )
