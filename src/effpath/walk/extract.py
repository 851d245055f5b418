"""Effective paths of images: the public door."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from effpath.errors import OptionError
from effpath.graph.graph import Graph
from effpath.graph.inputs import as_classes, images_within_bytes
from effpath.kernels.options import Options, make_options
from effpath.paths.batch import Paths
from effpath.walk.recording import Backend, bytes_per_image, recordings
from effpath.walk.visit import paths_of


def extract(
    graph: Graph,
    images: Tensor,
    *,
    rank: int = 1,
    classes: Tensor | Sequence[int] | None = None,
    layers: int | str | Sequence[str] | None = None,
    preset: str | Options = "default",
    theta: float | None = None,
    include_auxiliary: bool = False,
    backend: Backend = "auto",
) -> Paths:
    """Return the effective path of each image (Sec. 2.1).

    Args:
        graph: of the network, from `capture`.
        images: float [N, C, H, W], as the network takes them: a tensor, a NumPy array or a list of images.
        rank: start at the class with the rank-th highest logit.
        classes: start at these classes instead, [N].
        layers: the last k, the named, or all (None); a partial extraction does no work for the others.
        preset: how contributions are selected: ``"paper"``, ``"authors"``, ``"default"`` or `Options`.
        theta: θ in (0, 1], instead of the preset's 0.5.
        include_auxiliary: keep the synapses of pooling and add too.
        backend: ``"compiled"`` for networks that compute in float32 throughout, ``"reference"`` (plain torch) for
            any other; ``"auto"`` sees what the network computes in. From the same activations all
            choose the same sets. Two forward passes may round in the last bit as they like (another batch size,
            processor or device), and then a few synapses in a million differ.

    Memory layout does not matter: images are brought to one before the forward pass.

    Raises:
        InputError: images of another shape or type.
        NumericalError: NaN or infinity, naming the node.
        OptionError: an option outside its range.

    Example:
        >>> import torch, effpath
        >>> net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 3)).eval()
        >>> graph = effpath.capture(net, torch.zeros(1, 1, 2, 2))
        >>> effpath.extract(graph, torch.ones(5, 1, 2, 2))
        Paths(5 images, 1 layers)
    """
    options = make_options(preset, theta=theta)
    images = graph.check_images(images)
    starts = None if classes is None else as_classes(classes, len(images), graph.classes, "class", OptionError)
    batches = recordings(
        graph,
        images,
        options=options,
        layers=layers,
        include_auxiliary=include_auxiliary,
        backend=backend,
        batch_size=images_within_bytes(bytes_per_image(graph, options, layers)),
    )
    return Paths.join(
        [
            paths_of(batch.recorded, rank=rank, classes=None if starts is None else starts[batch.rows])
            for batch in batches
        ]
    )
