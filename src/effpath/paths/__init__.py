"""Sets of neurons, synapses and weights: of one image, of a class, of all."""

from effpath.paths.batch import Paths
from effpath.paths.idset import IdSet
from effpath.paths.path import Path

__all__ = ["IdSet", "Path", "Paths"]
