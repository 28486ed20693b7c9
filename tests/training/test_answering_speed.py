"""Answering speed: what a run says of it is measured on `predict`, in little time, and never costs the run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Train
from pipeline.run import train
from pipeline.tasks.text_answers import TextAnswers
from pipeline.training import answering_speed
from pipeline.training.answering_speed import texts_per_second


@pytest.fixture
def clock(monkeypatch):
    """A clock that only moves when somebody answers."""
    now = SimpleNamespace(seconds=0.0, answered=[])
    monkeypatch.setattr(answering_speed, "time", SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def answering(clock, *seconds):
    """Answers that take this many seconds in turn, the last one for ever."""

    def answer(batch):
        clock.seconds += seconds[min(len(clock.answered), len(seconds) - 1)]
        clock.answered.append(batch)

    return answer


TEXTS = list("abcdefgh")


def test_the_speed_is_the_median_of_passes_after_a_first_batch_that_warms_up(clock):
    # two batches a pass: 9 s warm up, then passes of 2, 6 and 4 s
    answer = answering(clock, 9, 1, 1, 3, 3, 2, 2)
    assert texts_per_second(answer, TEXTS, 4, seconds=12) == 8 / 4
    assert clock.seconds == 9 + 12
    assert clock.answered == [TEXTS[:4], *[TEXTS[:4], TEXTS[4:]] * 3]


def test_a_pass_that_takes_too_long_counts_as_far_as_it_gets(clock):
    assert texts_per_second(answering(clock, 1), TEXTS, 1, seconds=3) == 1
    assert clock.answered == [["a"], ["a"], ["b"], ["c"]]


def test_a_first_batch_that_takes_all_the_time_is_the_measurement(clock):
    assert texts_per_second(answering(clock, 100), TEXTS, 4, seconds=2) == 4 / 100
    assert len(clock.answered) == 1


@pytest.mark.parametrize(("run_seconds", "seconds"), [(0.1, 0.02), (30, 0.6), (100_000, 2.0)])
def test_measuring_takes_a_small_share_of_the_run_and_seconds_at_most(clock, run_seconds, seconds):
    model = SimpleNamespace(training=False, eval=lambda: None, train=lambda mode: None)
    task = SimpleNamespace(predict=lambda batch, *_: answering(clock, 0.001)(batch) or ())
    found = answering_speed.measure(task, model, None, [], ["a", "b"], run_seconds)
    assert set(found) == {"batch_1", "batch_32"}
    assert clock.seconds == pytest.approx(2 * seconds + 0.002, abs=0.003)
    assert {len(batch) for batch in clock.answered} == {1, 32}


def a_recipe(reviews, tmp_path) -> Recipe:
    model, settings = Recurrent(hidden_size=8, embedding_size=8), Train(str(tmp_path / "run"), max_steps=2)
    return Recipe("x", "sentiment", Data(str(reviews)), model, train=settings)


def test_a_run_tells_how_many_texts_a_second_its_model_answers(reviews, tmp_path):
    speeds = train(a_recipe(reviews, tmp_path))["train"]["answering"]
    assert set(speeds) == {"batch_1", "batch_32"}
    assert speeds["batch_32"] > speeds["batch_1"] > 0


def test_a_task_that_cannot_predict_does_not_lose_the_run(reviews, tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("no answers here")

    monkeypatch.setattr(TextAnswers, "predict", fail)
    assert "answering" not in train(a_recipe(reviews, tmp_path))["train"]
    assert (tmp_path / "run/metrics.json").is_file()
    assert "answering: the speed was not measured: no answers here" in capsys.readouterr().out
