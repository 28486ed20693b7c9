"""A run of translation whose sides have vocabularies of their own, from its data to a clean process."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.export import folder as exporting
from pipeline.export import latency, pushing, runner
from pipeline.export.comparison import first_difference
from pipeline.metrics.scores import flatten
from pipeline.publish import onnx_folder, reference_outputs
from pipeline.publish.verify import verify_export_in_clean_process, verify_in_clean_process
from pipeline.tasks.translation import Translation

WORDS = {"red": "אדום", "green": "ירוק", "old": "ישן", "house": "בית", "dog": "כלב", "seventeen": "17"}
PAIRS = [
    (" ".join(words), " ".join(WORDS[word] for word in words))
    for size in (1, 2, 3)
    for words in itertools.product(WORDS, repeat=size)
]

SIZES = {"hidden_size": 32, "embedding_size": 32}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("separate")
    for split, rows in (("train", [p for i, p in enumerate(PAIRS) if i % 5]), ("validation", PAIRS[::5])):
        lines = [json.dumps({"source": source, "target": target}) for source, target in rows]
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    run.train(
        Recipe(
            name="x",
            task="translation",
            data=Data(str(folder), max_length=24, separate_vocabs=True),
            model=Recurrent(
                "gru", **SIZES, bidirectional=True, tie_embeddings=True, dropout=0.0, embedding_dropout=0.0
            ),
            optim=Optim(learning_rate=0.01),
            train=Train(epochs=8, batch_size=16, eval_every=60, beams=2, output_dir=str(folder / "run")),
        )
    )
    return folder / "run"


def test_each_side_has_its_own_vocabulary_and_embeddings(finished):
    model = AutoModelForSeq2SeqLM.from_pretrained(finished / "model")
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    sizes = tokenizer.source_vocab_size, len(tokenizer)
    assert sizes[0] != sizes[1]
    assert (model.config.source_vocab_size, model.config.vocab_size) == sizes
    assert (len(model.encoder.embed_tokens.weight), len(model.shared.weight)) == sizes
    assert "seventeen" in "".join(tokenizer.source_tokenizer.get_vocab())
    assert "seventeen" not in "".join(tokenizer.get_vocab())
    assert model.lm_head.weight is model.shared.weight


def test_it_writes_words_of_the_targets_and_plain_transformers_writes_what_predict_does(finished):
    scores = json.loads((finished / "metrics.json").read_text())["validation"]
    assert scores["loss"] < math.log(len(WORDS))  # it has learned which words there are
    texts = [source for source, _ in PAIRS[::40]]
    tokenizer = AutoTokenizer.from_pretrained(finished / "model")
    model = AutoModelForSeq2SeqLM.from_pretrained(finished / "model").eval()
    ids = model.generate(**tokenizer(texts, return_tensors="pt", padding=True))
    expected = [text.strip() for text in tokenizer.batch_decode(ids, skip_special_tokens=True)]
    assert [answer["translation"] for answer in inference.predict(str(finished), texts)] == expected
    assert {*" ".join(expected).split()} <= {*WORDS.values()}
    found = inference.evaluate(str(finished), Data(str(finished.parent)), "validation", 7)
    assert flatten(found) == pytest.approx(flatten(scores), rel=1e-6)


def test_until_a_teacher_has_translated_it_a_text_has_labels_of_its_length_that_both_vocabularies_know(finished):
    tokenizer, texts = AutoTokenizer.from_pretrained(finished / "model"), [source for source, _ in PAIRS]
    encoded = Translation().encode({"text": texts}, tokenizer, 3, [])
    labels = encoded["labels"].to_pylist()
    assert [*map(len, labels)] == encoded["target_length"].to_pylist() == [*map(len, encoded["input_ids"])]
    assert {id for row in labels for id in row} == {tokenizer.pad_token_id}
    assert encoded["truncated"] == [len(ids) > 3 for ids in tokenizer(texts)["input_ids"]]


def test_other_models_refuse_a_tokenizer_with_two_vocabularies(finished, tmp_path):
    data = Data(str(finished.parent), tokenizer=str(finished / "model"), max_length=24)
    recipe = Recipe("y", "translation", data, Scratch("t5"), train=Train(output_dir=str(tmp_path / "y")))
    with pytest.raises(UserError, match=r"^model: the tokenizer has two vocabularies, and the model one; they do not"):
        run.train(recipe)
    (tmp_path / "vectors.txt").write_text("red 1 2\n")
    with pytest.raises(UserError, match=r"^model.vectors: they would be those of one side, and data.tokenizer has"):
        run.train(replace(recipe, model=Recurrent(vectors=str(tmp_path / "vectors.txt"))))


def test_attention_shows_the_tokens_of_either_side(finished):
    (answer,) = inference.predict(str(finished), ["seventeen dog"], attention=True)
    end = AutoTokenizer.from_pretrained(finished / "model").eos_token
    assert "".join(answer["attention"]["source"]) == "seventeen dog" + end
    assert "".join(answer["attention"]["target"]).strip() == answer["translation"] + end


@pytest.mark.slow  # a process that imports torch
def test_it_answers_alike_in_a_process_without_this_package(finished):
    recorded = reference_outputs.read(finished)
    assert set(recorded["texts"]) <= {source for source, _ in PAIRS}
    verify_in_clean_process(finished / "model", recorded, has_code=True)


@pytest.fixture
def quick(monkeypatch) -> None:
    """Skip the measurement of the latency."""
    sides = {side: {f"batch_{size}": {"p50": 1.0, "p95": 1.0} for size in (1, 32)} for side in ("before", "after")}
    monkeypatch.setattr(latency, "measure", lambda *_: sides)


def test_its_export_reads_with_one_tokenizer_and_writes_with_the_other(finished, quick, tmp_path):
    made = exporting.export(str(finished), tmp_path / "onnx")
    assert json.loads((made.folder / "export.json").read_text())["source_tokenizer"] == "source_tokenizer.json"
    assert (made.checked.texts, made.checked.before) == (0, pytest.approx(made.checked.after))
    texts = [source for source, _ in PAIRS[::40]]
    expected = [answer["translation"] for answer in inference.predict(str(finished), texts)]
    assert any(expected)
    assert [answer["translation"] for answer in runner.load(made.folder)(texts)] == expected
    options = {"attention": True, "n_best": 2}
    found, wanted = (list(inference.predict(str(name), texts[:2], **options)) for name in (made.folder, finished))
    assert first_difference(wanted, found) is None


@pytest.mark.slow  # a clean process
def test_its_export_in_int8_is_as_good_and_both_are_pushed(finished, quick, tmp_path):
    made = exporting.export(str(finished), tmp_path / "int8", "int8")
    assert made.bytes["after"] < made.bytes["before"]
    staged = tmp_path / "staged"
    staged.mkdir()
    with pushing.exported(str(finished)) as whole:
        onnx_folder.stage(whole, staged)
        verify_export_in_clean_process(staged, whole)
    assert (staged / "onnx/source_tokenizer.json").is_file()
