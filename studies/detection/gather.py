"""What every detector sees of a case: attacked images, their paths, what rivals measure; made once."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from detection.cases import Case, Planned
from detection.seen import Piece, Pixels, Row, Seen, assembled, kept, paths_piece
from effpath import ClassPaths, Graph
from effpath.attacks import AdversarialSet, attack
from effpath.class_paths.likelihood import PathLikelihood
from effpath.data import Dataset, Part, load_data
from effpath.detect import path_features
from effpath.errors import InputError
from effpath.files.cache import default_cache_dir, fingerprint, state_fingerprint
from effpath.files.progress import track
from effpath.models.predict import correct_rows
from rivals.table import RIVALS, fit_rivals
from sources import open_network, train_lenet

NOISE_LIKE = ("CWL2", "PGD")  # attacks whose L2 the controls of noise have, where they are there
RIVAL_IMAGES = 5000  # training images of rivals at most
OTHERS = tuple(RIVALS)  # what is seen beside paths


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
    source = made.fooling_rows
    at = torch.where(source >= 0, rows[source.clamp(min=0)], -1).numpy()
    return Pixels(made.fooling, at, np.where(at >= 0, clean.labels[np.maximum(at, 0)], -1))


def attack_row(made: AdversarialSet, planned: Planned) -> Row:
    norms = {key: round(value, 4) for key, value in made.norms()._asdict().items() if value == value}
    return {
        "attack": made.name, "succeeded": made.successes, "tried": made.tried, "unseen": planned.unseen,
        "settings": dict(made.settings), "median": norms,
    }  # fmt: skip


def thinned(pixels: Mapping[str, Pixels], count: int | None) -> dict[str, Pixels]:
    """Return evenly spread attacked images, what was made of them, and as many rows at most without a source."""
    attacked = np.unique(np.concatenate([group.source for name, group in pixels.items() if name != "clean"]))
    attacked = attacked[attacked >= 0]
    if count is None or count >= len(attacked):
        return dict(pixels)
    kept = attacked[np.linspace(0, len(attacked) - 1, count).round().astype(int)]
    found = {}
    for name, group in pixels.items():
        alone = np.flatnonzero(group.source < 0)[:count]
        rows = np.sort(np.concatenate([np.flatnonzero(np.isin(group.source, kept)), alone]))
        source = np.where(group.source[rows] < 0, -1, np.searchsorted(kept, group.source[rows]))
        if len(rows):
            found[name] = Pixels(group.images[rows], source, group.labels[rows])
    return found


def noisy(model: nn.Module, clean: Pixels, like: Pixels, seed: int, batch: int) -> Pixels:
    """Return clean images with Gaussian noise as large (L2) as an attack on each; still classified correctly."""
    rows = like.source[like.source >= 0]
    originals = clean.images[rows]
    sizes = (like.images[like.source >= 0] - originals).flatten(1).norm(dim=1)
    noise = torch.randn(originals.shape, generator=torch.Generator().manual_seed(seed))
    noise *= (sizes / noise.flatten(1).norm(dim=1))[:, None, None, None]
    made = (originals + noise).clamp(0, 1)
    correct = correct_rows(model, made, torch.from_numpy(clean.labels[rows]), batch)
    return Pixels(made[correct], rows[correct], clean.labels[rows[correct]])


def class_paths_of(graph: Graph, train: Part, case: Case, *, theta: float | None = None) -> ClassPaths:
    """Return the class paths of a case, with the counts of synapses."""
    with track("class paths") as progress:
        return effpath.build_class_paths(
            graph, train.images, train.labels, theta=theta, progress=progress,
            options=effpath.BuildOptions(("synapses",), batch_size=case.batch),
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


class _Making:
    """The pieces of what is seen of a case; attacked images are made, or read, when a piece is."""

    def __init__(self, name: str, case: Case, seed: int) -> None:
        self.name, self.case, self.seed = name, case, seed
        self.model, self.data = open_case(case, seed)
        self.train = training_part(self.data, case)

    @cached_property
    def graph(self) -> Graph:
        return effpath.capture(self.model, self.train.images[:1])

    @cached_property
    def known(self) -> Part:
        """The training images that rivals are fitted on."""
        count = self.case.rivals_per_class
        part = self.train if count is None else self.train.first_of_each_class(count)
        return part.take(torch.arange(min(len(part), RIVAL_IMAGES)))

    @cached_property
    def made(self) -> tuple[dict[str, Pixels], dict[str, Pixels], Row]:
        return made_of(self.case, self.model, self.data, self.seed, default_cache_dir())

    def paths(self) -> Piece:
        """Paths of every image, against the class paths of the training images."""
        pixels, controls, about = self.made
        clock = time.process_time()
        class_paths = class_paths_of(self.graph, self.train, self.case)
        likelihood = PathLikelihood(class_paths)
        look = partial(path_features, self.graph, class_paths, likelihood=likelihood, batch_size=self.case.batch)
        shown = {**pixels, **controls}
        with track("paths of images"):
            features = {group: look(shots.images) for group, shots in shown.items()}
        return paths_piece(
            features,
            shown,
            tuple(controls),
            {
                "network": self.name, "network_fingerprint": self.graph.fingerprint, "data": self.data.name,
                "seed": self.seed,
                "training_images": len(self.train), "theta": class_paths.header.options.theta,
                "layers": [layer.name for layer in class_paths.header.layers],
                "class_path_density": [round(class_paths[c].density(), 5) for c in class_paths.classes],
                **about, "seconds": round(time.process_time() - clock, 1),
            },
        )  # fmt: skip

    def rival(self, name: str) -> Piece:
        """What a rival measures of every image, fitted on training images."""
        pixels, _, _ = self.made
        clock = time.process_time()
        arrays = {}
        with track(name) as progress:
            fitted, why = fit_rivals(
                self.graph, self.known.images[:], self.known.labels, seed=self.seed, rivals={name: RIVALS[name]}
            )
            for group, shots in pixels.items() if fitted else ():
                arrays[group] = fitted[name].measure(shots.images)
                progress(len(arrays), len(pixels))
        skipped = {"skipped": why[name]} if why else {}
        return Piece(arrays, {"seconds": round(time.process_time() - clock, 1), **skipped})


def gather(name: str, case: Case, *, seed: int = 0, others: Sequence[str] = OTHERS) -> Seen:
    """Return what detectors see of a case; what was gathered before is read from the cache, piece by piece.

    Args:
        name: of the network, for tables.
        case: what is attacked, with what.
        seed: of training, images, attacks and rivals.
        others: what is seen beside paths.
    """
    making = _Making(name, case, seed)
    key = fingerprint(effpath.__version__, name, _plain(case), seed, state_fingerprint(making.model))
    folder = default_cache_dir() / "seen" / f"{name}-{key[:24]}"
    paths = kept(folder / "paths.npz", making.paths)
    pieces = {}
    for other in others:
        if other == "CDRP" and not case.gates:
            pieces[other] = Piece({}, {"seconds": 0.0, "skipped": "left to `--study cdrp`, on fewer images"})
        else:
            pieces[other] = kept(folder / f"{other}.npz", partial(making.rival, other))
    seen = assembled(paths, pieces, tuple(attack for attack, planned in case.attacks.items() if planned.unseen))
    return replace(seen, about={**seen.about, "rival_images": len(making.known)})


def _plain(case: Case) -> Row:
    """The case as plain values, without what has no part in what is gathered."""
    plain = asdict(replace(case, attacks={}))
    for name in ("paper", "gates", "thetas", "theta_sources", "theta_per_class"):
        del plain[name]
    return {**plain, "attacks": {name: asdict(planned) for name, planned in case.attacks.items()}}
