"""The commands, and what every one of them does with errors."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from effpath.cli.check import check
from effpath.cli.demo import demo
from effpath.cli.detect import detect
from effpath.cli.extract import extract
from effpath.cli.fit import fit
from effpath.cli.merge import merge
from effpath.cli.profile import profile
from effpath.cli.rules import rules
from effpath.cli.score import score
from effpath.errors import EffpathError, was_interrupted

app = typer.Typer(
    name="effpath",
    help="See which parts of a neural network an input really uses, and catch the inputs that fool it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (demo, check, rules, extract, profile, merge, score, fit, detect):
    app.command()(command)


def _version(value: bool) -> None:
    if value:
        from effpath import __version__

        typer.echo(f"effpath {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def main() -> None:
    """Run the command line; an error of ours is one message and exit code 1, Ctrl-C is 130."""
    try:
        app()
    except EffpathError as error:
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemError as error:
        if not was_interrupted(error):
            raise
        print("interrupted; finished steps are kept and used by the next run", file=sys.stderr)
        sys.exit(130)
    except SystemExit as leaving:
        if leaving.code == 130:  # typer's for Ctrl-C
            print("interrupted; finished steps are kept and used by the next run", file=sys.stderr)
        raise
