"""What a model says of images: its logits, wherever it returns them, and its classes, a batch at a time."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import keystr, tree_flatten_with_path

from effpath.errors import CaptureError, InputError, NumericalError
from effpath.images import Images

_WORDNET_ID = re.compile(r"n\d{8}")


def find_logits(result: Any) -> tuple[Tensor, int]:
    """Return the logits [N, classes] in the result of a model, and their index among its tensors.

    In a dict, tuple or the like they are what is called ``logits``, otherwise the only tensor of two dimensions.

    Raises:
        CaptureError: there are none, or several.
    """
    leaves = tree_flatten_with_path(result)[0]
    found = [(i, path) for i, (path, leaf) in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.dim() == 2]
    named = [(i, path) for i, path in found if "logits" in keystr(path)]
    if len(named or found) != 1:
        described = ", ".join(f"{keystr(path)} {_describe(leaf)}".strip() for path, leaf in leaves)
        raise CaptureError(
            f"expected a model that returns logits [N, classes], got {type(result).__name__} of {described}; "
            "wrap it in a module that returns the logits"
        )
    index = (named or found)[0][0]
    return leaves[index][1], index


def _describe(value: object) -> str:
    return f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__


class LogitsModel(nn.Module):
    """A model that returns only its logits, whatever they are wrapped in."""

    def __init__(self, network: nn.Module) -> None:
        """Keep the network in its mode."""
        super().__init__()
        self.network = network
        self.training = network.training

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [N, classes] of images x [N, C, H, W]."""
        return find_logits(self.network(x))[0]


def require_two_classes(classes: int, what: str) -> None:
    """Raise InputError for a network with one logit where a second class is needed."""
    if classes < 2:
        raise InputError(
            f"expected a network with a logit for each of at least 2 classes, got {classes}: {what} needs a "
            "second class; for a network with one logit z (before its sigmoid), wrap it in a module that returns "
            "torch.cat([-z, z], 1), and label its images 0 and 1"
        )


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's weights are; its buffers, if it has no weights; else the CPU."""
    return next((held.device for held in chain(model.parameters(), model.buffers())), torch.device("cpu"))


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits [N, classes] of images [N, C, H, W], on the model's device and without gradients.

    Raises:
        InputError: the model returns no logits, not one row for each image, or a single class.
        NumericalError: logits that are NaN or infinite.
    """
    with torch.no_grad():
        result = model(images.to(device_of(model)))
    must = f"the model must return logits [N, classes]; for {len(images)} images it gave"
    try:
        logits, _ = find_logits(result)
    except CaptureError as error:
        gave = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise InputError(f"{must} {gave}: {error}") from error
    if len(logits) != len(images):
        raise InputError(f"{must} {list(logits.shape)}")
    require_two_classes(logits.shape[1], "a prediction")
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        raise NumericalError(
            f"the model gives NaN or infinite logits for {int((~finite).sum())} of {len(images)} images in "
            f"[0, 1]; look for broken weights"
        )
    return logits


def predict(model: nn.Module, images: Images, batch_size: int | None = None) -> Tensor:
    """Return the class of each image, int64 [N], on the CPU; errors as of `logits_of`.

    Args:
        model: in eval mode.
        images: [N, C, H, W]; read a batch at a time where they are not in memory.
        batch_size: images together; None for all.
    """
    starts = range(0, len(images), batch_size or max(1, len(images)))
    found = [logits_of(model, images[start : start + starts.step]).argmax(1).cpu() for start in starts]
    return torch.cat([*found, torch.zeros(0, dtype=torch.int64)])


def correct_rows(model: nn.Module, images: Images, labels: Tensor, batch_size: int | None = None) -> Tensor:
    """Return the rows, int64 [M], of the images that the model classifies as labelled."""
    return (predict(model, images, batch_size) == labels.cpu()).nonzero()[:, 0]


def count_classes(model: nn.Module, images: Images) -> int:
    """Return how many classes the model tells apart, asked with the first of some images [N, C, H, W]."""
    return logits_of(model, images[:1]).shape[1]


def output_names(model: Any, outputs: int, otherwise: Sequence[str] = ()) -> tuple[str, ...]:
    """Return a name for each output; "" if it has none.

    The model's ``classes`` if there are as many; otherwise ``otherwise``. WordNet ids are replaced by ImageNet's
    words (``n03028079`` is a church) if timm is installed.

    Args:
        model: that has the outputs.
        outputs: their number.
        otherwise: names by output, such as those of a data set.

    Example:
        >>> output_names(object(), 3, ["cat", "dog"])
        ('cat', 'dog', '')
    """
    names = tuple(map(str, getattr(model, "classes", ())))
    if len(names) != outputs:
        names = tuple(map(str, otherwise))[:outputs]
    return _in_words(names + ("",) * (outputs - len(names)))


def _in_words(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return names with words for ImageNet's ids; for all 1000 outputs, if each id is at its index."""
    ids = {place: name for place, name in enumerate(names) if _WORDNET_ID.fullmatch(name)}
    if not ids:
        return names
    try:
        from timm.data import ImageNetInfo  # takes seconds, so only where there are ids
    except ImportError:
        return names
    imagenet = ImageNetInfo("imagenet-1k")
    first = [described.partition(",")[0] for described in imagenet.label_descriptions()]
    words = dict(zip(imagenet.label_names(), first, strict=True))
    if len(names) == len(words) and all(imagenet.index_to_label_name(place) == ids[place] for place in ids):
        return tuple(words.values())
    return tuple(words.get(name, name) for name in names)
