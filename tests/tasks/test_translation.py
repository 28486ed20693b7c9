"""Translation: batches, scores from what is written, beams, attention, and the same at every batch size."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from datasets import Dataset
from sacrebleu.metrics import BLEU, CHRF
from transformers import (
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    GenerationConfig,
)

from pipeline import inference, predictions, run, run_folder
from pipeline.cli.predict import Search
from pipeline.compare import scoring
from pipeline.config.data import Data
from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.data.tokenization import tokenizers
from pipeline.data.tokenization.translated import encode_sources, encode_targets, for_translation
from pipeline.errors import UserError
from pipeline.metrics.scores import flatten
from pipeline.tasks import attended_rows, translating
from pipeline.tasks.base import scores_of
from pipeline.tasks.translation import Translation

WORDS = {"red": "אדום", "green": "ירוק", "old": "ישן", "house": "בַּיִת", "dog": "כלב", "${name}": "${name}"}
PAIRS = [
    (" ".join(words), " ".join(WORDS[word] for word in reversed(words)))
    for size in (1, 2, 3)
    for words in itertools.product(WORDS, repeat=size)
]


def a_checkpoint(folder: Path, **config: Any) -> Path:
    """A small BART without weights that were trained, with a tokenizer for PAIRS."""
    tokenizer = for_translation(tokenizers.train("whitespace", [t for p in PAIRS for t in p], Data("x")), None)
    end = tokenizer.eos_token_id
    ends = {"eos_token_id": end, "bos_token_id": end, "decoder_start_token_id": end, "forced_eos_token_id": None}
    names = ("d_model", "encoder_ffn_dim", "decoder_ffn_dim")
    one = ("encoder_layers", "decoder_layers")
    sizes = {**dict.fromkeys(names, 32), **dict.fromkeys(one, 1), "max_position_embeddings": 24}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    torch.manual_seed(0)
    settings = BartConfig(
        vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id, init_std=0.2, dropout=0.0,
        **ends, **sizes, **heads, **config,
    )  # fmt: skip
    BartForConditionalGeneration(settings).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("translation")
    a_checkpoint(folder / "bart")
    for split, rows in (("train", [p for i, p in enumerate(PAIRS) if i % 5]), ("validation", PAIRS[::5])):
        lines = [json.dumps({"source": source, "target": target}) for source, target in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def a_recipe(place: Path, folder: Path, **changes: Any) -> Recipe:
    train = {"epochs": 24, "batch_size": 16, "eval_every": 60, "beams": 3, "patience": None, **changes}
    return Recipe(
        name="x",
        task="translation",
        data=Data(str(place), max_length=16),
        model=Pretrained(str(place / "bart")),
        optim=Optim(learning_rate=0.01),
        train=Train(output_dir=str(folder), **train),
    )


@pytest.fixture(scope="module")
def finished(place, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "x"
    run.train(a_recipe(place, folder))
    return folder


def test_both_sides_end_with_the_end_token_and_keep_it_when_they_are_cut(place):
    tokenizer = AutoTokenizer.from_pretrained(place / "bart")
    tokenizer.init_kwargs["source_prefix"] = "old "
    end = tokenizer.eos_token_id
    rows = Translation().encode({"text": ["red dog", "red " * 9], "target": ["כלב", "dog"]}, tokenizer, 6, [])
    assert [tokenizer.decode(ids) for ids in rows["input_ids"]] == ["old red dog <eos>", "old red red red red <eos>"]
    assert rows["labels"].to_pylist()[0] == [tokenizer.convert_tokens_to_ids("כלב"), end]
    assert (rows["truncated"], rows["target_length"].to_pylist()) == ([False, True], [2, 2])
    assert encode_sources(["red"], tokenizer, 6)[0][0][0] == tokenizer.convert_tokens_to_ids("old")
    assert encode_targets(["red"], tokenizer, 6)[0] == [[tokenizer.convert_tokens_to_ids("red"), end]]


def test_rows_whose_sides_are_far_apart_in_length_are_counted(place):
    tokenizer = AutoTokenizer.from_pretrained(place / "bart")
    texts = ["red " * 6, "red " * 19, "red " * 18, "red"]
    targets = ["dog " * 20, "dog " * 5, "dog " * 4, "dog " * 9]  # 7 to 21, 20 to 6, 19 to 5, 2 to 10, with end tokens
    rows = Translation().encode({"text": texts, "target": targets}, tokenizer, 64, [])
    assert rows["apart"] == [False, True, False, False]


def test_an_outcome_is_the_loss_of_each_row(place):
    model = AutoModelForSeq2SeqLM.from_pretrained(place / "bart").eval()
    labels = torch.tensor([[3, 4, 2], [5, 2, -100]])
    batch = {"input_ids": torch.tensor([[3, 2], [4, 2]]), "labels": labels}
    with torch.no_grad():
        outputs = model(**batch)
        alone = [model(input_ids=batch["input_ids"][row : row + 1], labels=own[None]) for row, own in enumerate(labels)]
    found = Translation().outcome(outputs, batch)
    assert found["tokens"].tolist() == [3, 2]
    assert found["nll"].tolist() == pytest.approx([3 * alone[0].loss.item(), 2 * alone[1].loss.item()], rel=1e-5)


def test_a_run_learns_and_is_scored_on_what_it_writes(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    scores = metrics["validation"]
    assert scores["chrf"] > 90.0
    table = predictions.read(run_folder.predictions_of(finished, "validation")).table
    assert table.column_names == ["id", "place", "text", "target", "hypothesis", "nll", "tokens", "attention"]
    written, true = (table[name].to_pylist() for name in ("hypothesis", "target"))
    assert list(zip(table["text"].to_pylist(), true, strict=True)) == PAIRS[::5]
    assert scores["bleu"] == BLEU().corpus_score(written, [true]).score
    assert scores["chrf"] == CHRF().corpus_score(written, [true]).score
    assert scores["bleu_signature"].startswith("nrefs:1|case:mixed|")
    assert scores["loss"] == pytest.approx(np.sum(table["nll"].to_numpy()) / np.sum(table["tokens"].to_numpy()))
    assert any("בַּיִת" in text for text in written)  # with its points, in the order of the data
    history = [json.loads(line) for line in (finished / "history.jsonl").read_text().splitlines()]
    assert max(line["chrf"] for line in history if line["kind"] == "validation") > 90.0


def test_the_scores_of_a_run_are_sums_over_its_rows_which_a_comparison_can_resample(finished):
    scores = json.loads((finished / "metrics.json").read_text())["validation"]
    own = scoring.scores_of(predictions.read(run_folder.predictions_of(finished, "validation")), {})
    assert {name: own.value(name) for name in own.scores} == pytest.approx(flatten(scores), rel=1e-9)


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_a_saved_model_has_the_same_scores_at_every_batch_size(finished, place, batch_size, tmp_path):
    scores = json.loads((finished / "metrics.json").read_text())["validation"]
    found = inference.evaluate(
        str(finished), Data(str(place)), "validation", batch_size, rows=tmp_path / "rows.parquet"
    )
    assert found.keys() == scores.keys()
    assert flatten(found) == pytest.approx(flatten(scores), rel=1e-6)
    assert scores_of(predictions.read(tmp_path / "rows.parquet")) == found


def test_plain_transformers_writes_what_predict_does(finished):
    texts = [source for source, _ in PAIRS[::30]]
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    model = AutoModelForSeq2SeqLM.from_pretrained(finished / "model").eval()
    assert (model.generation_config.num_beams, model.generation_config.max_new_tokens) == (3, 4)
    ids = model.generate(**tokenizer(texts, return_tensors="pt", padding=True))
    expected = tokenizer.batch_decode(ids, skip_special_tokens=True)
    assert [answer["translation"] for answer in inference.predict(str(finished), texts)] == expected


def test_a_model_that_was_saved_with_beams_may_be_saved_without(place, tmp_path):
    model = AutoModelForSeq2SeqLM.from_pretrained(place / "bart")
    generation = model.generation_config
    generation.num_beams, generation.early_stopping, generation.length_penalty = 4, True, 2.0
    task = Translation()
    task.check(Train(beams=1))
    task.start(model, Dataset.from_dict({"target_length": [3, 5]}))
    model.save_pretrained(tmp_path)
    found = GenerationConfig.from_pretrained(tmp_path)
    assert (found.num_beams, found.max_new_tokens) == (1, 5)


def test_the_best_translations_come_first_with_their_scores(finished):
    (answer,) = inference.predict(str(finished), ["red dog"], beams=4, n_best=3, length_penalty=0.0)
    assert answer["translation"] == answer["translations"][0]["text"]
    scores = [row["score"] for row in answer["translations"]]
    assert scores == sorted(scores, reverse=True)
    loaded = inference.load(str(finished))
    tokenizer, model = loaded.tokenizer, loaded.model
    batch = tokenizer("red dog", return_tensors="pt", text_target=answer["translation"])
    with torch.no_grad():
        loss = model(**batch).loss  # without a length penalty, a score is the log-probability
    assert scores[0] == pytest.approx(-loss.item() * batch["labels"].shape[1], rel=1e-4)


def test_attention_goes_from_each_token_written_to_those_of_the_text(finished):
    texts = ["red dog", "house"]
    for text, answer in zip(texts, inference.predict(str(finished), texts, attention=True, beams=1), strict=True):
        found = answer["attention"]
        assert "".join(found["source"]) == f"{text} <eos>"
        assert "".join(found["target"]) == f"{answer['translation']} <eos>"
        assert np.shape(found["weights"]) == (len(found["target"]), len(found["source"]))
        assert np.sum(found["weights"], axis=1) == pytest.approx(1.0, abs=1e-5)


def test_the_attention_of_a_few_rows_is_kept_as_predict_gives_it(finished, place, tmp_path):
    data, rows = Data(str(place)), tmp_path / "rows.parquet"
    inference.evaluate(str(finished), data, "validation", 3, rows=rows)
    tables = [predictions.read(file).table for file in (run_folder.predictions_of(finished, "validation"), rows)]
    kept, again = (table["attention"].to_pylist() for table in tables)
    assert kept[: attended_rows.ROWS] == [
        answer["attention"]
        for answer in inference.predict(str(finished), [s for s, _ in PAIRS[::5]][:8], attention=True)
    ]
    assert set(map(str, kept[attended_rows.ROWS :])) == {"None"}
    assert again == kept


def test_rows_of_which_no_picture_would_fit_have_no_attention(finished, monkeypatch):
    loaded = inference.load(str(finished))
    texts = [" ", "red " * 40, "red dog", "red", "dog"]
    monkeypatch.setattr(attended_rows, "TOKENS", 2)
    monkeypatch.setattr(attended_rows, "ROWS", 2)
    batches = [pa.RecordBatch.from_pydict({"text": texts}), pa.RecordBatch.from_pydict({"text": ["red"]})]
    first, second = attended_rows.beside(batches, loaded.task, loaded.model, loaded.tokenizer)
    sources = [row and row["source"] for row in first["attention"].to_pylist()]
    assert sources == [None, None, None, ["red", " <eos>"], None]  # blank, long, of three tokens, and one too many
    assert second["attention"].to_pylist() == [None]


def test_bytes_within_a_character_are_shown_with_the_last_of_them():
    tokenizer = for_translation(tokenizers.train("bpe", ["the dog"] * 9, Data("x", vocab_size=300)), None)
    ids = torch.tensor(tokenizer("the כלב 👍.")["input_ids"])
    pieces = translating._shown(ids, tokenizer.decode)
    assert "".join(pieces) == "the כלב 👍." + tokenizer.eos_token
    assert len(pieces) == len(ids)
    assert [piece for piece in pieces if piece][-6:] == [*"לב", " ", "👍", ".", tokenizer.eos_token]


def test_giving_the_attention_leaves_the_model_as_it_was(finished):
    loaded = inference.load(str(finished))
    usual = loaded.model.config._attn_implementation
    list(Translation().predict(["red dog"], loaded.model, loaded.tokenizer, [], attention=True))
    assert loaded.model.config._attn_implementation == usual != "eager"


def test_no_mistake_but_a_missing_attention_passes_for_a_model_without_one(finished, monkeypatch):
    loaded = inference.load(str(finished))
    batches = [pa.RecordBatch.from_pydict({"text": ["red dog"]})]

    def rows(error: Exception) -> list[pa.RecordBatch]:
        def failing(*arguments):
            raise error

        monkeypatch.setattr(translating, "attended", failing)
        return list(attended_rows.beside(batches, loaded.task, loaded.model, loaded.tokenizer))

    assert rows(translating.NoAttention("attention: this model has none")) == batches
    with pytest.raises(UserError, match="beams: 0 is out of range"):
        rows(UserError("beams: 0 is out of range"))


def test_a_model_is_as_it_was_if_its_attention_ends_in_an_error(finished, monkeypatch):
    loaded = inference.load(str(finished))
    usual, forward = loaded.model.config._attn_implementation, loaded.model.forward

    def failing(*args, output_attentions=False, **inputs):
        if output_attentions:
            raise RuntimeError("out of memory")
        return forward(*args, **inputs)

    monkeypatch.setattr(loaded.model, "forward", failing)
    loaded.model.train()
    batches = [pa.RecordBatch.from_pydict({"text": ["red dog"]})]
    with pytest.raises(RuntimeError, match="out of memory"):
        list(attended_rows.beside(batches, loaded.task, loaded.model, loaded.tokenizer))
    assert loaded.model.config._attn_implementation == usual
    assert loaded.model.training


def test_a_text_without_words_has_an_empty_translation(finished):
    options = {"beams": 2, "n_best": 2, "attention": True}
    first, *others, last = inference.predict(str(finished), ["red dog", "", " \n", "house"], **options)
    assert [first, last] == [*inference.predict(str(finished), ["red dog", "house"], **options)]
    nothing = {"translation": "", "translations": [], "attention": {"source": [], "target": [], "weights": []}}
    assert others == [{"text": text, **nothing} for text in ("", " \n")]
    assert [*inference.predict(str(finished), [""])] == [{"text": "", "translation": ""}]


def test_data_without_translations_says_which_column_to_name(finished, tmp_path):
    (tmp_path / "test.jsonl").write_text('{"text": "red dog"}\n')
    with pytest.raises(UserError, match=r"nothing to score; name their column with data\.target_column, or use"):
        inference.evaluate(str(finished), Data(str(tmp_path / "test.jsonl")))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beams": 2, "n_best": 3}, "n-best: 2 beams find no more than 2 translations"),
        ({"beams": 0}, "beams: 0 is out of range; it must be >= 1"),
        ({"n_best": 0}, "n-best: 0 is out of range; it must be >= 1"),
        ({"beams": 2, "length_penalty": float("nan")}, "length-penalty: nan is not a number"),
        ({"beams": 2, "length_penalty": 1000}, "length-penalty: 1000 is out of range; it must be <= 10"),
        ({"beams": 1, "length_penalty": 2.0}, "length-penalty: it compares beams, and there is only one"),
    ],
)
def test_options_that_contradict_each_other_are_refused(finished, options, message):
    with pytest.raises(UserError, match=message):
        list(inference.predict(str(finished), ["red"], **options))


def test_flags_that_are_not_given_change_nothing():
    assert Search().options() == {}
    assert Search(beams=2, n_best=1, attention=True).options() == {"beams": 2, "n_best": 1, "attention": True}


def test_a_tokenizer_that_cannot_write_is_refused_before_anything_is_read(place, tmp_path):
    recipe = a_recipe(place, tmp_path)
    with pytest.raises(UserError, match=r"data\.tokenizer: word cannot restore a text from its tokens"):
        replace(recipe, model=Recurrent(), data=replace(recipe.data, tokenizer="word"))
