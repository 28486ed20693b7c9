"""Modes that a model is in for a while."""

import pytest
import torch
from transformers import BertConfig, BertModel

from pipeline.models import modes


@pytest.fixture
def model():
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    return BertModel(BertConfig(vocab_size=9, max_position_embeddings=8, **sizes))


def fail() -> None:
    raise RuntimeError("out of memory")


@pytest.mark.parametrize("was_training", [True, False])
def test_evaluation_ends_in_the_mode_before_it(model, was_training):
    model.train(was_training)
    with modes.evaluating(model):
        assert not any(module.training for module in model.modules())
    assert {module.training for module in model.modules()} == {was_training}
    with pytest.raises(RuntimeError, match="out of memory"), modes.evaluating(model):
        fail()
    assert {module.training for module in model.modules()} == {was_training}


def test_a_model_keeps_its_attention_only_for_a_while(model):
    usual = model.config._attn_implementation
    assert usual != "eager"
    with modes.keeping_attention(model):
        outputs = model(torch.tensor([[3, 4, 5]]), output_attentions=True)
    assert outputs.attentions[0].shape == (1, 2, 3, 3)
    assert model.config._attn_implementation == usual
    with pytest.raises(RuntimeError, match="out of memory"), modes.keeping_attention(model):
        fail()
    assert model.config._attn_implementation == usual
