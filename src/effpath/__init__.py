"""See which parts of a neural network an input really uses, and catch the inputs that fool it.

The effective path of an image is the smallest set of neurons, synapses and weights that, layer by layer from
the predicted class back to the pixels, carry at least θ of each active neuron's value (Qiu et al., CVPR 2019).
"""

import lazy_loader

# what is public is named in __init__.pyi, and imported when it is first used: `effpath --help` needs no torch
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

__version__ = "0.1.0"
