"""See which parts of a neural network an input really uses, and catch the inputs that fool it.

The effective path of an image is the smallest set of neurons, synapses and weights that, layer by layer from
the predicted class back to the pixels, carry at least θ of each active neuron's value (Qiu et al., CVPR 2019).
"""

from effpath import errors
from effpath.detect import Detector, Features, Verdicts, path_features
from effpath.detect.store import load_detector, save_detector
from effpath.graph import Graph, capture
from effpath.kernels.options import PRESETS, Options
from effpath.paths import ClassPaths, IdSet, Path, Paths
from effpath.paths.export import export_paths
from effpath.paths.store import load_class_paths, save_class_paths
from effpath.profile import build_class_paths
from effpath.rules import RULES, plan_for
from effpath.walk import extract

__all__ = [
    "PRESETS",
    "RULES",
    "ClassPaths",
    "Detector",
    "Features",
    "Graph",
    "IdSet",
    "Options",
    "Path",
    "Paths",
    "Verdicts",
    "build_class_paths",
    "capture",
    "errors",
    "export_paths",
    "extract",
    "load_class_paths",
    "load_detector",
    "path_features",
    "plan_for",
    "save_class_paths",
    "save_detector",
]

__version__ = "0.1.0"
