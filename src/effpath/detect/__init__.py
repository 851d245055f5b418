"""Tell adversarial inputs from clean ones by their path similarities (paper Sec. 4)."""

import lazy_loader

# what is public is named in __init__.pyi, and imported when it is first used: `effpath --help` needs no torch
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
