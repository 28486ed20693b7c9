"""Sentences are encoded together as they would be one by one."""

from __future__ import annotations

import random

import numpy as np
import pyarrow as pa
import pytest

from pipeline.config.data import Data
from pipeline.data.tagging import tags as schemes
from pipeline.data.tokenization.tokenizers import load_tokenizer, train
from pipeline.data.tokenization.word_alignment import labelled, surroundings, windows
from pipeline.models.recurrent.crf import IGNORED
from pipeline.tasks.ner import Ner

WORDS = ["EU", "rejects", "can't", "un-like", "x", "Ann", "\u200b", "北京", "New York", "internationalisation"]


def random_rows(generator, prefixes):
    """Short and long sentences with tags, valid or not; one has no words."""
    sizes = [0, *(generator.choice([1, 2, 5, 9, 40, 90]) for _ in range(12))]
    tokens = [[generator.choice(WORDS) for _ in range(size)] for size in sizes]
    tags = [[_tag(generator.choice(prefixes), generator.choice("XY")) for _ in range(size)] for size in sizes]
    return {"tokens": tokens, "tags": tags}


def _tag(prefix, kind):
    return "O" if prefix == "O" else f"{prefix}-{kind}"


def one_by_one(words, tags, tokenizer, max_length, labels):
    """The windows of a sentence by their definition: entities are written over tokens as over words."""
    before, behind = surroundings(tokenizer)
    size = max_length - len(before) - len(behind)
    ids, chars, first, pieces = [], [], [0], []
    for word in words:
        encoded = tokenizer([[word]], is_split_into_words=True, add_special_tokens=False)
        pieces.append(len(encoded["input_ids"][0][:size]))
        own = encoded["input_ids"][0][:size] or [tokenizer.unk_token_id]
        ids += own
        if "char_ids" in encoded:
            chars += encoded["char_ids"][0][:size] or [[0] * tokenizer.max_characters]
        first.append(len(ids))
    entities = schemes.spans(tags)
    over = [(kind, first[start], first[stop]) for kind, start, stop in entities]
    written = schemes.write(over, len(ids), schemes.scheme_of(labels))
    targets = [labels.index(tag if tag in labels else f"I-{tag[2:]}") for tag in written]
    parts = windows(np.array(first), size)
    for part, (begin, end) in zip(parts, labelled(parts, entities), strict=True):
        start, stop = first[part.start], first[part.stop]
        own = [
            target if first[begin] <= place < first[end] else IGNORED
            for place, target in enumerate(targets[start:stop], start=start)
        ]
        row = {
            "input_ids": [*before, *ids[start:stop], *behind],
            "labels": [*[IGNORED] * len(before), *own, *[IGNORED] * len(behind)],
            "first": [first[word] - start + len(before) for word in range(part.begin, part.end)],
            "pieces": pieces[part.begin : part.end],
            "tags": schemes.convert(tags, "iob2")[part.begin : part.end],
            "begins": part.begin == 0,
            "truncated": False,
        }
        if chars:
            blank = [0] * tokenizer.max_characters
            rows = [*[blank] * len(before), *chars[start:stop], *[blank] * len(behind)]
            row["char_ids"] = [number for spelled in rows for number in spelled]
        yield row


def tokenizer_of(kind):
    if kind == "minilm":
        return load_tokenizer("sample:minilm", pretokenized=True)
    return train(
        kind.removesuffix(" with characters"),
        WORDS * 2,
        Data("x", vocab_size=60),
        pretokenized=True,
        characters=kind.endswith("characters"),
    )


@pytest.mark.parametrize("kind", ["word", "word with characters", "wordpiece", "minilm"])
@pytest.mark.parametrize("prefixes", ["BIO", "BIESO"])
def test_sentences_are_encoded_together_as_one_by_one(kind, prefixes):
    tokenizer, generator = tokenizer_of(kind), random.Random(kind + prefixes)
    for labels in (
        ["O", "B-X", "I-X", "B-Y", "I-Y"],
        ["O", *(f"{prefix}-{kind}" for kind in "XY" for prefix in "BEIS")],
        ["O", "I-X", "I-Y"],
    ):
        rows = random_rows(generator, prefixes)
        expected = [
            row
            for words, tags in zip(rows["tokens"], rows["tags"], strict=True)
            for row in one_by_one(words, tags, tokenizer, 24, labels)
        ]
        for given in (rows, {name: pa.array(column, pa.list_(pa.string())) for name, column in rows.items()}):
            found = pa.table(Ner().encode(given, tokenizer, 24, labels)).to_pylist()
            assert found == expected
        assert len(expected) > len(rows["tokens"])


def test_rows_without_tags_differ_from_those_of_o_in_their_labels_alone():
    rows, labels = random_rows(random.Random(3), "BIO"), ["O", "B-X", "I-X", "B-Y", "I-Y"]
    outside = {**rows, "tags": [["O"] * len(words) for words in rows["tokens"]]}
    tokenizer = tokenizer_of("wordpiece")
    without, with_o = (
        pa.table(Ner().encode(given, tokenizer, 24, labels)) for given in ({"tokens": rows["tokens"]}, outside)
    )
    assert set(without["labels"].combine_chunks().flatten().to_pylist()) == {IGNORED}
    assert without.schema == with_o.schema
    assert without.drop(["labels"]).equals(with_o.drop(["labels"]))


def test_no_sentences_have_no_windows():
    columns = Ner().encode({"tokens": [[]], "tags": [[]]}, tokenizer_of("word"), 24, ["O", "B-X", "I-X"])
    assert len(pa.table(columns)) == 0
