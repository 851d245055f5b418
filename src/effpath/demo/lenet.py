"""LeNet-5, the small network of the paper's MNIST experiments."""

from __future__ import annotations

import torch
from torch import nn

from effpath.errors import OptionError


class LeNet5(nn.Module):
    """Two convolutions, two max pools and three fully connected layers; [N, 1, S, S] → logits [N, classes].

    ``image_size`` is S, at least 4 (8, 16, 28 and 32 are tested). From 28 on, conv2 is unpadded as in the
    original; below, it is padded by 2 to leave fc1 something to see. The weights come from torch's global
    generator: call ``torch.manual_seed`` first for equal networks.
    """

    def __init__(self, image_size: int = 28, classes: int = 10) -> None:
        """Make the network with random weights, in training mode as torch does."""
        super().__init__()
        if image_size < 4 or classes < 1:
            raise OptionError(
                f"LeNet5 needs an image_size of at least 4 and at least 1 class; got image_size={image_size}, "
                f"classes={classes}"
            )
        padding = 0 if image_size >= 28 else 2
        side = (image_size // 2 + 2 * padding - 4) // 2
        self.image_size = image_size
        self.conv1 = nn.Conv2d(1, 6, 5, padding=2)
        self.relu1 = nn.ReLU()
        self.pool1 = nn.MaxPool2d(2)
        self.conv2 = nn.Conv2d(6, 16, 5, padding=padding)
        self.relu2 = nn.ReLU()
        self.pool2 = nn.MaxPool2d(2)
        self.flatten = nn.Flatten()
        self.fc1 = nn.Linear(16 * side * side, 120)
        self.relu3 = nn.ReLU()
        self.fc2 = nn.Linear(120, 84)
        self.relu4 = nn.ReLU()
        self.fc3 = nn.Linear(84, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits [N, classes] of images x [N, 1, S, S] in [0, 1]."""
        x = self.pool1(self.relu1(self.conv1(x)))
        x = self.pool2(self.relu2(self.conv2(x)))
        x = self.relu3(self.fc1(self.flatten(x)))
        x = self.relu4(self.fc2(x))
        return self.fc3(x)  # type: ignore[no-any-return]
