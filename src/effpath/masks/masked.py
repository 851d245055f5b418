"""The forward pass of a network, some of whose neurons, synapses or weights are switched off."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.images import Images
from effpath.masks.layers import LayerMask, neuron_mask, synapse_mask
from effpath.masks.weights import with_weights_off
from effpath.paths.idset import IdSet
from effpath.rules.plan import LEVELS, Level, plan_for


class Masked:
    """A network, some of whose neurons, synapses or weights are switched off: they contribute nothing.

    - A *neuron* that is off has the value 0 before its nonlinearity.
    - A *synapse* that is off is left out of its neuron's sum; the bias stays. In a max pooling the largest of the
      others counts, and 0 if there is none.
    - A *weight* that is off is 0 for all of its synapses; biases stay.

    Layers that no set is given for stay as they are, and so does every bit of the logits if nothing is off.
    Otherwise what is left of a layer's sums is computed in float64 and rounded once.

    Attributes:
        graph: the network; for weights, with zeros in their places.

    Example:
        >>> import torch, effpath
        >>> graph = effpath.capture(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval(),
        ...                         torch.zeros(1, 1, 2, 2))
        >>> images = torch.rand(5, 1, 2, 2)
        >>> path = effpath.extract(graph, images, preset=effpath.Options(theta=1.0)).union()
        >>> effpath.Masked(graph, path.synapses, keep=True)(images).shape
        torch.Size([5, 3])
    """

    def __init__(
        self, graph: Graph, sets: Mapping[str, IdSet], level: Level = "synapses", *, keep: bool = False
    ) -> None:
        """Switch off the elements of some sets, or, with ``keep``, all others of the same layers.

        Args:
            graph: of the network.
            sets: by layer (by parameter, for weights), as `Path.sets` gives them; of auxiliary layers too.
            level: what the sets contain: synapses, neurons or weights.
            keep: the elements of the sets stay on, and the others of these layers are off.

        Raises:
            OptionError: no such level, layer or parameter, or a set of another size.
        """
        if level not in LEVELS:
            raise OptionError(f"expected a level out of {', '.join(LEVELS)}, got {level!r}")
        self.graph = with_weights_off(graph, sets, keep=keep) if level == "weights" else graph
        self._masks: dict[str, LayerMask] = {}
        plan, make = plan_for(graph), synapse_mask if level == "synapses" else neuron_mask
        for name, members in sets.items() if level != "weights" else ():
            layer = plan.layer(name)
            if members.size != layer.universe(level):
                raise OptionError(
                    f"expected a set of the {layer.universe(level)} {level} of layer {name!r}, got one of "
                    f"{members.size}; give the sets of a path of this network"
                )
            mask = make(plan, layer, members, keep=keep)
            if mask is not None:
                self._masks[name] = mask
        self._read = {source for mask in self._masks.values() for source in mask.sources}

    def __call__(self, images: Any) -> Tensor:
        """Return the logits of images [N, C, H, W], float [N, classes], without gradients.

        Raises:
            InputError, NumericalError: bad images.
        """
        return self.graph(images, forward=self._logits)

    def _logits(self, images: Tensor) -> Tensor:
        values: dict[str, Tensor] = {self.graph.input: images}  # that the masks read, as they were changed

        def change(name: str, value: Any) -> Any:
            if name in self._masks:
                value = self._masks[name](value, values)
            if name in self._read:
                values[name] = value
            return value

        with torch.no_grad():
            return self.graph.run(images, change=change if self._masks else None)[self.graph.logits]

    def predict(self, images: Images, batch_size: int | None = None) -> Tensor:
        """Return the class with the highest logit of each image, int64 [N] on the CPU; of several, the lowest.

        Args:
            images: [N, C, H, W], in memory or read as they are indexed.
            batch_size: as in `Graph.predict`.

        Raises:
            InputError: images of another shape or type.
            NumericalError: NaN or infinity in the images or in their logits.
            OptionError: a batch size below 1.
        """
        return self.graph.predict(images, batch_size, forward=self._logits)
