"""Which inputs can feed which output of a weighted operator or a pooling: geometry, no values.

Every such operator is described in one way. Its outputs are (channel, position) pairs; an output reads
``T`` taps, each an input position, and at every tap ``C`` input channels of its own group. A candidate's
index in canonical order (kernel row, kernel column, input channel) is ``k = tap · C + channel``, and the
synapse between output ``o`` and its candidate ``k`` has the *slot* ``o · K + k`` with ``K = T · C``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Scalars:
    """Which scalars of a parameter of ``size`` a stored weight holds: flat ids, int64 [elements of the weight]."""

    ids: Tensor
    size: int


@dataclass(frozen=True, eq=False)
class Window:
    """The candidates of every output neuron.

    Attributes:
        taps: int64 [P, T], the input position of each tap of each output position; -1 is padding.
        inputs: number of input elements an image.
        channels: output channels O.
        group_channels: input channels C that one output sees.
        groups: number of channel groups.
        channels_first: element ids are channel · positions + position (images); else position ·
            channels + channel (the last dimension of a linear layer).
        coefficients: float64 [P, T] or [1, T], a constant factor per tap; None means 1.
        transposed: the weight is stored [in, out ÷ groups, taps] instead of [out, in ÷ groups, taps].
        maps: how many maps of one image (attention heads, say) share the weights; they lie one behind the other,
            each with channels and groups of its own.
        scalars: where the weight was moved out of a parameter (permuted, repeated, a part of it), what it holds.
    """

    taps: Tensor
    inputs: int
    channels: int = 1
    group_channels: int = 1
    groups: int = 1
    channels_first: bool = True
    coefficients: Tensor | None = None
    transposed: bool = False
    maps: int = 1
    scalars: Scalars | None = None
    _moved: dict[torch.device, Window] = field(default_factory=dict, repr=False)

    @property
    def positions(self) -> int:
        """Number of output positions P."""
        return self.taps.shape[0]

    @property
    def candidates(self) -> int:
        """Candidates of one output K, padding included."""
        return self.taps.shape[1] * self.group_channels

    @property
    def outputs(self) -> int:
        """Number of output neurons an image."""
        return self.positions * self.channels

    @property
    def slots(self) -> int:
        """Size of the universe of synapse slots, padding included."""
        return self.outputs * self.candidates

    @cached_property
    def synapses(self) -> int:
        """Number of synapses: in-bounds taps of all outputs."""
        return int((self.taps >= 0).sum()) * self.group_channels * self.channels

    @property
    def weights(self) -> int:
        """Number of scalars in the model's parameter."""
        if self.scalars is not None:
            return self.scalars.size
        return self.channels // self.maps * self.candidates

    def to(self, device: torch.device) -> Window:
        """Return the same window with its tables on another device."""
        if self.taps.device == device:
            return self
        if device not in self._moved:
            table = None if self.coefficients is None else self.coefficients.to(device)
            self._moved[device] = Window(
                self.taps.to(device),
                self.inputs,
                self.channels,
                self.group_channels,
                self.groups,
                self.channels_first,
                table,
                self.transposed,
                self.maps,
                self.scalars,
            )
        return self._moved[device]

    def locate(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return (channel, position) of output ids, each of the shape of ``outputs``."""
        if self.channels_first:
            return outputs // self.positions, outputs % self.positions
        return outputs % self.channels, outputs // self.channels

    def input_ids(self, outputs: Tensor) -> Tensor:
        """Return the input id of every candidate, int64 [M, K], -1 for padding; ``outputs`` is [M]."""
        channel, position = self.locate(outputs)
        return self._inputs_at(
            self.taps[position][:, :, None],
            channel[:, None, None],
            torch.arange(self.group_channels, device=outputs.device),
        ).flatten(1)

    def weight_ids(self, outputs: Tensor) -> Tensor:
        """Return the place in the stored weight of every candidate, int64 [M, K], from the kernel's own corner."""
        channel, _ = self.locate(outputs)
        tap = torch.arange(self.taps.shape[1], device=outputs.device)[:, None]
        inner = torch.arange(self.group_channels, device=outputs.device)
        return self._weights_at(channel[:, None, None], tap, inner).flatten(1)

    def factors(self, outputs: Tensor) -> Tensor | None:
        """Return the constant factor of every candidate, float64 [M, K] or [1, K], or None for ones."""
        if self.coefficients is None:
            return None
        table = self.coefficients
        if table.shape[0] > 1:
            table = table[self.locate(outputs)[1]]
        return table.repeat_interleave(self.group_channels, dim=1)

    def ends(self, slots: Tensor) -> tuple[Tensor, Tensor]:
        """Return (output id, input id) of synapse slots [N]."""
        outputs, k = slots // self.candidates, slots % self.candidates
        channel, position = self.locate(outputs)
        tap, inner = k // self.group_channels, k % self.group_channels
        return outputs, self._inputs_at(self.taps[position, tap], channel, inner)

    def weights_of(self, slots: Tensor) -> Tensor:
        """Return the id in the model's parameter of synapse slots [N]; several slots may share one."""
        outputs, k = slots // self.candidates, slots % self.candidates
        channel, _ = self.locate(outputs)
        ids = self._weights_at(channel, k // self.group_channels, k % self.group_channels)
        return ids if self.scalars is None else self.scalars.ids[ids]

    def _inputs_at(self, tap_position: Tensor, channel: Tensor, inner: Tensor) -> Tensor:
        source = channel // (self.channels // self.groups) * self.group_channels + inner
        total = self.groups * self.group_channels
        if self.channels_first:
            ids = source * (self.inputs // total) + tap_position
        else:
            ids = tap_position * total + source
        return torch.where(tap_position >= 0, ids, -1)

    def _weights_at(self, channel: Tensor, tap: Tensor, inner: Tensor) -> Tensor:
        taps, per_group = self.taps.shape[1], self.channels // self.groups
        channel = channel % (self.channels // self.maps)
        if self.transposed:
            source = channel // per_group * self.group_channels + inner
            return (source * per_group + channel % per_group) * taps + tap
        return (channel * self.group_channels + inner) * taps + tap


def axis_taps(
    length: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """Return the input index of every tap along one axis, int64 [outputs, kernel], -1 out of bounds."""
    at = torch.arange(outputs)[:, None] * stride - padding + torch.arange(kernel) * dilation
    return torch.where((at >= 0) & (at < length), at, -1)


def transposed_axis_taps(
    length: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> Tensor:
    """Like `axis_taps` for a transposed convolution: the input index that feeds each output by each tap."""
    at = torch.arange(outputs)[:, None] + padding - torch.arange(kernel) * dilation
    index = at // stride
    return torch.where((at % stride == 0) & (index >= 0) & (index < length), index, -1)


def adaptive_axis_taps(length: int, outputs: int) -> Tensor:
    """Return the input indices of adaptive pooling along one axis, int64 [outputs, longest window]."""
    start = torch.arange(outputs) * length // outputs
    end = -((-(torch.arange(outputs) + 1) * length) // outputs)
    at = start[:, None] + torch.arange(int((end - start).max()))
    return torch.where(at < end[:, None], at, -1)


def grid_taps(axes: Sequence[Tensor], lengths: Sequence[int]) -> Tensor:
    """Combine the tables of the axes into one of flat positions, int64 [Π outputs, Π kernel]."""
    flat = torch.zeros(1, 1, dtype=torch.int64)
    for table, length in zip(axes, lengths, strict=True):
        ahead, here = flat[:, None, :, None], table[None, :, None, :]
        both = torch.where((ahead >= 0) & (here >= 0), ahead * length + here, -1)
        flat = both.reshape(flat.shape[0] * table.shape[0], -1)
    return flat


def readdress(taps: Tensor, behind: Tensor | None) -> Tensor:
    """Return taps of a padded map as taps of the map that was padded, -1 where an element stands for none.

    ``behind`` is int64 [padded positions], the position that each stands for; None where nothing was padded.
    Several taps of an output may then read one input element, copies of which lie on the border; they stay apart.
    """
    return taps if behind is None else torch.where(taps >= 0, behind[taps], -1)
