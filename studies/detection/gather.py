"""What every detector sees of a case, once: attacked images, paths, gates, rivals' measurements; kept on disk."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from detection.cases import Case, Planned
from effpath import ClassPaths, Features, Graph
from effpath.attacks import AdversarialSet, attack
from effpath.attacks.judge import correct_rows
from effpath.cache import atomic_write, default_cache_dir, fingerprint, state_fingerprint
from effpath.cdrp import cdrp_gates
from effpath.data import Dataset, Part, load_data
from effpath.detect.evaluate import Group
from effpath.errors import InputError
from effpath.likelihood import PathFit
from effpath.progress import track
from rivals.table import RIVALS, fit_rivals
from sources import open_network, train_lenet

Row = dict[str, Any]
NOISE_LIKE = ("CWL2", "PGD")  # attacks whose L2 the controls of noise have, where they are there
RIVAL_IMAGES = 5000  # training images of rivals at most


@dataclass(frozen=True, eq=False)
class Pixels:
    """Images of one kind.

    Attributes:
        images: [N, C, H, W].
        source: int64 [N], the row of the clean image that each was made from; −1 where there is none.
        labels: int64 [N], their true classes; −1 where there is none.
    """

    images: Tensor
    source: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True, eq=False)
class Seen:
    """A case as detectors see it.

    Attributes:
        groups: ``clean`` first, then attacks; the arrays of rivals and, as ``CDRP``, gates with them.
        controls: images that nobody attacked, to be flagged no more often than clean ones: noise as large as an
            attack, and natural mistakes.
        labels: true classes by group, −1 where there is none.
        unseen: attacks that detectors do without in training.
        about: how it was made: accuracy, attacks, seconds, rivals left out.
    """

    groups: Mapping[str, Group]
    controls: Mapping[str, Group]
    labels: Mapping[str, np.ndarray]
    unseen: tuple[str, ...]
    about: Row

    @property
    def attacks(self) -> list[Group]:
        """All groups but the clean one."""
        return [group for name, group in self.groups.items() if name != "clean"]


def open_case(case: Case, seed: int) -> tuple[nn.Module, Dataset]:
    """Return network and data; without a model LeNet-5 is trained."""
    model, source = (os.path.expandvars(spec or "") for spec in (case.model, case.data))
    if "$" in model + source:
        raise InputError(f"the data of this case are {case.data}; set the variable that is named there")
    if model:
        return open_network(model, source)
    data = load_data(source, seed=seed)
    return train_lenet(data, seed), data


def chosen_images(model: nn.Module, part: Part, case: Case, seed: int) -> tuple[Pixels, Tensor, Part, float]:
    """Return correctly classified images drawn by the seed, the rows of those to be attacked, and the others.

    The others are the misclassified ones; last comes the accuracy.
    """
    images = part.images[:]
    correct = correct_rows(model, images, part.labels, case.batch)
    order = torch.randperm(len(correct), generator=torch.Generator().manual_seed(seed))
    drawn = correct[order[: max(case.clean, case.sources)]].sort().values
    attacked = torch.isin(drawn, correct[order[: case.sources]]).nonzero()[:, 0]
    wrong = torch.ones(len(part), dtype=torch.bool)
    wrong[correct] = False
    clean = Pixels(images[drawn], np.arange(len(drawn)), part.labels[drawn].numpy())
    return clean, attacked, part.take(wrong), len(correct) / len(part)


def run_attack(
    model: nn.Module, clean: Pixels, attacked: Tensor, planned: Planned, case: Case, seed: int, cache: Path
) -> tuple[AdversarialSet, Tensor]:
    """Return what an attack made of the images that are to be attacked, or of some of them, and their rows."""
    count = len(attacked)
    few = planned.sources is not None and planned.sources < count
    rows = attacked[torch.linspace(0, count - 1, planned.sources or 0).long()] if few else attacked
    with track(planned.attack) as progress:
        made = attack(
            model, clean.images[rows], torch.from_numpy(clean.labels)[rows], planned.attack,
            settings=planned.settings, seed=seed, batch_size=case.batch, cache=cache, progress=progress,
        )  # fmt: skip
    return made, rows


def pixels_of(made: AdversarialSet, rows: Tensor, clean: Pixels) -> Pixels:
    """Return the images that fooled the network, their sources among all clean images."""
    source = made.source[made.succeeded]
    at = torch.where(source >= 0, rows[source.clamp(min=0)], -1).numpy()
    return Pixels(made.images[made.succeeded], at, np.where(at >= 0, clean.labels[np.maximum(at, 0)], -1))


def attack_row(made: AdversarialSet, planned: Planned) -> Row:
    norms = {key: round(value, 4) for key, value in made.norms()._asdict().items() if value == value}
    return {
        "attack": made.name, "succeeded": made.successes, "tried": made.tried, "unseen": planned.unseen,
        "settings": dict(made.settings), "median": norms,
    }  # fmt: skip


def noisy(model: nn.Module, clean: Pixels, like: Pixels, seed: int, batch: int) -> Pixels:
    """Return clean images with Gaussian noise as large (L2) as an attack on each; still classified correctly."""
    rows = like.source[like.source >= 0]
    own = clean.images[rows]
    sizes = (like.images[like.source >= 0] - own).flatten(1).norm(dim=1)
    noise = torch.randn(own.shape, generator=torch.Generator().manual_seed(seed))
    noise *= (sizes / noise.flatten(1).norm(dim=1))[:, None, None, None]
    made = (own + noise).clamp(0, 1)
    correct = correct_rows(model, made, torch.from_numpy(clean.labels[rows]), batch)
    return Pixels(made[correct], rows[correct], clean.labels[rows[correct]])


def class_paths_of(graph: Graph, train: Part, case: Case, *, theta: float | None = None) -> ClassPaths:
    """Return the class paths of a case, with the counts of synapses."""
    with track("class paths") as progress:
        return effpath.build_class_paths(
            graph, train.images, train.labels, theta=theta, levels=("synapses",),
            batch_size=case.batch, progress=progress,
        )  # fmt: skip


def training_part(data: Dataset, case: Case) -> Part:
    train = data.part("train")
    return train if case.per_class is None else train.first_of_each_class(case.per_class)


def made_of(
    case: Case, model: nn.Module, data: Dataset, seed: int, cache: Path
) -> tuple[dict[str, Pixels], dict[str, Pixels], Row]:
    """Return the groups, clean first, the controls, and how it went."""
    clean, attacked, mistakes, accuracy = chosen_images(model, data.part("test", "val"), case, seed)
    groups, rows = {"clean": clean}, {}
    for name, planned in case.attacks.items():
        made, chosen = run_attack(model, clean, attacked, planned, case, seed, cache)
        rows[name] = attack_row(made, planned)
        if made.successes:
            groups[name] = pixels_of(made, chosen, clean)
    controls = {
        f"noise as large as {name}": noisy(model, clean, groups[name], seed, case.batch)
        for name in groups
        if name.startswith(NOISE_LIKE) and "targeted" not in name
    }
    if len(mistakes):
        some = mistakes.take(torch.arange(len(mistakes))[: case.sources])
        controls["natural mistakes"] = Pixels(some.images[:], np.full(len(some), -1), some.labels.numpy())
    return groups, controls, {
        "accuracy": round(accuracy, 4), "clean_images": len(clean.images), "attacked_images": len(attacked),
        "attacks": rows,
    }  # fmt: skip


def gather(name: str, case: Case, *, seed: int = 0, rivals: Sequence[str] = tuple(RIVALS)) -> Seen:
    """Return what detectors see of a case; read from the cache where the same was gathered before."""
    model, data = open_case(case, seed)
    key = fingerprint(effpath.__version__, name, _plain(case), seed, list(rivals), state_fingerprint(model))
    file = default_cache_dir() / "seen" / f"{name}-{key[:24]}.npz"
    if file.exists():
        return _read(file)
    pixels, controls, about = made_of(case, model, data, seed, default_cache_dir())
    train = training_part(data, case)
    graph = effpath.capture(model, train.images[:1])
    seconds: Row = {}
    with _timed(seconds, "effective paths"):
        class_paths = class_paths_of(graph, train, case)
        fit = PathFit(class_paths)
        look = partial(effpath.path_features, graph, class_paths, fit=fit, batch_size=case.batch)
        with track("paths of images"):
            features = {group: look(own.images) for group, own in {**pixels, **controls}.items()}
    arrays: dict[str, dict[str, np.ndarray]] = {group: {} for group in pixels}
    if case.gates:
        with _timed(seconds, "CDRP"):
            for group, own in pixels.items():
                with track(f"gates of {group}") as progress:
                    gates = cdrp_gates(graph, own.images, batch_size=case.batch, progress=progress)
                arrays[group]["CDRP"] = gates.features().values
    skipped = {} if case.gates else {"CDRP": "left to studies/cdrp.py, on fewer images"}
    known = train if case.rivals_per_class is None else train.first_of_each_class(case.rivals_per_class)
    skipped.update(dict.fromkeys(case.without, "takes too long on this network"))
    for rival in [name for name in rivals if name not in case.without]:
        with _timed(seconds, rival), track(rival):
            own, why = fit_rivals(
                graph, known.images[:RIVAL_IMAGES], known.labels[:RIVAL_IMAGES], seed=seed,
                rivals={rival: RIVALS[rival]},
            )  # fmt: skip
            skipped.update(why)
            for group in pixels if rival in own else ():
                arrays[group][rival] = own[rival].measure(pixels[group].images)
    seen = Seen(
        {group: Group(group, features[group], own.source, arrays[group]) for group, own in pixels.items()},
        {group: Group(group, features[group], own.source) for group, own in controls.items()},
        {group: own.labels for group, own in {**pixels, **controls}.items()},
        tuple(attack for attack, planned in case.attacks.items() if planned.unseen),
        {
            "network": name, "data": data.name, "seed": seed, "training_images": len(train),
            "rival_images": min(len(known), RIVAL_IMAGES), "theta": class_paths.header.options.theta,
            "layers": [layer.name for layer in class_paths.header.layers],
            "class_path_density": [round(class_paths[c].density(), 5) for c in class_paths.classes],
            **about, "seconds": seconds, "skipped": skipped,
        },
    )  # fmt: skip
    atomic_write(file, partial(_write, seen))
    return _read(file)


@contextmanager
def _timed(seconds: Row, name: str) -> Iterator[None]:
    clock = time.process_time()
    yield
    seconds[name] = round(time.process_time() - clock, 1)


def _plain(case: Case) -> Row:
    """The case as plain values, without what has no part in what is gathered."""
    plain = asdict(replace(case, attacks={}))
    for name in ("paper", "thetas", "theta_sources", "theta_per_class"):
        del plain[name]
    return {**plain, "attacks": {name: asdict(planned) for name, planned in case.attacks.items()}}


def _write(seen: Seen, file: Path) -> None:
    arrays = {}
    for part, groups in (("groups", seen.groups), ("controls", seen.controls)):
        for name, group in groups.items():
            own = group.features
            assert own.fit is not None
            held = {
                "values": own.values, "classes": own.classes, "logits": own.logits, "fit": own.fit,
                "source": group.source, "labels": seen.labels[name],
                **{f"arrays/{rival}": array for rival, array in group.arrays.items()},
            }  # fmt: skip
            arrays.update({f"{part}|{name}|{key}": array for key, array in held.items()})
    first = seen.groups["clean"].features
    about = {"about": seen.about, "unseen": seen.unseen, "names": first.names, "fitted": first.fitted}
    with file.open("wb") as opened:
        np.savez_compressed(opened, about=np.array(json.dumps(about)), **arrays)


def _read(file: Path) -> Seen:
    with np.load(file) as held:
        about = json.loads(str(held["about"]))
        found: dict[str, dict[str, dict[str, np.ndarray]]] = {"groups": {}, "controls": {}}
        for key in held.files:
            if key != "about":
                part, name, field = key.split("|")
                found[part].setdefault(name, {})[field] = held[key]
    made: dict[str, dict[str, Group]] = {"groups": {}, "controls": {}}
    for part, groups in found.items():
        for name, own in groups.items():
            features = Features(
                own["values"], tuple(about["names"]), own["classes"], own["logits"], own["fit"],
                tuple(about["fitted"]),
            )  # fmt: skip
            arrays = {key.removeprefix("arrays/"): own[key] for key in own if key.startswith("arrays/")}
            made[part][name] = Group(name, features, own["source"], arrays)
    labels = {name: own["labels"] for groups in found.values() for name, own in groups.items()}
    return Seen(made["groups"], made["controls"], labels, tuple(about["unseen"]), about["about"])
