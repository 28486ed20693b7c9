"""GRU and RNN by hand give what torch's operators give, and step aside where only those work."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from pipeline.models.recurrent import cpu_kernels
from pipeline.models.recurrent.cells import GRUCell, RNNCell
from pipeline.models.recurrent.recurrence import CELLS

KERNELS = {"rnn": (cpu_kernels.rnn, torch.rnn_tanh, 1), "gru": (cpu_kernels.gru, torch.gru, 3)}


def operands(cell, batch=4, time=7, features=5, size=6, dtype=torch.float32, scale=1.0):
    """Inputs (B, T, E), a start (B, H), and the weights in the order of torch's operators."""
    gates, generator = KERNELS[cell][2], torch.Generator().manual_seed(0)
    shapes = [
        (batch, time, features),
        (batch, size),
        (gates * size, features),
        (gates * size, size),
        *[(gates * size,)] * 2,
    ]
    return [(scale * torch.randn(shape, generator=generator, dtype=dtype)).requires_grad_() for shape in shapes]


def by_hand(cell, inputs, start, weight_ih, weight_hh, bias_ih, bias_hh):
    values = F.linear(inputs.transpose(0, 1), weight_ih, bias_ih)
    (states,) = KERNELS[cell][0]([values], [start], [weight_hh], [bias_hh])
    return states.transpose(0, 1)


def by_torch(cell, inputs, start, *weights):
    return KERNELS[cell][1](inputs, start[None], list(weights), True, 1, 0.0, False, False, True)[0]


def gradients(run, cell, tensors):
    states = run(cell, *tensors)
    weights = torch.randn(states.shape, generator=torch.Generator().manual_seed(1), dtype=states.dtype)
    return states, torch.autograd.grad((states * weights).sum(), tensors)


@pytest.mark.parametrize("cell", KERNELS)
@pytest.mark.parametrize("time", [1, 2, 40])
@pytest.mark.parametrize("scale", [0.02, 0.15, 4.0])
def test_states_and_gradients_are_as_close_to_float64_as_those_of_the_operator(cell, time, scale):
    tensors = operands(cell, batch=16, time=time, features=32, size=48, scale=scale)
    (ours, own), (theirs, others) = (gradients(run, cell, tensors) for run in (by_hand, by_torch))
    exact, right = gradients(by_torch, cell, [tensor.detach().double().requires_grad_() for tensor in tensors])
    for mine, other, true in zip((ours, *own), (theirs, *others), (exact, *right), strict=True):
        size = max(1.0, float(true.abs().max()))
        assert float((mine - true).abs().max()) <= 2 * float((other - true).abs().max()) + 1e-6 * size
        if scale < 1:  # larger weights multiply a rounding at each position
            torch.testing.assert_close(mine, other, atol=1e-6 * size, rtol=0)


@pytest.mark.parametrize("cell", KERNELS)
@pytest.mark.parametrize("by_product", [False, True])
def test_two_directions_at_once_have_the_states_and_gradients_of_each_alone(cell, by_product, monkeypatch):
    monkeypatch.setattr(cpu_kernels, "is_worth_it", lambda *_: by_product)
    one = operands(cell, dtype=torch.float64)
    tensors = [*one, *[(tensor.detach() * 0.5 + 0.1).requires_grad_() for tensor in one]]

    def both(_, *tensors):
        sides = [tensors[:6], tensors[6:]]
        values = [F.linear(inputs.transpose(0, 1), *weights[1::2]) for inputs, *weights in sides]
        starts, weights, biases = ([side[place] for side in sides] for place in (1, 3, 5))
        return torch.stack(KERNELS[cell][0](values, starts, weights, biases)).transpose(1, 2)

    def apart(_, *tensors):
        return torch.stack([by_torch(cell, *tensors[:6]), by_torch(cell, *tensors[6:])])

    (ours, own), (theirs, others) = (gradients(run, cell, tensors) for run in (both, apart))
    for mine, other in zip((ours, *own), (theirs, *others), strict=True):
        torch.testing.assert_close(mine, other)


@pytest.mark.parametrize("cell", KERNELS)
def test_gradients_are_those_of_finite_differences_in_float64(cell):
    tensors = operands(cell, batch=2, time=4, features=3, size=3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *tensors: by_hand(cell, *tensors), tensors)


