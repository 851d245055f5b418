"""``effpath rules``: the operator table."""

from __future__ import annotations

from typing import Annotated

import typer

from effpath.cli.options import JsonOutput

KINDS = ("weighted", "choice", "route", "gate")  # or else, where the operands decide, the family of the rule


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
    from effpath.rules import RULES

    rows = []
    for name, rule in RULES.items():
        gives = str(rule.__annotations__.get("return", "")).lower()
        kind = gives if gives in KINDS else rule.__module__.rpartition(".")[2].lower()
        text = " ".join((rule.__doc__ or rule.__name__).strip().partition("\n\n")[0].split())
        if operator is None or operator in name:
            rows.append({"operator": name, "kind": kind, "rule": text})
    order = dict(zip(KINDS, range(len(KINDS)), strict=True))
    rows.sort(key=lambda row: (order.get(row["kind"], len(order)), row["rule"], row["operator"]))
    if to.as_json:
        print_json(rows)
        return
    print_table(["operator", "kind", "rule"], [list(row.values()) for row in rows])
    print(f"{len(rows)} operators")
