"""From a trained network and labelled images to a detector that is fitted and calibrated."""

from effpath.detect.fitting.options import ATTACKED_WITH, FitOptions
from effpath.detect.fitting.steps import attack_steps, class_paths_step, fit_detector

__all__ = ["ATTACKED_WITH", "FitOptions", "attack_steps", "class_paths_step", "fit_detector"]
