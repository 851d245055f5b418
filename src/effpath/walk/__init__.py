"""From images to effective paths: one forward pass, then the walk back over its activations."""

from effpath.walk.extract import extract

__all__ = ["extract"]
