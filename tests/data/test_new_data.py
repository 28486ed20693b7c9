"""New data for a saved model: its labels are names or ids of the model's labels, or are named by data.label_names."""

from __future__ import annotations

import json

import pytest

from pipeline import Recipe, Recurrent, Train
from pipeline.cli import evaluate
from pipeline.config.data import Data
from pipeline.config.loading import override
from pipeline.config.serialization import from_json
from pipeline.data.new_data import encode_split
from pipeline.data.prepare import prepare
from pipeline.data.sources import locate
from pipeline.data.tokenization import tokenizers
from pipeline.errors import UserError
from pipeline.run import train
from pipeline.tasks.ner import Ner
from pipeline.tasks.sentiment import Sentiment

MODEL = ["negative", "positive"]


@pytest.fixture
def tokenizer(reviews):
    return prepare(locate(Data(str(reviews))), Sentiment(), "word").tokenizer


def labels_of(tmp_path, tokenizer, column, model=MODEL, **settings):
    """Names of the labels that rows with `column` get, and the warnings."""
    file = tmp_path / "new.csv"
    file.write_text("text,label\n" + "".join(f"a film,{label}\n" for label in column))
    warnings: list[str] = []
    source = locate(Data(str(file), **settings))
    rows, _ = encode_split(source, "test", Sentiment(), tokenizer, model, tmp_path, warnings)
    return [model[number] for number in rows["label"]], warnings


def test_labels_that_are_all_ids_of_the_model_are_read_as_its_names(tmp_path, tokenizer):
    found, warnings = labels_of(tmp_path, tokenizer, [1, 0, "1.0", 1])
    assert found == ["positive", "negative", "positive", "positive"]
    assert warnings == ["the labels are read as ids of the model's labels: 0 = negative, 1 = positive"]
    assert labels_of(tmp_path, tokenizer, [0])[1] == ["the labels are read as ids of the model's labels: 0 = negative"]


@pytest.mark.parametrize("column", [["0", "negative"], ["0", "2"], ["0", "01"], ["0.5", "1"]])
def test_labels_are_refused_if_one_is_not_an_id(tmp_path, tokenizer, column):
    with pytest.raises(UserError, match=r"new\.csv:\d: the model does not know the label"):
        labels_of(tmp_path, tokenizer, column)


def test_numbers_that_are_names_of_the_model_stay_names(tmp_path, tokenizer):
    assert labels_of(tmp_path, tokenizer, [1, 0], model=["1", "0"]) == (["1", "0"], [])
    with pytest.raises(UserError, match="does not know the label '0'; it has 1, 2"):  # 1 is a name, so 0 is not an id
        labels_of(tmp_path, tokenizer, [0, 1], model=["1", "2"])


def test_label_names_take_precedence_over_ids(tmp_path, tokenizer):
    settings = {"label_names": ("0=positive", "bad=negative")}
    found, warnings = labels_of(tmp_path, tokenizer, ["0", "bad", "negative", "positive"], **settings)
    assert (found, warnings) == (["positive", "negative", "negative", "positive"], [])


@pytest.mark.parametrize(
    ("label", "message"),
    [
        ("1", "new.csv:3: the label '1' has no name; names are given for 0"),
        ("negativ", "new.csv:3: the label 'negativ' has no name; did you mean negative?"),
    ],
)
def test_a_label_without_a_name_is_refused_with_its_line_and_the_nearest_name(tmp_path, tokenizer, label, message):
    with pytest.raises(UserError) as refusal:
        labels_of(tmp_path, tokenizer, ["0", label], label_names=("0=negative",))
    assert str(refusal.value).replace(f"{tmp_path}/", "") == message


def test_numbers_of_tags_get_the_names_that_label_names_gives(tmp_path):
    rows = [{"tokens": ["EU", "met", "Jo", "Hu"], "tags": [3, 0, 1, 2]}] * 12
    texts = [json.dumps({**row, "tokens": [f"{word}{n}" for word in row["tokens"]]}) for n, row in enumerate(rows)]
    (tmp_path / "a.jsonl").write_text("\n".join(texts))
    names = ("0=O", "1=B-PER", "2=I-PER", "3=B-ORG")
    prepared = prepare(locate(Data(str(tmp_path / "a.jsonl"), label_names=names)), Ner(), "word")
    assert prepared.labels == ["O", "B-PER", "I-PER", "B-ORG", "I-ORG"]  # types in the order of the names
    assert prepared.splits["train"][0]["tags"] == ["B-ORG", "O", "B-PER", "I-PER"]
    with pytest.raises(
        UserError, match=r"a\.jsonl:1: tag 1: the number 3 has no name; there are only names for 0, 1, 2"
    ):
        prepare(locate(Data(str(tmp_path / "a.jsonl"), label_names=names[:3])), Ner(), "word")
    with pytest.raises(UserError, match=r"tag 1: the number 3 has no name; .*data\.label_names \(0=O 1=B-PER \.\.\.\)"):
        prepare(locate(Data(str(tmp_path / "a.jsonl"))), Ner(), "word")


def test_columns_of_words_may_have_numbers_for_tags(tmp_path):
    (tmp_path / "a.conll").write_text("".join(f"EU{n} 1\nmet 0\n\n" for n in range(12)))
    prepared = prepare(locate(Data(str(tmp_path / "a.conll"), label_names=("0=O", "1=B-ORG"))), Ner(), "word")
    assert prepared.labels == ["O", "B-ORG", "I-ORG"]


