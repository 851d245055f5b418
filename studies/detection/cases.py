"""The networks that detection is judged on, each with its data, attacks and sizes; $EFFPATH_DATA holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

from effpath.attacks import ATTACKS
from effpath.cli.options import parse_attack
from effpath.errors import OptionError


@dataclass(frozen=True)
class Planned:
    """An attack that a case is judged on.

    Attributes:
        attack: a name of `ATTACKS`.
        settings: that differ from the attack's own.
        sources: attack only so many of the images, evenly spread; None for all.
        unseen: whether detectors do without it in training.
    """

    attack: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    sources: int | None = None
    unseen: bool = False


@dataclass(frozen=True)
class Case:
    """A network, its data, and how much of it is used.

    Attributes:
        data: as in `effpath.data.load_data`; variables are expanded.
        model: as in `effpath.models.load_model`; None trains LeNet-5 on the data.
        attacks: by the name of the row.
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


def planned(text: str) -> tuple[str, Planned]:
    """Read an attack from a command line; ``@n`` limits the images, ``!`` keeps it out of training.

    >>> planned("PGD:epsilon=0.3@50!")
    ('PGD epsilon=0.3', Planned(attack='PGD', settings={'epsilon': 0.3}, sources=50, unseen=True))
    """
    unseen = text.endswith("!")
    text, _, count = text.removesuffix("!").partition("@")
    attack, settings = parse_attack(text)
    if attack not in ATTACKS:
        raise OptionError(f"unknown attack {attack!r}; expected one of: {', '.join(ATTACKS)}")
    label = text.replace(":", " ").replace(",", " ")
    return label, Planned(attack, settings, int(count) if count else None, unseen)


def named(name: str, *, data: str | None, model: str | None, attacks: Sequence[str]) -> Case:
    """Return a case of the table, with other data, model or attacks where they are given."""
    if name not in CASES:
        raise OptionError(f"unknown case {name!r}; expected one of: {', '.join(CASES)}")
    case = CASES[name]
    if attacks:
        case = replace(case, attacks=dict(planned(text) for text in attacks))
    return replace(case, data=data or case.data, model=model or case.model)


_FEW = {"steps": 50, "binary_search_steps": 4, "initial_const": 1.0}  # of C&W, where a step is dear
_PLAIN = {name: Planned(name) for name in ("FGSM", "BIM", "DeepFool")}
_IMAGELESS = {"Random": Planned("Random", unseen=True), "Gaussian": Planned("RandomGaussian", unseen=True)}


def _photographs(mild: int) -> dict[str, Planned]:
    """Attacks on photographs, of ``mild`` of them with ε = 4/255."""
    return {
        **_PLAIN,
        "PGD 4/255": Planned("PGD", {"epsilon": 4 / 255}, mild),
        "PGD 8/255": Planned("PGD", unseen=True),
        **_IMAGELESS,
    }


def _small(carlini: Mapping[str, Any], mild: str, strong: str, slow: int | None = None) -> dict[str, Planned]:
    """Attacks on small images; ``mild`` and ``strong`` ε of PGD, ``slow`` images for the slowest attacks."""
    return {
        **_PLAIN,
        "JSMA": Planned("JSMA"),
        "CWL2": Planned("CWL2", carlini),
        f"PGD {mild}": Planned("PGD", {"epsilon": float(Fraction(mild))}),
        "FGSM targeted": Planned("FGSM_targeted", {}, slow, unseen=True),
        "CWL2 targeted": Planned("CWL2_targeted", carlini, slow, unseen=True),
        "CWL2 confidence 14": Planned("CWL2_confidence", carlini, slow, unseen=True),
        f"PGD {strong}": Planned("PGD", {"epsilon": float(Fraction(strong))}, unseen=True),
        "Patch 0.5": Planned("Patch", {"scale": 0.5, "steps": 200}, unseen=True),
        **_IMAGELESS,
    }


