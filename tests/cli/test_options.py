"""Options that several commands share are declared once, and every command that has one has the same."""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from cli_run import run
from effpath.cli.main import app
from effpath.cli.options import Extraction, JsonOutput, NetworkSource, Output, Source, Without, with_options

COMMANDS = typer.main.get_command(app).commands
GIVEN: dict[str, object] = {}


def trial(
    source: Annotated[Source, Without("part")],
    name: Annotated[str, typer.Argument()],
    to: JsonOutput,
    extraction: Extraction,
    times: Annotated[int, typer.Option(help="How often.")] = 1,
) -> None:
    """Try the options,
    which are many.

    Examples:

      effpath trial net.py:make a \\
        --times 2
    """
    GIVEN.update(source=source, name=name, to=to, extraction=extraction, times=times)


@pytest.fixture
def invoke():
    trials = typer.Typer()
    trials.command()(with_options(trial))
    return lambda *words: CliRunner().invoke(trials, words)


def test_a_command_is_handed_its_groups_of_options(invoke):
    words = ["net.py:make", "a", "--seed", "3", "--theta", "0.4", "--layers", "c1,fc", "--json", "--times", "2"]
    assert invoke(*words).exit_code == 0
    assert {
        "source": Source("net.py:make", seed=3), "name": "a", "to": Output(as_json=True), "times": 2,
        "extraction": Extraction(theta=0.4, layers="c1,fc"),
    } == GIVEN  # fmt: skip
    assert GIVEN["extraction"].arguments == {"preset": "default", "theta": 0.4, "layers": ["c1", "fc"]}


def test_an_option_that_a_command_does_not_offer_is_an_error(invoke):
    for option in (["--part", "test"], ["--quiet"]):
        done = invoke("net.py:make", "a", *option)
        assert done.exit_code == 2
        assert "No such option" in done.output


def test_paragraphs_of_the_help_are_joined_and_examples_keep_their_lines(invoke, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = [line.strip() for line in invoke("--help").output.splitlines()]
    assert "Try the options, which are many." in lines
    at = lines.index("effpath trial net.py:make a \\")
    assert lines[at + 1] == "--times 2"


def test_an_option_means_the_same_in_every_command():
    helps = defaultdict(set)
    for command in COMMANDS.values():
        for option in command.params:
            helps[option.opts[0]].add(option.help)
    shared = {field for group in (NetworkSource.__origin__, Extraction, Output) for field in group.__annotations__}
    for name in shared - {
        "model",
        "as_json",
        "seed",
    }:  # the model is an option of demo; detect has a seed of its own
        assert len(helps[f"--{name.replace('_', '-')}"]) == 1, name


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_that_fit_80_columns(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    code, out, _ = run(monkeypatch, capsys, name, "--help")
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    shown = [line.strip() for line in out.splitlines()]
    examples = [line.strip() for line in COMMANDS[name].help.splitlines() if line.startswith("  ")]
    assert examples[0].startswith(f"effpath {name}")
    assert [line for line in examples if line not in shown] == []  # none is folded
