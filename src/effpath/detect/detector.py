"""From images to verdicts: features, a scikit-learn classifier, a threshold fixed on clean images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.pipeline import Pipeline

from effpath.class_paths.class_paths import ClassPaths
from effpath.class_paths.likelihood import PathLikelihood
from effpath.detect.band import CleanRows, UsualByLayer
from effpath.detect.classifiers import (
    DEFAULT_KIND,
    check_fitted,
    is_clean_only,
    learn,
    make_classifier,
    reading_of,
    reweighs,
    scoring_of,
    suspicion,
    takes_attacks,
)
from effpath.detect.conformal import class_thresholds
from effpath.detect.features import Features, Reading, check_network
from effpath.detect.metrics import check_enough, sharing, threshold_at_fpr
from effpath.detect.saved import DetectorMixin
from effpath.detect.scoring import FloatArray, Scoring
from effpath.detect.signs.auxiliary import AuxiliaryNetwork, check_agreement, check_auxiliary
from effpath.detect.signs.collect import collect
from effpath.detect.signs.reader import SignReader, sign_features
from effpath.errors import OptionError
from effpath.files.progress import Progress
from effpath.graph.graph import Graph
from effpath.images import Images


class Detector(DetectorMixin, BaseEstimator):  # type: ignore[misc]
    """Tells adversarial images from clean ones by their path similarities (Sec. 4).

    Parameters are read, set and copied as scikit-learn's are (`get_params`, `set_params`, `clone`); a copy shares
    the network and the class paths.

    Example::

        detector = Detector(graph, class_paths).fit(clean, adversarial).calibrate(held_out, fpr=0.05)
        detector.detect(images).flagged

    Attributes:
        graph, class_paths, kind, auxiliary, seed: as given.
        classifier: the scikit-learn pipeline that `fit` trains, made from ``kind``.
        threshold: scores above it are flagged, in classes without one of their own; None until `calibrate`.
        class_thresholds: by predicted class, of those with enough calibration images for one of their own; they
            count in place of ``threshold``, in flags and p-values.
        fpr: the false positive rate that the threshold was fixed for; None until `calibrate`.
        calibration: float64 [n], ascending, the scores that it was fixed on; None until `calibrate`.
        calibration_classes: int64 [n], the class that the network predicts for each of them; likewise.
        clean_rows: the rank-1 similarities of the images that it was fixed on; None until `calibrate`, and after
            features that hold none.
        usual_by_layer: what these images show in each layer, of signs that are means over layers; likewise None,
            and for kinds without such signs.
        path_likelihood: of the class paths, for kinds that read margins, or of those that their walk covers; else
            None.
        reader: of the signs, for kinds that read a profile of signs; else None.
        reference: what `collect` or `fit` collected from clean images; None before, or where no sign asks for it.
        about: JSON values by name, stored in its file: the data that it was made from, for example.
    """

    def __init__(
        self,
        graph: Graph,
        class_paths: ClassPaths,
        *,
        kind: str | Any = DEFAULT_KIND,
        auxiliary: Graph | None = None,
        seed: int = 0,
    ) -> None:
        """Choose the classifier.

        ``standard`` combines the signs of three forward passes and needs clean images alone to be fitted, as do
        ``fast`` (one pass) and ``thorough``, see `effpath.detect.signs.profiles`; adversarial images may weigh the
        signs. ``paired`` asks another network too, ``auxiliary``, for the same images and the same classes in the
        same order: it finds most where there is one. ``surprise`` (joint surprise) reads path similarities, how
        likely paths are under other classes, and how confident the network is. ``linear`` (joint similarity, the
        paper's), ``forest``, ``adaboost`` and ``boosting`` read similarities alone; ``clean`` reads them too, and
        is fitted on clean images alone. ``fast`` and ``surprise`` need class paths with counts. Or any
        scikit-learn classifier or outlier detector, which is copied: it reads similarities, or what
        `JointSurprise` reads where it has an attribute ``reads = "margins"``; outlier detectors are fitted on
        clean images alone. ``seed`` is that of kinds given by name.

        Raises:
            OptionError: an unknown kind, no classifier, or class paths without what the kind reads; an auxiliary
                network that the kind does not ask, or none where it asks one.
            FingerprintError: class paths of another network.
            InputError: an auxiliary network for other images, or another number of classes.
        """
        self.graph, self.class_paths, self.kind, self.seed = graph, class_paths, kind, seed
        self.auxiliary = auxiliary
        self._prepare()
        self.about: dict[str, Any] = {}

    def _prepare(self) -> None:
        """Create the unfitted classifier that the parameters describe."""
        check_network(self.graph, self.class_paths)
        self.classifier: Pipeline = make_classifier(self.kind, seed=self.seed)
        self.reader = self.reference = None
        self.path_likelihood = None
        reading = self.reading
        check_auxiliary(self.name, reading.asks, self.graph, self.auxiliary)
        try:
            if reading.profile is not None:
                self.reader = SignReader.of(reading.profile, self.class_paths, self.auxiliary)
                self.path_likelihood = self.reader.path_likelihood
            elif reading.wants_likelihood:
                self.path_likelihood = PathLikelihood(self.class_paths)
        except OptionError as error:
            others = "or choose kind='linear' or 'clean', which do without"
            raise OptionError(f"a detector of kind {self.name!r}: {error}; {others}") from error
        self._forget_calibration()

    def _forget_calibration(self) -> None:
        self.threshold = self.fpr = self.calibration = self.calibration_classes = self.clean_rows = None
        self.usual_by_layer = None
        self.class_thresholds: dict[int, float] = {}

    @property
    def name(self) -> str:  # type: ignore[override]
        """The kind as one word: its name, or the class of the given estimator."""
        return self.kind if isinstance(self.kind, str) else type(self.kind).__name__

    @property
    def reading(self) -> Reading:  # type: ignore[override]
        """What the classifier reads of features."""
        return reading_of(self.classifier)

    @property
    def clean_only(self) -> bool:
        """Whether it is fitted on clean images alone."""
        return is_clean_only(self.classifier)

    @property
    def reweighs(self) -> bool:
        """Whether it needs clean images alone, and attacked ones, where given, tell how much each sign counts."""
        return reweighs(self.classifier)

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
        kind = clone(self.kind, safe=False)
        return Detector(self.graph, self.class_paths, kind=kind, auxiliary=self.auxiliary, seed=self.seed)

    def __sklearn_is_fitted__(self) -> bool:
        return bool(self.classifier.__sklearn_is_fitted__())

    def __repr__(self) -> str:
        """Return kind, class paths and state."""
        state = "not fitted"
        if self.__sklearn_is_fitted__():
            state = "no threshold yet"
            if self.threshold is not None:
                state = f"threshold {self.threshold:.4g}" + (f" for {self.fpr:.3g} FPR" if self.fpr else "")
                if self.class_thresholds:
                    state += f", one of their own for {len(self.class_thresholds)} of the classes"
        return f"Detector(kind={self.kind!r}, {self.class_paths!r}, {state})"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"

    @property
    def scoring(self) -> Scoring | None:  # type: ignore[override]
        """What the fitted classifier computes, where it is one of ours behind an imputer; None for any other."""
        found = scoring_of(self.classifier)
        return None if found is None else replace(found, by_layer=self.usual_by_layer)

    def collect(
        self,
        clean: Images,
        labels: torch.Tensor | Sequence[int] | None = None,
        *,
        batch_size: int | None = None,
        progress: Progress | None = None,
    ) -> Detector:
        """Collect from clean images what signs compare an image with: forward sets of each class, paths nearby.

        Give many, such as those of the class paths, and others than those to fit on. Where nothing was collected,
        `fit` collects from its own clean images, each of which it leaves out when it looks at that image. Kinds
        without such signs do nothing.

        Args:
            clean: [N, C, H, W], which may be read when indexed.
            labels: int [N]: images that the network gets wrong are passed over; None to take its word for all.
            batch_size: images together, see `recordings`.
            progress: called with images done and in total.

        Raises:
            InputError: no image that the network gets right.
        """
        if self.reader is not None and self.reader.profile.compares:
            self.reference = collect(
                self.graph, self.reader, clean, labels, batch_size=batch_size, progress=progress
            )
        return self

    def fit(
        self, clean: Images | Features, adversarial: Images | Features | NDArray[np.int_] | None = None
    ) -> Detector:
        """Learn from clean and adversarial images (or their features); outlier detectors take no adversarial.

        Those that `reweighs` need none; where some are given, they tell how much each sign counts, and no more.

        Given images of both and labels [N], 1 = adversarial, as scikit-learn's searches do, it divides them; an
        outlier detector then learns from the clean ones.

        Raises:
            OptionError: adversarial images missing, or given to a detector that learns from clean ones alone.
            InputError: an auxiliary network that disagrees about most clean images.
        """
        if getattr(adversarial, "ndim", 0) == 1:
            attacked = np.asarray(adversarial) != 0
            return self.fit(_taken(clean, ~attacked), None if self.clean_only else _taken(clean, attacked))
        if adversarial is not None and not takes_attacks(self.classifier):
            raise OptionError(f"a detector of kind {self.name!r} takes only clean images: call fit(clean)")
        if adversarial is None and not self.clean_only:
            raise OptionError(
                f"a detector of kind {self.name!r} needs adversarial images too: call fit(clean, adversarial), "
                "for example with those of effpath.attack(…).fooling, or choose kind='clean', which needs none"
            )
        parts = [self._features_to_fit(clean)]
        if adversarial is not None:
            parts.append(self._as_features(cast("Images | Features", adversarial)))
        if self.reading.asks:
            check_agreement(parts[0].suspicions(AuxiliaryNetwork.says)[:, 0])
        labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self._forget_calibration()
        learn(self.classifier, np.concatenate([self.read(part) for part in parts]), labels)
        return self

    def calibrate(self, clean: Images | Features, *, fpr: float = 0.05, by_class: bool = True) -> Detector:
        """Fix the threshold at a false positive rate in (0, 1), on clean images held out from everything else.

        New clean images are flagged no more often than that on average, see `threshold_at_fpr`; `true_rate` says
        how far one calibration may be from it, and `effpath.detect.images_for` how many images keep it near. That
        holds for images like these: leave in those that the network gets wrong. Images of a class without a class
        path are always flagged and have no score; they are passed over.

        A class that the network predicts for a hundred of the images, or as many more as the rate needs, gets a
        threshold of its own, in ``class_thresholds``: it keeps the rate by itself. The others share ``threshold``,
        which is fixed on their images and promises nothing of one class. So all together keep the rate. Without
        ``by_class`` every class shares it.

        What explanations lay an image beside comes from these images too; give features with ``paths=True``.

        Raises:
            InputError: too few images for the rate; it says how many are enough (19 for 5 %, 99 for 1 %).
            OptionError: not fitted yet, or a rate outside (0, 1).
        """
        check_fitted(self.classifier)
        check_enough(len(clean), fpr)
        features = clean if isinstance(clean, Features) else self.features(clean, paths=True)
        scores = self.score(features)
        known = np.flatnonzero(~np.isposinf(scores))
        check_enough(len(known), fpr)
        order = known[np.argsort(scores[known], kind="stable")]
        scores, classes = scores[order], features.classes[order, 0]
        self.class_thresholds = class_thresholds(scores, classes, fpr) if by_class else {}
        self.threshold = threshold_at_fpr(scores[sharing(classes, self.class_thresholds)], fpr)
        self.fpr, self.calibration, self.calibration_classes = float(fpr), scores, classes
        rows = CleanRows.of(features[known])
        self.clean_rows = None if np.isnan(rows.values).all() else rows
        profile, by_layer = self.reading.profile, features.signs_by_layer
        self.usual_by_layer = None
        if profile is not None and by_layer is not None:
            places = profile.layer_signs(self.class_paths.header)
            self.usual_by_layer = UsualByLayer.of(places, by_layer[known])
        return self

    def _features_to_fit(self, clean: Images | Features) -> Features:
        """Return the features of clean images; what signs compare with comes from these, where it is missing."""
        if isinstance(clean, Features) or self.reader is None or not self.reader.profile.compares:
            return self._as_features(clean)
        if self.reference is not None and not self.reference.own:
            return self._as_features(clean)
        self.reference = collect(self.graph, self.reader, clean, own=True)
        return sign_features(self.graph, self.reader, clean, reference=self.reference, left_out=True)

    def _suspicion(self, columns: FloatArray) -> FloatArray:
        return suspicion(self.classifier, columns)


def _taken(images: Images | Features, mask: NDArray[np.bool_]) -> Images | Features:
    rows = np.flatnonzero(mask)
    return images[rows] if isinstance(images, Features) else images[torch.from_numpy(rows)]
