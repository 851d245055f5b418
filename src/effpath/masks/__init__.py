"""Networks with some of their neurons, synapses or weights switched off."""

from effpath.masks.masked import Masked

__all__ = ["Masked"]
