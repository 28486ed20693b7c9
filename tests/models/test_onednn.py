"""In the context of LinearByOneDNN, large products are those of oneDNN, and nothing else is touched."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.models.onednn import LinearByOneDNN
from pipeline.models.recurrent import cpu_linear


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
    with torch.inference_mode(), LinearByOneDNN():
        found = layer(inputs)
    assert products == [(320, 96)]
    assert found.shape == (*shape, 96)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-5)


def test_a_batch_that_is_not_contiguous_and_arguments_by_name_are_read_as_they_are(products):
    weight, inputs = torch.randn(96, 96), torch.randn(96, 320).T
    with torch.inference_mode(), LinearByOneDNN():
        found = F.linear(inputs, weight=weight, bias=None)
    assert products
    torch.testing.assert_close(found, inputs @ weight.T, rtol=1e-5, atol=1e-4)


def test_what_is_outside_and_what_is_small_is_left_to_torch(products):
    large, weight = torch.randn(320, 96), torch.randn(96, 96)
    with torch.inference_mode(), LinearByOneDNN():
        F.linear(large[:8], weight)
    with torch.inference_mode():
        F.linear(large, weight)
    assert products == []
