"""From images to verdicts: features, a scikit-learn classifier, a threshold fixed on clean images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from torch import Tensor

from effpath.detect.classifiers import CLASSIFIERS, Kind, make_classifier, suspicion
from effpath.detect.features import Features, path_features
from effpath.detect.metrics import threshold_at_fpr
from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.images import Images
from effpath.likelihood import PathFit
from effpath.paths.class_paths import ClassPaths


@dataclass(frozen=True, eq=False)
class Verdicts:
    """What the detector says of a batch of images.

    Attributes:
        scores: float64 [N], growing with suspicion.
        flagged: bool [N], score above the threshold.
        predicted: int64 [N], the network's class.
        runner_up: int64 [N], the class with the second highest logit.
        features: the similarities that the scores were made of.
    """

    scores: NDArray[np.float64]
    flagged: NDArray[np.bool_]
    predicted: NDArray[np.int64]
    runner_up: NDArray[np.int64]
    features: Features

    def __len__(self) -> int:
        """Number of images."""
        return len(self.scores)


class Detector:
    """Tells adversarial images from clean ones by their path similarities (Sec. 4).

    Example::

        detector = Detector(graph, class_paths).fit(clean, adversarial).calibrate(held_out, fpr=0.05)
        detector.detect(images).flagged

    Attributes:
        classifier: the scikit-learn pipeline; any classifier over the features will do.
        threshold: scores above it are flagged; None until `calibrate`.
        fpr: the false positive rate that the threshold was fixed for; None until `calibrate`.
        about: what its makers want to keep with it in a file, such as the data: a JSON value by name.
    """

    def __init__(
        self, graph: Graph, class_paths: ClassPaths, *, kind: str | Any = "linear", seed: int = 0
    ) -> None:
        """Choose the classifier.

        ``linear`` (joint similarity), ``forest``, ``adaboost``, ``boosting``; ``clean``, which is fitted on clean
        images alone; ``surprise``, which also looks at how well paths fit other classes and at how sure the
        network is, and needs class paths with counts; or any scikit-learn estimator over the similarities.
        """
        self.graph, self.class_paths = graph, class_paths
        self.classifier: Pipeline | Any = make_classifier(kind, seed=seed) if isinstance(kind, str) else kind
        self.kind = kind if isinstance(kind, str) else type(kind).__name__
        own = CLASSIFIERS.get(self.kind)
        self.read = own.read if own else Kind.read
        self.clean_only = own is not None and own.clean_only
        self.fit_of_paths = PathFit(class_paths) if own and own.wants_fit else None
        self.threshold: float | None = None
        self.fpr: float | None = None
        self.about: dict[str, Any] = {}

    def features(
        self, images: Images, *, batch_size: int = 256, progress: Callable[[int, int], None] | None = None
    ) -> Features:
        """Return the path similarities of images [N, C, H, W], which may be read when indexed."""
        return path_features(
            self.graph,
            self.class_paths,
            images,
            fit=self.fit_of_paths,
            batch_size=batch_size,
            progress=progress,
        )

    def fit(self, clean: Tensor | Features, adversarial: Tensor | Features | None = None) -> Detector:
        """Learn from clean and adversarial images (or their features); ``clean`` detectors take no adversarial.

        Raises:
            OptionError: adversarial images missing, or given to a detector that learns from clean ones alone.
        """
        parts = [self._as_features(clean)]
        if (adversarial is None) != self.clean_only:
            wanted = "takes clean images alone" if self.clean_only else "needs adversarial images too"
            raise OptionError(f"a detector of kind {self.kind!r} {wanted}")
        if adversarial is not None:
            parts.append(self._as_features(adversarial))
        labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self.classifier.fit(np.concatenate([self.read(part) for part in parts]), labels)
        self.threshold = self.fpr = None
        return self

    def calibrate(self, clean: Tensor | Features, *, fpr: float = 0.05) -> Detector:
        """Fix the threshold at a false positive rate on clean images held out from everything else."""
        self.threshold, self.fpr = threshold_at_fpr(self.score(clean), fpr), fpr
        return self

    def score(self, images: Tensor | Features) -> NDArray[np.float64]:
        """Return the suspicion of each image, float64 [N]."""
        return suspicion(self.classifier, self.read(self._as_features(images)))

    def detect(self, images: Tensor | Features) -> Verdicts:
        """Score images and flag those above the threshold.

        Raises:
            OptionError: the threshold was not fixed yet.
        """
        if self.threshold is None:
            raise OptionError("no threshold yet: call calibrate(clean_images) with images held out from fit")
        features = self._as_features(images)
        scores = suspicion(self.classifier, self.read(features))
        predicted, runner_up = features.classes[:, 0], features.classes[:, 1]
        return Verdicts(scores, scores > self.threshold, predicted, runner_up, features)

    def _as_features(self, images: Tensor | Features) -> Features:
        return images if isinstance(images, Features) else self.features(images)
