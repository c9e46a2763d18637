"""Run independent pieces of work in threads and return their results in order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def each(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None) -> list[Result]:
    """Call `work` on each item.

    One image per thread is faster than all threads on one image at a time, because threads do not wait for each other
    at the end of every operator. Torch releases Python's lock while it computes.

    Args:
        workers: number of threads; None is the number that torch uses.
    """
    todo = list(items)
    count = min(len(todo), torch.get_num_threads() if workers is None else workers)
    if count < 2:
        return [work(item) for item in todo]
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        return list(pool.map(work, todo))
