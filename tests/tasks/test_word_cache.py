"""The continuous cache against a computation of one position at a time, and its tuning on a validation split."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import inference, predictions, run_folder
from pipeline.compare.judging import judge
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Train
from pipeline.errors import UserError
from pipeline.run import train
from pipeline.tasks.base import scores_of
from pipeline.tasks.next_word_cache import CachedNextWord
from pipeline.tasks.word_cache import SHARES, THETAS, Mixture, TrackCache, chances_of, look_up_batch, mixed, tune

SIZE, WORDS = 5, 7


def by_hand(states, words, begins, theta: float) -> list[dict[int, float] | None]:
    """At each position, the probability of each word in the cache, or None if that is empty; in float64."""
    found = []
    for t in range(len(words)):
        start = max((s for s in range(t + 1) if begins[s]), default=0)
        before = range(max(start, t - SIZE), t)
        weights = [math.exp(theta * float(states[t].double() @ states[i].double())) for i in before]
        chances: dict[int, float] = {}
        for i, weight in zip(before, weights, strict=True):
            chances[int(words[i])] = chances.get(int(words[i]), 0.0) + weight / sum(weights)
        found.append(chances or None)
    return found


def a_track(length=23):
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(length, 3, generator=generator)
    words = torch.randint(0, WORDS, (length,), generator=generator)
    begins = torch.zeros(length, dtype=torch.bool)
    begins[4:6] = begins[17:18] = True
    return states, words, begins


@pytest.mark.parametrize("window", [1, 4, 23])
def test_the_cache_is_that_of_brute_force_however_a_text_is_cut_into_windows(window):
    states, words, begins = a_track()
    logits = torch.randn(len(words), WORDS)
    own = logits.double().softmax(dim=-1)
    for number, theta in enumerate(THETAS):
        cache, expected = TrackCache(SIZE), by_hand(states, words, begins, theta)
        for start in range(0, len(words), window):
            part = slice(start, start + window)
            found = cache.look_up(states[part], words[part], begins[part])
            chances = chances_of(found, words[part])[:, number]
            both = mixed(logits[part], found, Mixture(theta, 0.3)).exp()
            assert torch.allclose(both.sum(dim=1), torch.ones(len(both)))
            for at, here in enumerate(expected[part]):
                chance = float(chances[at])
                assert (here is None) == math.isnan(chance)
                for word in range(WORDS):
                    alone = float(own[start + at, word])
                    wanted = alone if here is None else 0.7 * alone + 0.3 * here.get(word, 0.0)
                    assert float(both[at, word]) == pytest.approx(wanted, rel=1e-5)
                if here is not None:
                    assert chance == pytest.approx(here.get(int(words[start + at]), 0.0), rel=1e-5)


def test_states_outside_of_the_cache_do_not_count_however_similar_they_are():
    """exp(theta h . h) of a later state is infinite here."""
    states, words, begins = a_track()
    states = states * torch.linspace(1, 12, len(states))[:, None]
    found = TrackCache(SIZE).look_up(states, words, begins)
    for number, theta in enumerate(THETAS[:5]):
        chances, expected = chances_of(found, words)[:, number], by_hand(states, words, begins, theta)
        both = mixed(torch.zeros(len(words), WORDS), found, Mixture(theta, 0.3)).exp()
        assert torch.allclose(both.sum(dim=1), torch.ones(len(both)))
        for at, here in enumerate(expected):
            if here is None:
                assert math.isnan(float(chances[at]))
            else:
                assert float(chances[at]) == pytest.approx(here.get(int(words[at]), 0.0), rel=1e-4, abs=1e-20)


def test_words_whose_probability_no_float_can_hold_keep_a_finite_loss():
    states, words, begins = a_track()
    logits = torch.zeros(len(words), WORDS)
    logits[:, 0] = 200.0
    found = TrackCache(SIZE).look_up(states, words, begins)
    both = mixed(logits, found, Mixture(1.0, 0.25))
    alone = logits.log_softmax(dim=-1)
    for at, here in enumerate(by_hand(states, words, begins, 1.0)):
        for word in range(1, WORDS):
            chance = (here or {}).get(word, 0.0)
            expected = float(alone[at, word]) + (math.log(0.75) if here else 0.0)
            assert float(both[at, word]) == pytest.approx(math.log(0.25 * chance) if chance else expected, rel=1e-5)
    assert (mixed(logits, found, Mixture(1.0, 0.0)) == alone).all()


def test_a_mixture_is_found_although_the_model_alone_gives_a_word_no_chance_that_a_float_can_hold():
    nll = np.array([2000.0, 1.0, 1.0])
    chances = np.zeros((3, len(THETAS)))
    chances[0, 4] = 1.0
    best = tune(nll, chances)
    assert best.theta == THETAS[4]
    assert best.share == pytest.approx(1 / 3, abs=0.01)  # the maximum of log(s) + 2 log(1 - s)


def test_padding_is_not_looked_up_and_each_row_has_a_cache_of_its_own():
    states, words, begins = a_track(8)
    labels = torch.stack([words, words.flip(0)])
    labels[1, 5:] = -100
    batch = torch.stack([states, states.flip(0)])
    caches = [TrackCache(SIZE), TrackCache(SIZE)]
    found = list(look_up_batch(caches, batch, labels, begins.expand(2, -1)))
    assert [(row, part) for row, part, *_ in found] == [(0, slice(0, 8)), (1, slice(0, 5))]
    alone = TrackCache(SIZE).look_up(batch[1, :5], labels[1, :5], begins[:5])
    assert all(torch.equal(one, other) for one, other in zip(found[1][2], alone, strict=True))


def test_the_mixture_is_the_best_of_the_grid():
    generator = np.random.default_rng(0)
    nll = generator.random(50) * 5
    chances = generator.random((50, len(THETAS))) * 0.3
    chances[:7] = np.nan  # empty caches
    chances[7:20] = 0.0

    def total(mixture: Mixture) -> float:
        found = 0.0
        for own, chance in zip(nll, chances[:, THETAS.index(mixture.theta)], strict=True):
            alone = math.exp(-own)
            both = alone if math.isnan(chance) else (1 - mixture.share) * alone + mixture.share * chance
            found -= math.log(both)
        return found

    best = tune(nll, chances)
    grid = [Mixture(*pair) for pair in itertools.product(THETAS, SHARES)]
    assert total(best) == pytest.approx(min(map(total, grid)))
    assert 0 < best.share < 0.5


def a_recipe(folder: Path, model=None) -> Recipe:
    """Texts in which each rare word is said several times in a row, so that a cache helps."""
    words = [f"w{number}" for number in range(40)]
    (folder / "data").mkdir(exist_ok=True)
    for seed, (split, lines) in enumerate({"train": 200, "validation": 40, "test": 40}.items()):
        drawn = np.random.default_rng(seed).integers(0, 40, lines)
        text = "\n".join(" ".join(["the", words[n], "is", "the", words[n], "and", words[n]]) for n in drawn)
        (folder / "data" / f"{split}.txt").write_text(text + "\n")
    return Recipe(
        name="x",
        task="next_word",
        data=Data(str(folder / "data"), tokenizer="whitespace", max_length=16),
        model=model or Recurrent(hidden_size=16, embedding_size=16, dropout=0.0, embedding_dropout=0.0),
        train=Train(output_dir=str(folder / "run"), epochs=1, batch_size=4),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    train(a_recipe(folder))
    return folder


def test_the_cache_is_tuned_on_validation_and_helps_on_test(run):
    model, data = str(run / "run"), Data(str(run / "data"))
    alone = inference.evaluate(model, data, "test")
    found = inference.evaluate(model, data, "test", cache=20)
    assert found["cache"]["without"] == pytest.approx({name: alone[name] for name in found["cache"]["without"]})
    assert found["perplexity_per_word"] < 0.8 * alone["perplexity_per_word"]
    assert 0 < found["cache"]["lambda"] <= 0.5
    on_validation = inference.evaluate(model, data, "validation", cache=20)
    assert on_validation["cache"]["lambda"] == found["cache"]["lambda"]
    # Another number of tracks, and so of caches, reads the same running text.
    again = inference.evaluate(model, data, "test", 3, cache=20)
    assert again["loss"] == pytest.approx(found["loss"], rel=1e-5)


def test_rows_say_that_they_were_scored_with_a_cache(run, tmp_path):
    data = Data(str(run / "data"))
    cached = shutil.copytree(run / "run", tmp_path / "cached")
    file = run_folder.predictions_of(cached, "test")
    scores = inference.evaluate(str(cached), data, "test", cache=20, rows=file)
    rows = predictions.read(file)
    assert rows.info.settings["cache"] == scores["cache"]
    assert json.dumps(scores_of(rows)) == json.dumps(scores)
    plain = shutil.copytree(run / "run", tmp_path / "plain")
    assert (
        "the rows were scored with a continuous cache (finetune evaluate --cache): cached: 20 positions, plain: no"
        " positions"
    ) in judge([cached, plain]).notes
    assert not any("cache" in text for text in judge([plain, run / "run"]).notes)


def test_documents_have_a_cache_each(run):
    model, data = str(run / "run"), Data(str(run / "data"), separate=True)
    scores = [inference.evaluate(model, data, "test", size, cache=20) for size in (1, 7)]
    assert scores[0]["loss"] == pytest.approx(scores[1]["loss"], rel=1e-5)
    assert json.dumps(scores[0]["cache"]["without"])


def test_perplexities_per_word_may_be_infinite_where_words_are_as_long_as_texts():
    outcome = {"tokens": np.array([800]), "words": np.array([1]), "bytes": np.array([800]), "nll": np.array([800.0])}
    outcome |= {"rank": np.zeros(800, np.uint8), "alone": np.ones(800, np.float32), "context": "", "stride": 1}
    found = CachedNextWord(5, Mixture(0.3, 0.1)).score({**outcome, "running": False}, [])
    assert found["cache"]["without"]["perplexity_per_word"] == found["perplexity_per_word"] == math.inf


def test_data_without_a_validation_split_and_models_without_states_are_refused(run, tmp_path):
    (tmp_path / "one.txt").write_text("the w1 is\n")
    with pytest.raises(UserError, match=r"split: .*one\.txt has no validation split"):
        inference.evaluate(str(run / "run"), Data(str(tmp_path / "one.txt")), cache=20)
    train(a_recipe(tmp_path, Scratch("gpt2", hidden_size=16, layers=1)))
    with pytest.raises(UserError, match="cache: only for recurrent language models"):
        inference.evaluate(str(tmp_path / "run"), Data(str(tmp_path / "data")), cache=20)
