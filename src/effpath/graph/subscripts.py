"""Subscripts of products of two tensors, as `torch.einsum` writes them; einsum in plainer products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from string import ascii_lowercase, ascii_uppercase
from typing import Any

import torch

from effpath.graph.graph import Graph, Node, Ref
from effpath.graph.origin import origin
from effpath.graph.rewrite import sample, step

_ATEN = torch.ops.aten
_MATRIX = ("matmul", "linalg_matmul", "mm", "bmm", "mv", "dot", "vdot")
PRODUCTS = (*_MATRIX, "inner", "linalg_vecdot", "tensordot", "einsum")


def subscripts(node: Node, ranks: Sequence[int]) -> tuple[str, str, str] | None:
    """Return the subscripts of both operands and of the result of a product; a letter a dimension.

    None where there are none: an einsum that has not been brought to two operands of different letters.
    """
    one, two = ranks
    letters = ascii_lowercase
    if node.op == "einsum":
        parsed, result = _parse(node["equation"], ranks)
        plain = all(len(set(of)) == len(of) for of in parsed)
        return (parsed[0], parsed[1], result) if plain else None
    if node.op in _MATRIX:
        lead = letters[: max(one, two, 2) - 2]
        first = (lead[len(lead) - (one - 2) :] if one > 2 else "") + ("y" if one > 1 else "") + "x"
        second = (lead[len(lead) - (two - 2) :] if two > 2 else "") + "x" + ("z" if two > 1 else "")
        return first, second, lead + ("y" if one > 1 else "") + ("z" if two > 1 else "")
    if node.op == "linalg_vecdot":
        rank = max(one, two)
        every, gone = letters[:rank], node["dim"] % rank
        return every[rank - one :], every[rank - two :], every[:gone] + every[gone + 1 :]
    pairs = [(one - 1, two - 1)]
    if node.op == "tensordot":
        pairs = [(i % one, j % two) for i, j in zip(node["dims_self"], node["dims_other"], strict=True)]
    second_letters = list(letters[one : one + two])
    for i, j in pairs:
        second_letters[j] = letters[i]
    first, second = letters[:one], "".join(second_letters)
    shared = set(first) & set(second)
    return first, second, "".join(a for a in first + second if a not in shared)


def _parse(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of every operand and of the result, the ellipsis as capitals nobody uses."""
    given, arrow, result = equation.replace(" ", "").partition("->")
    operands = given.split(",")
    free = [a for a in reversed(ascii_uppercase + ascii_lowercase) if a not in equation]
    widths = [rank - len(of.replace("...", "")) for of, rank in zip(operands, ranks, strict=True) if "..." in of]
    dots = "".join(free[: max(widths, default=0)])
    parsed = []
    for of, rank in zip(operands, ranks, strict=True):
        width = rank - len(of.replace("...", ""))
        parsed.append(of.replace("...", dots[len(dots) - width :]) if "..." in of else of)
    if not arrow:
        every = "".join(operands).replace(".", "")
        result = "..." * bool(dots) + "".join(sorted(a for a in set(every) if every.count(a) == 1))
    return parsed, result.replace("...", dots)


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
        parsed, result = _parse(node["equation"], [values[name].dim() for name in names])
        sizes = {
            a: n
            for name, of in zip(names, parsed, strict=True)
            for a, n in zip(of, values[name].shape, strict=True)
            if n != 1
        }
        operands = sorted(zip(names, parsed, strict=True), key=lambda pair: pair[0] in graph.live)
        nodes.extend(_two_by_two(graph, node, operands, result, sizes))
    return replace(graph, nodes=tuple(nodes))


