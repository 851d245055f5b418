"""From images to verdicts: features, a scikit-learn classifier, a threshold fixed on clean images."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone, is_outlier_detector
from sklearn.exceptions import NotFittedError
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect.classifiers import DEFAULT_KIND, check_fitted, make_classifier, reading_of, suspicion
from effpath.detect.features import Features, check_network, path_features
from effpath.detect.metrics import check_enough, threshold_at_fpr
from effpath.detect.scoring import Scoring
from effpath.detect.verdicts import Verdicts, of_known_classes, verdicts
from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.images import Images


class Detector(BaseEstimator):  # type: ignore[misc]
    """Tells adversarial images from clean ones by their path similarities (Sec. 4).

    Parameters are read, set and copied as scikit-learn's are (`get_params`, `set_params`, `clone`); a copy shares
    the network and the class paths.

    Example::

        detector = Detector(graph, class_paths).fit(clean, adversarial).calibrate(held_out, fpr=0.05)
        detector.detect(images).flagged

    Attributes:
        graph, class_paths, kind, seed: as given.
        classifier: the scikit-learn pipeline that `fit` trains, made from ``kind``.
        threshold: scores above it are flagged; None until `calibrate`.
        fpr: the false positive rate that the threshold was fixed for; None until `calibrate`.
        about: what its makers want to keep with it in a file, such as the data: a JSON value by name.
    """

    def __init__(
        self, graph: Graph, class_paths: ClassPaths, *, kind: str | Any = DEFAULT_KIND, seed: int = 0
    ) -> None:
        """Choose the classifier.

        ``surprise`` (joint surprise) looks at path similarities, at how well paths fit other classes and at how
        sure the network is, and needs class paths with counts; ``linear`` (joint similarity, the paper's),
        ``forest``, ``adaboost`` and ``boosting`` look at similarities alone; ``clean`` is fitted on clean images
        alone. Or any scikit-learn classifier or outlier detector over the similarities (over what `JointSurprise`
        reads, where it has an attribute ``reads = "margins"``), which is copied; outlier detectors are fitted on
        clean images alone. ``seed`` is that of kinds by name.

        Raises:
            OptionError: an unknown kind, no classifier, or class paths without what the kind reads.
            FingerprintError: class paths of another network.
        """
        self.graph, self.class_paths, self.kind, self.seed = graph, class_paths, kind, seed
        self._prepare()
        self.about: dict[str, Any] = {}

    def _prepare(self) -> None:
        """Make what the parameters say, unfitted."""
        check_network(self.graph, self.class_paths)
        self.classifier: Pipeline = make_classifier(self.kind, seed=self.seed)
        self.path_likelihood: PathLikelihood | None = None
        if reading_of(self.classifier).wants_likelihood:
            try:
                self.path_likelihood = PathLikelihood(self.class_paths)
            except OptionError as error:
                others = "or choose kind='linear' or 'clean', which do without"
                raise OptionError(f"a detector of kind {self.name!r}: {error}; {others}") from error
        self.threshold: float | None = None
        self.fpr: float | None = None

    @property
    def name(self) -> str:
        """The kind in a word: its name, or the class of the estimator that was given."""
        return self.kind if isinstance(self.kind, str) else type(self.kind).__name__

    @property
    def clean_only(self) -> bool:
        """Whether it is fitted on clean images alone."""
        return bool(is_outlier_detector(self.classifier))

    def set_params(self, **params: Any) -> Detector:
        """Change parameters, also those of an estimator (``kind__alpha``); the detector must be fitted again.

        Raises:
            OptionError: as when it is made.
            ValueError: there is no such parameter.
        """
        if params:
            super().set_params(**params)
            self._prepare()
        return self

    def __sklearn_clone__(self) -> Detector:
        return Detector(self.graph, self.class_paths, kind=clone(self.kind, safe=False), seed=self.seed)

    def __sklearn_is_fitted__(self) -> bool:
        try:
            check_is_fitted(self.classifier)
        except NotFittedError:
            return False
        return True

    def __repr__(self) -> str:
        """Kind, class paths, and how far it is."""
        state = "not fitted"
        if self.__sklearn_is_fitted__():
            state = "no threshold yet"
            if self.threshold is not None:
                state = f"threshold {self.threshold:.4g}" + (f" for {self.fpr:.3g} FPR" if self.fpr else "")
        return f"Detector(kind={self.kind!r}, {self.class_paths!r}, {state})"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def scoring(self) -> Scoring | None:
        """What the fitted classifier computes, where it is one of ours behind an imputer; None for any other."""
        check_fitted(self.classifier)
        steps = [step for _, step in self.classifier.steps]
        if len(steps) != 2 or not isinstance(steps[0], SimpleImputer) or not hasattr(steps[1], "as_score"):
            return None
        return Scoring(steps[0].statistics_, steps[1].as_score())

    def read(self, features: Features) -> NDArray[np.float64]:
        """Return what the classifier looks at of features, float64 [N, columns]."""
        return reading_of(self.classifier).columns(features)

    def features(
        self,
        images: Images,
        *,
        batch_size: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> Features:
        """Return the path similarities of images [N, C, H, W], see `path_features`; NaN without a class path."""
        return path_features(
            self.graph,
            self.class_paths,
            images,
            ranks=reading_of(self.classifier).ranks,
            likelihood=self.path_likelihood,
            allow_missing=True,
            batch_size=batch_size,
            progress=progress,
        )

    def fit(self, clean: Images | Features, adversarial: Images | Features | None = None) -> Detector:
        """Learn from clean and adversarial images (or their features); outlier detectors take no adversarial.

        Raises:
            OptionError: adversarial images missing, or given to a detector that learns from clean ones alone.
        """
        if self.clean_only and adversarial is not None:
            raise OptionError(f"a detector of kind {self.name!r} takes only clean images: call fit(clean)")
        if adversarial is None and not self.clean_only:
            raise OptionError(
                f"a detector of kind {self.name!r} needs adversarial images too: call fit(clean, adversarial), "
                "with those that effpath.attacks.attack makes, say, or choose kind='clean', which needs none"
            )
        parts = [self._as_features(part) for part in (clean, adversarial) if part is not None]
        labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self.threshold = self.fpr = None
        self.classifier.fit(np.concatenate([self.read(part) for part in parts]), labels)
        return self

    def calibrate(self, clean: Images | Features, *, fpr: float = 0.05) -> Detector:
        """Fix the threshold at a false positive rate in (0, 1), on clean images held out from everything else.

        New clean images are flagged no more often than that on average, see `threshold_at_fpr`.

        Raises:
            InputError: too few images for the rate; it says how many are enough (19 for 5 %, 99 for 1 %).
            OptionError: not fitted yet, or a rate outside (0, 1).
        """
        check_fitted(self.classifier)
        check_enough(len(clean), fpr)
        self.threshold, self.fpr = threshold_at_fpr(self.score(clean), fpr), float(fpr)
        return self

    def score(self, images: Images | Features) -> NDArray[np.float64]:
        """Return the suspicion of each image, float64 [N]; infinite where its class has no class path.

        Raises:
            OptionError: it was not fitted yet.
        """
        check_fitted(self.classifier)
        return self._suspicion(self._as_features(images))

    def detect(self, images: Images | Features) -> Verdicts:
        """Score images and flag those above the threshold.

        Raises:
            OptionError: it was not fitted, or the threshold was not fixed yet.
        """
        check_fitted(self.classifier)
        if self.threshold is None:
            raise OptionError("no threshold yet: call calibrate(clean_images) with images held out from fit")
        features = self._as_features(images)
        return verdicts(self._suspicion(features), self.threshold, features)

    def _suspicion(self, features: Features) -> NDArray[np.float64]:
        scores = suspicion(self.classifier, self.read(features))
        return of_known_classes(scores, features, self.class_paths)

    def _as_features(self, images: Images | Features) -> Features:
        return images if isinstance(images, Features) else self.features(images)
