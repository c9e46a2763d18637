"""Run independent pieces of work in threads and return their results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
    return list(in_order(work, todo, workers=count))


def in_order(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int | None = None) -> Iterator[Result]:
    """`map` in threads, one result at a time: no more items are taken than are worked on, and one that waits.

    Args:
        items: read by the caller's thread.
        workers: as for `each`; with less than two, the caller's thread does the work.
    """
    count = torch.get_num_threads() if workers is None else workers
    if count < 2:
        yield from map(work, items)
        return
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) > count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
