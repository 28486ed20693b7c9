"""Rows are encoded in batches that fit into memory."""

from __future__ import annotations

from datasets import Dataset

from pipeline.config.data import Data
from pipeline.data import encoding
from pipeline.data.tokenization.tokenizers import train
from pipeline.tasks.ner import Ner

TOKENS = [["Ada", "sings"], ["Oslo"], ["it", "rains", "in", "Oslo"]] * 20
TAGS = [["B-X", "O"], ["B-Y"], ["O", "O", "O", "B-Y"]] * 20
LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]


def encoded(tmp_path, name):
    rows = Dataset.from_dict({"text": [" ".join(words) for words in TOKENS], "tokens": TOKENS, "tags": TAGS})
    tokenizer = train("word", [word for words in TOKENS for word in words], Data("x"), pretokenized=True)
    counts = encoding.encode(rows, Ner(), tokenizer, 24, LABELS, tmp_path / name)
    return counts, Dataset.from_file(str(tmp_path / f"{name}.arrow"))[:]


def test_batches_of_many_words_are_divided_and_give_the_same(tmp_path, monkeypatch):
    expected = encoded(tmp_path, "whole")
    assert expected[0] == {"tokens": 140, "truncated": 0, "more_windows": 0, "unknown_share": 0.0}
    assert expected[1]["tags"] == TAGS
    assert expected[1]["id"] == list(range(60))
    sizes = []
    encode = Ner.encode

    def counting(self, rows, *settings):
        sizes.append(sum(map(len, rows["tokens"].to_pylist())))
        return encode(self, rows, *settings)

    monkeypatch.setattr(Ner, "encode", counting)
    monkeypatch.setattr(encoding, "LISTS_PER_BATCH", 7)
    monkeypatch.setattr(encoding, "WORDS_PER_BATCH", 8)
    assert encoded(tmp_path, "parts") == expected
    assert sum(sizes) == 140
    assert max(sizes) <= 10
