"""``python -m effpath``: the command line."""

from effpath.cli import main

if __name__ == "__main__":
    main()
