"""Word vectors: found by word, given to words outside the training texts, refused with their line."""

from __future__ import annotations

import json

import pytest
import torch

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Train
from pipeline.errors import UserError
from pipeline.models.embeddings import load_vectors, words

FILE = "4 2\nparis 1 2\nfilm 3 4\nrome 5 6\nnew york 7 8\n"


@pytest.fixture
def vectors(tmp_path):
    file = tmp_path / "vectors.txt"
    file.write_text(FILE)
    return file


def test_vectors_are_found_for_words_as_written_else_in_lowercase(vectors):
    found = load_vectors(str(vectors), {"[PAD]": 0, "Paris": 1, "film": 2, "unheard": 3}, seed=0)
    assert found.matrix[1:3].tolist() == [[1, 2], [3, 4]]
    assert found.found == 0.5


def test_a_header_and_the_rest_of_a_word_with_blanks_are_not_words(vectors):
    assert list(words(str(vectors))) == ["paris", "film", "rome", "new"]


def test_a_word_outside_the_training_texts_is_distinguished_by_its_vector(vectors, tmp_path):
    rows = [{"text": f"film {n}", "label": "good" if n % 2 else "bad"} for n in range(40)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = Recipe(
        name="x",
        task="sentiment",
        data=Data(str(tmp_path / "data.jsonl")),
        model=Recurrent(hidden_size=4, vectors=str(vectors), freeze_vectors=True),
        train=Train(max_steps=1, output_dir=str(tmp_path / "run")),
    )
    run.train(recipe)
    loaded = inference.load(str(tmp_path / "run"))
    paris, rome, unheard = (loaded.tokenizer(text)["input_ids"] for text in ("Paris", "Rome", "Oslo"))
    assert paris != rome != unheard == [loaded.tokenizer.unk_token_id]
    assert loaded.model.get_input_embeddings()(torch.tensor(paris + rome)).tolist() == [[1, 2], [5, 6]]


def test_vectors_that_tell_numbers_apart_are_refused_with_zero_digits(reviews, tmp_path):
    file = tmp_path / "vectors.txt"

    def train(words: str) -> None:
        file.write_text("".join(f"{word} 0.1 0.2\n" for word in words.split()))
        data, model = Data(str(reviews), zero_digits=True), Recurrent(hidden_size=4, vectors=str(file))
        run.train(Recipe("x", "sentiment", data, model, train=Train(max_steps=1, output_dir=str(tmp_path / "run"))))

    with pytest.raises(UserError) as refusal:
        train("dull 0 mp3 1996")
    assert str(refusal.value) == (
        f"data.zero_digits: model.vectors {file} has a vector for mp3, which would be read as mp0; remove it, or use"
        " vectors that were trained with 0 for each digit"
    )
    assert not (tmp_path / "run").exists()
    train("dull 0 mp0 0000")


def test_a_changed_file_of_vectors_is_read_again(vectors, reviews, tmp_path):
    recipe = Recipe(
        name="x",
        task="sentiment",
        data=Data(str(reviews)),
        model=Recurrent(hidden_size=4, vectors=str(vectors)),
        train=Train(max_steps=1, output_dir=str(tmp_path / "run"), overwrite=True),
    )
    sizes = []
    for extra in ("", "oslo 1 1\n"):
        vectors.write_text(FILE + extra)
        run.train(recipe)
        sizes.append(inference.load(str(tmp_path / "run")).model.config.vocab_size)
    assert sizes[1] == sizes[0] + 1


def test_a_model_that_predicts_words_knows_only_those_of_its_text(vectors, tmp_path):
    (tmp_path / "a.txt").write_text("the film is the film\n" * 40)
    recipe = Recipe(
        name="x",
        task="next_word",
        data=Data(str(tmp_path / "a.txt"), tokenizer="whitespace", max_length=8),
        model=Recurrent(hidden_size=4, vectors=str(vectors)),
        train=Train(max_steps=1, batch_size=2, output_dir=str(tmp_path / "run")),
    )
    run.train(recipe)
    assert "rome" not in inference.load(str(tmp_path / "run")).tokenizer.get_vocab()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 1 2\n1\n", "vectors.txt:2: expected a word and 2 finite numbers"),
        ("a 1 x\n", "vectors.txt:1: 1 x ... is not a vector"),
        ("a 1 nan\n", "vectors.txt:1: expected a word and 2 finite numbers"),
    ],
)
def test_a_line_that_is_not_a_vector_is_refused(vectors, text, message):
    vectors.write_text(text)
    with pytest.raises(UserError, match=message):
        load_vectors(str(vectors), {"a": 0, "b": 1}, seed=0)
