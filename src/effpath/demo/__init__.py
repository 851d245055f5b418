"""The main job from end to end: train, extract, build class paths, attack, detect, report."""

from effpath.demo.options import DemoOptions
from effpath.demo.run import run_demo

__all__ = ["DemoOptions", "run_demo"]
