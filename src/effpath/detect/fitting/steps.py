"""From a network and data to a detector, in steps, each with its progress; the demo takes some of them too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from effpath.attacks import AdversarialSet, attack
from effpath.attacks.spec import Settings
from effpath.class_paths.build import Description, build_class_paths
from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.folder.build import build_store
from effpath.class_paths.folder.options import StoreOptions
from effpath.data import Dataset, Part
from effpath.detect.classifiers import reading_of, reweighs
from effpath.detect.detector import Detector
from effpath.detect.features import Features
from effpath.detect.fitting.options import ENOUGH, FitOptions
from effpath.detect.fitting.sources import draw, sources_of
from effpath.detect.signs.auxiliary import AuxiliaryNetwork, agreed_on, check_auxiliary
from effpath.detect.splits import digest_of, drawn_rows
from effpath.errors import InputError
from effpath.files.progress import Track
from effpath.graph.graph import Graph
from effpath.models.predict import device_of, find_logits, predict
from effpath.rules.plan import plan_for


def fit_detector(
    graph: Graph,
    model: nn.Module,
    data: Dataset,
    options: FitOptions,
    *,
    auxiliary: Graph | None = None,
    store: Path | None = None,
    cache: Path | None = None,
    track: Track,
    note: Callable[[str], None] = lambda text: None,
) -> Detector:
    """Return a detector for the network, fitted and calibrated, with what it was made from in ``about``.

    Class paths are built over the training part. Test (else validation) images are drawn by the seed and halved.
    Of one half, those that the network gets right are for fitting, clean and, where the kind needs it, attacked;
    all of the other fix the threshold, those included that the network gets wrong. No attack is made of an image
    that fixes the threshold. Every option is checked before the first image is read.

    Args:
        graph: of the model.
        model: in eval mode, from pixels in [0, 1] to logits.
        data: labelled by the outputs of the network, with images of every output unless outputs may be missing.
        options: see there.
        auxiliary: of another network, for the kind that asks one.
        store: a folder that keeps the class paths so far.
        cache: a folder that keeps finished attacks.
        track: gives a progress callback for a named step.
        note: takes what a person should know: images and classes that are left out.

    Raises:
        OptionError: an option outside its range, layers that the network does not have, an auxiliary network that
            nothing asks, or none where one is asked.
        InputError: too few images, attacks none of which succeeds, or an auxiliary network for other images or
            classes, or that disagrees about most clean images.
        ClassPathError: no training image of a class is predicted correctly.
    """
    options.check()
    check_auxiliary(options.kind, reading_of(options.kind).asks, graph, auxiliary)
    plan_for(graph, gates=False).choose_layers(options.layers)
    source = sources_of(data, options, note)
    train = source.train
    _check_outputs(graph.classes, train, data, options, note)
    parts = draw(model, source.test, options, train.labels)
    counts = reading_of(options.kind).wants_likelihood
    described = (
        f"{data.name} {source.train_name}, seed {options.seed}"
        + f", without {options.held_out_share} of each class" * (options.held_out_share is not None)
        + f", first {options.per_class} of each class" * bool(options.per_class)
    )
    class_paths = class_paths_step(
        graph,
        train,
        track,
        preset=options.preset,
        theta=options.theta,
        layers=options.layers,
        options=StoreOptions(("synapses",), counts, options.batch_size, options.allow_missing, strict=True),
        description=Description(data.classes, described),
        store=store,
    )
    detector = Detector(graph, class_paths, kind=options.kind, auxiliary=auxiliary, seed=options.seed)
    if detector.reader is not None and detector.reader.profile.compares:
        with track(f"{len(train)} images, to compare others with") as progress:
            detector.collect(train.images, train.labels, batch_size=options.batch_size, progress=progress)
    images = {name: source.test.take(parts[name]) for name in ("fit", "calibrate")}
    features = {}
    for name, part in images.items():
        with track(f"features of {len(part)} clean images to {name}") as progress:
            features[name] = detector.features(
                part.images, paths=name == "calibrate", batch_size=options.batch_size, progress=progress
            )
    known = [label in class_paths for label in images["fit"].labels.tolist()]
    clean = features["fit"][np.flatnonzero(known)]
    attacked: dict[str, Any] = {}
    if options.missing:
        note(
            f"{' and '.join(options.missing)} left out of the attacks that weigh the signs: pip install "
            "'effpath[attacks]' to have them"
        )
    adversarial = None
    if options.taught:
        part = images["fit"].take(torch.tensor(known))
        pixels, attacked = attacked_images(model, graph.classes, class_paths, part, options, cache, track)
        if len(pixels):
            with track(f"features of {len(pixels)} adversarial images") as progress:
                adversarial = detector.features(pixels, batch_size=options.batch_size, progress=progress)
    detector.fit(clean, adversarial)
    detector.calibrate(features["calibrate"], fpr=options.fpr)
    rows = {name: source.rows[drawn].tolist() for name, drawn in parts.items()}
    mistakes = features["calibrate"].classes[:, 0] != images["calibrate"].labels.numpy()
    detector.about = {
        "data": data.name,
        **source.about,
        "rows": rows,
        "calibrated_mistakes": int(mistakes.sum()),
        "digest": digest_of(source.whole.images, drawn_rows({"rows": rows})),
        "class_paths": {"images": class_paths.images, "seen": class_paths.seen, "classes": len(class_paths)},
        **({} if auxiliary is None else {"auxiliary": _agreement(clean)}),
        "attacks": attacked,
        "seed": options.seed,
        "batch_size": options.batch_size,
    }
    return detector


def _agreement(clean: Features) -> dict[str, int]:
    """Return of how many clean images the other network believes the answer, and how many there are."""
    return {"agreed": agreed_on(clean.suspicions(AuxiliaryNetwork.says)[:, 0]), "images": len(clean)}


def _check_outputs(
    outputs: int, train: Part, data: Dataset, options: FitOptions, note: Callable[[str], None]
) -> None:
    """Refuse, or note, outputs that no training image is labelled as."""
    lacking = sorted(set(range(outputs)) - set(train.labels.tolist()))
    if not lacking:
        return
    known = dict(enumerate(data.classes))
    names = [f"{known[at]} ({at})" if known.get(at) else str(at) for at in lacking]
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    if not options.allow_missing:
        raise InputError(
            f"expected data with training images of each of the network's {outputs} outputs, so that every one "
            f"has a class path, got none of {shown}; give --allow-missing (allow_missing=True) to leave these "
            "out: what the network takes for one of them is then flagged"
        )
    note(f"no training images of {shown}: what the network takes for one of these outputs will be flagged")


def class_paths_step(
    graph: Graph, part: Part, track: Track, *, store: Path | None = None, **options: Any
) -> ClassPaths:
    """Return the class paths of a part, in memory, with the options and errors of `build_store`.

    Where a store is named they are built there, and what it has is not built again.
    """
    with track(f"class paths of {len(part)} images") as progress:
        if store is None:
            return build_class_paths(graph, part.images, part.labels, progress=progress, **options)
        return build_store(store, graph, part.images, part.labels, progress=progress, **options).loaded()


def attack_steps(
    model: nn.Module, part: Part, attacks: Mapping[str, Settings], track: Track, **options: Any
) -> Iterator[AdversarialSet]:
    """Yield what each attack, by name with its settings, makes of a part; options and errors of `attack`."""
    images = part.images[:]
    for name, settings in attacks.items():
        with track(f"{name} on {len(part)} images") as progress:
            made = attack(model, images, part.labels, name, settings=settings, progress=progress, **options)
        yield made


def attacked_images(
    model: nn.Module,
    outputs: int,
    class_paths: ClassPaths,
    part: Part,
    options: FitOptions,
    cache: Path | None,
    track: Track,
) -> tuple[Tensor, dict[str, Any]]:
    """Return the adversarial images that all attacks made of a part, and how each went.

    An attack that was not named is made ever stronger, until it fools the network on half of the images that it
    attacks; the last is taken where none does. ``chosen_from`` says how each went, for those that were tried.

    Where some of the outputs have no class path, the attacks aim at those that have one: what ends elsewhere is
    flagged without a detector, and there is nothing to learn from it.

    Raises:
        InputError: no attack succeeds, and the kind has to learn from one.
    """
    known = torch.tensor(class_paths.classes)
    whole = len(known) == outputs
    attacked = model if whole else _Chosen(model, known.to(device_of(model)))
    labels = part.labels if whole else torch.searchsorted(known, part.labels)
    pixels, about = [], {}
    how = {"seed": options.seed, "batch_size": options.batch_size, "cache": cache}
    for name, settings in options.taught.items():
        tried = []
        for strength in options.strengths(name):
            own = {name: {**settings, **strength}}
            (made,) = attack_steps(attacked, Part(part.images, labels), own, _of_strength(track, strength), **how)
            fooling = made.fooling
            if not whole:
                fooling = fooling[torch.isin(predict(model, fooling, options.batch_size), known)]
            tried.append({**strength, "succeeded": len(fooling)})
            if len(fooling) >= ENOUGH * made.tried:
                break
        pixels.append(fooling)
        about[name] = {"settings": dict(made.settings), "tried": made.tried, "succeeded": len(fooling)}
        if strength:
            about[name]["chosen_from"] = tried
    if not sum(map(len, pixels)) and not reweighs(options.kind):
        raise InputError(
            f"none of {', '.join(options.taught)} fools the network on any of {len(part)} images"
            + (" into an output with a class path" * (not whole))
            + ": there is nothing to learn from; choose other attacks or settings, or kind clean, which needs none"
        )
    return torch.cat(pixels), about


def _of_strength(track: Track, strength: Mapping[str, Any]) -> Track:
    """Return what tracks steps of an attack of some strength, which their names tell."""
    said = "".join(f", {name} {value:.3g}" for name, value in strength.items())
    return lambda step: track(step + said)


class _Chosen(nn.Module):
    """Some of a network's logits."""

    outputs: Tensor

    def __init__(self, model: nn.Module, outputs: Tensor) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("outputs", outputs, persistent=False)
        self.train(model.training)

    def forward(self, x: Tensor) -> Tensor:
        return find_logits(self.model(x))[0][:, self.outputs]
