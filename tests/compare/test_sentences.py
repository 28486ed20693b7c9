"""The sentence about a pair: who is better by how much, how sure that is, and what so few rows cannot show."""

from __future__ import annotations

from dataclasses import replace

import pytest
from run_folders import write_run

from pipeline.compare import markdown, sentences, table
from pipeline.compare.judging import judge
from pipeline.compare.verdict import Estimate, PairResult, Verdict

FOUND = PairResult("bert", "bilstm", "accuracy", Estimate(0.0711, 0.052, 0.09), "bert", "McNemar", 1e-9, 1e-9, 0.029)


@pytest.fixture(scope="module")
def verdict(tmp_path_factory) -> Verdict:
    folder = tmp_path_factory.mktemp("runs")
    runs = [write_run(folder / name, hidden_size=size) for name, size in (("bert", 8), ("bilstm", 16))]
    return replace(judge(runs), rows=853)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {},
            "bert is better than bilstm by 7.1 points (5.2 to 9.0), p < 0.001; on these 853 rows a difference under 2.9"
            " points could not have been seen",
        ),
        (
            {"better": None, "adjusted_p_value": 0.0712},
            "No difference was found between bert and bilstm: 7.1 points (5.2 to 9.0), p = 0.071; on these 853 rows a"
            " difference under 2.9 points could not have been seen",
        ),
        (
            {"detectable": 0.08},
            "bert is better than bilstm by 7.1 points (5.2 to 9.0), p < 0.001; on these 853 rows a difference under 8.0"
            " points is found in fewer than 80 of 100 comparisons",
        ),
        (
            {"better": "bilstm", "difference": Estimate(-0.0711, -0.09, -0.052), "detectable": None},
            "bilstm is better than bert by 7.1 points (5.2 to 9.0), p < 0.001",
        ),
        (
            {"score": "loss", "difference": Estimate(-0.125, -0.2, -0.05), "detectable": 0.04},
            "bert is better than bilstm by 0.125 in loss (0.05 to 0.2), p < 0.001; on these 853 rows a difference under"
            " 0.04 in loss could not have been seen",
        ),
        (
            {"score": "bits_per_byte", "difference": Estimate(-0.125, -0.2, -0.05), "detectable": None},
            "bert is better than bilstm by 0.125 bits per byte (0.05 to 0.2), p < 0.001",
        ),
    ],
)
def test_a_pair_is_put_into_words(verdict, changes, sentence):
    assert sentences.of_pair(replace(FOUND, **changes), verdict) == sentence


def test_many_contenders_are_compared_with_the_best_in_print_and_all_of_them_in_json(tmp_path):
    runs = [write_run(tmp_path / f"{n}", skill=0.95 - n / 10, hidden_size=8 + n) for n in range(5)]
    verdict = judge(runs)
    lines = list(table.lines_of(verdict))
    assert lines[0] == "test accuracy, 95 % intervals, exact McNemar test, p-values corrected for 10 pairs (Holm):"
    assert all(verdict.best.name in line for line in lines[1:5])
    different = sum(pair.better is not None for pair in verdict.pairs_of("accuracy")[4:])
    assert lines[5:] == [f"- 6 other pairs, of which {different} differ; --json has all of them"]
    assert len(verdict.to_json()["sentences"]) == 10


def test_markdown_is_a_table_sentences_and_how_the_figures_were_made(verdict):
    heading, rule, first, *rest = markdown.text(verdict).splitlines()
    assert heading.startswith("| run | test accuracy | test macro_f1 | test loss | parameters | seconds |")
    assert rule.count("---") == first.count(" | ") + 1
    estimate = verdict.estimates[verdict.best.name]["accuracy"]
    assert f"| {verdict.best.name} | {estimate.value:.4f} [{table.interval_text(estimate)}] |" in first
    assert f"- {verdict.sentences[0]}." in rest
    assert (
        rest[-1]
        == "In brackets: 95 % intervals, by bootstrap over rows; 853 rows. Test of accuracy: exact McNemar test."
    )


@pytest.mark.parametrize(
    ("p_value", "text"),
    [
        (0.00099, "p < 0.001"),
        (0.001, "p = 0.001"),
        (0.0496, "p = 0.0496"),
        (0.04997, "p = 0.04997"),
        (0.0504, "p = 0.0504"),
        (0.05, "p = 0.05"),
        (0.051, "p = 0.051"),
        (1.0, "p = 1"),
    ],
)
def test_a_p_value_is_never_rounded_onto_the_level(p_value, text):
    assert sentences.p_text(p_value) == text
