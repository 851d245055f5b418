"""From a trained network and labelled images to a detector that is fitted and calibrated."""

from effpath.detect.fitting.make import fit_detector
from effpath.detect.fitting.options import ATTACKED_WITH, FitOptions

__all__ = ["ATTACKED_WITH", "FitOptions", "fit_detector"]
