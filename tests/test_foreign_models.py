"""Models that were not trained here, made with transformers alone: `predict` answers as the pipelines of transformers
do, and `evaluate` knows what the labels of the data are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, save_checkpoint
from sklearn.metrics import accuracy_score, f1_score
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
    RobertaConfig,
    RobertaForSequenceClassification,
    pipeline,
)

from pipeline.config.data import Data
from pipeline.errors import UserError
from pipeline.inference import evaluate, evaluate_rows, predict
from pipeline.models import checkpoints

HEADS = {"text": AutoModelForSequenceClassification, "words": AutoModelForTokenClassification}
TEXTS = [f"{text} {number}" for number in range(2) for text in POSITIVE + NEGATIVE]
WORDS, TAGS = ["Ann", "Lee", "went", "to", "Rome", "."], ["B-PER", "I-PER", "O", "O", "B-LOC", "O"]
SENTENCES = ["Ann Lee went to Rome .", "Rome went . Lee", "to Ann Rome Lee . went Ann"]
Make = Callable[..., str]


@pytest.fixture(scope="module")
def make(tmp_path_factory) -> Make:
    """Saves a model with random weights and the given configuration; returns its folder."""
    folder = tmp_path_factory.mktemp("foreign")
    for base, kind in (("bert", "wordpiece"), ("gpt2", "bpe")):
        save_checkpoint(folder / base, kind, [*TEXTS, *SENTENCES])
    count = iter(range(1000))

    def made(head: str, labels: Sequence[str] = (), base: str = "bert", **config: Any) -> str:
        torch.manual_seed(3)
        names = {"id2label": dict(enumerate(labels)), "label2id": {name: index for index, name in enumerate(labels)}}
        model = HEADS[head].from_config(
            AutoConfig.from_pretrained(folder / base, **(names if labels else {}), **config)
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
        place = folder / f"model-{next(count)}"
        model.save_pretrained(place)
        AutoTokenizer.from_pretrained(folder / base).save_pretrained(place)
        return str(place)

    return made


def write(file: Path, rows: list[dict[str, Any]]) -> str:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(file)


def labelled(folder: Path, labels: Sequence[Any], name: str = "data.jsonl") -> str:
    """A file of `TEXTS` with `labels`, over and over."""
    return write(folder / name, [{"text": t, "label": labels[n % len(labels)]} for n, t in enumerate(TEXTS)])


def tagged(folder: Path, tags: Sequence[Any]) -> str:
    return write(folder / "tagged.jsonl", [{"tokens": WORDS, "ner_tags": tags}] * 4)


def guesses(model: str, texts: list[str] = TEXTS) -> list[int]:
    """The likeliest class of each text, by transformers alone."""
    found = pipeline("text-classification", model=model)(texts)
    ids = AutoConfig.from_pretrained(model).label2id
    return [ids[answer["label"]] for answer in found]


def test_a_classifier_without_names_is_scored_by_the_ids_of_the_data(make, tmp_path):
    model = make("text", num_labels=3)
    ids = [0, 1, 2, 1]
    scores = evaluate(model, Data(labelled(tmp_path, ids)))
    truth = [ids[number % 4] for number in range(len(TEXTS))]
    assert scores["accuracy"] == pytest.approx(accuracy_score(truth, guesses(model)))
    assert [*scores["per_class"]] == ["LABEL_0", "LABEL_1", "LABEL_2"]


def test_the_ids_of_the_data_name_the_labels_of_a_model_without_names(make, tmp_path, capsys):
    model, names = make("text", num_labels=2), ("bad", "good")
    expected = evaluate(model, Data(labelled(tmp_path, [0, 1])))
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": [number % 2 for number in range(len(TEXTS))]})
    rows.cast_column("label", datasets.ClassLabel(names=list(names))).to_parquet(tmp_path / "data.parquet")
    for data in (
        Data(str(tmp_path / "data.parquet")),
        Data(labelled(tmp_path, [0, 1]), label_names=("0=bad", "1=good")),
        Data(labelled(tmp_path, names, "names.jsonl"), label_names=("0=bad", "1=good")),
    ):
        capsys.readouterr()
        found = evaluate_rows(model, data)
        assert found.scores["accuracy"] == expected["accuracy"]
        assert tuple(found.scores["per_class"]) == names
        told = "the labels of the model have no names; they get those of the ids in the data:"
        assert f"{told} LABEL_0 = bad, LABEL_1 = good" in capsys.readouterr().err


def test_names_that_the_model_does_not_have_are_refused_and_can_be_said_to_be_its_own(make, tmp_path):
    model = make("text", ["NEG", "POS"])
    rows = labelled(tmp_path, ["bad", "good"])
    with pytest.raises(
        UserError, match=r"label 'bad'; it has NEG, POS; if it is one of them, say which with data.label_"
    ):
        evaluate(model, Data(rows))
    scores = evaluate(model, Data(rows, label_names=("bad=NEG", "good=POS")))
    assert scores == evaluate(model, Data(labelled(tmp_path, [0, 1], "ids.jsonl")))


@pytest.mark.parametrize("problem_type", [None, "regression"])
def test_a_model_with_one_output_predicts_a_number(make, tmp_path, problem_type):
    model = make("text", num_labels=1, problem_type=problem_type)
    scores = [answer["score"] for answer in predict(model, TEXTS)]
    expected = pipeline("text-classification", model=model, function_to_apply="none")(TEXTS)
    assert scores == pytest.approx([answer["score"] for answer in expected], abs=1e-5)
    truth = [0.5, 1.5, 3.0]
    errors = [(score - truth[number % 3]) ** 2 for number, score in enumerate(scores)]
    assert evaluate(model, Data(labelled(tmp_path, truth)))["mse"] == pytest.approx(sum(errors) / len(errors), rel=1e-4)


def test_a_model_of_several_numbers_is_refused(make):
    with pytest.raises(UserError, match="model: it has 3 numbers for each text; expected one"):
        list(predict(make("text", num_labels=3, problem_type="regression"), TEXTS))


def test_a_model_of_several_labels_answers_with_sigmoids_and_is_scored_in_each_form_of_the_labels(make, tmp_path):
    names, problem = ["a", "b", "c"], {"problem_type": "multi_label_classification"}
    hot = [[1, 0, 0], [0, 1, 1], [0, 0, 0], [1, 1, 1]]
    model, unnamed = make("text", names, **problem), make("text", num_labels=3, **problem)
    expected = pipeline("text-classification", model=model, top_k=None)(TEXTS)
    answers = list(predict(model, TEXTS))
    for answer, own in zip(answers, expected, strict=True):
        assert answer["scores"] == pytest.approx({label["label"]: label["score"] for label in own}, abs=1e-5)
        assert set(answer["labels"]) == {label["label"] for label in own if label["score"] >= 0.5}
    chosen = [[int(name in answer["labels"]) for name in names] for answer in answers]
    micro = f1_score([hot[number % 4] for number in range(len(TEXTS))], chosen, average="micro", zero_division=0)
    forms = {
        "names": [[name for name, own in zip(names, row, strict=True) if own] for row in hot],
        "ids": [[number for number, own in enumerate(row) if own] for row in hot],
        "hot": hot,
        "floats": [[float(own) for own in row] for row in hot],
        "flags": [[bool(own) for own in row] for row in hot],
        "text": [str(row) for row in hot],
    }
    for name, labels in forms.items():
        rows = labelled(tmp_path, labels, f"{name}.jsonl")
        assert evaluate(model, Data(rows))["micro_f1"] == pytest.approx(micro), name
        if name != "names":
            found = evaluate(unnamed, Data(rows, label_names=("0=a", "1=b", "2=c")))
            assert (found["micro_f1"], [*found["per_class"]]) == (pytest.approx(micro), names), name


def test_zeros_and_ones_of_another_number_of_labels_are_refused(make, tmp_path):
    model = make("text", ["a", "b", "c"], problem_type="multi_label_classification")
    with pytest.raises(UserError, match="has a 0 or 1 for each of 4 labels, but the model has 3: a, b, c"):
        evaluate(model, Data(labelled(tmp_path, [[0, 0, 1, 0], [1, 1, 0, 0]])))
    rows = [{"text": text, "label": [1, 0, 0]} for text in TEXTS * 2000]  # more than are looked at to see what they are
    rows[30_000]["label"] = [1, 0, 2]
    with pytest.raises(UserError, match=r"data.jsonl:30001: expected a 0 or 1 for each of 3 labels, found \[1, 0, 2\]"):
        evaluate(model, Data(write(tmp_path / "data.jsonl", rows)))


def test_a_classifier_on_top_of_gpt2_without_a_padding_token_reads_many_texts(make):
    model = make("text", ["NEG", "POS"], base="gpt2")
    config = json.loads((Path(model) / "config.json").read_text())
    assert config["pad_token_id"] is None
    alone = [next(iter(predict(model, [text])))["score"] for text in TEXTS]
    assert [answer["score"] for answer in predict(model, TEXTS)] == pytest.approx(alone, abs=1e-5)


def test_a_roberta_without_a_maximum_length_reads_as_many_tokens_as_it_has_positions(make, tmp_path):
    """Its positions begin at 2, after that of the padding token, and 34 in its config.json are 32 for tokens."""
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 16}
    tokenizer = AutoTokenizer.from_pretrained(make("text", num_labels=2, base="gpt2"))
    config = RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=34, pad_token_id=1, num_labels=2, **sizes)
    RobertaForSequenceClassification(config).save_pretrained(tmp_path)
    tokenizer.model_max_length = int(1e30)
    tokenizer.save_pretrained(tmp_path)
    text = "a joy from start to end " * 20
    (answer,) = predict(str(tmp_path), [text])
    expected = pipeline("text-classification", model=str(tmp_path))(text, truncation=True, max_length=32)
    assert answer["scores"][expected[0]["label"]] == pytest.approx(expected[0]["score"], abs=1e-5)
    with pytest.raises(UserError, match="33 is more than the 32 positions of the model"):
        checkpoints.check_length(RobertaForSequenceClassification(config), 33, "data.max_length")


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_a_text_without_words_gets_the_answer_of_its_pipeline(make, text):
    model = make("text", ["NEG", "POS"])
    (answer, _), (expected, _) = (
        predict(model, [text, "a joy"]),
        pipeline("text-classification", model=model)([text, "a"]),
    )
    assert (answer["label"], answer["score"]) == (expected["label"], pytest.approx(expected["score"], abs=1e-6))


NAMES = {
    "unnamed": [],
    "iob2": ["O", "B-PER", "I-PER", "B-LOC", "I-LOC"],
    "types": ["O", "PER", "LOC"],
    "types without O": ["PER", "LOC", "MISC"],
    "iob1": ["O", "I-PER", "I-LOC"],
}


@pytest.mark.parametrize("names", NAMES)
def test_a_tagger_finds_the_entities_that_its_pipeline_finds(make, names):
    model = make("words", NAMES[names], **({} if NAMES[names] else {"num_labels": 5}))
    find = pipeline("token-classification", model=model, aggregation_strategy="simple")
    for text, answer in zip(SENTENCES, predict(model, SENTENCES), strict=True):
        expected = [(own["entity_group"], own["start"], own["end"]) for own in find(text)]
        assert [(own["type"], own["start"], own["end"]) for own in answer["entities"]] == expected
    for answer in predict(model, [WORDS]):
        assert len(answer["tags"]) == len(WORDS)


def rigged(model: str, ids: Sequence[int]) -> None:
    """Make a tagger answer with the label `ids[n]` for the n-th of `WORDS`."""
    loaded = AutoModelForTokenClassification.from_pretrained(model)
    tokens = [AutoTokenizer.from_pretrained(model)([word], is_split_into_words=True)["input_ids"][1] for word in WORDS]
    with torch.no_grad():
        for parameter in loaded.parameters():
            parameter.zero_()
        loaded.bert.embeddings.LayerNorm.weight.fill_(1.0)
        for layer in loaded.bert.encoder.layer:
            layer.output.LayerNorm.weight.fill_(1.0)
            layer.attention.output.LayerNorm.weight.fill_(1.0)
        for number, token in enumerate(tokens):
            loaded.bert.embeddings.word_embeddings.weight[token, number] = 1.0
        for number, label in enumerate(ids):
            loaded.classifier.weight[label, number] += 9.0
    loaded.save_pretrained(model)


@pytest.mark.parametrize(
    ("labels", "ids"),
    [
        (NAMES["iob2"], [1, 2, 0, 0, 3, 0]),
        (["O", "PER", "LOC"], [1, 1, 0, 0, 2, 0]),
        (["O", "I-PER", "I-LOC"], [1, 1, 0, 0, 2, 0]),
        (["PER-I", "O", "PER-B", "LOC-B", "LOC-I"], [2, 0, 1, 1, 3, 1]),
        (["O", "B-PER", "I-PER", "L-PER", "U-PER", "U-LOC", "B-LOC", "L-LOC", "I-LOC"], [1, 3, 0, 0, 5, 0]),
        (["O", "B-PER", "M-PER", "E-PER", "S-LOC", "B-LOC", "E-LOC", "M-LOC"], [1, 3, 0, 0, 4, 0]),
        (["O", "b_PER", "i_PER", "b_LOC", "i_LOC"], [1, 2, 0, 0, 3, 0]),
    ],
    ids=["IOB2", "types", "IOB1", "suffixes", "BILOU", "BMES", "lower case"],
)
def test_a_tagger_that_is_right_scores_one_whatever_its_labels_are_called(make, tmp_path, labels, ids):
    model = make("words", labels)
    rigged(model, ids)
    scores = evaluate(model, Data(tagged(tmp_path, TAGS)))
    assert (scores["f1"], scores["strict_f1"], scores["accuracy"]) == (1.0, 1.0, 1.0)
    assert scores["loss"] < 0.5
    (answer,) = predict(model, [WORDS])
    assert answer["tags"] == TAGS


def test_a_tagger_without_names_is_scored_by_the_ids_of_the_data(make, tmp_path):
    model, ids = make("words", num_labels=5), [1, 2, 0, 0, 3, 0]
    rigged(model, ids)
    names = NAMES["iob2"]
    rows = datasets.Dataset.from_list([{"tokens": WORDS, "ner_tags": ids}] * 4)
    rows.cast_column("ner_tags", datasets.List(datasets.ClassLabel(names=names))).to_parquet(tmp_path / "a.parquet")
    given = tuple(f"{number}={name}" for number, name in enumerate(names))
    for data in (
        Data(str(tmp_path / "a.parquet")),
        Data(tagged(tmp_path, ids), label_names=given),
        Data(tagged(tmp_path, TAGS), label_names=given),
    ):
        assert evaluate(model, data)["f1"] == 1.0
    for tags in (ids, TAGS):
        with pytest.raises(
            UserError, match=r"labels of the model have no names \(LABEL_0, .* by their ids \(0=O 1=B-PER"
        ):
            evaluate(model, Data(tagged(tmp_path, tags)))


def test_words_outside_of_entities_are_not_trained_labels_of_a_tagger_without_o(make, tmp_path):
    model = make("words", ["PER", "LOC"])
    rigged(model, [0, 0, 1, 1, 1, 1])
    scores = evaluate(model, Data(tagged(tmp_path, TAGS)))
    assert scores["per_type"]["PER"]["f1"] == 1.0
    assert scores["per_type"]["LOC"]["f1"] == 0.0
    assert scores["loss"] < 0.5
