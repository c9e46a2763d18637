"""Let the C library keep freed memory, so that a network's values do not get new pages at each run."""

from __future__ import annotations

import ctypes
import os
import sys
from functools import cache

# Parameters of glibc's mallopt (malloc.h).
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8
LARGEST = 2**31 - 1
MMAP_FROM = 2**30  # bytes; smaller values come from the heap


@cache
def keep_freed_memory() -> bool:
    """Tell glibc's malloc not to return freed memory to the system; once per process.

    A network's values of some megabytes each are allocated and freed at every run. By default glibc maps new pages for
    each, which the kernel has to clear: measured on segformer_b0 at 512x512, 80,000 page faults and 40 % of the time of
    a prediction. The process keeps the memory of its largest moment. One arena, because an arena of a second thread
    cannot hold such values.

    Returns:
        Whether it applies: on Linux with glibc, unless the environment sets malloc's options itself.
    """
    if not sys.platform.startswith("linux") or any(
        name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ
    ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl
        return False
    settings = ((M_MMAP_THRESHOLD, MMAP_FROM), (M_TRIM_THRESHOLD, LARGEST), (M_ARENA_MAX, 1))
    applied = [mallopt(name, value) == 1 for name, value in settings]
    return all(applied)
