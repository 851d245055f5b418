"""Running the command line inside the tests."""

import sys

import pytest

from effpath.cli import main


def run(monkeypatch, capsys, *arguments):
    """Return exit code, standard output and standard error."""
    monkeypatch.setattr(sys, "argv", ["effpath", *map(str, arguments)])
    with pytest.raises(SystemExit) as exit_:
        main()
    captured = capsys.readouterr()
    return exit_.value.code or 0, captured.out, captured.err
