"""What a model says of images, a batch at a time: its logits, its classes, and which images it gets right."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from effpath.errors import CaptureError, InputError, NumericalError
from effpath.images import Images
from effpath.models.logits import find_logits, require_two_classes


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's weights are."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def logits_of(model: nn.Module, images: Tensor) -> Tensor:
    """Return the logits [N, classes] of images [N, C, H, W], on the model's device and without gradients.

    Raises:
        InputError: the model returns no logits, not one row for each image, or a single class.
        NumericalError: logits that are NaN or infinite.
    """
    with torch.no_grad():
        result = model(images.to(device_of(model)))
    try:
        logits, _ = find_logits(result)
    except CaptureError as error:
        gave = list(result.shape) if isinstance(result, Tensor) else type(result).__name__
        raise InputError(
            f"the model must return logits [N, classes]; for {len(images)} images it gave {gave}: {error}"
        ) from error
    if len(logits) != len(images):
        raise InputError(
            f"the model must return logits [N, classes]; for {len(images)} images it gave {list(logits.shape)}"
        )
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
