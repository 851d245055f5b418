"""A small residual network for small images (He et al. 2015, CIFAR), which `training` trains."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Block(nn.Module):
    """Two convolutions, added to what they read: with a stride, to every second pixel of it, in more channels."""

    def __init__(self, read: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride, self.further = stride, channels - read
        self.conv1 = nn.Conv2d(read, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        found = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        if self.stride > 1:
            half = self.further // 2
            x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, half, self.further - half))
        return (found + x).relu()


class SmallResNet(nn.Module):
    """Images [N, channels, S, S] in [0, 1] → logits [N, classes]; ResNet-20 as it stands, S at least 4.

    The weights come from torch's global generator.
    """

    def __init__(self, classes: int, channels: int = 3, width: int = 16, blocks: int = 3) -> None:
        super().__init__()
        self.register_buffer("centre", torch.full((1, channels, 1, 1), 0.5), persistent=False)
        self.register_buffer("spread", torch.full((1, channels, 1, 1), 0.25), persistent=False)
        self.conv = nn.Conv2d(channels, width, 3, 1, 1, bias=False)
        self.bn = nn.BatchNorm2d(width)
        made, read = [], width
        for stage in range(3):
            for place in range(blocks):
                made.append(Block(read, width << stage, 2 if stage and not place else 1))
                read = width << stage
        self.blocks = nn.Sequential(*made)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(read, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn(self.conv((x - self.centre) / self.spread)).relu()
        return self.last(self.pool(self.blocks(x)).flatten(1))
