"""The networks that detection is judged on, each with its data, attacks and sizes; $EFFPATH_DATA holds them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from detection.elsewhere import CIFAR10, CIFAR100, DIGITS, IMAGENETTE, Elsewhere
from effpath.attacks import ATTACKS
from effpath.cli.options import parse_attack
from effpath.errors import OptionError

FLOAT = ", float"  # behind the name of an attack whose images are not rounded
RETRAINED = "trained with another seed"  # LeNet-5, as the network that an attack is searched on


@dataclass(frozen=True)
class Planned:
    """An attack that a case is judged on.

    Attributes:
        attack: a name of `ATTACKS`.
        settings: that differ from the attack's own.
        sources: attack only so many of the images, evenly spread; None for all.
        unseen: whether detectors do without it in training.
        floats: whether its images are kept as they are found, though no file of 8 bits per value can hold them.
            Such a row is shown beside the others, and counts in no mean.
        patches: so many patches, each for a target of its own, square and round in turn, trained on training
            images and pasted into a part of the images; or so many universal perturbations; 0 for other attacks.
        training: of universal perturbations, see `detection.perturbations.trained`.
        made_on: the network that it is searched on, as of `effpath.models.load_model`, or `RETRAINED`; None for
            the one that is judged. Images count that fool both.
    """

    attack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: int | None = None
    unseen: bool = False
    floats: bool = field(default=False, repr=False)
    patches: int = field(default=0, repr=False)
    training: Mapping[str, Any] = field(default_factory=dict, repr=False)
    made_on: str | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Case:
    """A network, its data, and how much of it is used.

    Attributes:
        data: as in `effpath.data.load_data`; variables are expanded.
        model: as in `effpath.models.load_model`; None trains LeNet-5 on the data.
        attacks: by the name of the row.
        corrupted: images that are corrupted, of each kind and strength.
        prepared_anew: images that are prepared again, with another crop and as JPEG.
        elsewhere: images of other data sets, by the name of the row.
        sources: correctly classified test images that are attacked, at most.
        clean: correctly classified test images in all, those included, at most.
        per_class: training images per class for class paths and rivals; None for all.
        batch: images attacked and extracted together; it is part of an attack's result.
        paper: AUC of the paper's linear detector by attack, the least where it gives a range.
        gates: whether critical data routing paths are trained for every image; they take 54 forward passes each.
        rivals_per_class: training images per class that rivals are fitted on; None for those of the class paths.
        thetas: of the study of θ.
        theta_sources, theta_per_class: of that study, where it takes fewer images.
    """

    data: str
    model: str | None
    attacks: Mapping[str, Planned]
    sources: int = 1000
    clean: int = 1000
    per_class: int | None = None
    batch: int = 256
    paper: Mapping[str, float] = field(default_factory=dict)
    gates: bool = True
    rivals_per_class: int | None = None
    thetas: Sequence[float] = (0.1, 0.3, 0.5, 0.7, 0.9)
    theta_sources: int | None = None
    theta_per_class: int | None = None
    corrupted: int = 0
    prepared_anew: int = 0
    elsewhere: Mapping[str, Elsewhere] = field(default_factory=dict)


def planned(text: str) -> tuple[str, Planned]:
    """Read an attack from a command line; ``@n`` limits the images, ``!`` keeps it out of training, ``~`` floats.

    >>> planned("PGD:epsilon=0.3@50!")
    ('PGD epsilon=0.3', Planned(attack='PGD', settings={'epsilon': 0.3}, sources=50, unseen=True))
    """
    floats, text = text.endswith("~"), text.removesuffix("~")
    unseen = text.endswith("!")
    text, _, count = text.removesuffix("!").partition("@")
    attack, settings = parse_attack(text)
    if attack not in ATTACKS:
        raise OptionError(f"unknown attack {attack!r}; expected one of: {', '.join(ATTACKS)}")
    label = text.replace(":", " ").replace(",", " ") + FLOAT * floats
    return label, Planned(attack, settings, int(count) if count else None, unseen, floats)


def named(
    name: str, *, data: str | None, model: str | None, attacks: Sequence[str], rows: Sequence[str] = ()
) -> Case:
    """Return a case of the table, with other data, model or attacks where they are given, or some of its rows."""
    if name not in CASES:
        raise OptionError(f"unknown case {name!r}; expected one of: {', '.join(CASES)}")
    case = CASES[name]
    if attacks:
        case = replace(case, attacks=dict(planned(text) for text in attacks))
    missing = [row for row in rows if row not in case.attacks]
    if missing:
        raise OptionError(f"unknown rows {', '.join(missing)} of {name}; there are {', '.join(case.attacks)}")
    if rows:
        case = replace(case, attacks={row: planned for row, planned in case.attacks.items() if row in rows})
    return replace(case, data=data or case.data, model=model or case.model)


# C&W where a step is dear: small steps, so that they end near the smallest change, and a constant that starts low
_FEW = {"steps": 200, "stepsize": 0.002, "binary_search_steps": 6, "initial_const": 0.01}
_FEWER = {"steps": 100, "stepsize": 0.002, "binary_search_steps": 5, "initial_const": 0.1}
_QUICK = {"steps": 200, "stepsize": 0.05}
_IMAGELESS = {"Random": Planned("Random", unseen=True), "Gaussian": Planned("RandomGaussian", unseen=True)}
_LARGE = ("0.1", "0.2", "0.3")  # ε of small grey images
PATCHES = 8  # for so many targets, of each kind; universal perturbations too
PUBLISHED = "$EFFPATH_PATCHES"  # a folder of patches of others


def _both(*names: str, sources: int | None = None, **settings: Mapping[str, Any]) -> dict[str, Planned]:
    """Attacks that stop at the border, with images that can be saved and as floats, the paper's."""
    return {
        name + FLOAT * floats: Planned(name, settings.get(name, {}), sources, unseen=floats, floats=floats)
        for name in names
        for floats in (False, True)
    }


