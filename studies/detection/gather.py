"""What every detector sees of a case: attacked images, their paths, what rivals measure; made once."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cached_property, partial
from pathlib import Path
from urllib.parse import quote

import numpy as np
import torch
from torch import Tensor, nn

import effpath
from detection.cases import RETRAINED, Case, Planned
from detection.conditions import conditions
from detection.minimal import minimal
from detection.patches import SQUARES, train_patches, with_squares
from detection.perturbations import train_perturbations
from detection.seen import (
    MISTAKES,
    Piece,
    Pixels,
    Row,
    Seen,
    assembled,
    kept,
    paths_piece,
    pixels_of,
    pixels_piece,
)
from detection.signs import SIGNS, Signs, columns_of, measured
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
OTHERS = (SIGNS, *RIVALS)  # what is seen beside paths
HEADING = "heading.npz"
UNUSED = ("paper", "gates", "thetas", "theta_sources", "theta_per_class")  # of a case, in what is gathered


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
        return part.take(torch.arange(min(len(part), RIVAL_IMAGES)))

    @cached_property
    def chosen(self) -> tuple[Pixels, Tensor, Part, float]:
        """Correctly classified images drawn by the seed, the rows of those to be attacked, and the others.

        The others are the misclassified ones, drawn too; last comes the accuracy. All are rounded to 8 bits.
        """
        part, case = self.data.part("test", "val"), self.case
        images = rounded(part.images[:])
        correct = correct_rows(self.model, images, part.labels, case.batch)
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

    def rival(self, name: str, shown: Mapping[str, Callable[[], Pixels]]) -> Piece:
        """What a rival measures of every image, by group as these are shown, fitted on training images."""
        clock = time.process_time()
        arrays, skipped = {}, {}
        with track(name) as progress:
            try:
                rival = RIVALS[name].fit(self.graph, self.known.images[:], self.known.labels, seed=self.seed)
            except (InputError, MissingExtraError) as error:  # not for this network, or a library is missing
                skipped = {"skipped": str(error)}
            for group, show in shown.items() if not skipped else ():
                arrays[group] = rival.measure(show().images)
                progress(len(arrays), len(shown))
        return Piece(arrays, {"seconds": round(time.process_time() - clock, 1), **skipped})


class Gathering:
    """What detectors see of a case, in pieces that are kept on disk: what is there is read."""

    def __init__(self, name: str, case: Case, seed: int, device: str = "cpu") -> None:
        """Take a case; ``name`` is that of the network, for tables. Forward passes are made on the device."""
        self.name, self.case = name, case
        self.making = Making(case, seed, device)
        plain = {key: value for key, value in asdict(case).items() if key not in UNUSED}
        key = fingerprint(effpath.__version__, name, plain, seed, state_fingerprint(self.making.model))
        self.folder = default_cache_dir() / "seen" / f"{name}-{key[:24]}"

    @cached_property
    def heading(self) -> Piece:
        """What is said of the case, and its groups; the class paths are kept beside it."""
        return kept(self.folder / HEADING, self._heading)

    @cached_property
    def class_paths(self) -> ClassPaths:
        """The class paths of the training images, built once."""
        store = self.folder / "class_paths"
        if store.exists():
            found = effpath.load_class_paths(store, self.making.graph)
            if found.seen == len(self.making.train):
                return found.loaded()
        return self.making.class_paths(store=store)

    @cached_property
    def look(self) -> Callable[[Tensor], Features]:
        return self.making.look(self.class_paths)

    @cached_property
    def signs(self) -> Signs:
        """What measures the signs of every profile; what they compare images with is kept."""
        making, file = self.making, self.folder / "reference.npz"
        return Signs.of(making.graph, self.class_paths, making.train, self.case.batch, file)

    def paths(self, group: str) -> Piece:
        """Paths of the images of a group, against the class paths of the training images."""
        return kept(self._file("paths", group), lambda: paths_piece(self.look, self.pixels(group)))

    def signs_of(self, group: str) -> Piece:
        """What the signs of every profile show of the images of a group."""
        return kept(self._file(SIGNS, group), lambda: measured(self.signs, self.pixels(group).images))

    def other(self, name: str) -> Piece:
        """What the signs, or a rival, measure of every image."""
        if name == SIGNS:
            pieces = {group: self.signs_of(group) for group in self.groups}
            arrays = {group: columns_of(piece) for group, piece in pieces.items()}
            return Piece(arrays, {"seconds": round(sum(piece.about["seconds"] for piece in pieces.values()), 1)})
        if name == "CDRP" and not self.case.gates:
            return Piece({}, {"seconds": 0.0, "skipped": "left to `--study cdrp`, on fewer images"})
        shown = {group: partial(self.pixels, group) for group in self.groups}
        return kept(self.folder / f"{name}.npz", partial(self.making.rival, name, shown))

    @property
    def groups(self) -> list[str]:
        """The groups, clean first, then the controls."""
        return list(self.heading.about["groups"]) + list(self.heading.about["controls"])

    def seen(self, others: Sequence[str]) -> Seen:
        """Return what is seen, made where it is not there."""
        paths = {group: self.paths(group) for group in self.groups}
        pieces = {other: self.other(other) for other in others}
        return assembled(self.case, self.heading, paths, pieces)

    def pixels(self, group: str) -> Pixels:
        """The images of a group, which are written with the heading, so that no process makes them again."""

        def made() -> Piece:
            groups, controls, _ = self.making.made
            return pixels_piece((groups | controls)[group])

        return pixels_of(kept(self._file("images", group), made))

    def _file(self, what: str, group: str) -> Path:
        return self.folder / what / f"{quote(group, safe=' ,')}.npz"

    def _heading(self) -> Piece:
        making, class_paths = self.making, self.class_paths
        pixels, controls, about = making.made
        for group, shots in (pixels | controls).items():
            kept(self._file("images", group), partial(pixels_piece, shots))
        return Piece({}, {
            "network": self.name, "network_fingerprint": making.graph.fingerprint, "data": making.data.name,
            "seed": making.seed, "training_images": len(making.train),
            "theta": class_paths.header.options.theta,
            "layers": [layer.name for layer in class_paths.header.layers],
            "class_path_density": [round(class_paths[c].density(), 5) for c in class_paths.classes],
            **about, "rival_images": len(making.known), "groups": list(pixels), "controls": list(controls),
        })  # fmt: skip


def gather(name: str, case: Case, *, seed: int = 0, others: Sequence[str] = OTHERS) -> Seen:
    """Return what detectors see of a case; what was gathered before is read from the cache, piece by piece.

    Args:
        name: of the network, for tables.
        case: what is attacked, with what.
        seed: of training, images, attacks and rivals.
        others: what is seen beside paths.
    """
    return Gathering(name, case, seed).seen(others)
