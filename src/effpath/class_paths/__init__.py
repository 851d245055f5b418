"""Class paths: the union of a class's effective paths, how they are built, kept and compared with."""

from effpath.class_paths.class_paths import ClassPaths

__all__ = ["ClassPaths"]
