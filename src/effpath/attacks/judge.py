"""What the attacked model says, and what may be attacked at all."""

from __future__ import annotations

import torch
from torch import nn

from effpath.errors import CaptureError, InputError, NumericalError
from effpath.models.logits import find_logits, require_two_classes


def device_of(model: nn.Module) -> torch.device:
    """Where the model's weights are."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def predict(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Class int64 [N] of each image [N, C, H, W]; refuses logits that are not finite or not [N, classes]."""
    return _logits(model, images).argmax(1)


def count_classes(model: nn.Module, images: torch.Tensor) -> int:
    """How many classes the model tells apart, asked with the first of ``images`` [N, C, H, W]."""
    return _logits(model, images[:1].to(device_of(model))).shape[1]


def correct_rows(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, batch_size: int) -> torch.Tensor:
    """Rows int64 [M] of the images that the model classifies as labelled."""
    device = device_of(model)
    batches = torch.split(images, batch_size)
    predicted = torch.cat([predict(model, batch.to(device)).cpu() for batch in batches])
    return (predicted == labels).nonzero().squeeze(1)


def check(model: nn.Module, images: torch.Tensor, labels: torch.Tensor) -> None:
    """Refuse a model, images or labels that cannot be attacked."""
    if not isinstance(model, nn.Module):
        raise InputError(f"the model must be a torch.nn.Module; got {type(model).__name__}")
    if any(module.training for module in model.modules()):
        raise InputError("the model is in training mode: its predictions change between calls; call model.eval()")
    for what, given in (("images", images), ("labels", labels)):
        if not isinstance(given, torch.Tensor):
            raise InputError(
                f"expected {what} as a tensor, got {type(given).__name__}; make it one: torch.as_tensor of an "
                "array, torch.stack of a list, torch.cat of a loader's batches"
            )
    if images.ndim != 4 or images.dtype != torch.float32 or len(images) == 0:
        raise InputError(
            f"expected float32 images [N, C, H, W], N > 0; got shape {list(images.shape)} of {images.dtype}"
        )
    if labels.shape != (len(images),) or labels.dtype != torch.int64:
        raise InputError(
            f"expected int64 labels, one for each of {len(images)} images; got shape {list(labels.shape)} of "
            f"{labels.dtype}"
        )
    low, high = float(images.min()), float(images.max())
    if not (low >= 0 and high <= 1):  # NaN fails too
        raise InputError(
            f"images must lie in [0, 1]; got {low:g} to {high:g}. Move preprocessing into the model itself"
        )


def _logits(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """Logits [N, classes], finite."""
    with torch.no_grad():
        result = model(images)
    try:
        logits, _ = find_logits(result)
    except CaptureError as error:
        gave = list(result.shape) if isinstance(result, torch.Tensor) else type(result).__name__
        raise InputError(
            f"the model must give logits [N, classes]; for {len(images)} images it gave {gave}: {error}"
        ) from error
    if len(logits) != len(images):
        raise InputError(
            f"the model must give logits [N, classes]; for {len(images)} images it gave {list(logits.shape)}"
        )
    require_two_classes(logits.shape[1], "a prediction")
    finite = logits.isfinite().all(1)
    if not bool(finite.all()):
        raise NumericalError(
            f"the model gives NaN or infinite logits for {int((~finite).sum())} of {len(images)} images in "
            f"[0, 1]; look for broken weights"
        )
    return logits
