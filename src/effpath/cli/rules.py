"""``effpath rules``: the operator table."""

from __future__ import annotations

from typing import Annotated

import typer

from effpath.cli.options import JsonOutput

KINDS = ("weighted", "choice", "route", "gate")


def rules(
    to: JsonOutput,
    operator: Annotated[str | None, typer.Argument(help="Only operators whose name contains this.")] = None,
) -> None:
    """Print the operators that have a rule, their kind, and what the rule does.

    Examples:

      effpath rules

      effpath rules pool --json
    """
    from effpath.cli.output import print_json, print_table

    rows = [row for row in operator_table() if operator is None or operator in row["operator"]]
    if to.as_json:
        print_json(rows)
        return
    print_table(["operator", "kind", "rule"], [[row["operator"], row["kind"], row["rule"]] for row in rows])
    print(f"{len(rows)} operators")


def operator_table() -> list[dict[str, str]]:
    """Return operator, kind and rule (the first sentence of its documentation), sorted by kind and operator.

    Kinds: weighted, choice, route, gate; where a rule decides by its operands, the family that it belongs to.
    """
    from effpath.rules import RULES

    rows = []
    for operator, rule in RULES.items():
        gives = str(rule.__annotations__.get("return", "")).lower()
        kind = gives if gives in KINDS else rule.__module__.rpartition(".")[2].lower()
        text = " ".join((rule.__doc__ or rule.__name__).strip().partition("\n\n")[0].split())
        rows.append({"operator": operator, "kind": kind, "rule": text})
    order = dict(zip(KINDS, range(len(KINDS)), strict=True))
    return sorted(rows, key=lambda row: (order.get(row["kind"], len(order)), row["rule"], row["operator"]))