def _patches(cells: int, steps: int, draws: int = 16) -> dict[str, Planned]:
    """Patches of half the image side: any, and smooth ones of ``cells`` × ``cells`` colours."""
    how = {"scale": 0.5, "steps": steps, "draws": draws}
    return {
        "Patch sharp": Planned("Patch", how, unseen=True, patches=PATCHES),
        "Patch smooth": Planned("Patch", {**how, "cells": cells}, unseen=True, patches=PATCHES),
    }


def published() -> dict[str, Planned]:
    """Patches of others, from the .npy and .png files in $EFFPATH_PATCHES; no row where it is unset.

    Each is pasted into a part of the images, and any class but the label counts. Results keep the names of files
    alone, and are made once: another patch needs another name.
    """
    files = patch_files()
    settings = {"file": PUBLISHED, "scale": 0.5}
    return {"Patch published": Planned("PatchFile", settings, unseen=True, patches=len(files))} if files else {}


def patch_files() -> list[Path]:
    """Return the files of the patches in $EFFPATH_PATCHES, by name; none where it is unset."""
    folder = os.environ.get("EFFPATH_PATCHES")
    if not folder:
        return []
    if not Path(folder).is_dir():
        raise OptionError(
            f"EFFPATH_PATCHES: expected a folder of patches, got {folder}; unset it, or name a folder"
        )
    return sorted(file for file in Path(folder).iterdir() if file.suffix in (".npy", ".png"))


def _bounded(attack: str, *bounds: str, **options: Any) -> dict[str, Planned]:
    """An attack within several ε."""
    return {f"{attack} {each}": Planned(attack, {"epsilon": float(Fraction(each))}, **options) for each in bounds}


def _universal(bound: str, steps: int, draws: int) -> dict[str, Planned]:
    """Universal perturbations within a bound."""
    training = {"epsilon": float(Fraction(bound)), "steps": steps, "draws": draws}
    return {f"Universal {bound}": Planned("Universal", unseen=True, patches=PATCHES, training=training)}


def _transferred(bound: str, network: str, made_on: str) -> dict[str, Planned]:
    """PGD that was searched on another network."""
    how = {"epsilon": float(Fraction(bound))}
    return {f"Transfer from {network}": Planned("PGD", how, unseen=True, made_on=made_on)}


def _held(elsewhere: Mapping[str, Elsewhere]) -> Mapping[str, Elsewhere]:
    """Images of other data sets, where their folders are known, for a case that needs no other folder."""
    return elsewhere if "EFFPATH_DATA" in os.environ else {}


