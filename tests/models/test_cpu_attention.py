"""Attention of short texts on a CPU is that of torch: outputs, gradients, masks and dropout."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.models import cpu_attention
from pipeline.models.cpu_attention import attention

B, N, Q, K, E = 3, 2, 5, 7, 4


def parts(queries: int = Q, keys: int = K, dtype: torch.dtype = torch.float32) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(B, size, N, E, dtype=dtype).transpose(1, 2).requires_grad_() for size in (queries, keys, keys)]


def lengths_mask() -> torch.Tensor:
    return (torch.arange(K) < torch.tensor([7, 1, 4])[:, None])[:, None, None]  # (B, 1, 1, K)


@pytest.fixture
def everywhere(monkeypatch):
    """It runs whether it is faster or not."""
    monkeypatch.setattr(cpu_attention, "_is_faster", lambda *_: True)


MASKS = {
    "none": None,
    "lengths": lengths_mask(),
    "expanded": lengths_mask().expand(B, 1, Q, K),
    "added": torch.randn(B, 1, Q, K, generator=torch.Generator().manual_seed(3)),
}


@pytest.mark.parametrize("scale", [None, 0.3])
@pytest.mark.parametrize("mask", MASKS)
def test_outputs_and_gradients_are_those_of_torch(everywhere, mask, scale):
    own, outer = parts(), torch.randn(B, N, Q, E)
    found = attention(*own, MASKS[mask], scale=scale)
    exact = [part.detach().double().requires_grad_() for part in own]
    wide = MASKS[mask].double() if mask == "added" else MASKS[mask]
    expected = F.scaled_dot_product_attention(*exact, wide, scale=scale)
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(found, own, outer), torch.autograd.grad(expected, exact, outer.double()), strict=True
    ):
        torch.testing.assert_close(mine, theirs.float(), rtol=1e-5, atol=1e-6)


def test_a_causal_query_sees_no_later_key(everywhere):
    own = parts(queries=K)
    expected = F.scaled_dot_product_attention(*own, is_causal=True)
    torch.testing.assert_close(attention(*own, is_causal=True), expected, rtol=1e-5, atol=1e-6)


def test_bfloat16_is_as_exact_as_its_inputs():
    own = parts(dtype=torch.bfloat16)
    found = attention(*own, lengths_mask())
    expected = F.scaled_dot_product_attention(*(part.double() for part in own), lengths_mask())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), expected, rtol=2e-2, atol=2e-2)


def test_a_query_without_a_visible_key_gets_the_mean_of_the_values(everywhere):
    query, key, value = parts()
    found = attention(query, key, value, torch.zeros(B, 1, Q, K, dtype=torch.bool))
    torch.testing.assert_close(found, value.mean(dim=2, keepdim=True).expand(B, N, Q, E))


def test_dropout_drops_weights_and_keeps_the_mean_of_the_outputs():
    query, key, value = (torch.zeros(1, 1, size, 1) for size in (4000, 50, 50))
    found = attention(query, key, value + 1.0, dropout_p=0.25).flatten()  # weights of 1/50: a scaled binomial share
    assert found.mean().item() == pytest.approx(1.0, abs=0.005)
    assert found.std().item() == pytest.approx((0.25 / 0.75 / 50) ** 0.5, rel=0.1)


def test_a_query_whose_keys_are_all_masked_by_infinity_has_finite_gradients(everywhere):
    own, mask = parts(), torch.zeros(B, 1, Q, K)
    mask[0, :, 1] = -torch.inf
    found = attention(*own, mask)
    torch.testing.assert_close(found[0, :, 1], own[2][0].mean(dim=1))
    assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(found.sum(), own))


def test_a_batch_without_rows_has_no_outputs(everywhere):
    own = [part[:0] for part in parts()]
    assert attention(*own, lengths_mask()[:0]).shape == (0, N, Q, E)


@pytest.mark.parametrize(
    ("reason", "queries", "dtype", "given"),
    [
        ("fewer heads of keys than of queries", 2 * N, torch.bfloat16, {"enable_gqa": True, "scale": 0.3}),
        ("a long text without dropout", N, torch.bfloat16, {"scale": 0.3}),
        ("float32 without dropout", N, torch.float32, {}),
        ("another type", N, torch.float64, {"scale": 0.3, "dropout_p": 0.25}),
        ("two masks", N, torch.bfloat16, {"is_causal": True, "attn_mask": torch.ones(Q, K).tril(1).bool()}),
    ],
)
def test_what_it_is_not_made_for_is_left_to_torch(monkeypatch, reason, queries, dtype, given):
    monkeypatch.setattr(cpu_attention, "MOST_KEYS", K - 1 if reason == "a long text without dropout" else K)
    monkeypatch.setattr(torch, "bmm", lambda *_: pytest.fail(reason))
    query, key, value = (part.detach().to(dtype) for part in parts())
    query = query.repeat_interleave(queries // N, dim=1)
    torch.manual_seed(0)
    found = attention(query, key, value, **given)
    torch.manual_seed(0)
    assert torch.equal(found, F.scaled_dot_product_attention(query, key, value, **given))
