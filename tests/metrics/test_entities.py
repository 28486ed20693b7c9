"""Entity scores agree with a count by hand, by conlleval's convention and strictly, and need no network.

test_seqeval.py compares them with conlleval itself and with seqeval."""

from __future__ import annotations

import random

import evaluate
import pytest

from pipeline.metrics import entities
from pipeline.metrics.entities import Entities


def compute(predictions, references):
    return Entities(keep_in_memory=True).compute(predictions=predictions, references=references)


def chunks(tags, strict):
    """Entities of one sentence of IOB2 tags, read word by word: an I that continues nothing begins one, or is void."""
    found, current = set(), None
    for place, tag in enumerate([*tags, "O"]):
        continues = current is not None and tag == f"I-{current[0]}"
        if current is not None and not continues:
            found.add((*current, place))
            current = None
        if tag[0] == "B" or (tag[0] == "I" and not continues and not strict):
            current = (tag[2:], place)
    return found


def f1(predictions, references, strict):
    guess, truth = (
        {(row, *chunk) for row, tags in enumerate(rows) for chunk in chunks(tags, strict)}
        for rows in (predictions, references)
    )
    hits = len(guess & truth)
    return hits / max(len(guess), 1), hits / max(len(truth), 1), 2 * hits / max(len(guess) + len(truth), 1)


@pytest.mark.parametrize("seed", range(20))
def test_scores_agree_with_a_count_by_hand(seed):
    generator = random.Random(seed)
    choice = ["O", "O", "B-X", "I-X", "B-geo-loc", "I-geo-loc"]
    truth, guess = ([[generator.choice(choice) for _ in range(n)] for n in range(1, 12)] for _ in range(2))
    guess = [
        [t if generator.random() < 0.6 else g for t, g in zip(*pair, strict=True)]
        for pair in zip(truth, guess, strict=True)
    ]
    scores = compute(guess, truth)
    assert [scores[name] for name in ("precision", "recall", "f1")] == pytest.approx(f1(guess, truth, strict=False))
    assert scores["strict_f1"] == pytest.approx(f1(guess, truth, strict=True)[2])
    for kind, figures in scores["per_type"].items():
        only = [[[tag if tag[2:] == kind else "O" for tag in tags] for tags in rows] for rows in (guess, truth)]
        assert [figures[name] for name in ("precision", "recall", "f1")] == pytest.approx(f1(*only, strict=False))
        assert figures["support"] == sum(len(chunks(tags, False)) for tags in only[1])
    words = [pair for rows in zip(guess, truth, strict=True) for pair in zip(*rows, strict=True)]
    assert scores["accuracy"] == pytest.approx(sum(g == t for g, t in words) / len(words))


def test_an_entity_that_begins_with_i_counts_only_in_conllevals_convention():
    truth = [["B-PER", "I-PER", "O"], ["B-LOC", "O", "O"]]
    guess = [["I-PER", "I-PER", "O"], ["B-LOC", "O", "O"]]
    scores = compute(guess, truth)
    assert scores["f1"] == 1.0
    assert scores["strict_f1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("truth", [["O", "O"], ["B-X", "O"]])
def test_scores_are_zero_if_nothing_is_found(truth):
    scores = compute([["O", "O"]], [truth])
    assert (scores["precision"], scores["recall"], scores["f1"], scores["strict_f1"]) == (0.0, 0.0, 0.0, 0.0)


def test_evaluate_loads_the_metric_from_its_file(tmp_path):
    metric = evaluate.load(entities.__file__, keep_in_memory=True, cache_dir=str(tmp_path))
    assert metric.compute(predictions=[["B-X"]], references=[["B-X"]])["f1"] == 1.0
