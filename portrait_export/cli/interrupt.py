"""Ctrl-C and SIGTERM in, one KeyboardInterrupt out, even where a library's own code swallows it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

_AGAIN_S = 2.0  # a second Ctrl-C within this time is the first one's echo: what is half-written is being removed

_asked_at: float | None = None


@contextlib.contextmanager
def caught() -> Iterator[None]:
    """Turn both signals into KeyboardInterrupt for as long as the block runs. A Ctrl-C that is ignored stays so."""
    global _asked_at
    _asked_at = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _ask) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise KeyboardInterrupt if one was asked for that never arrived: imports of large libraries swallow it."""
    if _asked_at is not None:
        raise KeyboardInterrupt


def _ask(signum: int, _frame: object) -> None:
    global _asked_at
    now = time.monotonic()
    if _asked_at is not None and now - _asked_at < _AGAIN_S:
        return
    _asked_at = now
    raise KeyboardInterrupt
