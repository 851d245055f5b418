"""The nodes that one product is written out in: moves of dimensions, each of which has a letter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod
from typing import Any

import torch

from effpath.graph.node import Node, Ref
from effpath.graph.rewrite import step

_ATEN = torch.ops.aten


class Spelling:
    """The nodes that one node is written out in, in order; dimensions are named by letters, as in `torch.einsum`.

    Attributes:
        node: what is written out.
        sizes: length of each letter; those that are not named have length 1.
        steps: the nodes so far.
    """

    def __init__(self, node: Node, sizes: Mapping[str, int]) -> None:
        """Start without any step."""
        self.node, self.sizes = node, sizes
        self.steps: list[Node] = []

    def call(self, op: str, function: Any, /, **args: Any) -> str:
        """Add a step, and return its name; ``args`` are the operator's, ``self`` among them."""
        self.steps.append(step(self.node, f"{op}{len(self.steps)}", op, function, **args))
        return self.steps[-1].name

    def move(self, source: str, op: str, function: Any, /, **args: Any) -> str:
        """Add a step that takes ``source`` as its first argument, and return its name."""
        return self.call(op, function, self=Ref(source), **args)

    def size(self, letters: str) -> int:
        """Return the number of elements along some dimensions."""
        return prod(self.lengths(letters))

    def lengths(self, letters: str) -> list[int]:
        """Return the length of each dimension."""
        return [self.sizes.get(letter, 1) for letter in letters]

    def permute(self, source: str, letters: str, order: str) -> str:
        """Bring dimensions into another order."""
        if letters == order:
            return source
        return self.move(source, "permute", _ATEN.permute.default, dims=[letters.index(a) for a in order])

    def join(self, source: str, dim: int, letters: str) -> str:
        """Make one dimension of those from ``dim`` on; of none, a new one."""
        if not letters:
            return self.move(source, "unsqueeze", _ATEN.unsqueeze.default, dim=dim)
        if len(letters) == 1:
            return source
        ends = {"start_dim": dim, "end_dim": dim + len(letters) - 1}
        return self.move(source, "flatten", _ATEN.flatten.using_ints, **ends)

    def split(self, source: str, dim: int, letters: str) -> str:
        """Cut a dimension into those of its letters; of none, drop it."""
        if not letters:
            return self.move(source, "squeeze", _ATEN.squeeze.dim, dim=dim)
        if len(letters) == 1:
            return source
        return self.move(source, "unflatten", _ATEN.unflatten.int, dim=dim, sizes=self.lengths(letters))

    def finish(self) -> list[Node]:
        """Return the nodes; the last of them takes the place of the node that is written out."""
        self.steps[-1] = replace(self.steps[-1], name=self.node.name)
        return self.steps
