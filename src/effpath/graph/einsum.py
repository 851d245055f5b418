"""Einsum in plainer products: two operands at a time, matrix products where no layer could do it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import torch

from effpath.graph.graph import Graph
from effpath.graph.node import Node, Ref
from effpath.graph.origin import is_trained
from effpath.graph.rewrite import sample
from effpath.graph.spelling import Spelling
from effpath.graph.subscripts import parse_equation

_ATEN = torch.ops.aten


class _Operand(NamedTuple):
    """A tensor, by name, and the letters of its dimensions."""

    name: str
    letters: str


def plain_einsum(graph: Graph) -> Graph:
    """Write out each ``einsum``: two operands at a time, of different letters; of two images' tensors, ``matmul``.

    The constants are contracted first. What is left as ``einsum`` has one constant operand.
    """
    chosen = [node for node in graph.nodes if node.op == "einsum"]
    values = sample(graph, [name for node in chosen for name in node.refs])
    nodes: list[Node] = []
    for node in graph.nodes:
        if node not in chosen:
            nodes.append(node)
            continue
        names = [ref.name for ref in node["tensors"]]
        parsed, result = parse_equation(node["equation"], [values[name].dim() for name in names])
        sizes = {
            letter: length
            for name, letters in zip(names, parsed, strict=True)
            for letter, length in zip(letters, values[name].shape, strict=True)
            if length != 1
        }
        operands = sorted(map(_Operand, names, parsed), key=lambda operand: operand.name in graph.live)
        nodes.extend(_two_by_two(graph, node, operands, result, sizes))
    return replace(graph, nodes=tuple(nodes))


def _two_by_two(
    graph: Graph, node: Node, operands: Sequence[_Operand], result: str, sizes: Mapping[str, int]
) -> list[Node]:
    """Return the nodes that contract the operands from the left to the right."""
    spell = Spelling(node, sizes)
    first, *others = operands
    held, live = _diagonal(spell, first), first.name in graph.live
    for i, other in enumerate(others):
        later = result + "".join(operand.letters for operand in others[i + 1 :])
        next_one = _diagonal(spell, other)
        held = _summed(spell, held, later + next_one.letters)
        next_one = _summed(spell, next_one, later + held.letters)
        kept = "".join(dict.fromkeys(a for a in held.letters + next_one.letters if a in later))
        next_live = other.name in graph.live
        groups = any(a in next_one.letters and a in kept and sizes.get(a, 1) > 1 for a in held.letters)
        given = [first.name, other.name] if i == 0 else [other.name]
        fixed = groups and live != next_live and not any(_is_parameter(graph, name) for name in given)
        if (live and next_live) or fixed:  # a fixed matrix for each of several groups is no layer, as in `matmul`
            held = _as_matrices(spell, held, next_one, kept)
        else:
            kept = result if i + 1 == len(others) else kept
            equation = f"{held.letters},{next_one.letters}->{kept}"
            tensors = [Ref(held.name), Ref(next_one.name)]
            held = _Operand(spell.call("einsum", _ATEN.einsum.default, equation=equation, tensors=tensors), kept)
        live = live or next_live
    name, letters = _summed(spell, held, result)
    if letters != result or not spell.steps:
        spell.move(name, "permute", _ATEN.permute.default, dims=[letters.index(a) for a in result])
    return spell.finish()


def _diagonal(spell: Spelling, operand: _Operand) -> _Operand:
    """Take the diagonal along dimensions of one letter."""
    name, letters = operand
    for letter in dict.fromkeys(letters):
        while letters.count(letter) > 1:
            one = letters.index(letter)
            two = letters.index(letter, one + 1)
            name = spell.move(name, "diagonal", _ATEN.diagonal.default, offset=0, dim1=one, dim2=two)
            letters = letters[:one] + letters[one + 1 : two] + letters[two + 1 :] + letter
    return _Operand(name, letters)


def _summed(spell: Spelling, operand: _Operand, kept: str) -> _Operand:
    """Sum over the dimensions that nothing else has."""
    name, letters = operand
    gone = [dim for dim, letter in enumerate(letters) if letter not in kept]
    if gone:
        name = spell.move(name, "sum", _ATEN.sum.dim_IntList, dim=gone, keepdim=False)
    return _Operand(name, "".join(letter for letter in letters if letter in kept))


def _as_matrices(spell: Spelling, first: _Operand, second: _Operand, kept: str) -> _Operand:
    """Multiply two tensors as matrices: [shared, rows, inner] · [shared, inner, columns]."""
    shared = "".join(a for a in first.letters if a in second.letters and a in kept)
    inner = "".join(a for a in first.letters if a in second.letters and a not in kept)
    rows, columns = (
        "".join(a for a in operand.letters if a in kept and a not in shared) for operand in (first, second)
    )

    def matrix(operand: _Operand, left: str, right: str) -> str:
        name = spell.permute(operand.name, operand.letters, shared + left + right)
        return spell.join(spell.join(name, len(shared) + len(left), right), len(shared), left)

    left, right = matrix(first, rows, inner), matrix(second, inner, columns)
    name = spell.move(left, "matmul", _ATEN.matmul.default, other=Ref(right))
    name = spell.split(spell.split(name, len(shared) + 1, columns), len(shared), rows)
    return _Operand(name, shared + rows + columns)


def _is_parameter(graph: Graph, name: str) -> bool:
    """Whether a tensor is a parameter of the model, moved or scaled at most."""
    return (
        name not in graph.live and (name in graph.constants or name in graph.by_name) and is_trained(graph, name)
    )
