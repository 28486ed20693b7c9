"""CoNLL files, and token lists from json and parquet: sentences with their lines, or refused in one line."""

from __future__ import annotations

import json

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.data import Data
from pipeline.data import sources
from pipeline.data.prepare import unify_tags
from pipeline.errors import UserError
from pipeline.tasks.ner import Ner


def write(tmp_path, name, content):
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return file


def load(tmp_path, file, **settings):
    """Sentences as (line, tokens, tags), and the warnings."""
    work = tmp_path / "work"
    work.mkdir(exist_ok=True)
    data = Data(str(file), **settings)
    loaded = sources.load(sources.locate(data, "ner"), Ner.columns, work)
    loaded, _ = unify_tags(loaded, data, work)
    rows = loaded.splits["train"]
    return list(zip(rows["line"], rows["tokens"], rows["tags"], strict=True)), loaded.warnings


TWO = [(1, ["EU", "rejects"], ["B-ORG", "O"]), (4, ["Peter"], ["B-PER"])]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("space.conll", "EU B-ORG\nrejects O\n\nPeter B-PER\n"),
        ("tab.conll", "EU\tB-ORG\nrejects\tO\n\nPeter\tB-PER\n\n"),
        ("blanks.conll", "EU   B-ORG \nrejects O\n \t\nPeter B-PER"),
        ("crlf.conll", "EU B-ORG\r\nrejects O\r\n\r\nPeter B-PER\r\n"),
        ("bom.bmes", b"\xef\xbb\xbfEU B-ORG\nrejects O\n\nPeter B-PER\n"),
        ("four.conll", "EU NNP I-NP B-ORG\nrejects VBZ I-VP O\n\nPeter NNP I-NP B-PER\n"),
        ("UPPER.CONLL", "EU B-ORG\nrejects O\n\nPeter B-PER\n"),
    ],
)
def test_columns_are_read_with_their_lines(tmp_path, name, content):
    assert load(tmp_path, write(tmp_path, name, content)) == (TWO, [])


def test_documents_and_comments_are_left_out_and_reported(tmp_path):
    content = (
        "# a = b\n-DOCSTART- -X- O O\n\n# sent_id = 1\nEU NNP I-NP B-ORG\n# NN I-NP O\n"
        "-DOCSTART- -X- -X- O\nPeter NNP I-NP B-PER\n"
    )
    rows, notes = load(tmp_path, write(tmp_path, "a.conll", content))
    assert rows == [(5, ["EU", "#"], ["B-ORG", "O"]), (8, ["Peter"], ["B-PER"])]
    assert notes == [f"{tmp_path}/a.conll: 2 -DOCSTART- lines and 2 comments were left out"]


def test_a_hash_that_is_a_word_is_not_a_comment(tmp_path):
    for content in ("#tag\tO\n#\tO\n\n", "#tag O\n# O\n\n"):
        assert load(tmp_path, write(tmp_path, "a.conll", content)) == ([(1, ["#tag", "#"], ["O", "O"])], [])


def test_words_of_a_file_with_tabs_may_contain_blanks(tmp_path):
    rows, _ = load(tmp_path, write(tmp_path, "a.conll", "New York\tB-LOC\n\u00a0\tO\n\n"))
    assert rows == [(1, ["New York", "\u00a0"], ["B-LOC", "O"])]


def test_a_word_with_blanks_among_words_and_tags_is_reported(tmp_path):
    rows, notes = load(tmp_path, write(tmp_path, "a.conll", "a O\nו ה 60 O\n\n"))
    assert rows == [(1, ["a", "ו ה 60"], ["O", "O"])]
    assert notes == [f"{tmp_path}/a.conll: 1 words contain blanks (line 2)"]


@pytest.mark.parametrize("column", ["3", "tag"])
def test_the_tag_column_is_named_or_numbered(tmp_path, column):
    content = "# global.columns = form pos tag head\nEU NNP B-ORG 2\nrejects VBZ O 0\n\nPeter NNP B-PER 0\n"
    rows, _ = load(tmp_path, write(tmp_path, "a.conll", content), tag_column=column)
    assert [row[1:] for row in rows] == [row[1:] for row in TWO]


