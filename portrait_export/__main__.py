"""Run `portrait-export` and `python -m portrait_export`."""

from __future__ import annotations

import signal
import sys

from .errors import EXIT_INTERRUPTED


def main() -> None:
    """The console script. Exit codes: 0 done, 1 a gate failed, 2 bad input, 3 an internal error, 130 Ctrl-C."""
    try:
        from .cli import run
        from .utils.memory import keep_freed_memory

        keep_freed_memory()
        code = run(sys.argv[1:])
    except KeyboardInterrupt:  # before `run` installed its handler: nothing has started
        code = EXIT_INTERRUPTED
    if code == EXIT_INTERRUPTED:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not print a traceback
    sys.exit(code)


if __name__ == "__main__":
    main()
