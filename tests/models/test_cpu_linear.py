"""oneDNN's product of float32 matrices: right, used only where it may be, and never in place of a better one."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad
from torch.nn import functional as F

from pipeline.models.recurrent import cpu_linear

LARGE = (96, 160, 256)  # rows, features of the inputs, features of the outputs: above FEWEST_OPERATIONS


@pytest.fixture
def onednn(monkeypatch):
    """oneDNN is used, whether it is faster here or not."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no oneDNN")
    monkeypatch.setattr(cpu_linear, "is_faster", lambda: True)


def operands(rows=LARGE[0], features=LARGE[1], outputs=LARGE[2], dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = [(rows, features), (outputs, features), (outputs,)]
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


@pytest.mark.parametrize("leading", [(96,), (8, 12), (2, 4, 12)])
@pytest.mark.parametrize("has_bias", [True, False])
def test_outputs_and_gradients_are_those_of_float64(onednn, leading, has_bias):
    inputs, weight, bias = operands()
    inputs = inputs.detach().view(*leading, -1).requires_grad_()
    used = [inputs, weight, *([bias] if has_bias else [])]
    outputs = cpu_linear.linear(*used)
    assert "Linear" in str(outputs.grad_fn.next_functions[0][0])  # through a view of the product
    exact = [tensor.detach().double().requires_grad_() for tensor in used]
    expected = F.linear(*exact)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    torch.testing.assert_close(outputs, expected.float(), atol=1e-4, rtol=1e-5)
    gradients = torch.autograd.grad((outputs * weights.float()).sum(), used)
    for own, right in zip(gradients, torch.autograd.grad((expected * weights).sum(), exact), strict=True):
        assert own.shape == right.shape
        torch.testing.assert_close(own, right.float(), atol=1e-3, rtol=1e-4)


def test_frozen_weights_get_no_gradient(onednn):
    inputs, weight, bias = operands()
    outputs = cpu_linear.linear(inputs, weight.detach(), bias.detach())
    (gradient,) = torch.autograd.grad(outputs.sum(), [inputs])
    torch.testing.assert_close(gradient, weight.detach().sum(dim=0).expand_as(gradient), atol=1e-4, rtol=1e-4)


def test_other_types_small_products_and_recorded_graphs_are_left_to_torch(onednn):
    inputs, weight, _ = operands()
    assert cpu_linear._can_run(inputs, weight)
    assert not cpu_linear._can_run(inputs[:1], weight)
    assert not cpu_linear._can_run(inputs.double(), weight.double())
    assert not cpu_linear._can_run(inputs.bfloat16(), weight.bfloat16())
    assert not cpu_linear._can_run(inputs.to("meta"), weight)
    with torch.autocast("cpu", torch.bfloat16):
        assert not cpu_linear._can_run(inputs, weight)
    with forward_ad.dual_level():
        assert not cpu_linear._can_run(inputs, weight)
    seen = []
    torch.func.vmap(lambda part: seen.append(cpu_linear._can_run(part, weight)) or part)(inputs.view(2, 48, -1))
    assert seen == [False]


class Halves(torch.Tensor):
    """A weight that another library stores in its own way, and multiplies by itself."""

    def __new__(cls, weight: torch.Tensor):
        return cls._make_wrapper_subclass(cls, weight.shape, dtype=weight.dtype)

    def __init__(self, weight: torch.Tensor):
        self.stored = weight.half()

    @classmethod
    def __torch_function__(cls, function, types, arguments=(), named=None):
        if function is F.linear:
            inputs, weight, *bias = arguments
            return F.linear(inputs, weight.stored.float(), *bias)
        return super().__torch_function__(function, types, arguments, named)

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), named=None):
        return arguments[0] if function is torch.ops.aten.detach.default else pytest.fail(str(function))


def test_a_quantized_weight_multiplies_by_itself(onednn):
    inputs, weight, bias = (tensor.detach() for tensor in operands())
    layer = cpu_linear.Linear(*LARGE[1:])
    layer.weight = torch.nn.Parameter(Halves(weight), requires_grad=False)
    layer.bias = torch.nn.Parameter(bias)
    torch.testing.assert_close(layer(inputs), F.linear(inputs, weight.half().float(), bias))


def test_it_is_used_on_processors_of_amd_with_avx_512_if_the_operator_has_the_expected_arguments(monkeypatch, tmp_path):
    cpu_info, capability = tmp_path / "cpuinfo", "AVX512"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: capability)
    monkeypatch.setattr(cpu_linear, "CPU_INFO", cpu_info)
    assert not cpu_linear.is_faster.__wrapped__()  # no such file, as on other systems
    cpu_info.write_text("vendor_id\t: GenuineIntel\n")
    assert not cpu_linear.is_faster.__wrapped__()
    cpu_info.write_text("vendor_id\t: AuthenticAMD\n")
    has_both = torch.backends.mkldnn.is_available() and torch.backends.mkl.is_available()
    assert cpu_linear.is_faster.__wrapped__() == has_both
    capability = "AVX2"
    assert not cpu_linear.is_faster.__wrapped__()
    capability = "AVX512"
    monkeypatch.setattr(cpu_linear, "SCHEMA", cpu_linear.SCHEMA.replace("Tensor? B", "Tensor? bias"))
    assert not cpu_linear.is_faster.__wrapped__()


def test_the_check_leaves_the_random_numbers_as_they_are():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    cpu_linear.is_faster.__wrapped__()
    assert torch.equal(torch.rand(2), expected)
