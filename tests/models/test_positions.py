"""A transformer without position embeddings: how it is built, trained and saved."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from pipeline import run
from pipeline.config.data import Data
from pipeline.config.models import Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.models.transformers_from_scratch import POSITION_EMBEDDINGS

AUTO = {"bert": AutoModelForSequenceClassification, "gpt2": AutoModelForCausalLM}
TASKS = {"bert": "sentiment", "gpt2": "next_word"}
IDS, ORDER = torch.tensor([[5, 9, 6, 11, 7, 8]]), [3, 0, 4, 2, 1, 5]


def trained(architecture: str, positions: str, reviews, folder):
    """The model that a short run leaves, loaded by plain transformers."""
    model = Scratch(architecture=architecture, hidden_size=16, layers=2, dropout=0.0, positions=positions)
    train = Train(max_steps=8, batch_size=8, output_dir=str(folder))
    data = Data(str(reviews), max_length=32, tokenizer="word" if architecture == "bert" else "whitespace")
    metrics = run.train(Recipe("x", TASKS[architecture], data, model, Optim(1e-2), train))
    return AUTO[architecture].from_pretrained(folder / "model").eval(), metrics


@pytest.mark.parametrize("architecture", AUTO)
def test_position_embeddings_stay_zero_through_training_and_saving(architecture, reviews, tmp_path):
    model, metrics = trained(architecture, "none", reviews, tmp_path / "run")
    (name,) = POSITION_EMBEDDINGS[architecture]
    weight = model.base_model.get_submodule(name).weight
    assert weight.shape[0] >= 32
    assert not weight.any()
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert metrics["train"]["parameters"] == parameters
    assert metrics["train"]["trained_parameters"] == parameters - weight.numel()


def test_bert_without_positions_reads_a_set_of_words_and_with_them_a_sequence(reviews, tmp_path):
    for positions, same in (("none", True), ("learned", False)):
        model, _ = trained("bert", positions, reviews, tmp_path / positions)
        with torch.no_grad():
            logits, shuffled = model(IDS).logits, model(IDS[:, ORDER]).logits
        if same:
            first = [index for index in range(IDS.shape[1]) if index]  # the pooler reads the first position
            shuffled = model(IDS[:, [0, *reversed(first)]]).logits
        assert torch.allclose(logits, shuffled, atol=1e-6) is same


def test_gpt2_without_positions_sees_order_only_through_what_each_word_may_read(reviews, tmp_path):
    model, _ = trained("gpt2", "none", reviews, tmp_path / "run")
    with torch.no_grad():
        logits, shuffled = model(IDS).logits, model(IDS[:, ORDER]).logits
        repeated = model(torch.full((1, 6), 5)).logits
    # The second block reads what the first has made of ever longer beginnings (Haviv et al. 2022).
    assert not torch.allclose(logits[:, -1], shuffled[:, -1], atol=1e-5)
    torch.testing.assert_close(repeated, repeated[:, :1].expand_as(repeated))  # it cannot count one word
