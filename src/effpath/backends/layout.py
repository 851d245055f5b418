"""Where each tensor's elements lie in memory: channels last where that suits its readers."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from effpath.rules.kinds import Kind, Selection
from effpath.rules.plan import Plan


@dataclass(frozen=True)
class Layout:
    """Channels last: canonical element channel · positions + position is stored at position · channels + channel.

    One channel, or one position, is the canonical order itself.
    """

    size: int
    channels: int = 1

    @property
    def positions(self) -> int:
        """Number of positions."""
        return self.size // self.channels

    @property
    def plain(self) -> bool:
        """Whether the elements are stored in canonical order."""
        return self.channels == 1 or self.positions == 1

    def store(self, values: Tensor) -> Tensor:
        """Return canonical values [B, …] as contiguous [B, size] in this layout: free for channels-last memory."""
        flat = values.reshape(len(values), self.channels, self.positions)
        return flat.transpose(1, 2).contiguous().view(len(values), self.size)

    def restore(self, stored: Tensor) -> Tensor:
        """Return stored values [B, size] in canonical order."""
        return (
            stored.view(len(stored), self.positions, self.channels).transpose(1, 2).reshape(len(stored), self.size)
        )

    @cached_property
    def table(self) -> Tensor:
        """Where each canonical element is stored, int64 [size]."""
        ids = torch.arange(self.size)
        return ids % self.positions * self.channels + ids // self.positions


def layouts_of(plan: Plan) -> dict[str, Layout]:
    """Choose a layout for the input, every node's result and the attention weights that products read.

    Linear layers and convolutions vote for what lets them read and write whole rows; tensors that are one another
    element by element share a layout. The logits, where a walk starts, are in canonical order, and so are
    attention weights that no node of the plan makes.
    """
    parent: dict[str, str] = {}

    def find(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    votes: dict[str, dict[int, int]] = defaultdict(lambda: defaultdict(int))
    asked: list[tuple[str, int, int]] = []
    graph = plan.graph
    for name, kind in plan.kinds.items():
        for source in one_to_one(kind, name, plan):
            parent[find(source)] = find(name)
        if kind.selects:
            asked += _wishes(name, kind)
    for name, channels, weight in [*asked, (graph.logits, 1, 1 << 40)]:
        votes[find(name)][channels] += weight * graph.size(name)
    chosen = {}
    for name in (graph.input, *plan.kinds):
        shares = votes[find(name)]
        channels = max(shares, key=lambda c: (shares[c], c)) if shares else 1
        size = graph.size(name)
        chosen[name] = Layout(size, channels if size % channels == 0 else 1)
    factors = {kind.factors for kind in plan.kinds.values() if kind.selects and kind.factors}
    return chosen | {name: Layout(graph.size(name)) for name in factors - chosen.keys()}


def one_to_one(kind: Kind, name: str, plan: Plan) -> list[str]:
    """Return the sources that map element by element to a node's result: of an elementwise operator or sum."""
    size = plan.graph.size(name)
    if kind.selects:
        return [source for source in kind.sources if plan.graph.size(source) == size] if by_element(kind) else []
    return [*kind.data.sources] if kind.data.ids is None else []


def by_element(kind: Selection) -> bool:
    """Whether taps are elements of the operands (a sum of tensors, a mean), not positions that have channels."""
    window = kind.window
    plain = window.channels == window.group_channels == window.groups == 1
    return len(kind.sources) > 1 or (plain and kind.weight is None)


def _wishes(name: str, kind: Selection) -> list[tuple[str, int, int]]:
    """(tensor, channels, weight) that an operator asks for."""
    window = kind.window
    if by_element(kind):
        return []
    total = window.groups * window.group_channels
    weight = 4 if window.group_channels > 1 else 1
    if not window.channels_first:
        return [(kind.sources[0], 1, weight), (name, 1, weight)]
    return [(kind.sources[0], total, weight), (name, window.channels, weight)]


def same_order(one: Layout, other: Layout) -> bool:
    """Whether two layouts of a tensor store its elements in the same order."""
    return one.channels == other.channels or (one.plain and other.plain)
