"""Other people's code in, the same without its talk out: the one place that turns off warnings, prints and logs.

What goes wrong in that code is raised as an exception all the same; warnings of ours are lines of a stage.
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
    """Run somebody else's code without its Python warnings.

    Args:
        prints: nor what it prints through `sys.stdout` and `sys.stderr`.
        native: nor what its C++ code writes past these to the descriptors 1 and 2. All of the process is silent
            meanwhile.
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
    """Turn a library's talk off for good: its loggers below errors, and warnings of some modules or messages.

    Args:
        modules, messages: regular expressions, as `warnings.filterwarnings` takes them.
    """
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    for module in modules:
        warnings.filterwarnings("ignore", module=module)
    for message in messages:
        warnings.filterwarnings("ignore", message=message)


@contextlib.contextmanager
def _descriptors_silent() -> Iterator[None]:
    """Turn standard output and standard error to nowhere, and back. One that is closed stays closed."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # Python's own are None where the descriptor was closed from the start
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
    """Another descriptor of the same stream, above the standard three; None where it is closed."""
    import fcntl

    try:
        return fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 3)
    except OSError:
        return None
