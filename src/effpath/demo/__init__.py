"""The main job from end to end: train, extract, build class paths, attack, detect, report."""

import lazy_loader

# what is public is named in __init__.pyi: a network of `effpath.demo.lenet` needs nothing that fits detectors
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
