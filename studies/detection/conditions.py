"""What a detector meets that nobody attacked: corrupted images, other classes, photographs of another source.

The corruptions are five of those of Hendrycks and Dietterich (2019), of each of their categories one or two, at
their five strengths: those of ImageNet-C for photographs, of CIFAR-10-C for small images. The code is our own: the
disc of a blur is smoothed by a Gaussian that is not cut off at one pixel.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from detection.cases import Case
from detection.elsewhere import read
from detection.seen import Pixels
from effpath.attacks.saving import rounded

SMALL = 64  # pixels of a side, at most, of images with the strengths of CIFAR-10-C
STRENGTHS = (1, 2, 3, 4, 5)
Strengths = Sequence[float | tuple[float, float]]
PHOTOGRAPHS: Mapping[str, Strengths] = {
    "Gaussian noise": (0.08, 0.12, 0.18, 0.26, 0.38),  # standard deviation
    "defocus blur": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),  # radius, deviation of the smoothing
    "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),  # added to the value of hue, saturation, value
    "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),  # share of the difference from the mean that is left
    "JPEG": (25, 18, 15, 10, 7),  # quality
}
SMALL_IMAGES: Mapping[str, Strengths] = {
    "Gaussian noise": (0.04, 0.06, 0.08, 0.09, 0.10),
    "defocus blur": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
    "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
    "JPEG": (80, 65, 58, 50, 40),
}
KINDS = tuple(PHOTOGRAPHS)
PREPARED_ANEW = "another preparation"
KEPT, QUALITY = 7 / 8, 85  # of the side of a picture that is prepared anew, and of its JPEG


def conditions(
    case: Case, clean: Pixels, attacked: Tensor, classes: Sequence[str], seed: int
) -> dict[str, Pixels]:
    """Return what a case is to be shown beside attacks, rounded to 8 bits, correctly classified or not.

    Corrupted images are of clean ones that are attacked too, others for each kind, the same for all strengths.

    Args:
        case: how many of each.
        clean: correctly classified images.
        attacked: int64 [M], the rows of those that are attacked.
        classes: of the network, in the order of its outputs.
        seed: of the noise.
    """
    found = {}

    def made(rows: np.ndarray, change: Callable[[Tensor], Tensor]) -> Pixels:
        return Pixels(rounded(change(clean.images[rows])), rows, clean.labels[rows])

    for number, kind in enumerate(KINDS if case.corrupted else ()):
        rows = dealt(attacked.numpy(), case.corrupted, number)
        for strength in STRENGTHS:
            found[f"{kind} {strength}"] = made(rows, lambda x, k=kind, s=strength: corrupted(x, k, s, seed))
    if case.prepared_anew:
        found[PREPARED_ANEW] = made(spread_over(attacked.numpy(), case.prepared_anew), prepared_anew)
    for name, wanted in case.elsewhere.items():
        images, labels = read(wanted, classes, clean.images.shape[1:])
        found[name] = Pixels(rounded(images), np.full(len(images), -1), labels.numpy())
    return found


def spread_over(rows: np.ndarray, count: int) -> np.ndarray:
    """Return so many of the rows at most, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)]


def dealt(rows: np.ndarray, count: int, kind: int) -> np.ndarray:
    """Return so many of the rows at most for one of the kinds, evenly spread; kinds share none if they suffice."""
    together = np.linspace(0, len(rows) - 1, count * len(KINDS)).round().astype(int)
    return rows[np.unique(together[kind :: len(KINDS)])]


def corrupted(images: Tensor, kind: str, strength: int, seed: int) -> Tensor:
    """Return images [N, C, H, W] in [0, 1] with one of `KINDS` at a strength of 1 to 5; the seed draws noise."""
    table = SMALL_IMAGES if min(images.shape[2:]) <= SMALL else PHOTOGRAPHS
    return _CHANGES[kind](images, table[kind][strength - 1], seed).clamp(0, 1)


def prepared_anew(images: Tensor) -> Tensor:
    """Return images as another program might have prepared them: without their border, scaled, and as JPEG."""
    height, width = images.shape[2:]
    cut = [round(side * (1 - KEPT) / 2) for side in (height, width)]
    inner = images[:, :, cut[0] : height - cut[0], cut[1] : width - cut[1]]
    scaled = functional.interpolate(inner, [height, width], mode="bicubic", antialias=True)
    return _jpeg(scaled.clamp(0, 1), QUALITY, 0)


def _noise(images: Tensor, deviation: float, seed: int) -> Tensor:
    return images + deviation * torch.randn(images.shape, generator=torch.Generator().manual_seed(seed))


def _blur(images: Tensor, how: tuple[float, float], seed: int) -> Tensor:
    """Return images seen through a lens out of focus: the mean over a disc, mirrored at the borders."""
    kernel = disc(*how)
    reach = len(kernel) // 2
    channels = images.shape[1]
    padded = functional.pad(images, (reach,) * 4, mode="reflect")
    return functional.conv2d(padded, kernel.expand(channels, 1, -1, -1), groups=channels)


def disc(radius: float, smoothing: float) -> Tensor:
    """Return a kernel [2R + 1, 2R + 1] that sums to 1: the pixels within a radius, smoothed by a Gaussian."""
    reach = math.ceil(radius + 3 * smoothing)
    places = torch.arange(-reach, reach + 1, dtype=torch.float32)
    inside = (places.square() + places[:, None].square() <= radius**2).float()
    bell = torch.exp(-places.square() / (2 * smoothing**2))
    smoothed = functional.conv2d(inside[None, None], (bell * bell[:, None])[None, None], padding=reach)[0, 0]
    return smoothed / smoothed.sum()


def _brightness(images: Tensor, added: float, seed: int) -> Tensor:
    """Return images whose largest channel is raised, hue and saturation kept."""
    value = images.amax(1, keepdim=True)
    raised = (value + added).clamp(max=1)
    return torch.where(value > 0, images * (raised / value.clamp(min=1e-6)), raised)


def _contrast(images: Tensor, left: float, seed: int) -> Tensor:
    means = images.mean((2, 3), keepdim=True)
    return (images - means) * left + means


def _jpeg(images: Tensor, quality: float, seed: int) -> Tensor:
    """Return images after JPEG, grey ones as grey pictures."""
    found = []
    for pixels in (images * 255).round().byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
            file, "JPEG", quality=int(quality)
        )
        with Image.open(file) as opened:
            found.append(torch.from_numpy(np.asarray(opened).reshape(pixels.shape).copy()))
    return torch.stack(found).permute(0, 3, 1, 2).float() / 255


_CHANGES: Mapping[str, Callable[..., Tensor]] = {
    "Gaussian noise": _noise, "defocus blur": _blur, "brightness": _brightness, "contrast": _contrast,
    "JPEG": _jpeg,
}  # fmt: skip