def _two_by_two(
    graph: Graph, node: Node, operands: list[tuple[str, str]], result: str, sizes: dict[str, int]
) -> Iterator[Node]:
    made: list[Node] = []

    def call(op: str, function: Any, **args: Any) -> str:
        made.append(step(node, f"{op}{len(made)}", op, function, **args))
        return made[-1].name

    def only_once(name: str, of: str) -> tuple[str, str]:
        for a in set(of):
            while of.count(a) > 1:
                one = of.index(a)
                two = of.index(a, one + 1)
                name = call("diagonal", _ATEN.diagonal.default, self=Ref(name), offset=0, dim1=one, dim2=two)
                of = of[:one] + of[one + 1 : two] + of[two + 1 :] + a
        return name, of

    def summed(name: str, of: str, kept: str) -> tuple[str, str]:
        gone = [i for i, a in enumerate(of) if a not in kept]
        if gone:
            args: dict[str, Any] = {"self": Ref(name), "dim": gone, "keepdim": False}
            name = call("sum", _ATEN.sum.dim_IntList, **args)
        return name, "".join(a for a in of if a in kept)

    (name, of), *others = operands
    name, of = only_once(name, of)
    live = name in graph.live
    for i, (other, of_other) in enumerate(others):
        later = result + "".join(letters for _, letters in others[i + 1 :])
        other, of_other = only_once(other, of_other)
        name, of = summed(name, of, later + of_other)
        other, of_other = summed(other, of_other, later + of)
        both = "".join(dict.fromkeys(a for a in of + of_other if a in later))
        given = [operands[0][0] if i == 0 else "", operands[i + 1][0]]
        both_live = live and given[1] in graph.live
        groups = {a for a in of if a in of_other and a in both and sizes.get(a, 1) > 1}
        fixed = groups and live != (given[1] in graph.live) and not any(_is_trained(graph, a) for a in given)
        live = live or given[1] in graph.live
        if both_live or fixed:  # a fixed matrix for each of several groups is no layer, as in `matmul`
            name, of = _as_matrices(call, (name, of), (other, of_other), both, sizes)
        else:
            both = result if i + 1 == len(others) else both
            tensors = [Ref(name), Ref(other)]
            equation = f"{of},{of_other}->{both}"
            name = call("einsum", _ATEN.einsum.default, equation=equation, tensors=tensors)
            of = both
    name, of = summed(name, of, result)
    if of != result or not made:
        call("permute", _ATEN.permute.default, self=Ref(name), dims=[of.index(a) for a in result])
    made[-1] = replace(made[-1], name=node.name)
    yield from made


def _is_trained(graph: Graph, name: str) -> bool:
    if name in graph.live or not (name in graph.constants or name in graph.by_name):
        return False
    found = origin(graph, name)
    return found is not None and found.name in graph.trained


def _as_matrices(
    call: Any, first: tuple[str, str], second: tuple[str, str], kept: str, sizes: dict[str, int]
) -> tuple[str, str]:
    """Multiply two tensors as matrices: [shared, rows, inner] · [shared, inner, columns]."""
    (one, of_one), (two, of_two) = first, second
    shared = "".join(a for a in of_one if a in of_two and a in kept)
    inner = "".join(a for a in of_one if a in of_two and a not in kept)
    rows, columns = ("".join(a for a in of if a in kept and a not in shared) for of in (of_one, of_two))

    def matrix(name: str, of: str, left: str, right: str) -> str:
        wanted = shared + left + right
        if of != wanted:
            name = call("permute", _ATEN.permute.default, self=Ref(name), dims=[of.index(a) for a in wanted])
        for start, letters in ((len(shared) + len(left), right), (len(shared), left)):
            if not letters:
                name = call("unsqueeze", _ATEN.unsqueeze.default, self=Ref(name), dim=start)
            elif len(letters) > 1:
                ends = {"start_dim": start, "end_dim": start + len(letters) - 1}
                name = call("flatten", _ATEN.flatten.using_ints, self=Ref(name), **ends)
        return name

    left, right = matrix(one, of_one, rows, inner), matrix(two, of_two, inner, columns)
    name = call("matmul", _ATEN.matmul.default, self=Ref(left), other=Ref(right))
    for start, letters in ((len(shared) + 1, columns), (len(shared), rows)):
        if not letters:
            name = call("squeeze", _ATEN.squeeze.dim, self=Ref(name), dim=start)
        elif len(letters) > 1:
            cut = [sizes.get(a, 1) for a in letters]
            name = call("unflatten", _ATEN.unflatten.int, self=Ref(name), dim=start, sizes=cut)
    return name, shared + rows + columns
