"""Networks of torchvision and timm, with the preprocessing that the library states for its weights."""

from __future__ import annotations

import difflib
import math
import warnings
from collections.abc import Iterable
from typing import Any

from effpath.errors import InputError, MissingExtraError
from effpath.images import PictureFormat
from effpath.models.pixel_model import Normalise, PixelModel


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
    names = tuple(stated.meta["categories"])
    return PixelModel(
        Normalise(transform.mean, transform.std),
        network,
        PictureFormat(3, side, side, resize, transform.interpolation.value),
        names if classes in (None, len(names)) else (),
    )


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
    return PixelModel(
        Normalise(stated["mean"], stated["std"]),
        network,
        PictureFormat(
            channels,
            height,
            width,
            resize=math.floor(min(height, width) / stated["crop_pct"]),
            interpolation=stated["interpolation"],
            squash=stated.get("crop_mode") == "squash",
        ),
        _timm_classes(network) if classes is None else (),
    )


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
