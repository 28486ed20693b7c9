"""spaCy's formats: pairs of all versions, JSON of paragraphs, categories, and DocBin if spaCy is installed."""

from __future__ import annotations

import importlib.util

import pytest
from annotation_rows import adapted, tagged

from pipeline.config.data import Data
from pipeline.data.annotations import spacy
from pipeline.errors import UserError


def paragraphs(*tags):
    tokens = [
        {"id": n, "orth": word, "ner": tag}
        for n, (word, tag) in enumerate(zip(("Ann", " ", "left"), tags, strict=True))
    ]
    return {"id": 0, "paragraphs": [{"raw": "Ann  left", "sentences": [{"tokens": tokens}, {"tokens": tokens}]}]}


def test_paragraphs_of_spacy_2_are_sentences():
    assert tagged([paragraphs("U-PER", "O", "O")]) == ["Ann/U-PER left"] * 2
    found, warnings = adapted([paragraphs("U-PER", "O", "-")])
    assert found[0]["tags"] == ["U-PER", "O"]
    assert "2 words without a tag (-) count as no entity" in warnings[0]
    with pytest.raises(UserError, match=r"^file:1: expected paragraphs of sentences of tokens"):
        adapted([{"paragraphs": [{"sentences": [{}]}]}])


def test_categories_are_labels():
    rows = [{"text": "a", "cats": {"POS": 1.0, "NEG": 0.0}}, {"text": "b", "cats": {"POS": False, "NEG": True}}]
    assert [row["label"] for row in adapted(rows, "sentiment")[0]] == ["POS", "NEG"]
    rows.append({"text": "c", "cats": {"POS": 1, "NEG": 1}})
    assert [row["label"] for row in adapted(rows, "sentiment")[0]] == [["POS"], ["NEG"], ["POS", "NEG"]]
    with pytest.raises(UserError, match=r"^file:1: the category 'POS' has the score 0.7; expected 0 or 1"):
        adapted([{"text": "a", "cats": {"POS": 0.7}}], "sentiment")


@pytest.mark.skipif(importlib.util.find_spec("spacy") is not None, reason="spaCy is installed")
def test_a_docbin_needs_spacy(tmp_path):
    file = tmp_path / "train.spacy"
    file.write_bytes(b"x\x9c")
    with pytest.raises(UserError, match=r"only spaCy can read this file \(DocBin\); run `pip install spacy`, or write"):
        next(spacy.read(file, Data(str(file)), []))


def test_a_docbin_is_read_through_spacy(tmp_path):
    library = pytest.importorskip("spacy")
    from spacy.tokens import DocBin

    blank = library.blank("en")
    document = blank.make_doc("Ann  left")
    document.ents = [document.char_span(0, 3, label="PER")]
    other = blank.make_doc("So what")
    other.cats = {"POS": 1.0, "NEG": 0.0}
    file = tmp_path / "train.spacy"
    DocBin(docs=[document, other], store_user_data=True).to_disk(file)
    warnings = []
    found = list(spacy.read(file, Data(str(file)), warnings))
    assert found == [
        (1, {"text": "Ann  left", "tokens": ["Ann", "left"], "tags": ["B-PER", "O"]}),
        (2, {"text": "So what", "tokens": ["So", "what"], "tags": ["O", "O"], "cats": {"POS": 1.0, "NEG": 0.0}}),
    ]
    assert "2 words without a tag" in warnings[0]
    file.write_bytes(b"PK nothing of the kind")
    with pytest.raises(UserError, match="cannot read this file"):
        next(spacy.read(file, Data(str(file)), []))