def test_the_word_column_is_numbered(tmp_path):
    rows, _ = load(tmp_path, write(tmp_path, "a.conll", "1 EU B-ORG\n2 rejects O\n\n1 Peter B-PER\n"), token_column="2")
    assert rows == TWO


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.conll",
            "EU NNP B-ORG\nrejects O\n",
            "a.conll:2: 2 columns, but most lines have 3, separated by blanks; fix the line, or",
        ),
        (
            "a.conll",
            "EU\tB-ORG\nrejects\tO\nit has O\n",
            "a.conll:3: 1 columns, but most lines have 2, separated by tabs;",
        ),
        ("a.conll", "EU B-ORG\nrejects VBZ O\n", "a.conll:2: 3 columns, but most lines have 2"),
        ("a.conll", "EU\nrejects\n", "a.conll: it has words only, no tags; write the tag of each word after it"),
        (
            "a.conll",
            "EU B-ORG\nrejects VBZ\n\n",
            "a.conll:2: 'VBZ' is not a tag; expected O, or B-, I-, E- or S- and a type",
        ),
        (
            "a.conll",
            "a O\n" * 300,
            "a.conll: no blank line in 300 lines, so all of it is one sentence; put a blank",
        ),
        ("a.conll", "a O\n" * 20_000, "a.conll: no blank line in 10001 lines"),
        ("a.conll", "\n\n", "a.conll: it has no rows"),
        ("a.conll", b"caf\xe9 O\n", "a.conll:1: not UTF-8 at byte 3 (0xe9)"),
        (
            "a.csv",
            "text,label\ngood,1\n",
            "a.csv: no column looks like the tokens (a list in each row); give a .conll or",
        ),
        ("a.txt", "EU and\n", "a.txt: it has texts only, no tokens; give a .conll or .bmes file (or set data.format"),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["O", "O"]}', "a.jsonl:1: 1 tokens but 2 tags; give each token its tag"),
        ("a.jsonl", '{"tokens": ["a"], "tags": "O"}', "a.jsonl:1: the tags are a text; expected a list with a tag for"),
        ("a.jsonl", '{"tokens": ["a", null], "tags": ["O", "O"]}', "a.jsonl:1: token 2 is missing; expected a word"),
        ("a.jsonl", '{"tokens": [["a"]], "tags": ["O"]}', "a.jsonl:1: token 1 is a list; expected a word"),
        (
            "a.jsonl",
            '{"tokens": ["a"], "tags": [3]}',
            "a.jsonl:1: tag 1: the number 3 has no name; write tags as texts",
        ),
        ("a.jsonl", '{"tokens": ["a"], "tags": ["PER"]}', "a.jsonl:1: tag 1: 'PER' is not a tag"),
        ("a.jsonl", '{"tokens": ["a"], "tags": [null]}', "a.jsonl:1: tag 1 is missing; expected a tag"),
    ],
)
def test_malformed_files_are_refused_in_one_line_with_the_place(tmp_path, name, content, message):
    file = write(tmp_path, name, content)
    with pytest.raises(UserError) as refusal:
        load(tmp_path, file)
    line = str(refusal.value).replace(f"{tmp_path}/", "")
    assert line.startswith(message), line
    assert "\n" not in line


def test_a_column_may_have_any_name(tmp_path):
    rows = '{"tokens": ["a"], "tags": ["O"], "lines": 3, "line": "x", "text": 1}'
    assert load(tmp_path, write(tmp_path, "a.jsonl", rows))[0] == [(1, ["a"], ["O"])]


def test_a_missing_column_is_refused(tmp_path):
    file = write(tmp_path, "a.conll", "EU B-ORG\n\n")
    with pytest.raises(UserError, match=r"data.tag_column: .*a.conll has no column '7'; there are: 1, 2, tags, tokens"):
        load(tmp_path, file, tag_column="7")


