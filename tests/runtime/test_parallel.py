"""Work in threads keeps its order, takes no more items than it works on, and reports what fails."""

from __future__ import annotations

import threading
import time

import pytest

from portrait_export.runtime.parallel import each, in_order


def test_results_keep_the_order_of_the_items():
    def work(item):
        time.sleep(0.01 * (5 - item))
        return 10 * item

    assert list(in_order(work, range(5), workers=3)) == [0, 10, 20, 30, 40]
    assert each(work, range(5), workers=3) == [0, 10, 20, 30, 40]


def test_items_are_taken_as_they_are_needed():
    taken = []

    def items():
        for item in range(100):
            taken.append(item)
            yield item

    results = in_order(lambda item: item, items(), workers=2)
    assert next(results) == 0
    assert taken == [0, 1, 2]
    results.close()


def test_two_items_are_worked_on_at_once():
    both = threading.Barrier(2, timeout=10)
    assert len(list(in_order(lambda item: both.wait(), range(4), workers=2))) == 4


def test_one_worker_is_the_thread_of_the_caller():
    here = threading.get_ident()
    assert set(in_order(lambda item: threading.get_ident(), range(3), workers=1)) == {here}


def test_a_failure_is_raised_in_its_place():
    results = in_order(lambda item: 1 // (2 - item), range(9), workers=2)
    assert next(results) == 0
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
