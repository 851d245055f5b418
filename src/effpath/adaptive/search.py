"""The search for one batch: what may be tried, and the best of what was, as the detector itself sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor, nn

from effpath.detect import Detector
from effpath.graph.graph import Graph
from effpath.models.predict import predict


def activations(graph: Graph, pixels: Tensor, names: list[str]) -> list[Tensor]:
    """Return what nodes compute from images, [N, size] each, with gradients to them."""
    values = graph.run(graph.check_images(pixels), names, change=lambda _, value: value)
    return [values[name].reshape(len(pixels), -1) for name in names]


@dataclass(frozen=True, eq=False)
class Victim:
    """A detector and the network that it guards, and what the attacker has to attack them with.

    Attributes:
        detector: fitted and calibrated.
        model: the network that the detector's graph was captured from, in eval mode.
        surrogate: a detector whose suspicion has a gradient, which is followed instead of the detector's. Forests,
            boosting and ``thorough`` need it: they have none, and are attacked by transfer.
        guides: clean images of the network's classes and their labels, such as training images, for ``mimic``,
            ``guided_pgd`` and ``black_box``.
    """

    detector: Detector
    model: nn.Module
    surrogate: Detector | None = None
    guides: tuple[Tensor, Tensor] | None = None


@dataclass(eq=False)
class Guides:
    """Clean images that the network gets right, to be mimicked or started from.

    Attributes:
        images: [G, C, H, W].
        labels: int64 [G].
        detector: that judges them.
    """

    images: Tensor
    labels: Tensor
    detector: Detector
    _activations: tuple[list[str], list[Tensor]] = field(default=([], []), init=False)

    @cached_property
    def passed(self) -> Tensor:
        """Which of them the detector does not flag, bool [G]."""
        return torch.from_numpy(~self.detector.detect(self.images).flagged).to(self.images.device)

    def activations(self, names: list[str]) -> list[Tensor]:
        """Return their activations at these nodes, [G, size] each; kept for the next batch."""
        if self._activations[0] != names:
            graph = self.detector.graph
            parts = torch.split(self.images, 64 if graph.batched else 1)
            with torch.no_grad():
                found = [activations(graph, part, names) for part in parts]
            self._activations = names, [torch.cat(values) for values in zip(*found, strict=True)]
        return self._activations[1]

    def apart(self, images: Tensor) -> Tensor:
        """Return how far the pixels of images [N, C, H, W] are from those of each guide, [N, G]."""
        return torch.cdist(images.flatten(1), self.images.flatten(1))

    def nearest(self, apart: Tensor, labels: Tensor, count: int) -> tuple[Tensor, Tensor]:
        """Return the guides that are nearest, those of an image's class after all others.

        Args:
            apart: distance to each guide [N, G], infinite where it may not be taken.
            labels: of the images, [N].
            count: so many, or all where there are fewer.

        Returns:
            Guides [N, count], nearest first, and whether each may be taken, bool [N, count].
        """
        apart = apart.masked_fill(labels[:, None] == self.labels, torch.inf)
        ranked = apart.sort(dim=1, stable=True)
        return ranked.indices[:, :count], ranked.values[:, :count].isfinite()


class Search:
    """The misclassified image within the bound that is furthest below its threshold, of each image of a batch.

    The threshold is that of the class in which an image ends: one that is more suspicious may pass more easily.

    Attributes:
        detector: the one to be fooled, which judges every candidate.
        surrogate: the one whose suspicion has gradients.
        model: the network.
        images, labels: clean, [N, C, H, W] and [N].
        norm, epsilon: the bound about each image.
        guides: clean images of the network's classes; may be empty.
        best: the images found, the clean ones where there is none.
        scores: float64 [N], their suspicion; infinity where there is none.
        excess: float64 [N], their suspicion less the threshold of their class; likewise.
        predicted: int64 [N]; the label where there is none.
        queries: how often the detector judged an image.
    """

    def __init__(
        self, victim: Victim, images: Tensor, labels: Tensor, guides: Guides, norm: str, epsilon: float
    ) -> None:
        """Start with nothing found."""
        self.detector, self.model = victim.detector, victim.model
        self.surrogate = victim.surrogate or victim.detector
        self.images, self.labels, self.guides = images, labels, guides
        self.norm, self.epsilon, self.best = norm, epsilon, images.clone()
        self.scores = self.excess = torch.full((len(images),), torch.inf, dtype=torch.float64)
        self.predicted, self.queries = labels.clone(), 0

    def project(self, candidates: Tensor) -> Tensor:
        """Bring candidates within the bound and into [0, 1]."""
        if self.norm == "Linf":
            low, high = (self.images - self.epsilon).clamp(min=0), (self.images + self.epsilon).clamp(max=1)
            return torch.minimum(torch.maximum(candidates, low), high)
        change = candidates.clamp(0, 1) - self.images
        length = change.flatten(1).norm(dim=1).clamp(min=1e-12)
        found: Tensor = self.images + change * (self.epsilon / length).clamp(max=1)[:, None, None, None]
        return found

    def at_random(self) -> Tensor:
        """Return points within the bound, drawn by torch's generator."""
        noise = torch.rand(self.images.shape) * 2 - 1 if self.norm == "Linf" else torch.randn(self.images.shape)
        return self.project(self.images + self.stride(noise.to(self.images.device), self.epsilon))

    def stride(self, direction: Tensor, length: float = 1) -> Tensor:
        """Return changes of this length along directions [N, C, H, W].

        For L2 exactly as long. For L∞ as long in the mean square over the pixels, so that the direction is kept.
        """
        size = direction.flatten(1).norm(dim=1)
        if self.norm == "Linf":
            size = size / direction[0].numel() ** 0.5
        change: Tensor = direction / size.clamp(min=1e-30)[:, None, None, None] * length
        return change

    def steepest(self, direction: Tensor) -> Tensor:
        """Return the changes of length 1 that go furthest along directions: signs for L∞."""
        return direction.sign() if self.norm == "Linf" else self.stride(direction)

    def look(self, candidates: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what `judged` says of images [M, C, H, W] with labels [M], and count them."""
        self.queries += len(candidates)
        return judged(self.detector, self.model, candidates, labels)

    def judge(self, candidates: Tensor) -> None:
        """Keep a candidate [N, C, H, W] where it is misclassified and the furthest below its threshold so far."""
        candidates = self.project(candidates.detach())
        fooled, scores, predicted = self.look(candidates, self.labels)
        excess = scores - torch.from_numpy(self.detector.thresholds_of(predicted.cpu().numpy()))
        better = fooled.cpu() & (excess < self.excess)
        self.scores = torch.where(better, scores, self.scores)
        self.excess = torch.where(better, excess, self.excess)
        better = better.to(candidates.device)
        self.best = torch.where(better[:, None, None, None], candidates, self.best)
        self.predicted = torch.where(better, predicted, self.predicted)


def judged(
    detector: Detector, model: nn.Module, candidates: Tensor, labels: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return misclassified (bool), suspicion (float64) and class of images [M, C, H, W] with labels [M].

    Model and graph must both misclassify: what folding changes in the last bit is no success.
    """
    features = detector.features(candidates)
    scores = torch.from_numpy(detector.score(features))
    predicted = predict(model, candidates).to(candidates.device)
    traced = torch.from_numpy(features.classes[:, 0]).to(predicted.device)
    return (predicted != labels) & (traced != labels), scores, predicted
