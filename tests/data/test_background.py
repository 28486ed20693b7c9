"""Items that a thread computes in advance come in order, with their exceptions, and stop when the caller does."""

from __future__ import annotations

import threading

import pytest

from pipeline.data.background import ahead


def test_items_come_in_order():
    assert list(ahead(range(100))) == list(range(100))
    assert list(ahead([])) == []


def test_items_are_computed_in_another_thread():
    assert set(ahead(threading.current_thread().name for _ in range(3))) == {"encoding"}


def test_an_exception_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("broken")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(KeyError, match="broken"):
        next(found)


def test_the_thread_ends_when_the_caller_stops():
    computed = []

    def items():
        for number in range(1000):
            computed.append(number)
            yield number

    before = threading.active_count()
    found = ahead(items())
    assert next(found) == 0
    found.close()
    assert threading.active_count() == before
    assert len(computed) < 10
