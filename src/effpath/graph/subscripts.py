"""Subscripts of products of two tensors, as `torch.einsum` writes them: one letter per dimension."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_lowercase, ascii_uppercase

from effpath.graph.node import Node

_MATRIX = ("matmul", "mv", "dot", "vdot")
PRODUCTS = (*_MATRIX, "inner", "linalg_vecdot", "tensordot", "einsum")


def subscripts(node: Node, ranks: Sequence[int]) -> tuple[str, str, str] | None:
    """Return the subscripts of both operands of a product, which have these ranks, and of its result.

    None where there are none: an einsum that has not been brought to two operands of different letters.
    """
    one, two = ranks
    letters = ascii_lowercase
    if node.op == "einsum":
        parsed, result = parse_equation(node["equation"], ranks)
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


def parse_equation(equation: str, ranks: Sequence[int]) -> tuple[list[str], str]:
    """Return the letters of every operand of an einsum and of its result, the ellipsis as unused letters."""
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
