"""Turn Ctrl-C and SIGTERM into one KeyboardInterrupt, even if a library swallows it."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator

_AGAIN_S = 2.0  # ignore a second Ctrl-C within this time, while partial outputs are being removed

_requested_at: float | None = None


@contextlib.contextmanager
def caught() -> Iterator[None]:
    """Turn both signals into KeyboardInterrupt while the block runs. A signal that is ignored stays ignored."""
    global _requested_at
    _requested_at = None
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = [n for n in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, _request) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise KeyboardInterrupt if one was requested but swallowed, as imports of large libraries do."""
    if _requested_at is not None:
        raise KeyboardInterrupt


def _request(signum: int, _frame: object) -> None:
    global _requested_at
    now = time.monotonic()
    if _requested_at is not None and now - _requested_at < _AGAIN_S:
        return
    _requested_at = now
    raise KeyboardInterrupt