def test_columns_given_as_texts_are_refused(tmp_path):
    from pipeline.tasks.sentiment import Sentiment

    data = Data(str(write(tmp_path, "a.conll", "EU B-ORG\n\n")))
    with pytest.raises(UserError, match=r"a.conll: it holds words and tags, not texts; give a .csv"):
        sources.load(sources.locate(data), Sentiment.columns, tmp_path)


def test_one_short_sentence_without_a_blank_line_is_reported(tmp_path):
    _, notes = load(tmp_path, write(tmp_path, "a.conll", "EU B-ORG\nrejects O\n"))
    assert notes == [f"{tmp_path}/a.conll: it has no blank line between words, so all of it is one sentence"]


def test_a_sentence_of_five_thousand_words_is_read(tmp_path):
    ((_, tokens, _),), notes = load(tmp_path, write(tmp_path, "a.conll", "a O\n" * 5000 + "\n"))
    assert len(tokens) == 5000
    assert notes == [f"{tmp_path}/a.conll: it has no blank line between words, so all of it is one sentence"]


@pytest.mark.parametrize("names", [("tokens", "tags"), ("words", "ner_tags")])
def test_json_has_lists_of_words_and_of_tags(tmp_path, names):
    rows = [dict(zip(names, (tokens, tags), strict=True)) for _, tokens, tags in TWO]
    expected = [(n, *row[1:]) for n, row in enumerate(TWO, start=1)]
    assert load(tmp_path, write(tmp_path, "a.json", json.dumps(rows)))[0] == expected
    lines = "\n".join(map(json.dumps, rows))
    assert load(tmp_path, write(tmp_path, "a.jsonl", lines))[0] == expected
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert load(tmp_path, tmp_path / "a.parquet")[0] == expected


NAMES = ["O", "B-ORG", "I-ORG", "B-PER"]
CODED = {
    "tokens": [["EU", "rejects"], ["Peter"]],
    "pos_tags": [[0, 1], [0]],
    "ner_tags": [[1, 0], [3]],
}
FEATURES = datasets.Features(
    {
        "tokens": datasets.List(datasets.Value("string")),
        "pos_tags": datasets.List(datasets.ClassLabel(names=["NNP", "VBZ"])),
        "ner_tags": datasets.List(datasets.ClassLabel(names=NAMES)),
    }
)


def test_numbers_in_parquet_have_the_names_that_datasets_has_written(tmp_path):
    datasets.Dataset.from_dict(CODED, features=FEATURES).to_parquet(tmp_path / "a.parquet")
    rows, _ = load(tmp_path, tmp_path / "a.parquet")
    assert [row[1:] for row in rows] == [row[1:] for row in TWO]


def test_numbers_in_a_hub_dataset_have_the_names_of_their_column(tmp_path, monkeypatch):
    unlabelled = {"tokens": [["x"]], "pos_tags": [[-1]], "ner_tags": [[-1]]}
    splits = {
        "train": datasets.Dataset.from_dict(CODED, features=FEATURES),
        "test": datasets.Dataset.from_dict(unlabelled, features=FEATURES),
    }
    monkeypatch.setattr("datasets.load_dataset", lambda *args, **options: splits)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("pipeline.hub.download.go_offline_if_unreachable", lambda: None)
    data = Data("org/name", revision="0" * 40)
    loaded, _ = unify_tags(sources.load(sources.locate(data), Ner.columns, tmp_path), data, tmp_path)
    assert (list(loaded.splits), loaded.unlabelled) == (["train"], ["test"])
    assert loaded.splits["train"]["tags"][:] == [["B-ORG", "O"], ["B-PER"]]
    assert loaded.label_names == NAMES


def test_a_number_without_a_name_is_refused(tmp_path):
    datasets.Dataset.from_dict({**CODED, "ner_tags": [[1, 9], [3]]}).to_parquet(tmp_path / "b.parquet")
    with pytest.raises(UserError, match=r"b.parquet:1: tag 1: the number 1 has no name"):
        load(tmp_path, tmp_path / "b.parquet")
