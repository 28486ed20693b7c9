"""In the context of faster functions, a transformer computes with them on a CPU, and nothing else is touched."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertForSequenceClassification

from pipeline.models import cpu_attention
from pipeline.models.cpu_functions import ANSWERING, TRAINING, faster
from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification, cpu_linear, dropout


@pytest.fixture
def products(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the inputs that oneDNN multiplies."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    seen, original = [], cpu_linear.product
    monkeypatch.setattr(cpu_linear, "is_faster", lambda: True)
    monkeypatch.setattr(cpu_linear, "product", lambda *given: seen.append(tuple(given[0].shape)) or original(*given))
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(320,), (8, 40)])
def test_products_are_those_of_torch_but_for_rounding(products, bias, shape):
    torch.manual_seed(0)
    layer, inputs = torch.nn.Linear(96, 96, bias), torch.randn(*shape, 96)
    exact = F.linear(inputs.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with torch.inference_mode(), faster(layer, ANSWERING):
        found = layer(inputs)
    assert products == [(320, 96)]
    assert found.shape == (*shape, 96)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_not_contiguous_and_arguments_by_name_are_read_as_they_are(products):
    weight, inputs = torch.randn(96, 96), torch.randn(96, 320).T
    with torch.inference_mode(), faster(torch.nn.Module(), ANSWERING):
        found = F.linear(inputs, weight=weight, bias=None)
    assert products
    torch.testing.assert_close(found, inputs @ weight.T, rtol=1e-5, atol=1e-4)


def test_what_is_outside_and_what_is_small_is_left_to_torch(products):
    large, weight = torch.randn(320, 96), torch.randn(96, 96)
    with torch.inference_mode(), faster(torch.nn.Module(), ANSWERING):
        F.linear(large[:8], weight)
    with torch.inference_mode():
        F.linear(large, weight)
    assert products == []


def bert(**settings) -> BertForSequenceClassification:
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return BertForSequenceClassification(BertConfig(intermediate_size=32, **sizes, **settings)).train()


def a_batch() -> dict[str, torch.Tensor]:
    lengths = torch.tensor([7, 3, 5])
    mask = torch.arange(7) < lengths[:, None]
    return {"input_ids": torch.randint(1, 50, (3, 7)) * mask, "attention_mask": mask, "labels": torch.tensor([0, 1, 1])}


def gradients(model: torch.nn.Module, batch: dict[str, torch.Tensor], context) -> list[torch.Tensor]:
    """Of the loss, in this context, by parameter."""
    model.zero_grad()
    with context:
        model(**batch).loss.backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


def test_a_transformer_without_dropout_has_the_same_gradients():
    model, batch = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), a_batch()
    found = gradients(model, batch, faster(model, TRAINING))
    for own, other in zip(found, gradients(model, batch, contextlib.nullcontext()), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_layer_that_is_run_again_for_the_gradients_draws_the_same_masks(reentrant):
    """Compared with finite differences of the loss, which runs forward alone and with the same seed."""
    model, batch = bert().double(), a_batch()
    model.gradient_checkpointing_enable({"use_reentrant": reentrant})
    torch.manual_seed(1)
    found = gradients(model, batch, faster(model, TRAINING))
    direction = [torch.randn_like(parameter) for parameter in model.parameters()]
    losses = []
    for step in (1e-6, -2e-6):
        for parameter, part in zip(model.parameters(), direction, strict=True):
            parameter.data += step * part
        torch.manual_seed(1)
        with faster(model, TRAINING):
            losses.append(model(**batch).loss.item())
    slope = sum((own * part).sum() for own, part in zip(found, direction, strict=True)).item()
    assert slope == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-5)


def test_dropout_is_ours_inside_and_that_of_torch_outside(monkeypatch):
    model, batch, drawn = bert(), a_batch(), []
    original = dropout.mask_like
    monkeypatch.setattr(dropout, "mask_like", lambda values, p: drawn.append(values.shape) or original(values, p))
    with faster(model, TRAINING):
        model(**batch)
    assert drawn.count((6, 7, 7)) == 2  # the weights of attention: 3 rows of 2 heads, in each of 2 layers
    assert drawn.count((3, 7, 16)) == 5  # the embeddings, and twice in each layer
    drawn.clear()
    model(**batch)
    assert drawn == []


def test_a_text_that_is_too_long_for_our_attention_is_trained_as_torch_does(monkeypatch):
    monkeypatch.setattr(cpu_attention, "MOST_KEYS", 2)
    model, batch = bert(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0), a_batch()
    found = gradients(model, batch, faster(model, TRAINING))
    for own, other in zip(found, gradients(model, batch, contextlib.nullcontext()), strict=True):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-6)


def test_a_recurrent_model_gets_no_context_because_it_calls_these_functions_itself():
    model = RecurrentForSequenceClassification(RecurrentConfig(vocab_size=9, embedding_size=4, units=4))
    assert isinstance(faster(model, TRAINING), contextlib.nullcontext)
    assert isinstance(faster(torch.nn.ModuleList([model]), TRAINING), contextlib.nullcontext)  # as DDP wraps it


def test_a_model_on_another_device_gets_no_context():
    assert isinstance(faster(bert().to("meta"), TRAINING), contextlib.nullcontext)
