"""Runs the command line as ``python -m glmplan``."""

from glmplan.cli.main import main

if __name__ == "__main__":
    main()
