"""transformers' Trainer passes each model what it reads, and its loss is the model's own."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from contract import randomised, words
from torch.nn import functional as F
from transformers import BertConfig, Trainer, TrainingArguments
from transformers.modelcard import TrainingSummary

from pipeline.models.recurrent import (
    CrfTaggerConfig,
    CrfTaggerForTokenClassification,
    CrfTaggerModel,
    RecurrentConfig,
    RecurrentForCausalLM,
    RecurrentForSeq2SeqLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
    RecurrentSeq2SeqConfig,
)

SIZES: dict[str, Any] = {"vocab_size": 50, "embedding_size": 6, "units": 5}
IDS = torch.stack(words([4] * 6))
CHARACTERS = torch.randint(1, 20, (6, 4, 3), generator=torch.Generator().manual_seed(0))
READERS = {
    "sequence": (RecurrentForSequenceClassification, torch.arange(6) % 2),
    "token": (RecurrentForTokenClassification, torch.arange(24).view(6, 4) % 2),
    "token with a CRF": (RecurrentForTokenClassification, torch.arange(24).view(6, 4) % 2),
}


def a_trainer(model: Any, rows: list[dict[str, Any]], folder: Any, **options: Any) -> Trainer:
    arguments = TrainingArguments(
        folder, use_cpu=True, report_to=[], disable_tqdm=True, save_strategy="no", max_steps=2, **options
    )
    return Trainer(model, arguments, train_dataset=rows, eval_dataset=rows)


def rows_of(**columns: torch.Tensor) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("kind", [*READERS, "in a CRF tagger"])
def test_the_characters_of_the_words_reach_the_model(kind, tmp_path):
    head, labels = READERS.get(kind, READERS["token"])
    model = head(RecurrentConfig(**SIZES, char_encoder="cnn", char_vocab_size=20, crf=kind == "token with a CRF"))
    if kind == "in a CRF tagger":
        model = CrfTaggerForTokenClassification.around(model)
    randomised(model)
    trainer = a_trainer(model, rows_of(input_ids=IDS, char_ids=CHARACTERS, labels=labels), tmp_path)
    with torch.no_grad():
        expected = model(IDS, char_ids=CHARACTERS, labels=labels).loss.item()
        others = model(IDS, char_ids=CHARACTERS.flip(0), labels=labels).loss.item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected, abs=1e-6)
    assert abs(expected - others) > 1e-3
    trainer.train()


def test_every_model_that_may_read_characters_has_them_in_its_signature():
    """Trainer drops a column that `forward` does not name."""
    for model in (
        RecurrentModel,
        RecurrentForSequenceClassification,
        RecurrentForTokenClassification,
        CrfTaggerModel,
        CrfTaggerForTokenClassification,
    ):
        assert "char_ids" in inspect.signature(model.forward).parameters


def test_positions_that_keep_packed_texts_apart_reach_a_tagger(tmp_path):
    positions, labels = torch.tensor([[0, 1, 0, 1]] * 6), READERS["token"][1]
    model = randomised(RecurrentForTokenClassification(RecurrentConfig(**SIZES)))
    trainer = a_trainer(model, rows_of(input_ids=IDS, position_ids=positions, labels=labels), tmp_path)
    with torch.no_grad():
        apart = model(IDS.view(12, 2), labels=labels.view(12, 2)).loss.item()
    assert trainer.evaluate()["eval_loss"] == pytest.approx(apart, abs=1e-6)


@pytest.mark.parametrize("family", ["recurrent", "bert"])
@pytest.mark.parametrize("call", ["train", "evaluate"])
def test_a_crf_refuses_that_its_loss_is_computed_from_its_logits(family, call, tmp_path):
    labels = READERS["token"][1]
    bert = BertConfig(vocab_size=50, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8)
    model = (
        RecurrentForTokenClassification(RecurrentConfig(**SIZES, crf=True))
        if family == "recurrent"
        else CrfTaggerForTokenClassification(CrfTaggerConfig(text_config=bert))
    )
    rows = rows_of(input_ids=IDS, labels=labels)
    with pytest.raises(ValueError, match="labels: a CRF computes its own loss and needs them; a Trainer with `label_"):
        getattr(a_trainer(model, rows, tmp_path, label_smoothing_factor=0.1), call)()
    own = a_trainer(model.eval(), rows, tmp_path).evaluate()["eval_loss"]
    assert own == pytest.approx(model(IDS, labels=labels).loss.item(), abs=1e-6)


def test_label_smoothing_compares_each_word_with_the_next_one(tmp_path):
    model = randomised(RecurrentForCausalLM(RecurrentConfig(**SIZES)))
    trainer = a_trainer(model, rows_of(input_ids=IDS, labels=IDS), tmp_path, label_smoothing_factor=0.2)
    with torch.no_grad():
        logits = model(IDS).logits[:, :-1].flatten(0, 1)
    expected = F.cross_entropy(logits, IDS[:, 1:].flatten(), label_smoothing=0.2)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_label_smoothing_is_that_of_the_cross_entropy(kind, tmp_path):
    head, labels = READERS[kind]
    model = randomised(head(RecurrentConfig(**SIZES)))
    trainer = a_trainer(model, rows_of(input_ids=IDS, labels=labels), tmp_path, label_smoothing_factor=0.2)
    with torch.no_grad():
        expected = F.cross_entropy(model(IDS).logits.flatten(0, -2), labels.flatten(), label_smoothing=0.2)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize(
    ("head", "task"),
    [
        (RecurrentForCausalLM, "text-generation"),
        (RecurrentForSeq2SeqLM, "text2text-generation"),
        (RecurrentForSequenceClassification, "text-classification"),
        (RecurrentForTokenClassification, "token-classification"),
    ],
)
def test_the_model_card_names_the_task(head, task, tmp_path):
    config = RecurrentSeq2SeqConfig(**SIZES) if head is RecurrentForSeq2SeqLM else RecurrentConfig(**SIZES)
    trainer = a_trainer(head(config), rows_of(input_ids=IDS, labels=IDS), tmp_path)
    assert TrainingSummary.from_trainer(trainer).tasks == task
