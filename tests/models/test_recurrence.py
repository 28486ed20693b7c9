"""Cells and layers agree with torch.nn, and a cell with other parameters works in the same models."""

from __future__ import annotations

from typing import get_args, get_type_hints

import pytest
import torch
from contract import padded, randomised, words
from torch import nn

from pipeline.config import models
from pipeline.config.recipe import Recurrent
from pipeline.models.recurrent import (
    RecurrentConfig,
    RecurrentModel,
    RecurrentSeq2SeqConfig,
    cells,
    configuration_recurrent,
)
from pipeline.models.recurrent.dropout import dropout
from pipeline.models.recurrent.layout import clear_padding, make_layout
from pipeline.models.recurrent.minimal_cells import MinimalCell
from pipeline.models.recurrent.recurrence import CELLS

TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


def test_configuration_and_recipe_offer_every_cell():
    assert get_args(RecurrentConfig.__dataclass_fields__["cell_type"].type) == tuple(CELLS)
    assert get_args(get_type_hints(Recurrent)["cell"]) == tuple(CELLS)


@pytest.mark.parametrize(
    ("setting", "field"),
    [("cell", "cell_type"), ("pooling", "pooling"), ("char_encoder", "char_encoder"), ("attention", "attention_type")],
)
def test_recipes_and_saved_models_offer_the_same_choices(setting, field):
    """Saved models travel without the recipe's code, so each has its own list."""
    assert get_type_hints(Recurrent)[setting] == RecurrentSeq2SeqConfig.__dataclass_fields__[field].type


def test_recipes_and_saved_models_agree_on_the_cells_with_settings_of_their_own():
    minimal = tuple(name for name, cell in CELLS.items() if issubclass(cell, MinimalCell))
    assert minimal == configuration_recurrent.MINIMAL_CELLS
    assert minimal == models.MINIMAL_CELLS


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("rows", [1, 16, 17])
def test_one_word_is_read_as_in_training_when_gradients_are_off(cell, rows):
    model = randomised(RecurrentModel(RecurrentConfig(vocab_size=50, embedding_size=6, units=5, cell_type=cell)))
    ids = torch.stack(words([5] * rows))
    with torch.no_grad():
        cache = model(ids[:, :4]).past_key_values
        step = model(ids[:, 4:], past_key_values=cache)
    whole = model(ids)
    torch.testing.assert_close(step.last_hidden_state, whole.last_hidden_state[:, 4:], atol=1e-6, rtol=1e-6)
    states = (outputs.past_key_values.layers[0].get_state() for outputs in (step, whole))
    for found, expected in zip(*states, strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", TORCH)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
def test_states_and_gradients_equal_the_packed_form_of_torch(cell, bidirectional, side):
    config = RecurrentConfig(
        vocab_size=50, embedding_size=6, units=5, num_hidden_layers=2, cell_type=cell, bidirectional=bidirectional
    )
    model = randomised(RecurrentModel(config))
    reference = TORCH[cell](6, 5, 2, batch_first=True, bidirectional=bidirectional)
    for index, layer in enumerate(model.layers):  # parameters go by the same names
        values = {name.replace("_l0", f"_l{index}"): value for name, value in layer.state_dict().items()}
        reference.load_state_dict(values, strict=False)
    rows = words([8, 3, 1, 5])
    ids, mask = padded(rows, side, extra=1)
    embedded = nn.utils.rnn.pad_sequence([model.embed_tokens(row).detach() for row in rows], batch_first=True)
    embedded.requires_grad_()
    lengths = torch.tensor([len(row) for row in rows])
    packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)

    inputs = model.embed_tokens(ids).detach().requires_grad_()
    ours = model(inputs_embeds=inputs, attention_mask=mask).last_hidden_state
    real, packed_real = mask.bool(), torch.arange(8) < lengths[:, None]
    torch.testing.assert_close(ours[real], states[packed_real], atol=1e-5, rtol=1e-5)
    assert ours[~real].abs().max() == 0.0

    weights = torch.randn(ours[real].shape, generator=torch.Generator().manual_seed(1))
    (ours[real] * weights).sum().backward()
    (states[packed_real] * weights).sum().backward()
    torch.testing.assert_close(inputs.grad[real], embedded.grad[packed_real], atol=1e-5, rtol=1e-5)
    theirs = dict(reference.named_parameters())
    for index, layer in enumerate(model.layers):
        for name, parameter in layer.named_parameters():
            gradient = theirs[name.replace("_l0", f"_l{index}")].grad
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("cell", TORCH)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("side", ["right", "left", "holes", "none"])
def test_a_layer_starts_from_a_state_and_returns_that_of_each_row_like_the_packed_form(cell, bidirectional, side):
    layer, reference = a_layer(cell, bidirectional)
    lengths = [8, 3, 1, 5] if side != "none" else [8] * 4
    rows = [torch.randn(length, 6) for length in lengths]
    ids, mask = padded([torch.arange(length) for length in lengths], "right" if side == "none" else side)
    inputs = torch.randn(*ids.shape, 6)
    inputs[mask.bool()] = torch.cat(rows)
    directions = 2 if bidirectional else 1
    start = [torch.randn(4, directions * 5, requires_grad=True) for _ in range(2 if cell == "lstm" else 1)]

    layout = None if side == "none" else make_layout(mask.bool())
    _, *final = layer(inputs, *start, layout=layout, return_state=True)
    split = [part.view(4, directions, 5).transpose(0, 1).contiguous() for part in start]
    packed = nn.utils.rnn.pack_sequence(rows, enforce_sorted=False)
    theirs = reference(packed, tuple(split) if cell == "lstm" else split[0])[1]
    theirs = [part.transpose(0, 1).flatten(1) for part in (theirs if cell == "lstm" else [theirs])]
    gradients = []
    for states in (final, theirs):
        torch.testing.assert_close(list(states), theirs, atol=1e-5, rtol=1e-5)
        loss = sum((state * torch.arange(state.numel()).view_as(state)).sum() for state in states)
        gradients.append(torch.autograd.grad(loss, start))
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


