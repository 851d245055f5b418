"""From a trained network and labelled images to a detector that is fitted and calibrated."""

from effpath.fitting.make import fit_detector
from effpath.fitting.options import ATTACKED_WITH, FitOptions

__all__ = ["ATTACKED_WITH", "FitOptions", "fit_detector"]
