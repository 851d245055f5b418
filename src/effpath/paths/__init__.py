"""Sets of neurons, synapses and weights: of one image, of a class, of all."""

from effpath.paths.class_paths import ClassPaths
from effpath.paths.idset import IdSet
from effpath.paths.path import Path, Paths

__all__ = ["ClassPaths", "IdSet", "Path", "Paths"]