@pytest.mark.parametrize("cell", KERNELS)
def test_a_gradient_of_the_last_state_alone_reaches_the_first_input(cell):
    tensors = operands(cell, scale=0.3)
    own, others = (torch.autograd.grad(run(cell, *tensors)[:, -1].sum(), tensors[0])[0] for run in (by_hand, by_torch))
    torch.testing.assert_close(own, others, atol=1e-6, rtol=0)
    assert own[:, 0].abs().max() > 0


@pytest.mark.parametrize("cell", KERNELS)
def test_frozen_weights_and_a_start_without_gradient_get_none_and_cost_nothing(cell, monkeypatch):
    inputs, *others = operands(cell)
    frozen = [tensor.detach() for tensor in others]
    monkeypatch.setattr(cpu_kernels, "product", None)  # which the gradient of the weights would need
    gradient = torch.autograd.grad(by_hand(cell, inputs, *frozen).sum(), inputs)[0]
    torch.testing.assert_close(gradient, torch.autograd.grad(by_torch(cell, inputs, *frozen).sum(), inputs)[0])


@pytest.mark.parametrize("cell", KERNELS)
def test_reading_on_from_a_state_is_bitwise_the_same_as_reading_at_once(cell):
    inputs, start, *weights = operands(cell, time=9)
    whole = by_hand(cell, inputs, start, *weights)
    values = F.linear(inputs.transpose(0, 1), weights[0], weights[2])
    kernel = KERNELS[cell][0]
    (first,) = kernel([values[:4]], [start], [weights[1]], [weights[3]])
    (rest,) = kernel([values[4:]], [first[-1]], [weights[1]], [weights[3]])
    assert torch.equal(torch.cat([first, rest]).transpose(0, 1), whole)


@pytest.mark.parametrize("cell", KERNELS)
def test_a_second_derivative_is_refused_instead_of_wrong(cell):
    tensors = operands(cell)
    (gradient,) = torch.autograd.grad(by_hand(cell, *tensors).square().sum(), tensors[0], create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize("cell", [RNNCell, GRUCell])
def test_what_only_the_operator_can_do_is_left_to_it(cell):
    name = next(name for name, kind in CELLS.items() if kind is cell)
    inputs, start, *_ = operands(name)
    assert cpu_kernels.can_run(inputs, start)
    assert not cpu_kernels.can_run(inputs, start.bfloat16())
    assert not cpu_kernels.can_run(inputs.to("meta"), start)
    with forward_ad.dual_level():
        assert not cpu_kernels.can_run(inputs, start)
    seen = []
    torch.func.vmap(lambda row: seen.append(cpu_kernels.can_run(row, start)) or row)(inputs)
    assert seen == [False]


@pytest.mark.parametrize("cell", KERNELS)
def test_few_rows_without_gradients_are_left_to_the_operator_which_then_is_faster(cell, monkeypatch):
    called = []
    kernel = staticmethod(lambda *tensors: called.append(cell) or KERNELS[cell][0](*tensors))
    monkeypatch.setattr(CELLS[cell], "kernel", kernel)
    inputs, start, *weights = operands(cell)
    names, runner = ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), CELLS[cell](5, 6)
    arguments = (inputs, dict(zip(names, weights, strict=True)), (start,), None, False)
    trained = runner.run(*arguments)[0]
    with torch.no_grad():
        answered = runner.run(*arguments)[0]
        assert called == [cell]
        assert cpu_kernels.is_faster(torch.empty(32, 128))
    torch.testing.assert_close(answered, trained, atol=1e-5, rtol=0)


@pytest.mark.parametrize("cell", KERNELS)
def test_autocast_keeps_the_states_in_float32(cell):
    inputs, start, *weights = operands(cell, features=32, size=48, scale=1 / 7)
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    runner = CELLS[cell](32, 48)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, (last,) = runner.run(inputs, dict(zip(names, weights, strict=True)), (start,), None, False)
    assert outputs.dtype == last.dtype == torch.float32
    torch.testing.assert_close(outputs, by_torch(cell, inputs, start, *weights), atol=0.02, rtol=0)
