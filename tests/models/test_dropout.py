"""Dropout from raw random bits: its distribution, its seeds, and what is left to torch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from pipeline.models.recurrent.dropout import CHOICES, Dropout, LockedDropout, dropout, mask_like


def masks(steps: int, rows: int, width: int, p: float) -> torch.Tensor:
    """(steps, rows, width): 1.0 where an element is dropped, one mask a step."""
    torch.manual_seed(0)
    return torch.stack([(mask_like(torch.empty(rows, width), p) == 0.0).float() for _ in range(steps)])


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
def test_the_share_that_is_dropped_is_p_at_every_place_of_the_random_words(p):
    dropped = masks(50, 100, 80, p).view(-1, 4)  # four elements share 64 bits
    error = (p * (1 - p) / len(dropped)) ** 0.5
    assert dropped.mean(dim=0).sub(p).abs().max().item() < 4 * error


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_kept_is_scaled_by_the_share_that_is_kept(dtype):
    limit = round(0.1 * CHOICES)
    found = mask_like(torch.empty(1000, dtype=dtype), 0.1)
    assert found.dtype == dtype
    assert set(found.tolist()) == {0.0, torch.tensor(CHOICES / (CHOICES - limit), dtype=dtype).item()}


@pytest.mark.parametrize("p", [1e-9, 1.0 - 1e-9])
def test_a_probability_next_to_0_or_1_is_the_nearest_that_can_be_drawn(p):
    mask = mask_like(torch.empty(8), p)
    assert torch.isfinite(mask).all()
    assert mask.max().item() in (0.0, pytest.approx(CHOICES / (CHOICES - 1)), float(CHOICES))


@pytest.mark.parametrize("distance", [(0, 0, 1), (0, 0, 2), (0, 0, 3), (0, 0, 4), (0, 1, 0), (1, 0, 0), (1, 1, 1)])
def test_elements_rows_and_steps_are_independent(distance):
    """The correlation of a mask with itself, moved by this many steps, rows and elements; only neighbours that share
    random bits, or the state of a generator, could depend on each other."""
    p, dropped = 0.3, masks(60, 64, 62, 0.3)  # 62 is no multiple of 4, so rows begin inside of a word
    steps, rows, width = (size - by for size, by in zip(dropped.shape, distance, strict=True))
    one, other = dropped[:steps, :rows, :width], dropped[distance[0] :, distance[1] :, distance[2] :]
    correlation = ((one - p) * (other - p)).mean() / (p * (1 - p))
    assert abs(correlation.item()) < 4 / one.numel() ** 0.5


def test_the_number_dropped_in_a_row_varies_as_a_binomial():
    counts = masks(60, 64, 62, 0.3).sum(dim=-1)
    assert counts.var().item() == pytest.approx(62 * 0.3 * 0.7, rel=0.1)


def test_the_gradient_passes_through_the_same_mask():
    values = torch.ones(40, 5, requires_grad=True)
    found = dropout(values, 0.4)
    found.sum().backward()
    assert torch.equal(values.grad, found.detach())  # as the values are 1


def test_the_same_state_of_the_generator_gives_the_same_mask():
    values = torch.randn(7, 9)
    state = torch.get_rng_state()
    first, second = dropout(values, 0.5), dropout(values, 0.5)
    torch.set_rng_state(state)
    assert torch.equal(dropout(values, 0.5), first)
    assert not torch.equal(first, second)


def test_nothing_is_drawn_where_nothing_is_dropped():
    values, state = torch.randn(3, 4), torch.get_rng_state()
    assert torch.equal(dropout(values, 0.5, training=False), values)
    assert torch.equal(dropout(values, 0.0), values)
    assert torch.equal(Dropout(0.5).eval()(values), values)
    assert torch.equal(torch.get_rng_state(), state)


def test_everything_is_dropped_at_1():
    assert not dropout(torch.ones(9), 1.0).any()


@pytest.mark.parametrize("shape", [(), (0, 3), (1,), (3, 5)])
def test_any_shape_has_a_mask(shape):
    assert dropout(torch.ones(shape), 0.5).shape == shape


def test_a_locked_mask_is_the_same_at_every_position_of_a_row():
    found = LockedDropout(0.5)(torch.ones(20, 6, 8))
    assert torch.equal(found, found[:, :1].expand_as(found))
    assert not torch.equal(found[0], found[1])


def test_an_operand_in_place_and_a_transform_are_left_to_torch():
    values = torch.ones(200)
    assert dropout(values, 0.5, inplace=True) is values
    assert not values.all()
    mapped = torch.vmap(lambda row: dropout(row, 0.5), randomness="different")(torch.ones(3, 50))
    assert mapped.shape == (3, 50)


def test_a_module_is_a_dropout_of_torch_and_can_be_copied():
    module = Dropout(0.25)
    assert isinstance(module, nn.Dropout)
    assert copy.deepcopy(module).p == 0.25
    assert not Dropout(0.25).state_dict()


def test_a_graph_that_is_compiled_draws_as_torch_does(monkeypatch):
    seen = []
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(F, "dropout", lambda *given: seen.append(given))
    dropout(torch.ones(3), 0.5)
    assert len(seen) == 1