def _photographs(*floats: str, cells: int, steps: int, draws: int = 16) -> dict[str, Planned]:
    """Attacks on photographs; of ``floats`` also those that cannot be saved."""
    minimal = {name: Planned(name) for name in ("FGSM", "BIM", "DeepFool")}
    return {
        **minimal,
        **{name + FLOAT: Planned(name, unseen=True, floats=True) for name in floats},
        **_bounded("PGD", "4/255"),
        **_bounded("PGD", "8/255", unseen=True),
        **_bounded("APGD", "8/255", unseen=True),
        **_bounded("AutoAttack", "8/255", unseen=True),
        **_patches(cells, steps, draws),
        **published(),
        **_universal("10/255", 3 * steps, draws),
        **_IMAGELESS,
    }


def _small(
    carlini: Mapping[str, Any],
    pgd: Sequence[str],
    apgd: Sequence[str],
    cells: int,
    universal: str,
    slow: int | None = None,
) -> dict[str, Planned]:
    """Attacks on small images: two ε of PGD, those of APGD, one of AutoAttack; ``slow`` images of the slowest."""
    return {
        **_both("FGSM", "BIM", "DeepFool", "CWL2", CWL2=carlini),
        "JSMA": Planned("JSMA"),
        **_bounded("PGD", pgd[0]),
        "FGSM targeted": Planned("FGSM_targeted", {}, slow, unseen=True),
        "CWL2 targeted": Planned("CWL2_targeted", carlini, slow, unseen=True),
        "CWL2 confidence 14": Planned("CWL2_confidence", carlini, slow, unseen=True),
        **_bounded("PGD", *pgd[1:], unseen=True),
        **_bounded("APGD", *apgd, unseen=True),
        **_bounded("AutoAttack", apgd[len(apgd) // 2], unseen=True),
        **_patches(cells, 500),
        **_universal(universal, 200, 64),
        **_IMAGELESS,
    }


_LENET = {"FGSM, float": 0.92, "BIM, float": 0.92, "DeepFool, float": 0.92, "JSMA": 0.92, "CWL2, float": 0.92}
_RESNET = {"FGSM, float": 0.88, "BIM, float": 0.82, "DeepFool, float": 0.88, "CWL2, float": 0.88}
_ALEXNET = {
    "FGSM, float": 0.85, "BIM, float": 0.82, "DeepFool, float": 0.85, "CWL2, float": 0.85, "CWL2 targeted": 0.94,
    "Patch sharp": 0.90, "Random": 0.91,
}  # fmt: skip
_MNIST, _CIFAR10, _CIFAR100 = (f"{each}:$EFFPATH_DATA/{each}" for each in ("mnist", "cifar10", "cifar100"))
_IMAGENETTE, _IMAGENET = "imagefolder:$EFFPATH_DATA/imagenette", "imagefolder:$EFFPATH_DATA/imagenet_val"
_FROM_RESNET18 = _transferred("8/255", "ResNet-18", "$EFFPATH_DATA/load.py:resnet18_imagenette")
_MET: dict[str, Any] = {  # by networks for Imagenette
    "corrupted": 12,
    "prepared_anew": 60,
    "elsewhere": {
        "other classes: ImageNet": Elsewhere(_IMAGENET, IMAGENETTE, same=False, count=60),
        "another source: ImageNet": Elsewhere(_IMAGENET, IMAGENETTE, same=True),
    },
}

CASES: dict[str, Case] = {  # JSMA takes two thousand rounds of three passes: it is left to small images
    "lenet_digits": Case(
        "digits", None,
        {
            **_small(_QUICK, ("0.1", "0.2"), _LARGE, cells=2, universal="0.3"),
            **_transferred("0.2", "another LeNet-5", RETRAINED),
        },
        corrupted=40,
        elsewhere=_held({
            "other classes: CIFAR-100, grey": Elsewhere(_CIFAR100, {}, same=False),
            "another source: MNIST": Elsewhere(_MNIST, DIGITS, same=True, border=-4, levels=16),
        }),
    ),
    "lenet_mnist": Case(
        _MNIST, None,
        {
            **_small(_QUICK, ("0.1", "0.3"), _LARGE, cells=4, universal="0.3", slow=200),
            **_transferred("0.2", "another LeNet-5", RETRAINED),
        },
        paper=_LENET, rivals_per_class=500, theta_sources=300, theta_per_class=1000, corrupted=40,
        elsewhere={
            "other classes: CIFAR-100, grey": Elsewhere(_CIFAR100, {}, same=False),
            "another source: scikit-learn's digits": Elsewhere("digits", DIGITS, same=True, border=4),
        },
    ),
    "resnet20_cifar10": Case(
        _CIFAR10, "$EFFPATH_DATA/load.py:cifar10_resnet20",
        {
            **_small(_FEW, ("4/255", "8/255"), ("8/255",), cells=4, universal="10/255", slow=100),
            **_transferred("8/255", "ResNet-56", "$EFFPATH_DATA/load.py:cifar10_resnet56"),
        },
        sources=300, batch=100, rivals_per_class=300, theta_sources=150, theta_per_class=300, corrupted=40,
        elsewhere={
            "other classes: CIFAR-100": Elsewhere(_CIFAR100, {}, same=False),
            "another source: ImageNet": Elsewhere(_IMAGENET, CIFAR10, same=True, per_class=20),
        },
    ),
    "resnet20_cifar100": Case(  # trained by studies/cifar100.py, of 250 images per class
        _CIFAR100, "cifar100:network",
        _small(_FEW, ("4/255", "8/255"), ("8/255",), cells=4, universal="10/255", slow=100),
        sources=300, batch=100, rivals_per_class=50, theta_sources=150, theta_per_class=50, corrupted=40,
        elsewhere={
            "other classes: CIFAR-10": Elsewhere(_CIFAR10, {}, same=False),
            "another source: ImageNet": Elsewhere(_IMAGENET, CIFAR100, same=True),
        },
    ),
    "alexnet_imagenette": Case(
        _IMAGENETTE, "$EFFPATH_DATA/load.py:alexnet_imagenette",
        {
            **_photographs("FGSM", "BIM", "DeepFool", cells=8, steps=100),
            **_FROM_RESNET18,
            **_both("CWL2", CWL2=_FEWER, sources=75),
            "CWL2 confidence 14": Planned("CWL2_confidence", _FEWER, 75, unseen=True),
            "CWL2 targeted": Planned("CWL2_targeted", _FEWER, 60, unseen=True),
        },
        sources=150, clean=500, batch=25, paper=_ALEXNET, gates=False, rivals_per_class=50, theta_per_class=50,
        **_MET,
    ),
    "resnet50_imagenette": Case(
        _IMAGENETTE, "$EFFPATH_DATA/load.py:resnet50_imagenette",
        {**_photographs("DeepFool", cells=8, steps=50, draws=8), **_FROM_RESNET18}, sources=60, clean=300,
        per_class=50, batch=15, paper={"DeepFool, float": 0.88}, gates=False,
        rivals_per_class=30, thetas=(0.3, 0.5, 0.7), theta_sources=20, theta_per_class=20, **_MET,
    ),
    "resnet50_paper": Case(  # the paper's attacks on more class paths, for studies that look at no rival
        _IMAGENETTE, "$EFFPATH_DATA/load.py:resnet50_imagenette",
        {**_both("FGSM", "BIM", "DeepFool"), **_both("CWL2", CWL2=_FEWER, sources=18)}, sources=60, clean=300,
        per_class=100, batch=15, paper=_RESNET, gates=False, rivals_per_class=30,
    ),
    "googlenet_imagenette": Case(
        _IMAGENETTE, "$EFFPATH_DATA/load.py:googlenet_imagenette",
        {**_photographs("DeepFool", cells=8, steps=50, draws=8), **_FROM_RESNET18}, sources=60, clean=300,
        per_class=50, batch=15, gates=False, rivals_per_class=30, thetas=(0.3, 0.5, 0.7), theta_sources=20,
        theta_per_class=20, **_MET,
    ),
    "squeezenet_imagenet": Case(  # one image of each of 400 classes, undivided: for the growth of density alone
        _IMAGENET, "$EFFPATH_DATA/load.py:squeezenet1_1",
        _photographs(cells=8, steps=50, draws=8), sources=60, clean=100, batch=15, gates=False,
    ),
}  # fmt: skip
