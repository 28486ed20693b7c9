"""What a teacher will cost is estimated from a few batches, without bias."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.doctor.labelling import seconds_to_answer, size_of


class SlowTeacher:
    """Takes 5 ms for a batch and 1 ms for each padded character of it; the first call takes a minute longer."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0

    def __call__(self, batch) -> None:
        self.now += 0.005 + 0.001 * len(batch) * max(map(size_of, batch)) + 60 * (self.calls == 0)
        self.calls += 1


@pytest.mark.parametrize(("count", "batch_size"), [(5000, 64), (130, 64), (64, 64), (3, 64)])
def test_the_estimate_is_close_to_what_all_batches_take(count, batch_size):
    chance = np.random.default_rng(0)
    contents = ["a" * size for size in chance.lognormal(4, 0.6, count).astype(int) + 1]
    whole = SlowTeacher()
    whole.calls = 1
    longest_first = sorted(contents, key=len, reverse=True)
    for start in range(0, count, batch_size):
        whole(longest_first[start : start + batch_size])
    teacher = SlowTeacher()
    seconds, timed = seconds_to_answer(contents, teacher, batch_size, lambda: teacher.now)
    assert seconds == pytest.approx(whole.now, rel=0.1 if count > 1000 else 0.2)
    assert timed <= min(count, 4 * batch_size)
    assert teacher.calls <= 5


def test_nothing_to_answer_takes_no_time():
    assert seconds_to_answer([], lambda batch: None, 64) == (0.0, 0)


def test_the_size_of_pairs_and_words_is_that_of_their_parts():
    assert size_of("abc") == size_of(("a", "bc")) == size_of(["a", "b", "c"]) == 3
