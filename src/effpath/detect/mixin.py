"""What every detector does, whether it was fitted here or read from a file: read features, score, detect."""

from __future__ import annotations

import numpy as np

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect.features import Features, Reading, path_features
from effpath.detect.metrics import conformal_p_values
from effpath.detect.scoring import FloatArray, Scoring
from effpath.detect.verdicts import Verdicts
from effpath.errors import OptionError
from effpath.files.progress import Progress
from effpath.graph.graph import Graph
from effpath.images import Images


class DetectorMixin:
    """A detector that knows what it reads and how suspicious that is.

    Attributes:
        graph, class_paths, path_likelihood, threshold, fpr: as of `Detector`.
        calibration: likewise; None too where a file of an earlier version does not hold it.
        name: the kind as one word.
        reading: what it reads of features.
        scoring: its formula, where that is one of this package, else None; OptionError where it was not fitted.
    """

    graph: Graph
    class_paths: ClassPaths
    path_likelihood: PathLikelihood | None
    threshold: float | None
    fpr: float | None
    calibration: FloatArray | None
    name: str
    reading: Reading
    scoring: Scoring | None

    def read(self, features: Features) -> FloatArray:
        """Return what it reads of features, float64 [N, columns]."""
        return self.reading.columns(features)

    def features(
        self, images: Images, *, batch_size: int | None = None, progress: Progress | None = None
    ) -> Features:
        """Return the path similarities of images [N, C, H, W], see `path_features`; NaN without a class path."""
        return path_features(
            self.graph,
            self.class_paths,
            images,
            ranks=self.reading.ranks,
            likelihood=self.path_likelihood,
            allow_missing=True,
            batch_size=batch_size,
            progress=progress,
        )

    def score(self, images: Images | Features) -> FloatArray:
        """Return the suspicion of each image, float64 [N]; infinite where its class has no class path.

        Raises:
            OptionError: it was not fitted yet.
        """
        _ = self.scoring  # is an error, before any work, where it was not fitted
        features = self._as_features(images)
        known = np.isin(features.classes[:, 0], list(self.class_paths))
        return np.where(known, self._suspicion(self.read(features)), np.inf)

    def detect(self, images: Images | Features) -> Verdicts:
        """Score images and flag those above the threshold.

        Raises:
            OptionError: it was not fitted, or the threshold was not fixed yet.
        """
        scoring = self.scoring
        if self.threshold is None:
            raise OptionError(
                "expected a detector with a threshold, got one that has no threshold yet: call "
                "calibrate(clean_images) with images held out from fit"
            )
        features = self._as_features(images)
        scores = self.score(features)
        p_values = None if self.calibration is None else conformal_p_values(scores, self.calibration)
        flagged, ranked = (scores > self.threshold) | np.isposinf(scores), features.classes.T
        said = scores, flagged, ranked[0], ranked[1], features, p_values, self.class_paths.names
        return Verdicts(*said, self.threshold, scoring, self.reading)

    def _as_features(self, images: Images | Features) -> Features:
        return images if isinstance(images, Features) else self.features(images)

    def _suspicion(self, columns: FloatArray) -> FloatArray:
        """Return the suspicion [N] of what it reads, [N, columns]."""
        assert self.scoring is not None
        return self.scoring(columns)