def a_layer(cell, bidirectional):
    """A layer of ours and torch's own with the same random weights, over inputs (B, T, 6), with 5 units."""
    config = RecurrentConfig(vocab_size=9, embedding_size=6, units=5, cell_type=cell, bidirectional=bidirectional)
    layer = randomised(RecurrentModel(config)).layers[0]
    reference = TORCH[cell](6, 5, batch_first=True, bidirectional=bidirectional)
    reference.load_state_dict(layer.state_dict())
    return layer, reference


@pytest.mark.parametrize("cell", CELLS)
def test_two_chunks_with_the_state_carried_over_equal_one_text(cell):
    """The second chunk is ragged: a row that has ended keeps its state, through forward and backward."""
    config = RecurrentConfig(vocab_size=9, embedding_size=6, units=5, cell_type=cell)
    layer = randomised(RecurrentModel(config)).layers[0]
    inputs, mask = torch.randn(3, 9, 6, requires_grad=True), torch.arange(9) < torch.tensor([[9], [4], [7]])
    whole, *at_end = layer(inputs, layout=make_layout(mask), return_state=True)
    states, carried = [], []
    for chunk in (slice(0, 4), slice(4, 9)):
        layout = make_layout(mask[:, chunk])
        chunk_states, *carried = layer(inputs[:, chunk], *carried, layout=layout, return_state=True)
        states.append(chunk_states)
    torch.testing.assert_close(torch.cat(states, dim=1), whole, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(carried, at_end, atol=1e-6, rtol=1e-6)
    gradients = [torch.autograd.grad(sum(part.sum() for part in end), inputs)[0] for end in (at_end, carried)]
    torch.testing.assert_close(*gradients, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", TORCH)
def test_weight_dropout_is_one_fresh_mask_for_all_steps_of_a_pass_and_only_in_training(cell):
    config = RecurrentConfig(vocab_size=9, embedding_size=6, units=5, cell_type=cell, weight_dropout=0.5)
    layer = randomised(RecurrentModel(config)).layers[0].train()
    inputs = torch.randn(2, 7, 6)
    torch.manual_seed(1)
    masked = dropout(layer.weight_hh_l0, 0.5)
    reference = TORCH[cell](6, 5, batch_first=True)
    reference.load_state_dict({**layer.state_dict(), "weight_hh_l0": masked.detach()})
    torch.manual_seed(1)
    dropped = layer(inputs)[0]
    torch.testing.assert_close(dropped, reference(inputs)[0], atol=1e-6, rtol=1e-6)
    assert not torch.equal(layer(inputs)[0], dropped)
    layer.eval()
    reference.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(inputs)[0], reference(inputs)[0])


def test_parameter_counts_are_one_to_three_to_four():
    sizes = {}
    for cell in TORCH:
        config = RecurrentConfig(vocab_size=9, cell_type=cell, embedding_size=6, units=5)
        sizes[cell] = sum(p.numel() for p in RecurrentModel(config).layers.parameters())
    assert sizes["gru"] == 3 * sizes["rnn"]
    assert sizes["lstm"] == 4 * sizes["rnn"]


def test_padding_is_cleared_whatever_it_holds_and_passes_no_gradient_on():
    mask = torch.tensor([[1, 1, 1], [0, 1, 0], [0, 0, 0]]).bool()
    states = torch.randn(3, 3, 2).masked_fill(~mask[..., None], float("nan")).requires_grad_()
    cleared = clear_padding(states, mask)
    assert torch.equal(cleared, states.detach().masked_fill(~mask[..., None], 0.0))
    cleared.sum().backward()
    assert torch.equal(states.grad, mask[..., None].expand(-1, -1, 2).float())


def test_an_lstm_reads_in_float32_where_autocast_has_no_operator(monkeypatch):
    model = RecurrentModel(RecurrentConfig(vocab_size=9, embedding_size=4, units=4, cell_type="lstm")).eval()
    ids = torch.tensor([[1, 2, 3], [4, 5, 6]])
    expected = model(ids).last_hidden_state
    monkeypatch.setattr(cells, "_runs_in", lambda dtype: False)
    with torch.autocast("cpu", torch.bfloat16):
        found = model(ids).last_hidden_state
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
