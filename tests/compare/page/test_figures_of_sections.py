"""The figures on the page, held against brute force."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import run_folders
import verdicts

from pipeline.compare.page import calibration, costs, entity_errors, labels, slices, surprisal
from pipeline.compare.page.confusion import matrix
from pipeline.compare.page.disagreement import compared
from pipeline.compare.page.html import cut, escape, number, short, tag
from pipeline.compare.page.measures import MEASURES
from pipeline.compare.page.view import Answers, View
from pipeline.predictions import Predictions


def answers_of(where, kind: str, **options) -> Answers:
    view = View(verdicts.a_verdict([run_folders.write_run(where / "run", kind, rows=150, **options)]))
    return next(iter(view.answers.values()))


def some_cases(rows: int = 400, classes: int = 3, scale: float = 2.5) -> calibration.Cases:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (rows, classes))
    gold = np.array([rng.choice(classes, p=np.exp(row) / np.exp(row).sum()) for row in logits])
    return calibration.Cases(scale * logits, gold, False)  # too sure by `scale`


def test_the_calibration_error_is_that_of_guo_et_al():
    confidence, right = some_cases().confidence()
    expected = 0.0
    for m in range(1, 16):
        inside = [i for i, c in enumerate(confidence) if (m - 1) / 15 < c <= m / 15]
        if inside:
            gap = abs(np.mean([right[i] for i in inside]) - np.mean([confidence[i] for i in inside]))
            expected += len(inside) / len(confidence) * gap
    assert calibration.ece(confidence, right) == pytest.approx(expected, abs=1e-12)


def test_a_model_that_is_always_right_and_sure_is_calibrated():
    assert calibration.ece(np.ones(5), np.ones(5, bool)) == 0.0
    assert calibration.ece(np.ones(4), np.array([True, True, False, False])) == 0.5


def test_the_temperature_has_the_lowest_nll_of_a_grid_and_undoes_a_scale():
    validation = some_cases(4000)
    found = calibration.temperature(validation)
    assert found == pytest.approx(2.5, rel=0.1)
    grid = np.geomspace(0.05, 20, 2000)
    assert found == pytest.approx(min(grid, key=validation.nll), rel=0.01)
    assert calibration.ece(*validation.confidence(found)) < calibration.ece(*validation.confidence())


def test_the_nll_before_scaling_is_that_of_the_rows(tmp_path):
    own = answers_of(tmp_path, "classes")
    assert calibration.cases(own).nll() == pytest.approx(own.array("nll").mean(), rel=1e-5)


def test_a_wrong_label_whose_probability_is_rounded_to_one_does_not_count_as_impossible():
    scores = np.float32(1 / (1 + np.exp(-np.array([[20.0, 2.0]])))).astype(np.float64)
    info = SimpleNamespace(problem_type="multi_label_classification")
    found = calibration.cases(SimpleNamespace(info=info, scores=scores, gold_sets=np.array([[False, True]])))
    assert scores[0, 0] == 1.0
    assert found.nll() == pytest.approx((20 + math.log1p(math.exp(-2))) / 2, abs=2)


def test_of_several_labels_each_label_of_each_row_is_a_case(tmp_path):
    own = answers_of(tmp_path, "several_labels")
    found = calibration.cases(own)
    confidence, right = found.confidence()
    assert confidence == pytest.approx(own.scores.ravel())
    assert right.tolist() == own.gold_sets.ravel().tolist()
    assert found.nll() == pytest.approx(own.array("nll").mean(), rel=1e-4)


@pytest.mark.parametrize(("more_is_better", "lower_score"), itertools.product([False, True], repeat=2))
def test_the_pareto_front_is_that_of_brute_force(more_is_better, lower_score):
    rng = np.random.default_rng(3)
    points = {str(n): (float(c), float(s)) for n, (c, s) in enumerate(rng.integers(1, 8, (30, 2)))}

    def beats(one, other):
        cheaper = one[0] - other[0] if more_is_better else other[0] - one[0]
        better = other[1] - one[1] if lower_score else one[1] - other[1]
        return cheaper >= 0 and better >= 0 and (cheaper > 0 or better > 0)

    expected = [key for key, own in points.items() if not any(beats(other, own) for other in points.values())]
    assert costs.front(points, more_is_better, lower_score) == expected


@pytest.mark.parametrize(
    ("gold", "found", "expected"),
    [
        ([(0, 2, "PER")], [(0, 2, "PER")], []),
        ([(0, 2, "PER")], [], ["missed"]),
        ([], [(0, 2, "PER")], ["invented"]),
        ([(0, 2, "PER")], [(0, 2, "LOC")], ["wrong type"]),
        ([(0, 2, "PER")], [(0, 3, "PER")], ["wrong border"]),
        ([(0, 2, "PER")], [(1, 3, "LOC")], ["wrong type"]),
        ([(0, 2, "PER")], [(2, 3, "PER")], ["invented", "missed"]),
        ([(0, 4, "PER")], [(0, 2, "PER"), (2, 4, "PER")], ["invented", "wrong border"]),
        ([(0, 2, "PER"), (2, 4, "PER")], [(0, 4, "PER")], ["missed", "wrong border"]),
        ([(0, 2, "PER"), (2, 4, "LOC")], [(0, 3, "LOC")], ["missed", "wrong border"]),
    ],
)
def test_each_error_has_one_kind(gold, found, expected):
    assert sorted(entity_errors.errors(frozenset(gold), frozenset(found))) == expected


def test_kinds_of_errors_add_up_to_false_positives_and_negatives(tmp_path):
    own = answers_of(tmp_path, "entities", skill=0.3)
    missed, invented, border, kind = entity_errors.kinds_of(own)
    pairs = list(zip(own.gold_spans, own.predicted_spans, strict=True))
    assert missed + border + kind == sum(len(gold - found) for gold, found in pairs)
    assert invented + border + kind == sum(len(found - gold) for gold, found in pairs)
    assert min(missed, invented, border, kind) > 0


@pytest.mark.parametrize("kind", run_folders.KINDS)
def test_the_score_of_all_rows_is_that_of_the_run(kind, tmp_path):
    folder = run_folders.write_run(tmp_path / "run", kind, rows=150)
    verdict = verdicts.a_verdict([folder])
    view = View(verdict)
    (own,) = view.answers.values()
    name = {
        "micro F1": "micro_f1",
        "F1": "f1",
        "mean squared error": "mse",
        "perplexity per word": "perplexity_per_word",
        "chrF": "chrf",
        "BLEU": "bleu",
    }
    for measure in MEASURES[view.kind]:
        expected = verdict.contenders[0].runs[0].scores("test")[name.get(measure.name, measure.name)]
        assert float(measure.value(measure.contributions(own).sum(axis=0))) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["classes", "several_labels", "entities"])
def test_scores_by_label_are_those_of_the_run(kind, tmp_path):
    view = View(verdicts.a_verdict([run_folders.write_run(tmp_path / "run", kind, rows=150)]))
    (own,) = view.answers.values()
    names = labels._labels(view)
    sums = labels.COUNTS[view.kind](own, names)
    scores = view.verdict.contenders[0].runs[0].scores("test")
    for place, label in enumerate(names):
        prefix = "per_type" if kind == "entities" else "per_class"
        for score in ("F1", "precision", "recall"):
            expected = scores[f"{prefix}.{label}.{score.lower()}"]
            assert labels.score_of(sums, score)[place] == pytest.approx(expected)


def test_the_confusion_matrix_is_that_of_the_run(tmp_path):
    view = View(verdicts.a_verdict([run_folders.write_run(tmp_path / "run", labels=("a", "b", "c"), rows=150)]))
    (own,) = view.answers.values()
    assert matrix(own).tolist() == view.verdict.contenders[0].runs[0].metrics["test"]["confusion"]


def test_confusion_matrices_of_models_with_another_order_of_labels_have_the_same_order(tmp_path):
    own = answers_of(tmp_path, "classes", labels=("a", "b", "c"))
    shuffled = Answers(Predictions(own.table, replace(own.info, labels=("c", "a", "b"))))
    assert matrix(shuffled, own.labels).tolist() == matrix(own).tolist()
    assert matrix(shuffled).tolist() != matrix(own).tolist()


def test_parts_by_length_hold_every_row_once():
    lengths = np.random.default_rng(0).integers(1, 40, 333)
    parts = slices._by_length(lengths)
    assert (sum(part.rows.astype(int) for part in parts) == 1).all()
    assert len(parts) == slices.PARTS
    assert slices._by_length(np.full(20, 7))[0].name == "7"


def test_rare_words_are_in_no_other_row():
    texts = [slices.words(text) for text in ("A cat, a dog!", "the CAT", "a a a", "")]
    assert texts[0] == ["a", "cat", "a", "dog"]
    assert slices.rare_shares(texts).tolist() == [0.25, 0.5, 0.0, 0.0]
    parts = slices._by_rarity(texts)
    assert (sum(part.rows.astype(int) for part in parts) == 1).all()


def test_characters_of_scripts_without_blanks_are_words():
    assert slices.words("映画は good。") == ["映", "画", "は", "good"]


class Encoded:
    """A tokenizer that cuts a text into given pieces."""

    def __init__(self, *offsets: tuple[int, int]):
        self.offsets = list(offsets)

    def encode(self, text, add_special_tokens):
        assert not add_special_tokens
        return SimpleNamespace(offsets=self.offsets)


def test_the_bits_of_a_word_are_the_sum_over_its_tokens():
    text = "warm  funny!"
    tokenizer = Encoded((0, 2), (2, 4), (4, 6), (5, 11), (11, 12))  # the third is blanks, the fourth begins with one
    nll = [math.log(2) * bits for bits in (1, 2, 4, 8, 16, 32)]
    found = surprisal.word_bits(text, nll, tokenizer)
    assert [word for word, _ in found] == ["warm", "funny!", surprisal.END]
    assert [bits for _, bits in found] == pytest.approx([3, 28, 32])


@pytest.mark.parametrize(("text", "count"), [("warm", 3), ("warm", 1), ("  ", 2)])
def test_a_text_with_other_tokens_than_were_scored_has_no_bits_for_words(text, count):
    assert surprisal.word_bits(text, [1.0] * count, Encoded((0, len(text)))) is None
    assert surprisal.word_bits(text, [1.0] * 2, None) is None


def test_a_real_tokenizer_of_bytes_gives_every_token_to_a_word():
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE({c: n for n, c in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}, []))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    text = "שלום  café 👍🏽 ok"
    nll = [math.log(2)] * (len(text.encode()) + 1)
    found = surprisal.word_bits(text, nll, tokenizer)
    assert [word for word, _ in found] == [*text.split(), surprisal.END]
    assert sum(bits for _, bits in found) == pytest.approx(len(nll))
    assert found[0][1] == pytest.approx(8)


def test_rows_of_disagreement_are_ordered_by_the_difference_and_counted(tmp_path):
    runs = [run_folders.write_run(tmp_path / f"r{n}", skill=0.9 - n / 5, hidden_size=8 + n, rows=150) for n in range(2)]
    view = View(verdicts.a_verdict(runs))
    one, other = view.entries
    pair = compared(view, one, other, 10)
    a, b = (view.first(entry).table.to_pylist() for entry in (one, other))
    differing = [n for n in range(150) if a[n]["prediction"] != b[n]["prediction"]]
    expected = sorted(differing, key=lambda n: -abs(a[n]["nll"] - b[n]["nll"]))[:10]
    assert pair.rows.tolist() == expected
    assert pair.count == len(differing)
    assert pair.right == ["first" if a[n]["prediction"] == a[n]["gold"] else "second" for n in expected]


def test_translations_are_ordered_by_the_difference_in_the_chrf_of_sacrebleu(tmp_path):
    from sacrebleu.metrics import CHRF

    runs = [
        run_folders.write_run(tmp_path / f"r{n}", "translations", skill=0.7 - n / 10, hidden_size=8 + n, rows=150)
        for n in range(2)
    ]
    view = View(verdicts.a_verdict(runs))
    one, other = view.entries
    pair = compared(view, one, other, 10)
    a, b = (view.first(entry).table.to_pylist() for entry in (one, other))
    metric = CHRF()
    gaps = [
        metric.sentence_score(x["hypothesis"], [x["target"]]).score
        - metric.sentence_score(y["hypothesis"], [y["target"]]).score
        for x, y in zip(a, b, strict=True)
    ]
    differing = [n for n in range(150) if a[n]["hypothesis"] != b[n]["hypothesis"]]
    expected = sorted(differing, key=lambda n: -abs(gaps[n]))[:10]
    assert np.abs(pair.differences) == pytest.approx([abs(gaps[n]) for n in expected])
    assert pair.differences == pytest.approx([gaps[n] for n in pair.rows])
    assert pair.count == len(differing) < 150
    assert pair.right == ["first" if gap > 0 else "second" for gap in pair.differences]
    assert {"first", "second"} == set(pair.right)


def test_numbers_and_attributes_are_written_safely():
    assert [number(v) for v in (0.12345, -12.345, 1234.5, None, math.nan)] == ["0.123", "−12.3", "1,234", "–", "–"]
    assert [short(v) for v in (950, 999.9, 1234, 4_100_000)] == ["950", "1k", "1.23k", "4.1M"]
    assert tag("p", "<b>", title='"x"', hidden=False) == '<p title="&quot;x&quot;">&lt;b&gt;</p>'
    assert escape(tag("b", "&")) == "<b>&amp;</b>"
    assert cut("a b c d", 4) == "a b …"
    assert cut("abcdefgh", 4) == "abcd …"
