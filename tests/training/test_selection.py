"""train.monitor: the score that selects the best weights, checked before training."""

from __future__ import annotations

import dataclasses
import json
import random

import numpy as np
import pytest
from test_trainer import a_recipe, assert_same_weights, history

from pipeline.compare.table import print_table
from pipeline.config.task_specs import TASKS
from pipeline.config.training import Train
from pipeline.errors import Interrupted, UserError
from pipeline.metrics.scores import flatten
from pipeline.run import train
from pipeline.tasks.base import load_task
from pipeline.tasks.ner import Ner
from pipeline.tasks.next_word import NextWord
from pipeline.tasks.sentiment import VARIANTS as SENTIMENT
from pipeline.tasks.sentiment import Sentiment
from pipeline.training import trainer
from pipeline.training.selection import Monitor, check_support, choose

WORDS = ["film", "plot", "cast", "scene", "story", "ending", "score"]


@pytest.fixture
def unbalanced(tmp_path):
    """Reviews of which one in eight is a complaint, with noise: accuracy and macro F1 disagree on the best weights."""
    chosen = random.Random(3)
    rows = []
    for number in range(320):
        label = "complaint" if number % 8 == 0 else "praise"
        word = "awful" if (label == "complaint") != (chosen.random() < 0.25) else "lovely"
        rows.append({"text": f"{word} {chosen.choice(WORDS)} {number % 40}", "label": label})
    file = tmp_path / "unbalanced.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return file


def monitored(name: str | None) -> Train:
    return Train(monitor=name)


@pytest.mark.parametrize("name", ["macro_f1", "per_class.complaint.f1", "loss"])
def test_the_named_score_selects_the_weights_and_ends_the_run(unbalanced, tmp_path, name, capsys):
    recipe = a_recipe(unbalanced, tmp_path, monitor=name, epochs=12, patience=3, eval_every=4)
    metrics = train(recipe)
    scored = [(line[name], line["step"]) for line in history(tmp_path / "run") if line["kind"] == "validation"]
    signed = [(-score if name == "loss" else score, step) for score, step in scored]
    best = max(signed, key=lambda pair: (pair[0], -pair[1]))
    assert metrics["train"]["best_update"] == best[1]
    assert metrics["train"]["monitor"] == name
    assert flatten(metrics["validation"])[name] == pytest.approx(abs(best[0]))
    assert metrics["train"]["updates"] in (best[1] + 12, scored[-1][1])
    assert f"| the best on validation by {name} |" in (tmp_path / "run/model/README.md").read_text().replace(
        f"from update {best[1]}, ", ""
    )
    capsys.readouterr()
    print_table([tmp_path / "run"])
    assert f"{flatten(metrics['test'])[name]:.4f}" in capsys.readouterr().out


def test_a_run_that_is_stopped_goes_on_with_the_best_value_of_the_named_score(unbalanced, tmp_path, monkeypatch):
    recipe = a_recipe(unbalanced, tmp_path, monitor="per_class.complaint.f1", epochs=4, eval_every=5, patience=None)
    whole = dataclasses.replace(recipe.train, output_dir=str(tmp_path / "whole"))
    expected = train(dataclasses.replace(recipe, train=whole))
    count = {"updates": 0}
    update = trainer.update

    def stopping(*arguments):
        count["updates"] += 1
        if count["updates"] == 33:
            raise Interrupted
        return update(*arguments)

    monkeypatch.setattr(trainer, "update", stopping)
    with pytest.raises(Interrupted):
        train(recipe)
    monkeypatch.undo()
    assert train(recipe)["train"]["best_update"] == expected["train"]["best_update"]
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("macro-f1", r"did you mean macro_f1\?"),
        ("f1", r"there are: accuracy, loss, macro_f1, micro_f1, mse, .*per_class\.NAME\.f1"),
        ("f1_macro", r"did you mean macro_f1\?"),
        ("micro_f1", r"did you mean macro_f1\?"),
        ("mse", r"there are: accuracy, loss, macro_f1, per_class\.NAME\.f1, .*"),
        ("per_class.complaints.f1", r"did you mean per_class\.complaint\.f1\?"),
    ],
)
def test_an_unknown_score_is_refused_before_training(unbalanced, tmp_path, name, hint):
    with pytest.raises(UserError, match=rf"^train\.monitor: the task (sentiment )?reports no score {name!r}; {hint}"):
        train(a_recipe(unbalanced, tmp_path, monitor=name))
    assert not (tmp_path / "run").exists()


