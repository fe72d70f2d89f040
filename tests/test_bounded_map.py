"""Work ahead, never more than asked for, and nothing left running."""

from __future__ import annotations

import threading
import time

import pytest

from tiler.bounded_map import bounded_map


def live_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("tiler-")]


def test_results_come_in_order():
    def late(number):
        time.sleep(0.002 * (number % 3))
        return number

    assert list(bounded_map(late, range(20), workers=4, depth=5)) == list(range(20))


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_never_more_than_depth_are_drawn_ahead(depth):
    drawn = 0

    def items():
        nonlocal drawn
        for number in range(30):
            drawn += 1
            yield number

    for seen, _ in enumerate(bounded_map(str, items(), workers=2, depth=depth), start=1):
        assert drawn - seen <= depth - 1


def test_items_are_drawn_in_the_callers_thread():
    threads = set()

    def items():
        threads.add(threading.current_thread())
        yield 1

    list(bounded_map(str, items(), workers=2, depth=2))
    assert threads == {threading.current_thread()}


def test_an_error_of_the_function_reaches_the_caller_and_no_thread_stays():
    def fail(number):
        if number == 3:
            raise ValueError("three")
        return number

    with pytest.raises(ValueError, match="three"):
        list(bounded_map(fail, range(100), workers=3, depth=4))
    assert not live_threads()


def test_an_error_of_the_items_reaches_the_caller_and_no_thread_stays():
    def items():
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(bounded_map(str, items(), workers=3, depth=4))
    assert not live_threads()


def test_closing_stops_the_work():
    begun = []
    results = bounded_map(lambda n: begun.append(n) or n, range(1000), workers=1, depth=3)
    next(results)
    results.close()
    assert len(begun) <= 4
    assert not live_threads()
