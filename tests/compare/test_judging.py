"""A verdict: intervals and tests from the rows alone, against brute force and the functions of pipeline.metrics."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from run_folders import KINDS, write_run
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from pipeline.compare import scoring
from pipeline.compare.judging import judge
from pipeline.compare.runs import read_runs
from pipeline.compare.verdict import PairResult
from pipeline.errors import UserError
from pipeline.metrics.bootstrap import number_of_resamples, percentile_interval, resample_counts
from pipeline.metrics.paired_tests import permutation_of_runs


def two(folder: Path, kind: str = "classes", **options) -> list[Path]:
    """Two runs of which the first is the better one."""
    good = write_run(folder / "good", kind, skill=0.9, **options)
    return [good, write_run(folder / "poor", kind, skill=0.6, hidden_size=16, **options)]


def right(run: Path) -> np.ndarray:
    table = pq.read_table(run / "predictions/test.parquet")
    return np.array(table["gold"].to_pylist()) == np.array(table["prediction"].to_pylist())


@pytest.mark.parametrize("kind", KINDS)
def test_every_score_of_metrics_json_that_rows_give_is_the_same(tmp_path, kind):
    (run,) = read_runs([write_run(tmp_path / "a", kind)])
    reported = run.scores("test")
    found = scoring.scores_of(run.predictions("test"), reported)
    compared = [name for name in found.scores if name != "spearman"]  # the fixture's ranks do not know ties
    assert {name for name in reported if not name.startswith("thresholds")} - {"spearman"} == set(compared)
    for name in compared:
        assert found.value(name) == pytest.approx(reported[name], rel=1e-6, abs=1e-9), name


def test_intervals_and_mcnemar_are_those_of_brute_force(tmp_path):
    runs = two(tmp_path)
    verdict = judge(runs)
    one, other = map(right, runs)
    counts = np.concatenate(list(resample_counts(200, 200, number_of_resamples(200))))
    estimate = verdict.estimates["good"]["accuracy"]
    assert (estimate.low, estimate.high) == pytest.approx(percentile_interval(counts @ one / 200))
    (pair,) = verdict.pairs_of("accuracy")
    assert (pair.difference.low, pair.difference.high) == pytest.approx(
        percentile_interval(counts @ (one.astype(float) - other) / 200)
    )
    only = int((one & ~other).sum()), int((other & ~one).sum())
    assert pair.p_value == pytest.approx(binomtest(only[0], sum(only)).pvalue)
    assert (pair.test, pair.better, pair.difference.value) == ("exact McNemar test", "good", one.mean() - other.mean())


@pytest.mark.parametrize(
    ("kind", "score", "test"),
    [
        ("classes", "macro_f1", "approximate randomisation"),
        ("classes", "loss", "paired bootstrap"),
        ("several_labels", "micro_f1", "approximate randomisation"),
        ("several_labels", "accuracy", "exact McNemar test"),
        ("numbers", "pearson", "approximate randomisation"),
        ("entities", "f1", "approximate randomisation"),
        ("next_words", "loss", "paired bootstrap"),
    ],
)
def test_each_score_has_the_test_that_suits_it_and_finds_a_great_difference(tmp_path, kind, score, test):
    (pair,) = judge(two(tmp_path, kind)).pairs_of(score)
    assert (pair.test, pair.better) == (test, "good")
    assert pair.p_value < 0.01
    assert pair.difference.low <= pair.difference.value <= pair.difference.high


def test_holm_corrects_over_all_pairs_of_a_score(tmp_path):
    runs = [write_run(tmp_path / f"{n}", skill=0.9 - n / 20, hidden_size=8 + n) for n in range(5)]
    verdict = judge(runs)
    assert len(verdict.pairs) == 10 * 3
    for score in verdict.scores:
        pairs = verdict.pairs_of(score)
        expected = multipletests([pair.p_value for pair in pairs], method="holm")[1]
        assert [pair.adjusted_p_value for pair in pairs] == pytest.approx(expected)
        assert all((pair.better is not None) == (pair.adjusted_p_value < 0.05) for pair in pairs)


def test_the_detectable_difference_grows_with_the_number_of_pairs(tmp_path):
    runs = two(tmp_path)
    (alone,) = judge(runs).pairs_of("accuracy")
    among = judge([*runs, write_run(tmp_path / "third", hidden_size=32)]).pairs_of("accuracy")
    (same,) = [pair for pair in among if {pair.first, pair.second} == {"good", "poor"}]
    assert (same.p_value, same.difference) == (alone.p_value, alone.difference)
    assert same.detectable > alone.detectable


def test_seeds_are_one_contender_with_tests_over_rows_and_over_whole_runs(tmp_path):
    runs = [
        write_run(tmp_path / f"{name}-{seed}", skill=skill, seed=seed, recipe=name)
        for name, skill in (("lstm", 0.9), ("rnn", 0.7))
        for seed in range(3)
    ]
    verdict = judge(runs)
    assert [(contender.name, contender.seeds) for contender in verdict.contenders] == [("lstm", 3), ("rnn", 3)]
    (pair,) = verdict.pairs_of("accuracy")
    scores = [[right(run).mean() for run in runs[start : start + 3]] for start in (0, 3)]
    assert verdict.estimates["lstm"]["accuracy"].value == pytest.approx(np.mean(scores[0]))
    assert pair.over_seeds_p_value == permutation_of_runs(*scores) == pytest.approx(0.1)
    assert 0.0 <= pair.aso < 0.5
    assert verdict.sentences[0].startswith("lstm (3 seeds) is better than rnn (3 seeds) by ")
    alone = judge(runs, over_seeds=False)
    assert [len(alone.contenders), len(alone.pairs_of("accuracy"))] == [6, 15]
    assert all(pair.over_seeds_p_value is None for pair in alone.pairs)


def test_a_single_run_is_compared_with_several_seeds(tmp_path):
    runs = [write_run(tmp_path / f"lstm-{seed}", skill=0.9, seed=seed, recipe="lstm") for seed in range(3)]
    runs.append(write_run(tmp_path / "other", skill=0.6, recipe="rnn"))
    (pair,) = judge(runs).pairs_of("accuracy")
    assert (pair.first, pair.second, pair.better) == ("lstm", "rnn", "lstm")
    assert (pair.over_seeds_p_value, pair.aso) == (None, None)


@pytest.mark.parametrize("kind", ["classes", "entities"])
def test_the_verdict_does_not_depend_on_the_order_of_the_folders(tmp_path, kind):
    runs = [write_run(tmp_path / f"{n}", kind, hidden_size=8 + n) for n in range(3)]
    found = {json.dumps(judge(order).to_json()) for order in itertools.permutations(runs)}
    assert len(found) == 1


def test_runs_with_the_same_answers_do_not_differ(tmp_path):
    verdict = judge([write_run(tmp_path / name) for name in "ab"])
    assert {pair.p_value for pair in verdict.pairs} == {1.0}
    assert {pair.better for pair in verdict.pairs} == {None}
    assert verdict.sentences == ["No difference was found between a and b: 0.0 points (0.0 to 0.0), p = 1" + BLIND]


BLIND = "; on these 200 rows a difference under 3.9 points could not have been seen"


def test_next_word_with_other_tokens_is_compared_per_byte(tmp_path):
    one = write_run(tmp_path / "a", "next_words", tokens_per_word=1.5)
    other = write_run(tmp_path / "b", "next_words", tokens_per_word=2.5, hidden_size=16)
    verdict = judge([one, other])
    assert verdict.scores == ["bits_per_byte", "perplexity_per_word"]
    (note,) = verdict.notes
    assert note.startswith(
        "the runs read different tokens, so loss, perplexity_per_token, accuracy, accuracy_top5, which"
    )
    same = judge([one, write_run(tmp_path / "c", "next_words", hidden_size=16)])
    assert (same.main_score, same.notes) == ("loss", [])


def test_runs_without_rows_have_their_scores_but_no_tests(tmp_path):
    runs = two(tmp_path)
    tested = write_run(tmp_path / "third", hidden_size=32)
    (runs[1] / "predictions/test.parquet").unlink()
    verdict = judge([*runs, tested])
    assert [(pair.first, pair.second) for pair in verdict.pairs_of("accuracy")] == [("good", "third")]
    assert verdict.estimates["poor"]["accuracy"].low is None
    assert f"write the file with finetune evaluate {runs[1]} --data reviews.csv --split test --rows" in verdict.notes[0]
    for run in (runs[0], tested):
        (run / "predictions/test.parquet").unlink()
    verdict = judge([*runs, tested])
    assert (verdict.rows, verdict.pairs, verdict.scores[0]) == (0, [], "accuracy")
    assert verdict.best.name == "good"


def test_rows_of_another_evaluation_are_noted(tmp_path):
    run = two(tmp_path)[0]
    metrics = json.loads((run / "metrics.json").read_text())
    metrics["test"]["accuracy"] = 0.5
    (run / "metrics.json").write_text(json.dumps(metrics))
    (note,) = judge([run]).notes
    assert note.startswith("good: its rows give accuracy 0.8850")
    assert "and metrics.json says 0.5000; the rows are compared" in note


def test_the_main_score_is_the_monitor_of_all_runs_or_that_of_the_task(tmp_path):
    runs = two(tmp_path)

    def select_by(run: Path, monitor: str) -> None:
        metrics = json.loads((run / "metrics.json").read_text())
        metrics["train"]["monitor"] = monitor
        (run / "metrics.json").write_text(json.dumps(metrics))

    select_by(runs[0], "loss")
    verdict = judge(runs)
    assert verdict.main_score == "accuracy"
    assert verdict.notes == [
        "the weights of the runs were selected by different scores: good by loss, poor by accuracy"
    ]
    select_by(runs[1], "loss")
    assert judge(runs).main_score == "loss"
    for run in runs:
        select_by(run, "per_class.good.f1")
    verdict = judge(runs)
    assert verdict.main_score == "per_class.good.f1"
    assert "points" in verdict.sentences[0]


def test_a_split_that_a_run_lacks_is_refused_and_validation_is_noted(tmp_path):
    runs = two(tmp_path)
    assert judge(runs, "validation").split == "validation"
    assert "the validation rows have also selected the weights" in judge(runs, "validation").notes[0]
    metrics = json.loads((runs[0] / "metrics.json").read_text())
    del metrics["test"]
    (runs[0] / "metrics.json").write_text(json.dumps(metrics))
    assert judge(runs).split == "validation"
    with pytest.raises(UserError, match=r"--split: .*good has no scores on test; leave out --split test"):
        judge(runs, "test")


def test_a_task_of_ones_own_is_tested_on_the_scores_that_are_means_over_its_rows(tmp_path):
    runs = two(tmp_path)
    for run in runs:
        for split in ("test", "validation"):
            file = run / f"predictions/{split}.parquet"
            table = pq.read_table(file)
            info = table.schema.metadata[b"finetune"].replace(b'"sentiment"', b'"mine:Task"')
            pq.write_table(table.drop_columns(["scores"]).replace_schema_metadata({b"finetune": info}), file)
    verdict = judge(runs)
    assert {"accuracy", "loss"} <= set(verdict.scores)
    assert verdict.task == "mine:Task"
    assert verdict.pairs_of("accuracy")[0].test == "exact McNemar test"


def test_an_infinite_perplexity_is_shown_and_not_tested(tmp_path):
    runs = two(tmp_path, "next_words")
    file = runs[1] / "predictions/test.parquet"
    table = pq.read_table(file)
    huge = table.set_column(table.column_names.index("nll"), "nll", [np.full(200, 1e6)])
    pq.write_table(huge.replace_schema_metadata(table.schema.metadata), file)
    verdict = judge(runs)
    assert verdict.pairs_of("perplexity_per_token") == []
    assert verdict.pairs_of("loss")[0].better == "good"
    found = {row["name"]: row for row in verdict.to_json()["contenders"]}
    assert found["poor"]["scores"]["perplexity_per_token"] == {"value": None, "low": None, "high": None}


@pytest.mark.parametrize("kind", KINDS)
def test_the_json_has_every_field_of_every_pair(tmp_path, kind):
    found = json.loads(json.dumps(judge(two(tmp_path, kind)).to_json(), allow_nan=False))
    assert list(found) == [
        *("task", "problem_type", "split", "rows", "confidence", "scores", "lower_is_better", "contenders", "pairs"),
        *("sentences", "notes"),
    ]
    assert all(set(row) == {"name", "scores", "runs"} for row in found["contenders"])
    assert all(set(run) == {"name", "folder", "scores", "train"} for row in found["contenders"] for run in row["runs"])
    fields = {field.name for field in dataclasses.fields(PairResult)}
    assert all(set(pair) == fields for pair in found["pairs"])