def test_a_score_of_a_label_that_validation_lacks_is_refused():
    with pytest.raises(UserError, match=r"the validation split has no 'PER', so per_type\.PER\.f1 cannot tell"):
        check_support(Monitor("per_type.PER.f1", lower_is_better=False), {"LOC": 4})
    check_support(Monitor("per_type.LOC.f1", lower_is_better=False), {"LOC": 4})
    check_support(Monitor("f1", lower_is_better=False), {"LOC": 4})


def test_going_on_with_another_score_is_refused(unbalanced, tmp_path):
    recipe = a_recipe(unbalanced, tmp_path, max_steps=2)
    train(recipe)
    (tmp_path / "run/metrics.json").unlink()
    changed = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, monitor="loss"))
    with pytest.raises(UserError, match=r"other settings \(train\.monitor loss, was None\)"):
        train(changed)


def test_the_direction_of_a_score_is_that_of_what_it_measures():
    assert choose(monitored("loss"), Sentiment(), ["a", "b"]) == ("loss", True)
    assert choose(monitored("macro_f1"), Sentiment(), ["a", "b"]) == ("macro_f1", False)
    assert choose(monitored("bits_per_byte"), NextWord(), []) == ("bits_per_byte", True)
    assert choose(monitored(None), NextWord(), []) == ("loss", True)
    assert choose(monitored(None), Sentiment(), ["a", "b"]) == ("accuracy", False)


def test_a_score_that_is_not_a_number_is_never_the_best():
    monitor = Monitor("pearson", lower_is_better=False)
    assert not monitor.is_better(float("nan"), None)
    assert not monitor.is_better(float("nan"), -0.5)
    assert monitor.is_better(-0.5, None)


def test_the_names_that_a_recipe_accepts_are_those_that_its_task_reports():
    """So that a mistake is refused before torch is imported."""
    labels = ["O", "B-PER", "I-PER"]
    for task in TASKS:
        variants = SENTIMENT.values() if task == "sentiment" else [type(load_task(task))]
        reported = {name.partition(".")[0] for variant in variants for name in variant().monitors(labels)}
        assert TASKS[task].monitors == reported


def test_every_float_that_sentiment_reports_can_be_monitored():
    outcome = {"nll": np.array([0.5, 1.5], dtype=np.float32), "prediction": np.array([0, 1]), "label": np.array([0, 0])}
    labels = ["bad", "good"]
    assert [*Sentiment().monitors(labels)] == [*flatten(Sentiment().score(outcome, labels))]


def test_every_float_that_next_word_reports_can_be_monitored():
    outcome = {name: np.array([2]) for name in ("tokens", "words", "bytes")}
    outcome |= {"nll": np.array([1.0]), "rank": np.array([0, 3]), "context": 8, "stride": 4, "running": False}
    assert [*NextWord().monitors([])] == [*flatten(NextWord().score(outcome, []))]


def test_every_float_that_ner_reports_can_be_monitored(tmp_path):
    file = tmp_path / "names.conll"
    rows = "".join(f"Ann B-PER\nsaw O\nRome B-LOC\n{number} O\n\n" for number in range(40))
    file.write_text(rows, encoding="utf-8")
    recipe = dataclasses.replace(a_recipe(file, tmp_path, max_steps=2), task="ner")
    recipe = dataclasses.replace(recipe, train=dataclasses.replace(recipe.train, monitor="per_type.LOC.f1"))
    metrics = train(recipe)
    known = Ner().monitors(["O", "B-LOC", "I-LOC", "B-PER", "I-PER"])
    assert {*known} == {*flatten(metrics["validation"])}
    assert metrics["train"]["monitor"] == "per_type.LOC.f1"
