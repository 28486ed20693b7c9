"""Texts of concurrent requests share batches, and nothing else: each request gets its own answers or its own error."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import UserError
from pipeline.serving.batching import Batcher, QueueFull


class Model:
    """Counts the characters of texts, and keeps the batches; waits for `free` before each, and fails at a bad text."""

    def __init__(self):
        self.batches: list[list] = []
        self.free = threading.Event()

    def __call__(self, contents, options):
        assert self.free.wait(10)
        self.batches.append(contents)
        if "bad" in contents:
            raise UserError("predict: a bad text")
        return [{"text": content, "length": len(content), **options} for content in contents]


@pytest.fixture
def model() -> Model:
    return Model()


def batcher_of(model, batch_size=4, wait=0.0, max_queue=100, **options) -> Batcher:
    return Batcher(model, batch_size, wait, max_queue, **options)


def occupied(batcher: Batcher, model: Model):
    """Has the model work on a text of its own, so that all that comes now has to wait; returns its future."""
    future = batcher.submit(["first"], {})
    while batcher.waiting:
        pass
    return future


def test_what_waits_is_answered_together_in_batches_of_similar_length(model):
    batcher = batcher_of(model)
    occupied(batcher, model)
    futures = [batcher.submit([word * size], {}) for size in (9, 1, 8, 2) for word in ("a", "b")]
    model.free.set()
    assert [future.result(10)[0]["length"] for future in futures] == [9, 9, 1, 1, 8, 8, 2, 2]
    assert [sorted(map(len, batch)) for batch in model.batches] == [[5], [1, 1, 2, 2], [8, 8, 9, 9]]
    assert batcher.stop(10)


def test_the_answers_of_a_request_are_in_the_order_of_its_texts_over_several_batches(model):
    batcher = batcher_of(model)
    model.free.set()
    texts = ["x" * random.Random(0).randint(1, 50) + str(number) for number in range(30)]
    assert [answer["text"] for answer in batcher.submit(texts, {}).result(10)] == texts
    assert batcher.submit([], {}).result(10) == []
    assert batcher.stop(10)


def test_a_text_that_fails_fails_its_own_request_only(model):
    batcher = batcher_of(model)
    occupied(batcher, model)
    futures = [batcher.submit(texts, {}) for texts in (["good"], ["well", "bad"], ["fine"])]
    model.free.set()
    assert futures[0].result(10)[0]["text"] == "good"
    assert futures[2].result(10)[0]["text"] == "fine"
    with pytest.raises(UserError, match="a bad text"):
        futures[1].result(10)
    assert batcher.submit(["again"], {}).result(10)  # the thread lives on
    assert batcher.stop(10)


def test_other_options_and_other_kinds_of_rows_go_into_other_batches(model):
    batcher = batcher_of(model, batch_size=10)
    occupied(batcher, model)
    sent = [(["one"], {}), (["two"], {"generate": 3}), ([("a", "b")], {}), ([["w"], "three"], {}), (["four"], {})]
    futures = [batcher.submit(contents, options) for contents, options in sent]
    model.free.set()
    assert futures[1].result(10) == [{"text": "two", "length": 3, "generate": 3}]
    assert [answer["text"] for answer in futures[3].result(10)] == [["w"], "three"]
    assert batcher.stop(10)
    assert sorted(model.batches[1:], key=str) == [["one", "four", "three"], ["two"], [("a", "b")], [["w"]]]


def test_a_text_waits_for_others_only_while_a_batch_is_not_full(model):
    model.free.set()
    batcher = batcher_of(model, batch_size=2, wait=30.0)
    first = batcher.submit(["one"], {})
    assert not first.done()
    second = batcher.submit(["two"], {})
    assert first.result(10)
    assert second.result(10)
    assert model.batches == [["one", "two"]]
    last = batcher.submit(["three"], {})
    assert batcher.stop(10)  # nothing will come that it could wait for
    assert last.done()


def test_a_cancelled_request_does_not_go_through_the_model(model):
    batcher = batcher_of(model)
    occupied(batcher, model)
    given_up, kept = batcher.submit(["gone"], {}), batcher.submit(["kept"], {})
    assert given_up.cancel()
    model.free.set()
    assert kept.result(10)
    assert batcher.stop(10)
    assert model.batches == [["first"], ["kept"]]


def test_a_full_queue_takes_a_request_completely_or_not_at_all(model):
    batcher = batcher_of(model, max_queue=3)
    occupied(batcher, model)
    futures = [batcher.submit(["one", "two"], {})]
    with pytest.raises(QueueFull):
        batcher.submit(["three", "four"], {})
    assert batcher.waiting == 2
    futures.append(batcher.submit(["three"], {}))
    model.free.set()
    assert all(future.result(10) for future in futures)
    assert batcher.stop(10)


def test_texts_of_cancelled_requests_leave_a_full_queue_to_others(model):
    batcher = batcher_of(model, max_queue=3)
    occupied(batcher, model)
    gone, kept = batcher.submit(["gone", "too"], {}), batcher.submit(["kept"], {})
    assert gone.cancel()
    with pytest.raises(QueueFull):
        batcher.submit(["one", "two", "three"], {})
    new = batcher.submit(["new", "newer"], {})
    assert batcher.waiting == 3
    model.free.set()
    assert [answer["text"] for future in (kept, new) for answer in future.result(10)] == ["kept", "new", "newer"]
    assert batcher.stop(10)
    assert not any("gone" in batch for batch in model.batches)


def test_every_one_of_many_threads_gets_its_own_answers(model):
    model.free.set()
    sizes: list[int] = []
    batcher = batcher_of(model, batch_size=8, wait=0.001, max_queue=10_000, report=lambda size, _: sizes.append(size))

    def ask(number: int) -> None:
        draw = random.Random(number)
        texts = [f"{number} {n} " + "x" * draw.randint(0, 30) for n in range(draw.randint(1, 12))]
        assert [answer["text"] for answer in batcher.submit(texts, {}).result(20)] == texts

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(ask, range(300)))
    assert batcher.stop(10)
    assert sum(sizes) == sum(map(len, model.batches))
    assert max(sizes) == 8


def test_a_model_that_returns_too_few_answers_is_an_error_of_the_request():
    batcher = Batcher(lambda contents, options: [], 4, 0.0, 10)
    with pytest.raises(ValueError, match="zip"):
        batcher.submit(["one"], {}).result(10)
    assert batcher.stop(10)


def test_stopping_does_not_wait_for_a_model_that_does_not_return(model):
    batcher = batcher_of(model)
    occupied(batcher, model)
    assert not batcher.stop(0.05)
    model.free.set()
