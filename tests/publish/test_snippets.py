"""The snippet of every kind of card runs as it stands, and its pipeline answers texts of any length as predict does."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import set_seed

from pipeline import inference
from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.task_specs import TASKS
from pipeline.config.training import Optim, Train
from pipeline.publish.snippets import LOCAL

SMALL: dict[str, Any] = {"hidden_size": 16, "embedding_size": 16, "dropout": 0.0, "embedding_dropout": 0.0}
TRANSFORMER: dict[str, Any] = {"hidden_size": 16, "layers": 1, "heads": 2, "dropout": 0.0}
REVIEWS = [("a lovely book", "good"), ("a tedious book", "bad"), ("what a lovely end", "good"), ("dreary", "bad")]
# In any order, so that the tag of a word is the same wherever a window begins.
PHRASES = ["Grace\tB-PER\nHopper\tI-PER\n", "sailed\tO\n", "to\tO\n", "Lisbon\tB-LOC\n"]
POEM = ["the fog comes", "on little cat feet", "it sits looking", "over harbor and <unk> city"]
LENGTH = 16
# name -> task, model, tokenizer
MODELS: dict[str, tuple[str, Any, str | None]] = {
    "reviews": ("sentiment", Recurrent(**SMALL), None),
    "reviews-attention": ("sentiment", Recurrent(**SMALL, bidirectional=True, pooling="attention"), None),
    "reviews-bert": ("sentiment", Scratch("bert", **TRANSFORMER), None),
    "names": ("ner", Recurrent(**SMALL), None),
    "names-crf": ("ner", Recurrent(**SMALL, crf=True), None),
    "names-characters": ("ner", Recurrent(**SMALL, char_encoder="cnn"), None),
    "names-bert": ("ner", Scratch("bert", **TRANSFORMER), None),
    "poem": ("next_word", Recurrent(**SMALL), "whitespace"),
    "poem-gpt2": ("next_word", Scratch("gpt2", **TRANSFORMER), "whitespace"),
    "poem-gpt2-bytes": ("next_word", Scratch("gpt2", **TRANSFORMER), "bpe"),
    "poem-gpt2-pieces": ("next_word", Scratch("gpt2", **TRANSFORMER), "wordpiece"),
    "poem-bert-letters": ("next_word", Scratch("bert", **TRANSFORMER), "character"),
    "reversed": ("translation", Recurrent(**SMALL), None),
}


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    files = {"sentiment": root / "reviews.jsonl", "ner": root / "names.conll", "next_word": root / "poem.txt"}
    rows = [{"text": f"{text} {number}", "label": label} for number in range(20) for text, label in REVIEWS]
    files["sentiment"].write_text("".join(json.dumps(row) + "\n" for row in rows))
    draw = random.Random(0)
    files["translation"] = root / "reversed.jsonl"
    pairs = [{"source": row["text"], "target": row["text"][::-1]} for row in rows]
    files["translation"].write_text("".join(json.dumps(row) + "\n" for row in pairs))
    files["ner"].write_text("\n".join("".join(draw.choices(PHRASES, k=draw.randint(2, 9))) for _ in range(120)))
    files["next_word"].write_text("\n".join(POEM * 20) + "\n")
    return files


@pytest.fixture(scope="module", params=MODELS)
def folder(request, sources, tmp_path_factory) -> tuple[str, Path]:
    """The task and the model folder of a short run."""
    (task, model, tokenizer), root = MODELS[request.param], tmp_path_factory.mktemp("runs")
    train = Train(epochs=12 if task == "ner" else 6, batch_size=8, output_dir=str(root / "run"))
    data = Data(str(sources[task]), tokenizer=tokenizer, max_length=LENGTH)
    runs.train(Recipe(request.param, task, data, model, Optim(2e-2), train))
    return task, root / "run/model"


def run_snippet(folder: Path) -> dict[str, Any]:
    """The variables of the card's snippet for transformers, after it ran."""
    text = (folder / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"With transformers:\n\n```python\n(.*?)```", text, re.DOTALL)
    variables: dict[str, Any] = {}
    exec(code.replace(LOCAL, str(folder)), variables)
    return variables


@pytest.fixture(scope="module")
def snippet(folder) -> dict[str, Any]:
    return run_snippet(folder[1])


def test_a_classifier_answers_texts_of_any_length_as_predict_does(folder, snippet):
    if folder[0] != "sentiment":
        pytest.skip("another task")
    texts = ["a lovely book", "dreary " * 3 + "lovely " * 300, "lovely " * 15 + "tedious " * 700, "", "book"]
    expected = list(inference.predict(str(folder[1]), texts))
    for size in (1, 3):
        found = snippet["classify"](texts, batch_size=size)
        assert [answer["label"] for answer in found] == [answer["label"] for answer in expected]
        assert [answer["score"] for answer in found] == pytest.approx([a["score"] for a in expected], abs=1e-5)


def test_a_tagger_finds_the_entities_of_a_long_text_that_predict_finds(folder, snippet):
    if folder[0] != "ner":
        pytest.skip("another task")
    long = "Grace Hopper sailed to Lisbon "
    for text in (long, long * 2, long * 3 + "to " * 40 + long, "to " * 200, ""):
        (expected,) = inference.predict(str(folder[1]), [text])
        found = snippet["find_entities"](text)
        assert [(e["entity_group"], e["start"], e["end"]) for e in found] == [
            (e["type"], e["start"], e["end"]) for e in expected["entities"]
        ]
        assert len(found) == 2 * text.count("Grace")


def test_a_language_model_goes_on_from_texts_of_any_length_whatever_it_draws(folder, snippet):
    if folder[0] != "next_word":
        pytest.skip("another task")
    for seed in range(20):
        set_seed(seed)
        for text in ("the fog", "on little cat feet " * 90, ""):
            (answer,) = snippet["write"](text)
            assert answer["generated_text"].startswith(text)


def test_a_language_model_goes_on_as_predict_does_if_it_draws_nothing(folder, snippet):
    if folder[0] != "next_word":
        pytest.skip("another task")
    texts = ["the fog", "it sits", "on"]
    expected = [answer["continuation"] for answer in inference.predict(str(folder[1]), texts, generate=6)]
    for size in (1, 3):
        found = snippet["write"](texts, batch_size=size, do_sample=False, max_new_tokens=6, return_full_text=False)
        written = [answer["generated_text"].strip() for (answer,) in found]
        assert written == [" ".join(text.replace("<unk>", "").split()) for text in expected]


def test_a_translator_writes_what_predict_does(folder, snippet):
    if folder[0] != "translation":
        pytest.skip("another task")
    (answer,) = inference.predict(str(folder[1]), [TASKS["translation"].snippet.text])
    ids = snippet["model"].generate(**snippet["texts"])
    (written,) = snippet["tokenizer"].batch_decode(ids, skip_special_tokens=True)
    assert written.strip() == answer["translation"]
    card = (folder[1] / "README.md").read_text(encoding="utf-8")
    assert "pipeline_tag: translation" in card
    assert "a recurrent network" in card
