"""The commands, and how all of them report errors."""

from __future__ import annotations

import os
import sys
import traceback
from typing import Annotated

import typer

from effpath.cli.check import check
from effpath.cli.demo import demo
from effpath.cli.detect import detect
from effpath.cli.diff import diff
from effpath.cli.explain import explain
from effpath.cli.extract import extract
from effpath.cli.fit import fit
from effpath.cli.merge import merge
from effpath.cli.options import with_options
from effpath.cli.output import show_every_letter
from effpath.cli.profile import profile
from effpath.cli.report import report
from effpath.cli.rules import rules
from effpath.cli.score import score
from effpath.cli.show import show
from effpath.cli.slice import slice_
from effpath.cli.store import store
from effpath.errors import EffpathError, was_interrupted

app = typer.Typer(
    name="effpath",
    help="See which parts of a neural network an input really uses, and catch the inputs that fool it.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
for command in (
    demo, check, rules, extract, profile, merge, store, score, slice_, fit, detect, explain, diff, show, report,
):  # fmt: skip
    app.command(command.__name__.rstrip("_"))(with_options(command))


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
    """Run the command line; an error is one line on standard error and an exit code, never a traceback.

    1 for errors, 2 for errors of usage, 130 for Ctrl-C, 141 if the reader of a pipe is gone.
    EFFPATH_TRACEBACK=1 prints the traceback of an unexpected error too.
    """
    show_every_letter()
    cache = sys.modules.get("effpath.files.cache")  # where nothing was imported, nothing was done
    if cache is not None:
        cache.forget_steps()
    try:
        app()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains at its end
        sys.exit(141)
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and error.code != 130:
            raise
        stopped = isinstance(error, SystemExit) or was_interrupted(error)  # 130 is typer's code for Ctrl-C
        if not stopped and os.environ.get("EFFPATH_TRACEBACK"):
            traceback.print_exc()
        print(interrupted() if stopped else described(error), file=sys.stderr)
        sys.exit(130 if stopped else 1)


def interrupted() -> str:
    """Return what is printed after Ctrl-C: the files that the same command resumes from, if any."""
    cache = sys.modules.get("effpath.files.cache")
    kept = cache.kept_steps() if cache is not None else []
    if not kept:
        return "interrupted; there was no finished step to keep"
    return f"interrupted; the same command goes on from {', '.join(map(str, kept))}"


def described(error: BaseException) -> str:
    """Return the line that is printed for an error."""
    kind, text = type(error).__name__, " ".join(str(error).split("\n")) or "no message"
    if isinstance(error, EffpathError):
        return f"error: {kind}: {error}"
    if isinstance(error, MemoryError) or "not enough memory" in text or kind == "OutOfMemoryError":
        return f"error: not enough memory ({text[:200]}); give a smaller --batch-size, or fewer --layers"
    if isinstance(error, OSError):
        return f"error: {kind}: {text}; check the path, its permissions and the space on the disk"
    return (
        f"error: unexpected {kind}: {text[:400]}; this is a defect of effpath: please report it with the command "
        "and what it prints with EFFPATH_TRACEBACK=1"
    )
