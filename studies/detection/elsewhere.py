"""Images of other data sets: of classes that a network does not have, or of its classes from another source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from effpath.data import Part, load_data
from effpath.images import PictureFormat
from sources import place_of

GREY = (0.299, 0.587, 0.114)  # of red, green, blue (ITU-R BT.601)
DIGITS = {str(digit): (digit,) for digit in range(10)}
IMAGENETTE = {  # class: its numbers in ImageNet
    "tench": (0,), "English springer": (217,), "cassette player": (482,), "chain saw": (491,), "church": (497,),
    "French horn": (566,), "garbage truck": (569,), "gas pump": (571,), "golf ball": (574,), "parachute": (701,),
}  # fmt: skip
CIFAR10 = {  # ImageNet has no deer, and antelopes are none
    "airplane": (404, 895), "automobile": (436, 468, 511, 609, 627, 656, 817),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)), "cat": tuple(range(281, 286)), "deer": (),
    "dog": tuple(range(151, 269)), "frog": (30, 31, 32), "horse": (339,),
    "ship": (403, 484, 510, 554, 628, 724, 780, 814, 871, 914), "truck": (555, 569, 675, 864, 867),
}  # fmt: skip
CIFAR100 = {  # those whose name or kind is plainly that of a class of ImageNet
    "apple": (948,), "bear": tuple(range(294, 298)), "beaver": (337,), "bee": (309,),
    "beetle": tuple(range(300, 308)), "bicycle": (444, 671), "bottle": (440, 898, 907), "bowl": (659, 809),
    "bridge": (821, 839, 888), "bus": (654, 779, 874), "butterfly": tuple(range(321, 327)), "camel": (354,),
    "castle": (483,), "chair": (423, 559, 765), "chimpanzee": (367,), "clock": (409, 530, 892),
    "cockroach": (314,), "couch": (831,), "crab": tuple(range(118, 122)), "crocodile": (49, 50), "cup": (968,),
    "elephant": (385, 386), "fox": (277, 278, 279, 280), "hamster": (333,), "keyboard": (508,),
    "lawn_mower": (621,), "leopard": (288,), "lion": (291,), "lizard": tuple(range(38, 49)),
    "lobster": (122, 123), "mushroom": (947, 992, 997), "orange": (950,), "otter": (360,), "porcupine": (334,),
    "rabbit": (330, 331, 332), "ray": (5, 6), "shark": (2, 3, 4), "skunk": (361,), "snail": (113,),
    "snake": tuple(range(52, 69)), "spider": tuple(range(72, 78)), "streetcar": (829,), "sweet_pepper": (945,),
    "tank": (847,), "telephone": (528, 707), "television": (851,), "tiger": (292,), "tractor": (866,),
    "train": (466, 547, 820), "turtle": tuple(range(33, 38)), "wardrobe": (894,), "whale": (147, 148),
    "wolf": (269, 270),
}  # fmt: skip


@dataclass(frozen=True)
class Elsewhere:
    """Images of another data set, in the shape that a network takes.

    Attributes:
        data: as in `effpath.data.load_data`; variables are expanded.
        classes: the classes of the network that are there too, with their labels there.
        same: take the images of these classes, rather than those of all others.
        count: evenly spread, at most.
        per_class: the first so many of each class of the network, where its classes are taken; None for all.
        border: black pixels around what is scaled; a negative number cuts so many off before it is.
        levels: steps of a value between 0 and 1.
    """

    data: str
    classes: Mapping[str, Sequence[int]]
    same: bool
    count: int = 100
    per_class: int | None = None
    border: int = 0
    levels: int = 255


def read(wanted: Elsewhere, classes: Sequence[str], shape: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return images, float32 [N, C, H, W], and labels, int64 [N]: outputs of the network, −1 for other classes.

    Args:
        wanted: which images.
        classes: of the network, in the order of its outputs.
        shape: (C, H, W), which the network takes.
    """
    pictures = PictureFormat(*shape) if wanted.data.startswith("imagefolder:") else None
    data = load_data(place_of(wanted.data), picture_format=pictures)
    part = data.part("test", "val", "all")
    here = {name: labels for name, labels in wanted.classes.items() if name in classes}
    output = {label: classes.index(name) for name, labels in here.items() for label in labels}
    labels = torch.tensor([output.get(label, -1) for label in part.labels.tolist()])
    chosen = Part(part.images, labels, part.names).take((labels >= 0) == wanted.same)
    if wanted.same and wanted.per_class is not None:
        chosen = chosen.first_of_each_class(wanted.per_class)
    rows = torch.linspace(0, len(chosen) - 1, min(wanted.count, len(chosen))).round().long()
    found = chosen.take(rows)
    return fitted(found.images[:], shape, wanted.border, wanted.levels), found.labels


def fitted(images: Tensor, shape: Sequence[int], border: int = 0, levels: int = 255) -> Tensor:
    """Return images [N, C, H, W] in another shape (C, H, W), with values of so many steps; see `Elsewhere`."""
    channels, height, width = shape
    if images.shape[1] == 3 and channels == 1:
        images = (images * torch.tensor(GREY)[:, None, None]).sum(1, keepdim=True)
    images = images.expand(-1, channels, -1, -1)
    if border < 0:
        images = images[:, :, -border:border, -border:border]
    frame = max(0, border)
    size = [height - 2 * frame, width - 2 * frame]
    if list(images.shape[2:]) != size:
        images = functional.interpolate(images, size, mode="bilinear", antialias=True)
    images = functional.pad(images, (frame,) * 4)
    return (images.clamp(0, 1) * levels).round() / levels
