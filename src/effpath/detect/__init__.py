"""Tell adversarial inputs from clean ones by their path similarities (paper Sec. 4)."""

from effpath.detect.classifiers import make_classifier, suspicion
from effpath.detect.clean import CleanSimilarity
from effpath.detect.detector import Detector, Verdicts
from effpath.detect.features import Features, path_features
from effpath.detect.joint import JointSimilarity
from effpath.detect.metrics import (
    Interval,
    auc_interval,
    threshold_at_fpr,
    tpr_at,
    tpr_interval,
    weighted_auc,
)
from effpath.detect.splits import paper_split, split_sources
from effpath.detect.surprise import SIGNS, JointSurprise

__all__ = [
    "CleanSimilarity",
    "Detector",
    "Features",
    "Interval",
    "JointSimilarity",
    "JointSurprise",
    "SIGNS",
    "Verdicts",
    "auc_interval",
    "make_classifier",
    "paper_split",
    "path_features",
    "split_sources",
    "suspicion",
    "threshold_at_fpr",
    "tpr_at",
    "tpr_interval",
    "weighted_auc",
]
