"""Every error that effpath raises on purpose.

Each message says what was expected, what came instead, where, and what to do::

    EffpathError
    ├── CaptureError              the model cannot be turned into a graph
    │   └── UnknownOperatorError  an operator has no rule
    ├── InputError                images or labels with a wrong shape, type or value
    ├── NumericalError            NaN or infinity in an activation or a weight
    ├── OptionError               an option outside its range
    ├── StoreError                a file that is missing, truncated, damaged or in another format
    │   └── FingerprintError      a file that was made with another network
    ├── ClassPathError            a class path that cannot be built or was not built
    └── MissingExtraError         an optional library is not installed
"""

from __future__ import annotations


class EffpathError(Exception):
    """Base class of every error that this package raises on purpose."""


class CaptureError(EffpathError):
    """The model cannot be turned into a graph."""


class UnknownOperatorError(CaptureError):
    """An operator of the model has no rule."""


class InputError(EffpathError, ValueError):
    """Images or labels with a wrong shape, type or value."""


class NumericalError(EffpathError, ArithmeticError):
    """NaN or infinity in an activation, a contribution or a weight."""


class OptionError(EffpathError, ValueError):
    """An option outside its range."""


class StoreError(EffpathError, OSError):
    """A file that is missing, truncated, damaged or in another format."""


class FingerprintError(StoreError):
    """A file that was made with another network."""


class ClassPathError(EffpathError, LookupError):
    """A class path that cannot be built or was not built."""


class MissingExtraError(EffpathError, ImportError):
    """An optional library is not installed."""


def was_interrupted(error: BaseException) -> bool:
    """Return whether Ctrl-C caused an error; while Numba compiles, it surfaces as a SystemError."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind is not None


NO_LAYER = (
    "expected a network with layers (linear, convolution), got one without; effective paths consist of the "
    "synapses of layers: pass the network that has the weights"
)
