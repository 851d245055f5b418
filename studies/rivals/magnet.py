"""MagNet (Meng, Chen, CCS 2017): how far is the image, and the answer, from what an autoencoder makes of it?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor, nn
from torch.nn import functional

from effpath.errors import InputError
from effpath.graph import Graph
from effpath.graph.precision import FullFloat32
from rivals.activations import Floats, as_array, probabilities

LARGEST = 64  # pixels per side: the autoencoder works at full resolution
TEMPERATURES = (10, 40)


def autoencoder(channels: int) -> nn.Sequential:
    """Return the paper's second autoencoder: three convolutions with three channels between, sigmoids."""
    return nn.Sequential(
        nn.Conv2d(channels, 3, 3, padding=1), nn.Sigmoid(),
        nn.Conv2d(3, 3, 3, padding=1), nn.Sigmoid(),
        nn.Conv2d(3, channels, 3, padding=1), nn.Sigmoid(),
    )  # fmt: skip


def train(
    images: Tensor, *, seed: int, steps: int, device: torch.device, noise: float = 0.1, batch: int = 256
) -> nn.Sequential:
    """Train the autoencoder, on a device, to take normal noise off images [N, C, H, W].

    Weights, batches and noise are drawn on the CPU: they are the same for every device.
    """
    with torch.random.fork_rng(devices=[]), torch.enable_grad(), FullFloat32():
        torch.default_generator.manual_seed(seed)
        network = autoencoder(images.shape[1]).to(device)
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
        for _ in range(steps):
            clean = images[torch.randint(len(images), (batch,))]
            noisy = (clean + noise * torch.randn_like(clean)).clamp(0, 1)
            loss = functional.mse_loss(network(noisy.to(device)), clean.to(device))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval()


@dataclass(frozen=True, eq=False)
class MagNet:
    """Suspicion [N]: the largest of four distances from the autoencoder's copy, each in standard deviations.

    The mean absolute and the root mean square difference of the pixels, and the Jensen-Shannon distance of the
    softmax at temperatures 10 and 40. The paper flags what one of several detectors flags; the largest of the
    standardised distances does that with one threshold. Mean and deviation are those of a tenth of the training
    images, which the autoencoder was not trained on. For images up to 64 pixels per side.
    """

    graph: Graph
    network: nn.Sequential
    usual: Floats  # [2, 4], mean and standard deviation of the distances

    @classmethod
    def fit(cls, graph: Graph, images: Tensor, labels: Tensor, *, seed: int = 0, steps: int = 3000) -> MagNet:
        if len(graph.input_shape) != 3 or max(graph.input_shape[1:]) > LARGEST:
            raise InputError(f"MagNet is for images up to {LARGEST} pixels per side, got {graph.input_shape}")
        order = np.random.default_rng(seed).permutation(len(images))
        held_out, learned = np.split(order, [max(2, len(images) // 10)])
        whole = cls(
            graph, train(images[learned], seed=seed, steps=steps, device=graph.device), np.array([[0.0], [1.0]])
        )
        distances = whole.distances(images[held_out])
        return cls(graph, whole.network, np.stack([distances.mean(0), np.maximum(distances.std(0), 1e-12)]))

    @torch.no_grad()
    def distances(self, images: Tensor) -> Floats:
        """Return the four distances, [N, 4]."""
        with FullFloat32():
            copies = torch.cat([self.network(batch.to(self.graph.device)).cpu() for batch in images.split(256)])
        apart = as_array((copies - images).flatten(1))
        columns = [np.abs(apart).mean(1), np.sqrt((apart**2).mean(1))]
        for temperature in TEMPERATURES:
            pair = (probabilities(self.graph, batch, temperature) for batch in (images, copies))
            columns.append(jensenshannon(*pair, axis=1))
        return np.nan_to_num(np.stack(columns, axis=1))  # the root of a rounded-off −0 is NaN

    def measure(self, images: Tensor) -> Floats:
        mean, deviation = self.usual
        return ((self.distances(images) - mean) / deviation).max(1)