TAGS = ["O", "B-PER", "I-PER"]
BY_ID = "the tags are read as ids of the model's labels: 0 = O, 1 = B-PER, 2 = I-PER"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"tokens": ["Jo", "Hu", "left"], "tags": [1, 2, 0]}\n' * 3),
        ("a.conll", "Jo 1\nHu 2\nleft 0\n\n" * 3),
    ],
)
def test_tags_that_are_all_ids_of_the_models_labels_are_read_as_ids(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    tokenizer, found = tokenizers.train("word", ["Jo Hu left"] * 3, Data("x")), list[str]()
    source = locate(Data(str(tmp_path / name)))
    rows, _ = encode_split(source, "test", Ner(), tokenizer, TAGS, tmp_path, found)
    assert rows["tags"][:] == [["B-PER", "I-PER", "O"]] * 3
    assert found == [BY_ID]


def test_a_tag_that_is_no_id_of_the_models_labels_is_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"tokens": ["Jo"], "tags": [3]}\n')
    tokenizer = tokenizers.train("word", ["Jo Hu left"] * 3, Data("x"))
    with pytest.raises(UserError, match=r"a\.jsonl:1: tag 1: the number 3 has no name"):
        encode_split(locate(Data(str(tmp_path / "a.jsonl"))), "test", Ner(), tokenizer, TAGS, tmp_path)


def test_label_names_name_and_order_the_classes_of_a_run(tmp_path):
    (tmp_path / "a.csv").write_text("text,label\n" + "".join(f"film {n},{n % 2}\n" for n in range(40)))
    plain = prepare(locate(Data(str(tmp_path / "a.csv"))), Sentiment(), "word")
    named = prepare(locate(Data(str(tmp_path / "a.csv"), label_names=("0=worse", "1=better"))), Sentiment(), "word")
    other = prepare(locate(Data(str(tmp_path / "a.csv"), label_names=("0=worse", "1=best"))), Sentiment(), "word")
    assert (plain.labels, named.labels, other.labels) == (["0", "1"], ["worse", "better"], ["worse", "best"])
    assert named.report["labels"]["train"] == {"better": 16, "worse": 16}
    assert sorted(named.splits["test"]["label"]) == sorted(plain.splits["test"]["label"]) == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("0",), "data.label_names: '0' is not a value and its name; write it as in 0=negative"),
        (("0=",), "data.label_names: '0=' is not a value and its name"),
        (("=negative",), "data.label_names: '=negative' is not a value and its name"),
        (("0=a", "0=b"), "data.label_names: two names for the same value; remove one"),
    ],
)
def test_malformed_label_names_are_refused(names, message):
    with pytest.raises(UserError) as refusal:
        Data("x", label_names=names)
    assert str(refusal.value).startswith(message)


def test_the_settings_of_labels_and_format_survive_the_command_line_and_json(tmp_path, capsys):
    """A run with both, then `finetune evaluate` with both: on its own test rows, a run gets its own scores."""
    (tmp_path / "a.dat").write_text("text,label\n" + "".join(f"film {n} {n % 2},{n % 2}\n" for n in range(40)))
    recipe = Recipe("tiny", "sentiment", Data("x"), Recurrent(hidden_size=8, embedding_size=8), train=Train(epochs=1))
    flags = f"--data.source {tmp_path}/a.dat --data.format csv --data.label-names 0=worse 1=better".split()
    recipe = override(recipe, [*flags, "--train.output-dir", str(tmp_path / "run")], "here")
    assert recipe.data.names_of_labels == {"0": "worse", "1": "better"}
    assert from_json(recipe.to_json(), "here") == recipe
    train(recipe)
    capsys.readouterr()
    model = str(tmp_path / "run")
    evaluate.command([model, "--data", f"{tmp_path}/a.dat", "--format", "csv"])
    by_id = capsys.readouterr()
    evaluate.command([model, "--data", f"{tmp_path}/a.dat", "--format", "csv", "--label-names", "0=worse", "1=better"])
    by_name = capsys.readouterr()
    assert json.loads(by_id.out) == json.loads(by_name.out)
    assert json.loads(by_id.out)["per_class"].keys() == {"worse", "better"}
    assert by_id.err == "data: the labels are read as ids of the model's labels: 0 = worse, 1 = better\n"
    assert by_name.err == ""


def test_columns_that_are_chosen_by_their_values_are_printed(tmp_path, tokenizer):
    file = tmp_path / "new.csv"
    file.write_text("body,mood\n" + "a fine film that I saw,positive\na bad film that I left,negative\n" * 3)
    warnings: list[str] = []
    with pytest.raises(UserError, match="no column looks like the text"):
        encode_split(locate(Data(str(file))), "test", Sentiment(), tokenizer, MODEL, tmp_path, warnings)
    rows = "".join(f"a film that I saw {n} times,{MODEL[n % 2]}\n" for n in range(6))
    file.write_text("body,mood\n" + rows)
    encode_split(locate(Data(str(file))), "test", Sentiment(), tokenizer, MODEL, tmp_path, warnings)
    assert warnings == ["text = body, label = mood (of: body, mood)"]
