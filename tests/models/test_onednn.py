"""Products of large float32 matrices by oneDNN: the same but for rounding, and nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.models.onednn import ROWS, LinearByOneDNN


@pytest.fixture
def calls(monkeypatch) -> list[tuple[int, ...]]:
    """The shapes of the inputs that are handed to oneDNN."""
    seen, original = [], torch.Tensor.to_mkldnn

    def watched(values, *arguments):
        seen.append(tuple(values.shape))
        return original(values, *arguments)

    monkeypatch.setattr(torch.Tensor, "to_mkldnn", watched)
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(ROWS,), (8, 40)])
def test_products_are_those_of_torch_but_for_rounding(calls, bias, shape):
    torch.manual_seed(0)
    layer, inputs = torch.nn.Linear(48, 24, bias), torch.randn(*shape, 48)
    exact = F.linear(inputs.double(), layer.weight.double(), layer.bias.double() if bias else None)
    with torch.inference_mode(), LinearByOneDNN():
        found = layer(inputs)
    assert calls
    assert found.shape == (*shape, 24)
    torch.testing.assert_close(found.double(), exact, rtol=1e-6, atol=1e-6)


def test_a_batch_that_is_not_contiguous_is_read_as_it_is(calls):
    weight, inputs = torch.randn(24, 48), torch.randn(48, ROWS).T
    with torch.inference_mode(), LinearByOneDNN():
        found = F.linear(inputs, weight)
    assert calls
    torch.testing.assert_close(found, inputs @ weight.T, rtol=1e-5, atol=1e-5)


def test_small_products_gradients_other_types_and_autocast_are_left_to_torch(calls):
    large, weight = torch.randn(ROWS, 48), torch.randn(24, 48)
    with LinearByOneDNN():
        F.linear(large, weight.requires_grad_())
        with torch.inference_mode():
            F.linear(large[:-1], weight)
            F.linear(large.double(), weight.double())
            with torch.autocast("cpu", torch.bfloat16):
                F.linear(large, weight)
    with torch.inference_mode():
        F.linear(large, weight)
    assert calls == []
