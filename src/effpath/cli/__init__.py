"""The command line: thin, one file a command."""

from effpath.cli.main import app, main

__all__ = ["app", "main"]
