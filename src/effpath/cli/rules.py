"""``effpath rules``: the operator table."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from effpath.cli.options import AsJson


def rules(
    operator: Annotated[str | None, typer.Argument(help="Only operators whose name contains this.")] = None,
    as_json: AsJson = False,
) -> None:
    """Print the operators that have a rule, their kind, and what the rule does.

    Examples:

      effpath rules

      effpath rules pool --json
    """
    from effpath.cli.output import plain_console, print_json

    rows = [row for row in operator_table() if operator is None or operator in row["operator"]]
    if as_json:
        print_json(rows)
        return
    by_rule: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        by_rule.setdefault((row["kind"], row["rule"]), []).append(row["operator"])
    table = Table("kind", "rule", "operators", show_lines=True)
    for (kind, rule), operators in by_rule.items():
        table.add_row(kind, rule, ", ".join(operators))
    plain_console(160).print(table)
    print(f"{len(rows)} operators")


def operator_table() -> list[dict[str, str]]:
    """Return operator, kind and rule (the first sentence of its documentation), sorted by kind and operator.

    Kinds: weighted, choice, route, gate; where a rule decides by its operands, the family that it belongs to.
    """
    from effpath.rules import RULES

    kinds = ("Weighted", "Choice", "Route", "Gate")
    rows = []
    for operator, rule in RULES.items():
        gives = str(rule.__annotations__.get("return", ""))
        kind = gives if gives in kinds else rule.__module__.rpartition(".")[2]
        text = " ".join((rule.__doc__ or rule.__name__).strip().partition("\n\n")[0].split())
        rows.append({"operator": operator, "kind": kind.lower(), "rule": text})
    order = [kind.lower() for kind in kinds]
    return sorted(
        rows,
        key=lambda row: (
            order.index(row["kind"]) if row["kind"] in order else len(order),
            row["rule"],
            row["operator"],
        ),
    )
