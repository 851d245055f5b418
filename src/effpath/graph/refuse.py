"""Models and examples that cannot be captured: why, and what to do instead."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from effpath.errors import CaptureError, InputError


def refuse_model(model: Any) -> None:
    """Refuse anything but a module in eval mode with Python source and float weights.

    Raises:
        CaptureError: not a module, scripted, quantised, or with batch norm or dropout in train mode.
    """
    if not isinstance(model, nn.Module):
        raise CaptureError(
            f"expected a torch.nn.Module, got {type(model).__name__}; build the network from its class and load "
            "its weights with load_state_dict"
        )
    for path, module in model.named_modules():
        kind, place = type(module).__name__, f"module {path or '(top)'!r}"
        if isinstance(module, torch.jit.ScriptModule):
            raise CaptureError(
                f"expected a model with Python source, got a scripted or traced one ({place}, {kind}): "
                "torch.export cannot read it; build the model from its class, and load its weights with "
                "model.load_state_dict(scripted.state_dict())"
            )
        if type(module).__module__.startswith("torch.") and ".quantized" in type(module).__module__:
            raise CaptureError(
                f"expected a model with float weights, got a quantised one ({place}, {kind}): its sums are hidden "
                "in packed weights; capture the float model that it was made of"
            )
        if module.training and ("BatchNorm" in kind or "Dropout" in kind or "DropPath" in kind):
            raise CaptureError(
                f"expected a model in eval mode, but {place} ({kind}) is in train mode: "
                "its output depends on the batch or is random; call model.eval() first"
            )


def refuse_example(example: Any) -> None:
    """Refuse anything but a batch of float images.

    Raises:
        InputError: another type, no image, or integers.
    """
    if not isinstance(example, Tensor) or example.dim() < 2 or not len(example):
        got = f"shape {tuple(example.shape)}" if isinstance(example, Tensor) else type(example).__name__
        raise InputError(f"expected an example batch of images [N, C, H, W], got {got}")
    if example.dtype in (torch.int32, torch.int64):
        raise InputError(
            f"expected an example of floats, got {example.dtype}: numbers of tokens have no contributions "
            "(products of input and weight); capture the part of the model behind its embedding"
        )
    if not example.is_floating_point():
        raise InputError(
            f"expected an example of floats, got {example.dtype}: attacks need numbers between the integers; wrap "
            "a model of integer pixels in a module that takes floats in [0, 1] and calls it with "
            "(255 * x + 0.5).to(torch.uint8)"
        )


def failed_run(model: nn.Module, example: Tensor, error: Exception) -> InputError:
    """Return the error of a model that cannot run on an example, with the likeliest remedy."""
    shape = tuple(example.shape)
    channels = {m.in_channels for m in model.modules() if isinstance(m, nn.Conv2d)}
    looked_up = [name for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
    if looked_up and "indices" in str(error):
        remedy = (
            f"module {looked_up[0]!r} looks up numbers of tokens, which have no contributions; capture the part "
            "of the model behind its embedding, with embedded tokens"
        )
    elif len(shape) == 4 and shape[3] in channels and shape[1] not in channels:
        remedy = (
            "the channels seem to be last; pass images [N, C, H, W]: images.permute(0, 3, 1, 2), here and to "
            "every function after it"
        )
    elif len(shape) == 4 and shape[1] in channels and shape[3] not in channels and "channels" in str(error):
        remedy = (
            "the model seems to take channels last; pass images [N, H, W, C]: images.permute(0, 2, 3, 1), here "
            "and to every function after it"
        )
    else:
        remedy = (
            "pass an example of the shape the model takes, and wrap a model of several inputs in a module that "
            "takes images alone"
        )
    return InputError(f"the model cannot run on an example of shape {shape}: {error}; {remedy}")
