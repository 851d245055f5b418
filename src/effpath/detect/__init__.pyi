"""The public names, where they are; they are imported when they are first used."""

from .classifiers import make_classifier as make_classifier
from .classifiers import suspicion as suspicion
from .clean import CleanSimilarity as CleanSimilarity
from .combined import CombinedSurprise as CombinedSurprise
from .conformal import DriftMonitor as DriftMonitor
from .conformal import class_p_values as class_p_values
from .conformal import images_for as images_for
from .conformal import true_rate as true_rate
from .detector import Detector as Detector
from .features import Features as Features
from .features import path_features as path_features
from .joint import JointSimilarity as JointSimilarity
from .metrics import Interval as Interval
from .metrics import auc_interval as auc_interval
from .metrics import threshold_at_fpr as threshold_at_fpr
from .metrics import tpr_interval as tpr_interval
from .metrics import weighted_auc as weighted_auc
from .scoring import SIGNS as SIGNS
from .splits import paper_split as paper_split
from .splits import split_sources as split_sources
from .surprise import JointSurprise as JointSurprise
from .verdicts import Verdict as Verdict
from .verdicts import Verdicts as Verdicts
