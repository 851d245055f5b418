"""The forward passes that signs need: of the images, and of the changed images, as many as suit the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from effpath.detect.signs.sample import Sample
from effpath.errors import NumericalError
from effpath.graph.graph import Graph
from effpath.graph.inputs import TOGETHER, images_together, images_within_bytes
from effpath.walk.recording import Recorded, ranked_classes

Change = Callable[[Tensor], Tensor]
"""From images [B, C, H, W] in [0, 1] to such images, each image for itself."""
CACHED = 20 << 20  # bytes of the largest tensor of a pass on a CPU: larger ones are slower for each image
PARTS = 4  # that are run between two reports of progress


@dataclass(frozen=True, eq=False)
class Passes:
    """What forward passes over a batch gave.

    Attributes:
        graph: the network.
        logits: [B, classes].
        outputs: of the neurons of a sample, by layer, [B, neurons], on the CPU.
        answers: the softmax of the changed images, by change, float64 [B, classes].
        recorded: what walks need; None where none are made.
        auxiliary: logits of another network, [B, classes]; None where none is asked.
    """

    graph: Graph
    logits: Tensor
    outputs: Mapping[str, Tensor]
    answers: Mapping[Change, NDArray[np.float64]]
    recorded: Recorded | None = None
    auxiliary: Tensor | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.logits)

    def select(self, rows: slice | Tensor) -> Passes:
        """Return what is of some of the images: a slice, or bool [B]."""
        index = rows if isinstance(rows, slice) else rows.cpu().numpy()
        return replace(
            self,
            logits=self.logits[rows],
            outputs={name: values[rows] for name, values in self.outputs.items()},
            answers={change: found[index] for change, found in self.answers.items()},
            recorded=None if self.recorded is None else self.recorded.select(rows),
            auxiliary=None if self.auxiliary is None else self.auxiliary[rows],
        )

    def ranked(self, rank: int) -> Tensor:
        """Return the class with the rank-th highest logit of each image, int64 [B]; ties to the lower class."""
        return ranked_classes(self.logits, rank)


def passes_of(graph: Graph, sample: Sample, pixels: Tensor, changes: Sequence[Change]) -> Passes:
    """Run images [B, C, H, W], which are checked, and their changes together.

    Raises:
        NumericalError: NaN or infinity in the logits.
    """
    ways = 1 + len(changes)
    logits: list[list[Tensor]] = [[] for _ in range(ways)]
    outputs: dict[str, list[Tensor]] = {name: [] for name in sample.ids}
    for part in _parts(graph, pixels, ways):
        versions = torch.cat([part, *(change(part) for change in changes)])
        answers = []
        for at, found in _runs(graph, versions, sample.ids):
            answers.append(found[graph.logits])
            for name, taken in outputs.items() if at < len(part) else ():
                taken.append(sample.take(name, found[name][: len(part) - at]).cpu())
        for known, more in zip(logits, torch.cat(answers).chunk(ways), strict=True):
            known.append(more)
    whole, *changed = (torch.cat(each) for each in logits)
    return Passes(
        graph,
        _finite(whole),
        {name: torch.cat(taken) for name, taken in outputs.items()},
        {change: _softmax(each) for change, each in zip(changes, changed, strict=True)},
    )


def passes_with(
    graph: Graph, recorded: Recorded, sample: Sample, pixels: Tensor, changes: Sequence[Change]
) -> Passes:
    """Take what was recorded of images [B, C, H, W], and run their changes.

    Raises:
        NumericalError: NaN or infinity in the logits.
    """
    return Passes(
        graph,
        _finite(recorded.logits),
        {name: recorded.outputs(name, torch.from_numpy(ids)).cpu() for name, ids in sample.ids.items()},
        {change: _softmax(_answer(graph, pixels, change)) for change in changes},
        recorded,
    )


def asked(auxiliary: Graph, pixels: Tensor) -> Tensor:
    """Return the logits of another network, [B, classes]; NumericalError where some are not finite."""
    found = _answer(auxiliary, pixels, lambda part: part.to(auxiliary.dtype))
    return _finite(found, " of the auxiliary network")


def _answer(graph: Graph, pixels: Tensor, change: Change) -> Tensor:
    """Return the logits of changed images, [B, classes]."""
    changed = (change(part).to(graph.device) for part in _parts(graph, pixels, 1))
    return torch.cat([found[graph.logits] for each in changed for _, found in _runs(graph, each)])


def _runs(graph: Graph, images: Tensor, layers: Iterable[str] = ()) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """Run images; give the place of the first, and logits and the outputs of layers, together or one by one."""
    if images.dim() == 4 and images.device.type == "cpu":
        images = images.contiguous(memory_format=torch.channels_last)  # the rest follows, in less time
    size = len(images) if graph.batched else 1
    for at in range(0, len(images), size):
        found = graph.run(images[at : at + size], [graph.logits, *layers])
        yield at, {name: value.reshape(size, *graph.shape(name)[1:]) for name, value in found.items()}


def images_at_a_time(graph: Graph, changes: int, batch_size: int | None = None) -> int:
    """Return ``batch_size``, or how many images with so many changes each make a few parts that run together.

    Raises:
        OptionError: a batch size below 1.
    """
    if batch_size is None:
        return min(TOGETHER, PARTS * images_that_suit(graph, 1 + changes))
    return images_together(1, batch_size)


def _parts(graph: Graph, pixels: Tensor, ways: int) -> Iterator[Tensor]:
    """Cut images into parts that run together with so many versions of each."""
    yield from torch.chunk(pixels, -(-len(pixels) // images_that_suit(graph, ways)))


def images_that_suit(graph: Graph, ways: int = 1) -> int:
    """Return how many images run together, in so many versions each; one at least."""
    if graph.device.type == "cpu":
        return max(1, CACHED // (ways * graph.largest_bytes))
    return images_within_bytes(ways * graph.activation_bytes)


def _finite(logits: Tensor, whose: str = "") -> Tensor:
    """Return logits; NumericalError where some are not finite."""
    bad = ~logits.isfinite().all(1)
    if bool(bad.any()):
        raise NumericalError(
            f"expected finite logits{whose}, got NaN or infinity for images {bad.nonzero()[:8, 0].tolist()} of a "
            "batch; look for a layer that overflows"
        )
    return logits


def _softmax(logits: Tensor) -> NDArray[np.float64]:
    found: NDArray[np.float64] = logits.double().softmax(1).cpu().numpy()
    return found
