"""The command line: thin, one file per command."""

from effpath.cli.main import app, main

__all__ = ["app", "main"]
