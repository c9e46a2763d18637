"""`portrait-export` and `python -m portrait_export`: run a command, turn failures into one message and an exit code."""

from __future__ import annotations

import sys


def main() -> None:
    """The console script. Exit codes: 0 done, 1 a gate failed, 2 usage or bad input, 3 an internal error."""
    from .cli import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
