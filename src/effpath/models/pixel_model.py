"""A network behind its preprocessing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

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
        """Logits [N, classes] of images x [N, C, H, W] in [0, 1]."""
        return self.network(self.preprocess(x))  # type: ignore[no-any-return]
