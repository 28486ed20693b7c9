"""minGRU and minLSTM compute what their paper says, by each way to run them, with and without a convolution."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from contract import padded, randomised, words

from pipeline.config.models import Recurrent
from pipeline.errors import UserError
from pipeline.models.recurrent import RecurrentConfig, RecurrentModel
from pipeline.models.recurrent.layout import make_layout
from pipeline.models.recurrent.mixing import mix, mix_on_cpu

GATES = {"mingru": 2, "minlstm": 3}
SIZES = {"vocab_size": 50, "embedding_size": 6, "units": 5, "num_hidden_layers": 2}
every_cell = pytest.mark.parametrize("cell", GATES)
every_kernel = pytest.mark.parametrize("conv_kernel", [None, 3])


def a_model(cell: str, **changes: Any) -> RecurrentModel:
    return randomised(RecurrentModel(RecurrentConfig(cell_type=cell, **{**SIZES, **changes})))


def operands(cell: str, directions: int = 1, time: int = 7, rows: int = 3, size: int = 4, scale: float = 1.0):
    """Values (B, T, D*G*H) and a start (B, D*H) in float64."""
    generator = torch.Generator().manual_seed(time)
    shapes = (rows, time, directions * GATES[cell] * size), (rows, directions * size)
    return [(scale * torch.randn(s, generator=generator, dtype=torch.float64)).requires_grad_() for s in shapes]


def by_formula(values: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """The states (T, H) of one row, from its values (T, G*H) and a start (H,), by the recurrence as it is printed."""
    h, states = start, []
    for value in values:
        *gates, candidate = value.split(len(start))
        i, *f = map(torch.sigmoid, gates)
        share = i / (i + f[0]) if f else i
        h = (1 - share) * h + share * candidate
        states.append(h)
    return torch.stack(states)


@every_cell
@pytest.mark.parametrize("time", [1, 2, 7, 16])
def test_a_loop_on_the_cpu_and_rounds_over_pairs_give_the_states_of_the_formula(cell, time):
    values, start = operands(cell, time=time)
    exact = torch.stack([by_formula(*row) for row in zip(values, start, strict=True)])
    looped, final = mix_on_cpu(values, start, None, directions=1)
    torch.testing.assert_close(looped, exact)
    torch.testing.assert_close(final, exact[:, -1])
    torch.testing.assert_close(mix(values, start), exact)
    single = mix_on_cpu(values.float(), start.float(), None, directions=1)[0]
    torch.testing.assert_close(single.double(), exact, atol=1e-6, rtol=0)


@every_cell
@pytest.mark.parametrize("lengths", [None, [[7], [3], [0]]])
def test_each_direction_reads_the_words_of_a_row_and_keeps_its_state_beyond_them(cell, lengths):
    values, start = operands(cell, directions=2)
    outputs, final = mix_on_cpu(values, start, None if lengths is None else torch.tensor(lengths), directions=2)
    for row in range(3):
        length = 7 if lengths is None else lengths[row][0]
        halves = zip(*(part[row].detach().chunk(2, dim=-1) for part in (values, start, outputs, final)), strict=True)
        for backward, (value, first, states, last) in enumerate(halves):
            order = slice(None) if not backward else torch.arange(length - 1, -1, -1)
            expected = by_formula(value[:length][order], first)[order] if length else states[:0]
            torch.testing.assert_close(states[:length], expected)
            assert torch.equal(last, states[0 if backward else length - 1] if length else first)


@every_cell
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("lengths", [None, [[4], [2], [0]]])
def test_gradients_are_those_of_finite_differences(cell, directions, lengths):
    tensors = operands(cell, directions, time=4, size=2)
    lengths = None if lengths is None else torch.tensor(lengths)
    assert torch.autograd.gradcheck(lambda *tensors: mix_on_cpu(*tensors, lengths, directions), tensors)
    if directions == 1:
        assert torch.autograd.gradcheck(mix, tensors)


@every_cell
def test_gates_that_are_shut_or_open_wide_give_neither_nan_nor_infinity(cell):
    values, start = operands(cell, scale=1000.0)
    values, start = values.float(), start.float()
    for states in (mix(values, start), mix_on_cpu(values, start, None, directions=1)[0]):
        gradients = torch.autograd.grad(states.sum(), [values, start])
        assert all(tensor.isfinite().all() for tensor in (states, *gradients))


@every_cell
@pytest.mark.parametrize("directions", [1, 2])
def test_padding_and_other_rows_change_not_a_single_bit(cell, directions):
    values, start = (tensor.detach().float() for tensor in operands(cell, directions))
    lengths = torch.tensor([[7], [3], [5]])
    values[torch.arange(7) >= lengths] = float("nan")
    outputs, final = mix_on_cpu(values, start, lengths, directions)
    for row, length in enumerate([7, 3, 5]):
        alone, last = mix_on_cpu(values[row : row + 1, :length], start[row : row + 1], None, directions)
        assert torch.equal(outputs[row, :length], alone[0])
        assert torch.equal(final[row], last[0])


@every_cell
def test_reading_on_from_a_state_is_bitwise_the_same_as_reading_at_once(cell):
    values, start = (tensor.detach().float() for tensor in operands(cell))
    whole, final = mix_on_cpu(values, start, None, directions=1)
    first, state = mix_on_cpu(values[:, :4], start, None, directions=1)
    rest, last = mix_on_cpu(values[:, 4:], state, None, directions=1)
    assert torch.equal(torch.cat([first, rest], dim=1), whole)
    assert torch.equal(last, final)


@every_cell
def test_a_second_derivative_is_refused_instead_of_wrong(cell):
    values, start = operands(cell)
    states = mix_on_cpu(values, start, None, directions=1)[0]
    (gradient,) = torch.autograd.grad(states.square().sum(), values, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@every_cell
@every_kernel
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("side", ["right", "left", "holes"])
def test_padding_never_changes_a_result(cell, conv_kernel, bidirectional, side):
    model = a_model(cell, conv_kernel=conv_kernel, bidirectional=bidirectional)
    rows = words([7, 1, 4])
    alone = torch.cat([model(row[None]).pooler_output for row in rows])
    torch.testing.assert_close(model(*padded(rows, side, extra=2)).pooler_output, alone, atol=1e-6, rtol=1e-6)


@every_cell
def test_a_convolution_reads_the_words_before_and_none_behind(cell):
    model = a_model(cell, conv_kernel=3, num_hidden_layers=1)
    text = words([6])[0]
    with torch.no_grad():
        model.layers[0].weight_ih_l0[: -SIZES["units"]] = 0.0  # gates that do not depend on the words
        model.layers[0].bias_ih_l0[:5] = 40.0  # and let go of all that was there before
        model.layers[0].bias_ih_l0[5:-5] = -40.0
    states = model(text[None]).last_hidden_state[0]
    for place in range(6):
        changed = text.clone()
        changed[place] = (text[place] + 1) % 49 + 1
        differs = (model(changed[None]).last_hidden_state[0] - states).abs().amax(dim=-1) > 1e-6
        assert differs.nonzero().flatten().tolist() == [at for at in range(place, place + 3) if at < 6]


@every_cell
@every_kernel
def test_a_model_continues_word_by_word_and_keeps_packed_texts_apart(cell, conv_kernel):
    model = a_model(cell, conv_kernel=conv_kernel)
    first, second = words([5, 4])
    whole, cache, states = model(first[None]), None, []
    for word in first:
        outputs = model(word[None, None], past_key_values=cache, use_cache=True)
        cache, states = outputs.past_key_values, [*states, outputs.last_hidden_state]
    torch.testing.assert_close(torch.cat(states, dim=1), whole.last_hidden_state, atol=1e-6, rtol=1e-6)
    positions = torch.cat([torch.arange(5), torch.arange(4)])[None]
    packed = model(torch.cat([first, second])[None], position_ids=positions).last_hidden_state
    torch.testing.assert_close(packed[:, :5], whole.last_hidden_state, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(packed[:, 5:], model(second[None]).last_hidden_state, atol=1e-6, rtol=1e-6)


@every_cell
def test_a_row_without_words_keeps_what_the_convolution_has_read(cell):
    layer = a_model(cell, conv_kernel=3, num_hidden_layers=1).layers[0]
    inputs, state = torch.randn(2, 4, 6), [torch.randn(2, 5), torch.randn(2, 12)]
    mask = torch.tensor([[True] * 4, [False] * 4])
    _, *after = layer(inputs, *state, layout=make_layout(mask), return_state=True)
    for old, new in zip(state, after, strict=True):
        assert torch.equal(new[1], old[1])
    assert torch.equal(after[1][0], inputs[0, 2:].flatten())


@every_cell
@pytest.mark.parametrize("update_bias", [0.0, -3.0])
def test_a_new_model_lets_in_the_share_that_its_bias_says(cell, update_bias):
    layer = RecurrentModel(RecurrentConfig(cell_type=cell, update_bias=update_bias, **SIZES)).layers[0]
    with torch.no_grad():
        layer.bias_ih_l0[-5:] = 1.0  # the candidate of an input of zeros
        states = layer(torch.zeros(1, 1, 6))[0]
    torch.testing.assert_close(states, torch.sigmoid(torch.tensor(update_bias)).expand(1, 1, 5))


@every_cell
def test_a_model_in_bfloat16_gives_about_the_same_states(cell):
    model = a_model(cell, bidirectional=True, conv_kernel=3)
    inputs = padded(words([7, 3]), "left")
    exact = model(*inputs).last_hidden_state
    lower = model.bfloat16()(*inputs).last_hidden_state
    assert lower.dtype == torch.bfloat16
    torch.testing.assert_close(lower.float(), exact, atol=0.1, rtol=0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"cell_type": "mingru", "weight_dropout": 0.5},
            r"`weight_dropout` is 0\.5; a cell of the type 'mingru' has no",
        ),
        ({"cell_type": "lstm", "conv_kernel": 3}, "`conv_kernel` is 3; a cell of the type 'lstm' has none"),
        ({"cell_type": "gru", "update_bias": -1.0}, r"`update_bias` is -1\.0; a cell of the type 'gru' has none"),
        ({"cell_type": "mingru", "conv_kernel": 1}, "`conv_kernel` is 1; it must be at least 2"),
        ({"cell_type": "mingru", "update_bias": float("nan")}, "`update_bias` is nan; it must be a number"),
    ],
)
def test_a_configuration_refuses_what_its_cell_does_not_have(settings, message):
    with pytest.raises(ValueError, match=message):
        RecurrentModel(RecurrentConfig(**SIZES, **settings))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "minlstm", "weight_dropout": 0.5}, r"model\.weight_dropout: minlstm has no hidden-to-hidden weights"),
        ({"cell": "lstm", "conv_kernel": 3}, r"model\.conv_kernel: only mingru and minlstm have it"),
        ({"cell": "gru", "update_bias": 0.0}, r"model\.update_bias: only mingru and minlstm have it"),
        ({"cell": "mingru", "conv_kernel": 1}, r"model\.conv_kernel: 1 is out of range"),
    ],
)
def test_a_recipe_refuses_what_its_cell_does_not_have(settings, message):
    with pytest.raises(UserError, match=message):
        Recurrent(**settings)
