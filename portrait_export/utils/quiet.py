"""Silence the warnings, prints and logs of other libraries. No other file does.

Exceptions still pass. Our own warnings are lines of a stage and are not affected.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet(*, prints: bool = False, native: bool = False) -> Iterator[None]:
    """Suppress Python warnings inside the block.

    Args:
        prints: also silence `sys.stdout` and `sys.stderr`.
        native: also silence C++ code that writes to the file descriptors 1 and 2 directly. This silences the whole
            process while the block runs.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        if native:
            stack.enter_context(_descriptors_silent())
        if prints:
            sink = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(sink))
            stack.enter_context(contextlib.redirect_stderr(sink))
        yield


def mute(*loggers: str, modules: tuple[str, ...] = (), messages: tuple[str, ...] = ()) -> None:
    """Silence a library for good: log records below errors, and the warnings of some modules or with some messages.

    Args:
        modules, messages: regular expressions, as in `warnings.filterwarnings`.
    """
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in modules:
        warnings.filterwarnings("ignore", module=module)
    for message in messages:
        warnings.filterwarnings("ignore", message=message)


@contextlib.contextmanager
def _descriptors_silent() -> Iterator[None]:
    """Redirect the descriptors 1 and 2 to /dev/null and restore them afterwards. A closed one stays closed."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None where the descriptor was closed when Python started
            stream.flush()
    kept = {number: copy for number in (1, 2) if (copy := _copied(number)) is not None}
    try:
        with open(os.devnull, "w") as nowhere:
            for number in kept:
                os.dup2(nowhere.fileno(), number)
        yield
    finally:
        for number, copy in kept.items():
            os.dup2(copy, number)
            os.close(copy)


def _copied(number: int) -> int | None:
    """Duplicate a descriptor to a number above the standard three; None if it is closed."""
    import fcntl

    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return None
