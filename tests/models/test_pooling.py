"""The maximum over the positions of a text, whose gradient is computed by hand on a CPU."""

from __future__ import annotations

import pytest
import torch

from pipeline.models.recurrent.pooling import largest


@pytest.fixture
def states():
    """(B, T, W) of few different values, so that many positions share the largest."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(-3, 4, (4, 9, 5), generator=generator)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_maximum_and_its_gradient_are_those_of_torch_to_the_bit(states, dtype):
    gradient, found = torch.randn(4, 5, generator=torch.Generator().manual_seed(1)).to(dtype), []
    for maximum in (largest, lambda values: values.amax(dim=1)):
        own = states.to(dtype).requires_grad_()
        pooled = maximum(own)
        pooled.backward(gradient)
        found.append((pooled.detach(), own.grad))
    for ours, other in zip(*found, strict=True):
        assert ours.dtype == dtype
        assert torch.equal(ours, other)


def test_the_gradient_can_be_differentiated_again(states):
    distinct = states.double() + torch.rand(
        states.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2)
    )
    assert torch.autograd.gradcheck(largest, distinct.requires_grad_())
    assert torch.autograd.gradgradcheck(largest, distinct)


def test_transforms_of_functions_and_graphs_see_the_operator_of_torch(states):
    values = states.float()
    assert torch.equal(torch.func.vmap(largest)(values[None])[0], values.amax(dim=1))
    _, tangent = torch.func.jvp(largest, (values,), (torch.ones_like(values),))
    assert torch.equal(tangent, torch.ones(4, 5))
    operators = [node.target for node in torch.export.export(Pooled(), (values,)).graph.nodes]
    assert torch.ops.aten.amax.default in operators


class Pooled(torch.nn.Module):
    def forward(self, states):
        return largest(states)
