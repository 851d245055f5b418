import json

from cli_run import run
from effpath.rules import RULES


def test_the_table_has_a_line_for_every_operator_and_names_its_kind(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "rules", "--json")
    assert code == 0
    rows = {row["operator"]: row for row in json.loads(out)}
    assert set(rows) == set(RULES)
    assert {op: rows[op]["kind"] for op in ("conv2d", "add", "max_pool2d", "relu", "permute", "mul")} == {
        "conv2d": "weighted", "add": "weighted", "max_pool2d": "choice", "relu": "route", "permute": "route",
        "mul": "gate",
    }  # fmt: skip
    assert (
        rows["max_pool2d"]["rule"]
        == "Choose the largest input of the window, one; an explicit padding by -inf is never it."
    )
    assert all(row["rule"] for row in rows.values())


def test_a_rule_of_ones_own_is_in_the_table(monkeypatch, capsys):
    def mine(graph, node):
        """Everything."""

    monkeypatch.setitem(RULES, "my_operator", mine)
    code, out, _ = run(monkeypatch, capsys, "rules", "my_op", "--json")
    assert code == 0
    assert [row["rule"] for row in json.loads(out)] == ["Everything."]


def test_operators_can_be_searched(monkeypatch, capsys):
    code, out, _ = run(monkeypatch, capsys, "rules", "max_pool")
    assert code == 0
    assert "max_pool2d" in out
    assert "conv2d" not in out


def test_in_a_pipe_an_operator_is_one_line_that_can_be_searched(monkeypatch, capsys):
    _, out, _ = run(monkeypatch, capsys, "rules")
    *lines, counted = out.splitlines()
    assert counted == f"{len(RULES)} operators"
    assert lines[0].split() == ["operator", "kind", "rule"]
    assert [line.split()[0] for line in lines[1:]].count("max_pool2d") == 1
    assert len(lines) == len(RULES) + 1
    assert "│" not in out
