"""The gradients that an attacker follows: of misclassification, and of a detector's suspicion."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from effpath.adaptive.soft import Look, SoftFeatures
from effpath.adaptive.suspicion import Suspicion
from effpath.detect import Detector


class Gradients(NamedTuple):
    """What an attacker follows at a batch of images.

    Attributes:
        margin: of how far the strongest other logit lies above the label's, [N, C, H, W]; it grows towards
            misclassification, and is 0 where that is reached with the required confidence.
        suspicion: of the surrogate's suspicion, [N, C, H, W].
        fooled: whether the image is misclassified with the required confidence, bool [N].
    """

    margin: Tensor
    suspicion: Tensor
    fooled: Tensor


class Slopes:
    """Gradients of misclassification and of suspicion at images.

    Paths start from the strongest class that is not the label, and from the strongest beside that: from the
    predicted class and the runner-up as soon as the image is misclassified.
    """

    def __init__(
        self, detector: Detector, *, layers: int | None, temperature: float, confidence: float, refresh: int
    ) -> None:
        """Follow this detector.

        Args:
            detector: linear, clean or surprise.
            layers, temperature: of `SoftFeatures`.
            confidence: logits by which the other class must lead.
            refresh: steps between two exact walks; in between their choices are held.
        """
        self.soft = SoftFeatures(
            detector.graph, detector.class_paths, detector.path_likelihood, layers=layers, temperature=temperature
        )
        self.suspicion, self.confidence, self.refresh = Suspicion(detector), confidence, refresh
        self._look: Look | None = None

    def at(self, pixels: Tensor, labels: Tensor, step: int = 0) -> Gradients:
        """Return the gradients at pixels [N, C, H, W] with labels [N]; walks anew at every ``refresh``-th step."""
        graph = self.soft.graph
        pixels = graph.check_images(pixels).detach().requires_grad_()
        with torch.enable_grad():
            values = self.soft.run(pixels)
            logits = values[graph.logits]
            logit = logits.gather(1, labels[:, None])[:, 0]
            others = logits.scatter(1, labels[:, None], -torch.inf)
            lead = others.amax(1) - logit
            if step % self.refresh == 0 or self._look is None:
                first = others.argmax(1)
                second = logits.scatter(1, first[:, None], -torch.inf).argmax(1)
                self._look = self.soft.look(pixels, values, [first, second][: self.soft.ranks])
            suspicion = self.suspicion(self.soft.columns(values, self._look))
            (margin,) = torch.autograd.grad(lead.clamp(max=self.confidence).sum(), pixels, retain_graph=True)
            (slope,) = torch.autograd.grad(suspicion.sum(), pixels)
        return Gradients(margin, slope, (lead >= self.confidence).detach())
