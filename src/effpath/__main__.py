"""``python -m effpath``: the command line."""

from effpath.cli import main

main()
