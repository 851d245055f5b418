"""Every error that effpath raises on purpose.

Each message says what was wanted, what came, where, and what to do::

    EffpathError
    ├── CaptureError          the model cannot be turned into a graph
    │   └── UnknownOperator   an operator has no rule
    ├── InputError            images or labels of a wrong shape, type or value
    ├── NumericalError        NaN or infinity in an activation or a weight
    ├── OptionError           an option outside its range
    ├── StoreError            a file that is missing, truncated or of another kind
    │   └── FingerprintError  an artefact that was made with another network
    ├── ClassPathError        a class path that cannot be built or was not built
    └── MissingExtra          an optional library is not installed
"""

from __future__ import annotations


class EffpathError(Exception):
    """Base of all errors of this package."""


class CaptureError(EffpathError):
    """The model cannot be turned into a graph."""


class UnknownOperator(CaptureError):
    """An operator of the model has no rule."""


class InputError(EffpathError, ValueError):
    """Images or labels of a wrong shape, type or value."""


class NumericalError(EffpathError, ArithmeticError):
    """NaN or infinity in an activation, a contribution or a weight."""


class OptionError(EffpathError, ValueError):
    """An option outside its range."""


class StoreError(EffpathError, OSError):
    """A file that is missing, truncated or of another kind."""


class FingerprintError(StoreError):
    """An artefact that was made with another network."""


class ClassPathError(EffpathError, LookupError):
    """A class path that cannot be built or was not built."""


class MissingExtra(EffpathError, ImportError):
    """An optional library is not installed."""


def was_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an error: one that comes while Numba compiles surfaces as a SystemError."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind is not None


NO_LAYER = (
    "expected a network with layers (linear, convolution), got one without; effective paths are made of the "
    "synapses of layers: pass the network that has the weights"
)
