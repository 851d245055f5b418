"""Networks of torchvision and timm, behind the preprocessing that the library states for their weights."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from effpath.errors import InputError, MissingExtraError
from effpath.images import PictureFormat


class Normalise(nn.Module):
    """(x − mean) ÷ std of each channel; x is [N, C, H, W]."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Keep mean and std, one of each per channel, out of the state dict."""
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise images."""
        return (x - self.mean) / self.std


class PixelModel(nn.Module):
    """Logits of images in [0, 1]: a library's network behind the preprocessing it was trained with.

    Attributes:
        preprocess: the first layer.
        network: the library's module; its layers keep their names, prefixed by ``network.``.
        picture_format: how pictures are scaled and cropped for it.
        classes: names of the outputs; empty if they are not known.
    """

    def __init__(
        self, preprocess: nn.Module, network: nn.Module, picture_format: PictureFormat, classes: Sequence[str]
    ) -> None:
        """Put the preprocessing in front of the network."""
        super().__init__()
        self.preprocess, self.network = preprocess, network
        self.picture_format, self.classes = picture_format, tuple(classes)

    @property
    def input_size(self) -> tuple[int, int, int]:
        """(C, H, W) of one image."""
        return self.picture_format.shape

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, classes] of images x [N, C, H, W] in [0, 1]."""
        return self.network(self.preprocess(x))  # type: ignore[no-any-return]


def from_torchvision(name: str, classes: int | None = None) -> PixelModel:
    """Return a classification network of torchvision with random weights.

    ``name`` is ``resnet50`` or, for the preprocessing of other weights than the default ones,
    ``resnet50.IMAGENET1K_V1``.
    """
    try:
        import torchvision
        from torchvision.models import get_model, get_model_weights, list_models
    except ImportError as error:
        raise _missing("torchvision") from error

    name, _, version = name.partition(".")
    known = list_models(module=torchvision.models)
    if name not in known:
        raise InputError(_unknown("torchvision", name, known))
    versions = get_model_weights(name)
    if version and version not in versions.__members__:
        raise InputError(
            f"torchvision's {name} has no weights {version!r} for the preprocessing; there are "
            f"{', '.join(versions.__members__)}"
        )
    stated: Any = versions[version] if version else versions.DEFAULT
    transform = stated.transforms()
    (side,), (resize,) = transform.crop_size, transform.resize_size
    settings: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if name.startswith("vit_"):
        settings["image_size"] = side
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # about a random initialisation that may change
        network = get_model(name, weights=None, **settings)
    if hasattr(network, "transform_input"):  # Inception, GoogLeNet: their published weights need a second scaling
        network.transform_input = True
    picture_format = PictureFormat(3, side, side, resize, transform.interpolation.value)
    names = tuple(stated.meta["categories"]) if classes in (None, len(stated.meta["categories"])) else ()
    return PixelModel(Normalise(transform.mean, transform.std), network, picture_format, names)


def from_timm(name: str, classes: int | None = None) -> PixelModel:
    """Return a classification network of timm with random weights; ``name`` may carry a tag: ``name.tag``."""
    try:
        import timm
    except ImportError as error:
        raise _missing("timm") from error

    plain, _, tag = name.partition(".")
    if not timm.is_model(plain):
        raise InputError(_unknown("timm", plain, timm.list_models()))
    tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{plain}.*")]
    if tag and tag not in tags:
        raise InputError(f"timm's {plain} has no tag {tag!r}; there are {', '.join(tags) or 'none'}")
    network = timm.create_model(name, pretrained=False, **({} if classes is None else {"num_classes": classes}))
    stated = network.pretrained_cfg
    if stated.get("crop_mode") not in (None, "center", "squash"):
        raise InputError(f"pictures are not prepared for timm's {name}: its crop mode is {stated['crop_mode']!r}")
    channels, height, width = stated["input_size"]
    resize = math.floor(min(height, width) / stated["crop_pct"])
    squash = stated.get("crop_mode") == "squash"
    picture_format = PictureFormat(channels, height, width, resize, stated["interpolation"], squash)
    names = _timm_classes(network) if classes is None else ()
    return PixelModel(Normalise(stated["mean"], stated["std"]), network, picture_format, names)


def imagenet_ids() -> tuple[str, ...]:
    """Return ImageNet's 1000 WordNet ids in the order of the outputs, from timm; none without timm."""
    try:
        from timm.data import ImageNetInfo
    except ImportError:
        return ()
    return tuple(ImageNetInfo("imagenet-1k").label_names())


def _timm_classes(network: Any) -> tuple[str, ...]:
    from timm.data import ImageNetInfo, infer_imagenet_subset

    stated = network.pretrained_cfg.get("label_names")
    if stated:
        return tuple(stated)
    subset = infer_imagenet_subset(network)
    return tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()


def _unknown(scheme: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(name, known, n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else f"there are {', '.join(known[:6])} …"
    return f"{scheme} has no classification model {name!r}; {hint}"


def _missing(package: str) -> MissingExtraError:
    return MissingExtraError(f"{package} is not installed; install it with: pip install 'effpath[models]'")
