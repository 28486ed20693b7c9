"""The names of a tagger's labels, outward and as it has learnt them."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import AutoConfig, BertConfig, BertForTokenClassification

from pipeline.models.recurrent import (
    CrfTaggerConfig,
    CrfTaggerForTokenClassification,
    RecurrentConfig,
    RecurrentForTokenClassification,
)
from pipeline.models.recurrent.tag_constraints import read_constraints
from pipeline.models.recurrent.tag_labels import learned_labels, outward
from pipeline.tasks.ner import Ner

BIOES = ["O", "B-X", "E-X", "I-X", "S-X"]
IOB2 = ["O", "B-X", "I-X", "I-X", "B-X"]


def a_config(labels: list[str], **fields) -> RecurrentConfig:
    names = dict(enumerate(labels))
    return RecurrentConfig(vocab_size=9, hidden_size=4, embedding_size=4, id2label=names, **fields)


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("O", "O"),
        ("B-X", "B-X"),
        ("I-X", "I-X"),
        ("E-X", "I-X"),
        ("S-X-Y", "B-X-Y"),
        ("L-X", "I-X"),
        ("U-X", "B-X"),
        ("M-X", "I-X"),
        ("W-X", "B-X"),
        ("PER", "PER"),
        ("S", "S"),
    ],
)
def test_a_label_of_bioes_is_named_in_iob2(label, name):
    assert outward(label) == name


@pytest.mark.parametrize(
    "make", [a_config, lambda labels: CrfTaggerConfig(text_config=BertConfig(), id2label=dict(enumerate(labels)))]
)
def test_a_saved_config_keeps_what_the_model_has_learnt(make, tmp_path):
    config = make(BIOES)
    Ner().configure(config)
    config.save_pretrained(tmp_path)
    loaded = type(config).from_pretrained(tmp_path)
    assert [*loaded.id2label.values()] == IOB2
    assert learned_labels(loaded) == BIOES
    assert loaded.label2id == {"O": 0, "B-X": 1, "I-X": 2}
    if "text_config" in json.loads((tmp_path / "config.json").read_text()):
        assert [*loaded.text_config.id2label.values()] == IOB2


def test_naming_the_labels_twice_changes_nothing():
    config = a_config(BIOES)
    Ner().configure(config)
    once = config.to_dict()
    Ner().configure(config)
    assert config.to_dict() == once


def test_other_labels_replace_what_the_model_had_learnt(tmp_path):
    """As in a training that goes on from a saved tagger: its config.json is read, with other labels."""
    config = BertConfig(id2label=dict(enumerate(BIOES)))
    Ner().configure(config)
    config.save_pretrained(tmp_path)
    others = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    loaded = AutoConfig.from_pretrained(tmp_path, id2label=dict(enumerate(others)))
    assert loaded.learned_labels == BIOES
    assert learned_labels(loaded) == others
    Ner().configure(loaded)
    assert (loaded.learned_labels, [*loaded.id2label.values()]) == (None, others)


def test_a_tagger_of_iob2_has_no_field_of_learnt_labels():
    config = BertForTokenClassification(BertConfig(hidden_size=8, num_attention_heads=1, num_hidden_layers=1)).config
    Ner().configure(config)
    assert "learned_labels" not in config.to_dict()


def test_a_crf_that_is_put_on_a_saved_tagger_of_bioes_knows_its_scheme(tmp_path):
    config = BertConfig(id2label=dict(enumerate(BIOES)), hidden_size=8, num_attention_heads=1, num_hidden_layers=1)
    Ner().configure(config)
    BertForTokenClassification(config).save_pretrained(tmp_path)
    loaded = CrfTaggerForTokenClassification.from_pretrained(tmp_path).config
    assert learned_labels(loaded) == BIOES
    assert loaded.label2id == {"O": 0, "B-X": 1, "I-X": 2}


def test_a_crf_forbids_what_its_learnt_scheme_forbids():
    config = a_config(BIOES, crf=True)
    Ner().configure(config)
    model = RecurrentForTokenClassification(config).eval()
    constraints = read_constraints(tuple(BIOES), torch.device("cpu"))
    for weights, forbidden in zip(model.crf._weights(torch.zeros(1)), constraints, strict=True):
        assert torch.equal(weights == float("-inf"), forbidden)
    with pytest.raises(ValueError, match="row 0 of the batch has O after B-X, which the tagging scheme forbids"):
        model(torch.tensor([[3, 4]]), labels=torch.tensor([[1, 0]]))
