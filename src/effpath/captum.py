"""Effective paths as attributions, called as those of Captum are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from effpath.errors import InputError, OptionError
from effpath.graph import Graph, capture
from effpath.graph.inputs import as_classes
from effpath.kernels.options import Options, make_options
from effpath.views.pixels import pixel_maps
from effpath.walk.recording import recordings

Target = int | Tensor | Sequence[int] | None


class EffectivePath:
    """Attributes an output to the pixels that its effective path reads.

    Called as the attribution methods of Captum are, so that it can stand in a list of them. Captum itself is not
    needed. The network is captured at the first call for each shape of images: make a new one after its weights
    have changed.

    Example::

        for method in (captum.attr.IntegratedGradients(model), effpath.captum.EffectivePath(model)):
            attributions = method.attribute(images, target=3)
    """

    def __init__(
        self, forward_func: nn.Module, *, preset: str | Options = "default", theta: float | None = None
    ) -> None:
        """Keep the network and how paths are extracted.

        Args:
            forward_func: the network, in eval mode; a module, as its layers are looked at.
            preset, theta: of the extraction, as in `extract`.

        Raises:
            InputError: a function that is no module.
            OptionError: an option outside its range.
        """
        if not isinstance(forward_func, nn.Module):
            raise InputError(
                f"expected a torch.nn.Module, whose layers paths lead through, got {type(forward_func).__name__}"
            )
        self.forward_func = forward_func
        self.options = make_options(preset, theta=theta)
        self._graphs: dict[tuple[Any, ...], Graph] = {}

    def attribute(self, inputs: Any, target: Target = None, additional_forward_args: Any = None) -> Any:
        """Return how many synapses of the path read each element of the images; 0 outside of the path.

        Args:
            inputs: images [N, C, H, W]; or a tuple of one such tensor.
            target: the class that the path starts from: one for all images, or one each, [N]; the predicted
                class of each if not given.
            additional_forward_args: must be None: a network takes images alone.

        Returns:
            A tensor of the shape, type and device of the images; a tuple where a tuple was given.

        Raises:
            OptionError: further arguments or inputs, or a class that does not exist.
            CaptureError: the network cannot be captured.
            InputError, NumericalError: bad images.
        """
        if additional_forward_args is not None:
            raise OptionError("expected a network that takes images alone, got additional_forward_args")
        several = isinstance(inputs, tuple)
        if several and len(inputs) != 1:
            raise OptionError(f"expected one tensor of images, got a tuple of {len(inputs)}")
        images = inputs[0] if several else inputs
        if not isinstance(images, Tensor):
            raise InputError(f"expected images as a tensor, got {type(images).__name__}")
        graph = self._graph(images)
        classes = None if target is None else _classes(target, len(images), graph.classes)
        found = torch.empty_like(images)
        for rows, _, recorded in recordings(graph, images, options=self.options):
            starts = recorded.ranked(1) if classes is None else classes[rows]
            found[rows] = torch.from_numpy(pixel_maps(recorded, classes=starts)).to(found)
        return (found,) if several else found

    def has_convergence_delta(self) -> bool:
        """Tell that attributions need not sum to the output."""
        return False

    def _graph(self, images: Tensor) -> Graph:
        key = (tuple(images.shape[1:]), images.dtype, images.device)
        if key not in self._graphs:
            self._graphs[key] = capture(self.forward_func, images[:1].detach())
        return self._graphs[key]


def _classes(target: Target, count: int, outputs: int) -> Tensor:
    if isinstance(target, Tensor) and target.numel() == 1:
        target = int(target)
    return as_classes(
        [target] * count if isinstance(target, int) else target, count, outputs, "class", OptionError
    )