_LENET = {"FGSM": 0.92, "BIM": 0.92, "DeepFool": 0.92, "JSMA": 0.92, "CWL2": 0.92}
_RESNET = {"FGSM": 0.88, "BIM": 0.82, "DeepFool": 0.88, "JSMA": 0.88, "CWL2": 0.88}
_ALEXNET = {
    "FGSM": 0.85, "BIM": 0.82, "DeepFool": 0.85, "JSMA": 0.85, "CWL2": 0.85, "CWL2 targeted": 0.94,
    "Patch 0.5": 0.90, "Random": 0.91,
}  # fmt: skip
_QUICK = {"steps": 200, "stepsize": 0.05}
_IMAGENETTE = "imagefolder:$EFFPATH_DATA/imagenette"

CASES: dict[str, Case] = {
    "lenet_digits": Case("digits", None, _small(_QUICK, "0.1", "0.2")),
    "lenet_mnist": Case(
        "mnist:$EFFPATH_DATA/mnist", None, _small(_QUICK, "0.1", "0.3", slow=200), paper=_LENET,
        rivals_per_class=500, theta_sources=300, theta_per_class=1000,
    ),
    "resnet20_cifar10": Case(
        "cifar10:$EFFPATH_DATA/cifar10", "$EFFPATH_DATA/load.py:cifar10_resnet20",
        _small(_FEW, "4/255", "8/255", slow=100), sources=300, batch=100, rivals_per_class=300,
        theta_sources=150, theta_per_class=300,
    ),
    "resnet20_cifar100": Case(  # trained by studies/cifar100.py, of 250 images per class
        "cifar100:$EFFPATH_DATA/cifar100", "cifar100:network",
        _small(_FEW, "4/255", "8/255", slow=100), sources=300, batch=100, rivals_per_class=50,
        theta_sources=150, theta_per_class=50,
    ),
    "alexnet_imagenette": Case(
        _IMAGENETTE, "$EFFPATH_DATA/load.py:alexnet_imagenette",
        {
            **_photographs(75),
            "Patch 0.5": Planned("Patch", {"scale": 0.5, "steps": 100}, unseen=True),
            "CWL2": Planned("CWL2", _FEW, 75),
            "CWL2 confidence 14": Planned("CWL2_confidence", _FEW, 75, unseen=True),
            "CWL2 targeted": Planned("CWL2_targeted", _FEW, 25, unseen=True),
            "JSMA": Planned("JSMA", sources=10),
        },
        sources=150, clean=500, batch=25, paper=_ALEXNET, gates=False, rivals_per_class=50, theta_per_class=50,
    ),
    "resnet50_imagenette": Case(
        _IMAGENETTE, "$EFFPATH_DATA/load.py:resnet50_imagenette", _photographs(15), sources=30, clean=100,
        per_class=50, batch=15, paper=_RESNET, gates=False, rivals_per_class=30,
        thetas=(0.3, 0.5, 0.7), theta_sources=20, theta_per_class=20,
    ),
    "resnet50_paper": Case(  # the paper's attacks on more images, for studies that look at no rival
        _IMAGENETTE, "$EFFPATH_DATA/load.py:resnet50_imagenette",
        {**_PLAIN, "CWL2": Planned("CWL2", _FEW, 18)}, sources=60, clean=300, per_class=100,
        batch=15, paper=_RESNET, gates=False, rivals_per_class=30,
    ),
    "googlenet_imagenette": Case(
        _IMAGENETTE, "$EFFPATH_DATA/load.py:googlenet_imagenette", _photographs(15), sources=30,
        clean=100, per_class=50, batch=15, gates=False, rivals_per_class=30,
        thetas=(0.3, 0.5, 0.7), theta_sources=20, theta_per_class=20,
    ),
    "squeezenet_imagenet": Case(  # one image of each of 400 classes, undivided: for the growth of density alone
        "imagefolder:$EFFPATH_DATA/imagenet_val", "$EFFPATH_DATA/load.py:squeezenet1_1",
        _photographs(15), sources=30, clean=100, batch=15, gates=False,
    ),
}  # fmt: skip
