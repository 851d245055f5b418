"""What the compiled kernels of a walk take and give, by name: Numba passes a named tuple as a plain struct.

Activations and masks are channels last where the operator has channels: element (position, channel) of an image
lies at position · channels + channel. Letters in shapes: B images, P output positions of an image, O output
channels, C input channels that one output sees, T taps of an output, K = T · C candidates of an output.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import NDArray

Array = NDArray[Any]

BINS = 256  # of target ÷ scale, 4 per octave
SLACK = 16  # elements that a copy may overwrite behind its last
COLLECT, SKIP, COMPARE, UNITE = 0, 1, 2, 3  # what is done with the chosen, see `Use`
EMPTY, BITS, ROWS, IDS = 0, 1, 2, 3  # forms of a set, see `effpath.kernels.keep.is_member`


class Geometry(NamedTuple):
    """The shape of an operator.

    ``groups`` is 0 where taps are elements of the operands, not positions that have channels. Element (position,
    channel) of the input and of its mask lies at position · tap_stride + channel · channel_stride; ``inner`` is
    the number of its channels. Ids of the outputs are channel · P + position where ``channels_first``.
    """

    positions: int
    channels: int
    span: int
    groups: int
    taps: int
    candidates: int
    channels_first: bool
    tap_stride: int
    channel_stride: int
    inner: int


class Criterion(NamedTuple):
    """What decides which contributions are chosen: `effpath.kernels.options.Options`, as flags.

    Attributes:
        theta: θ.
        of_sum: the target is a share of the sum of the contributions, not of the value.
        ranks_bias: the bias is a candidate.
        falls_to_largest: the fallback is the single largest contribution.
        lone: the lone rule holds.
        maximum: of a max pooling: the first of the largest, or with ``all_ties`` all of them.
        all_ties: see ``maximum``.
    """

    theta: float
    of_sum: bool
    ranks_bias: bool
    falls_to_largest: bool
    lone: bool
    maximum: bool
    all_ties: bool


class Outputs(NamedTuple):
    """The outputs of an operator over a batch."""

    value: Array  # float32 [B, P · O]; [B, 0] where the value is the sum of the contributions
    active: Array  # uint8 [B, …]
    column: int  # where their mask begins in it


class Inputs(NamedTuple):
    """The input of a linear layer or a convolution."""

    x: Array  # float32 [B, positions · inner]
    reached: Array  # uint8 [B, …]
    column: int  # where its mask begins in it; negative: do not mark


class Operands(NamedTuple):
    """The n operands of an operator whose outputs have few candidates."""

    addresses: Array  # int64 [n], float32 each
    strides: Array  # int64 [n], elements of an image of each
    starts: Array  # int64 [n + 1], where they begin in the numbering of the taps
    columns: Array  # int64 [n], where their masks begin in ``reached``; negative: do not mark
    reached: Array  # uint8 [B, …]


class Weights(NamedTuple):
    """The weights of a linear layer or a convolution, in canonical order."""

    rows: Array  # float32 [O, K, padded to whole vectors]
    norms: Array  # float32 [O], root of the sum of squares of each row
    bias: Array  # float32 [O], or empty


class Taps(NamedTuple):
    """Where a linear layer or a convolution reads."""

    taps: Array  # int32 [P, T], input position of each tap, negative for padding
    runs: Array  # int32 [R, 3], taps whose inputs lie side by side: first tap, its input position, their number
    run_of: Array  # int32 [P + 1], the runs of each position
    tap_of: Array  # int32 [K, 2], tap and channel of each candidate
    offsets: Array  # int32 [K], where the input of a candidate lies, from its position's origin; empty: copy
    origins: Array  # int32 [P], input position that the offsets of a position count from


class Factors(NamedTuple):
    """What the inputs are multiplied by, one factor per tap, where an output has few candidates; and its bias."""

    rows: Array  # float32 [O, T], weights, or [0, 0]
    coefficients: Array  # float32 [P or 1, T] or [0, 0]
    of_image: Array  # float32 [B, P · T], or [B, 0]
    bias: Array  # float32 [O], or empty


class Task(NamedTuple):
    """Output positions first … last - 1 of the batch, and their channels left … right - 1, done block by block."""

    first: int
    last: int
    block: int
    left: int
    right: int


class Use(NamedTuple):
    """What is done with the chosen: keep them, nothing, compare them with sets, or unite them into sets."""

    mode: int
    sets: Array  # int64 [B, 3], form and addresses of each, see `effpath.kernels.keep.is_member`
    slots: Array  # empty, of the type of the candidates that are kept


class Selected(NamedTuple):
    """What a kernel chose for a task."""

    neurons: Array  # int32 [N], position · O + channel, image by image
    counts: Array  # int32 [N], chosen candidates of each
    candidates: Array  # [Σ counts], ascending for each neuron
    of_image: Array  # int64 [B], neurons of each image
    hits: Array  # int64 [B, 2], of the chosen synapses those in the image's set, and all
    finite: bool  # no NaN or infinity was met


class Pairs(NamedTuple):
    """The active (position, channel) pairs of a block, a task itself, and what was chosen for each."""

    position: Array  # int32, from the block's first; in storage order
    channel: Array  # int32, from the block's left
    begins: Array  # int64, where the chosen of each begin
    lengths: Array  # int32, how many they are


class Row(NamedTuple):
    """The contributions x·w of one neuron, as addresses.

    The input of candidate k lies ``offsets[k]`` floats behind x (int32; address 0: k itself). ``runs``, of which
    there are ``run_count``, are the parts of the row that the inputs are read in, each three int32: index of its
    first vector of 16 candidates, offset of its inputs from x in floats, number of vectors. ``positions`` are the
    int32 input positions of the row's ``taps``, negative for padding, with ``span`` candidates each.
    """

    x: int
    w: int
    runs: int
    run_count: int
    offsets: int
    vectors: int
    positions: int
    taps: int
    span: int


class Scratch(NamedTuple):
    """Addresses of arrays of 4-byte elements, each longer by 64 than a row.

    ``masks`` is zero where the runs of a row leave gaps; the others hold anything.
    """

    masks: int
    values: int
    indices: int
    work: int
    at: int


class Kept(NamedTuple):
    """What a task has chosen so far; the first three arrays are longer than what is used of them."""

    neurons: Array
    counts: Array
    candidates: Array
    used: int
    filled: int
    of_image: Array
    hits: Array
