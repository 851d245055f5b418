"""What is made of a case when it is asked for: attacked images, their paths, what rivals measure."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from detection.cases import RETRAINED, Case, Planned
from detection.conditions import conditions
from detection.minimal import minimal
from detection.patches import SQUARES, train_patches, with_squares
from detection.perturbations import train_perturbations
from detection.seen import MISTAKES, Piece, Pixels, Row, kept
from effpath import ClassPaths, Features, Graph, StoreOptions
from effpath.attacks import ATTACKS, AdversarialSet
from effpath.attacks.adversarial_set import join
from effpath.attacks.saving import rounded
from effpath.attacks.spec import ANY, Settings
from effpath.class_paths.likelihood import PathLikelihood
from effpath.data import Dataset, Part, load_data
from effpath.detect import path_features
from effpath.detect.fitting import attack_steps, class_paths_step
from effpath.errors import InputError, MissingExtraError
from effpath.files.cache import default_cache_dir, fingerprint, state_fingerprint
from effpath.files.progress import track
from effpath.models import load_model
from effpath.models.predict import correct_rows, device_of, predict
from rivals import RIVALS
from sources import open_network, place_of, train_lenet

NOISE_LIKE = ("CWL2", "PGD")  # attacks whose L2 the controls of noise have, where they are there
RIVAL_IMAGES = 5000  # training images of rivals at most


def open_case(case: Case, seed: int) -> tuple[nn.Module, Dataset]:
    """Return network and data; without a model LeNet-5 is trained."""
    source = place_of(case.data)
    if case.model:
        return open_network(place_of(case.model), source)
    data = load_data(source, seed=seed)
    return train_lenet(data, seed), data


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
        if len(rows):
            some = group.take(rows)
            source = np.where(some.source < 0, -1, np.searchsorted(kept, some.source))
            found[name] = replace(some, source=source)
    return found


def savable(pixels: Mapping[str, Pixels], case: Case) -> dict[str, Pixels]:
    """Return the groups without those whose images are not rounded."""
    return {name: group for name, group in pixels.items() if name == "clean" or not case.attacks[name].floats}


def noisy(model: nn.Module, clean: Pixels, like: Pixels, seed: int, batch: int) -> Pixels:
    """Return clean images with Gaussian noise as large (L2) as an attack on each; still classified correctly.

    They are rounded to 8 bits, as attacked images are.
    """
    rows = like.source[like.source >= 0]
    originals = clean.images[rows]
    sizes = (like.images[like.source >= 0] - originals).flatten(1).norm(dim=1)
    noise = torch.randn(originals.shape, generator=torch.Generator().manual_seed(seed))
    noise *= (sizes / noise.flatten(1).norm(dim=1))[:, None, None, None]
    return still_correct(model, (originals + noise).clamp(0, 1), clean, rows, batch)


def still_correct(model: nn.Module, made: Tensor, clean: Pixels, rows: np.ndarray, batch: int) -> Pixels:
    """Return what was made of these clean images, rounded to 8 bits, where it is still classified correctly."""
    made = rounded(made)
    correct = correct_rows(model, made, torch.from_numpy(clean.labels[rows]), batch).numpy()
    return Pixels(made[correct], rows[correct], clean.labels[rows[correct]])


def for_rivals(part: Part) -> Part:
    """Return the training images that rivals are fitted on, of these."""
    return part.take(torch.arange(min(len(part), RIVAL_IMAGES)))


def spread(part: Part, count: int) -> Part:
    """Return so many images at most, evenly spread."""
    return part.take(torch.linspace(0, len(part) - 1, min(count, len(part))).round().long())


def patch_of(made: AdversarialSet, about: Row) -> np.ndarray | None:
    """Return the number of the patch in each fooling image; None where there are none."""
    if "patches" not in about:
        return None
    numbers = np.repeat(np.arange(len(about["patches"])), [each["tried"] for each in about["patches"]])
    return numbers[made.succeeded.numpy()]


def confirmed(model: nn.Module, made: AdversarialSet, batch: int) -> AdversarialSet:
    """Return an attack of which only those images count that fool the model here too, wherever they were found."""
    predicted = predict(model, made.images, batch)
    fooled = (predicted != made.labels) & ((made.targets == ANY) | (predicted == made.targets))
    return replace(made, predicted=predicted, succeeded=made.succeeded & fooled)


class Making:
    """What is made of a case, or read, when it is asked for: images, attacks, paths, what rivals measure."""

    def __init__(self, case: Case, seed: int, device: str = "cpu") -> None:
        """Open the network. Passes are made on the device; what fools the network there and on the CPU counts."""
        self.case, self.seed = case, seed
        self._fitted: tuple[str, Any] | None = None
        self.model, self.data = open_case(case, seed)
        self.attacked = self.model if device == "cpu" else copy.deepcopy(self.model).to(device)
        train = self.data.part("train", "all")
        self.train = train if case.per_class is None else train.first_of_each_class(case.per_class)

    @cached_property
    def graph(self) -> Graph:
        return effpath.capture(self.attacked, self.train.images[:1])

    @cached_property
    def known(self) -> Part:
        """The training images that rivals are fitted on."""
        count = self.case.rivals_per_class
        part = self.train if count is None else self.train.first_of_each_class(count)
        return for_rivals(part)

    def correct(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return the rows of images that are classified correctly, found once for all processes of a case."""
        key = fingerprint(effpath.__version__, self.case.model, state_fingerprint(self.model), images, labels)

        def found() -> Piece:
            return Piece({"rows": correct_rows(self.model, images, labels, self.case.batch).numpy()}, {})

        file = default_cache_dir() / "correct" / f"{key[:32]}.npz"
        return torch.from_numpy(kept(file, found).arrays["rows"])

    @cached_property
    def chosen(self) -> tuple[Pixels, Tensor, Part, float]:
        """Correctly classified images drawn by the seed, the rows of those to be attacked, and the others.

        The others are the misclassified ones, drawn too; last comes the accuracy. All are rounded to 8 bits.
        """
        part, case = self.data.part("test", "val"), self.case
        images = rounded(part.images[:])
        correct = self.correct(images, part.labels)
        order = torch.randperm(len(correct), generator=torch.Generator().manual_seed(self.seed))
        drawn = correct[order[: max(case.clean, case.sources)]].sort().values
        attacked = torch.isin(drawn, correct[order[: case.sources]]).nonzero()[:, 0]
        wrong = torch.ones(len(part), dtype=torch.bool)
        wrong[correct] = False
        others = wrong.nonzero()[:, 0]
        others = others[torch.randperm(len(others), generator=torch.Generator().manual_seed(self.seed))]
        clean = Pixels(images[drawn], np.arange(len(drawn)), part.labels[drawn].numpy())
        return clean, attacked, Part(images[others], part.labels[others]), len(correct) / len(part)

    def attack(self, planned: Planned) -> tuple[AdversarialSet, Tensor, Row]:
        """Return what an attack makes of the images to be attacked, or of so many of them.

        With it come the rows of its sources among the clean images, and what is said of its patches.
        """
        clean, rows, _, _ = self.chosen
        if planned.sources is not None and planned.sources < len(rows):
            rows = rows[torch.linspace(0, len(rows) - 1, planned.sources).long()]
        if not planned.patches:
            made = self._attacked(
                planned.attack, planned.settings, rows, planned.made_on, savable=not planned.floats
            )
            return made, rows, {"made_on": planned.made_on} if planned.made_on else {}
        labels = torch.from_numpy(clean.labels)[rows]
        folder = default_cache_dir() / "patches"
        made, chosen, about = [], [], []
        universal = planned.attack == "Universal"
        train, attack = (train_perturbations, "Universal") if universal else (train_patches, "PatchFile")
        for patch in train(self.attacked, self.known, labels, planned, self.graph.classes, self.seed, folder):
            found = self._attacked(attack, patch.settings, rows[patch.rows], savable=True)
            made.append(replace(found, source=found.source + sum(map(len, chosen))))
            chosen.append(rows[patch.rows])
            about.append({**patch.about, "succeeded": found.successes, "tried": found.tried})
        whole = replace(join(made), name=planned.attack, settings=planned.settings)
        return whole, torch.cat(chosen), {"patches": about}

    def _attacked(
        self, name: str, settings: Settings, rows: Tensor, made_on: str | None = None, *, savable: bool
    ) -> AdversarialSet:
        """Return what an attack makes of these clean images, searched on the network or on another."""
        clean = self.chosen[0]
        part = Part(clean.images[rows], torch.from_numpy(clean.labels)[rows])
        how = {"seed": self.seed, "batch_size": self.case.batch, "savable": savable, "cache": default_cache_dir()}
        model = self.attacked if made_on is None else self.another(made_on)
        (made,) = attack_steps(model, part, {name: settings}, track, **how)
        return confirmed(self.model, made, self.case.batch)

    def another(self, spec: str) -> nn.Module:
        """Return another network with the same classes, on the device where attacks are searched."""
        if spec == RETRAINED:
            model: nn.Module = train_lenet(self.data, self.seed + 1)
        else:
            model = load_model(place_of(spec))
            classes = getattr(self.model, "classes", self.data.classes)
            if tuple(model.classes) != tuple(classes):
                raise InputError(f"expected the classes {classes} of {spec}, got {model.classes}")
        return copy.deepcopy(model).to(device_of(self.attacked))

    def squares(self, clean: Pixels, attacked: Tensor) -> dict[str, Pixels]:
        """Return harmless squares as large as the patches, where the case has any."""
        planned = next((each for each in self.case.attacks.values() if each.patches and not each.training), None)
        if planned is None or len(attacked) < 2:
            return {}
        how = ATTACKS[planned.attack].merged(planned.settings)
        rows = attacked.numpy()
        found = {}
        for kind in SQUARES:
            pasted = with_squares(clean.images[rows], kind, how["scale"], math.radians(how["rotation"]), self.seed)
            found[f"square of {kind}"] = still_correct(self.model, pasted, clean, rows, self.case.batch)
        return found

    @cached_property
    def made(self) -> tuple[dict[str, Pixels], dict[str, Pixels], Row]:
        """The groups, clean first, the controls, and how it went."""
        clean, attacked, mistakes, accuracy = self.chosen
        groups, rows = {"clean": clean}, {}
        sizes: dict[str, dict[int, float]] = {}
        for name, planned in self.case.attacks.items():
            made, chosen, about = self.attack(planned)
            norms = {key: round(value, 4) for key, value in made.norms()._asdict().items() if value == value}
            rows[name] = {
                "attack": made.name, "succeeded": made.successes, "tried": made.tried, "unseen": planned.unseen,
                "floats": planned.floats, "settings": dict(made.settings), "median": norms, **about,
            }  # fmt: skip
            if made.successes:  # the images that fooled the network, with their sources among all clean images
                source = made.fooling_rows
                at = torch.where(source >= 0, chosen[source.clamp(min=0)], -1).numpy()
                sizes[name] = dict(zip(at.tolist(), made.distances[made.succeeded, 1].tolist(), strict=True))
                labels = np.where(at >= 0, clean.labels[np.maximum(at, 0)], -1)
                groups[name] = Pixels(made.fooling, at, labels, patch_of(made, about))
        for name, found in minimal(sizes, self.case.attacks).items():
            rows[name] |= found
        controls = {
            f"noise as large as {name}": noisy(self.model, clean, groups[name], self.seed, self.case.batch)
            for name in groups
            if name.startswith(NOISE_LIKE) and "targeted" not in name and not self.case.attacks[name].floats
        }
        controls |= self.squares(clean, attacked)
        controls |= conditions(self.case, clean, attacked, self.data.classes, self.seed)
        if len(mistakes):  # as many as come with the correct ones, or as are attacked
            count = max(self.case.sources, round(len(clean.images) * (1 - accuracy) / accuracy))
            some = mistakes.take(torch.arange(min(count, len(mistakes))))
            controls[MISTAKES] = Pixels(some.images[:], np.full(len(some), -1), some.labels.numpy())
        return groups, controls, {
            "accuracy": round(accuracy, 4), "clean_images": len(clean.images), "attacked_images": len(attacked),
            "attacks": rows,
        }  # fmt: skip

    def class_paths(self, theta: float | None = None, store: Path | None = None) -> ClassPaths:
        """Return the class paths of the training images, with counts of synapses; a store keeps them."""
        building = StoreOptions(("synapses",), batch_size=self.case.batch)
        return class_paths_step(self.graph, self.train, track, theta=theta, options=building, store=store)

    def look(self, class_paths: ClassPaths) -> Callable[[Tensor], Features]:
        """Return what sees images [N, C, H, W] by their paths."""
        likelihood = PathLikelihood(class_paths)
        return partial(path_features, self.graph, class_paths, likelihood=likelihood, batch_size=self.case.batch)

    def rival(self, name: str) -> Any:
        """Return a rival, fitted on training images; the last one that was asked for is held.

        Raises:
            InputError: it is not for this network.
            MissingExtraError: a library is missing.
        """
        if self._fitted is None or self._fitted[0] != name:
            known = self.known
            self._fitted = name, RIVALS[name].fit(self.graph, known.images[:], known.labels, seed=self.seed)
        return self._fitted[1]

    def measured_by(self, name: str, show: Callable[[], Pixels]) -> Piece:
        """What a rival measures of the images of a group."""
        clock = time.process_time()
        try:
            arrays, skipped = {"found": self.rival(name).measure(show().images)}, {}
        except (InputError, MissingExtraError) as error:
            arrays, skipped = {}, {"skipped": str(error)}
        return Piece(arrays, {"seconds": round(time.process_time() - clock, 1), **skipped})
