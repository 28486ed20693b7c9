"""Products of float32 matrices on a CPU by oneDNN, where that is faster than the library that torch takes.

torch multiplies float32 matrices with MKL, which does not use the AVX-512 instructions of a processor of AMD. oneDNN,
which torch uses for other types, does, and is then about twice as fast. Without these instructions MKL is faster. The
operator is not a public one, so it is used only if it is there with the expected arguments and gives the right result.
Whether it is used does not depend on a timing, which could go either way and change the last digits from process to
process.
"""

# Shapes: N rows, E features of the inputs, O of the outputs.

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import nn
from torch.autograd import forward_ad
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .layout import can_read

SCHEMA = (
    "mkldnn::_linear_pointwise(Tensor X, Tensor W, Tensor? B, str attr, Scalar?[] scalars, str? algorithm) -> Tensor Y"
)
# Products of fewer operations than this take longer to start than to compute.
FEWEST_OPERATIONS = 4_000_000
# Not subclasses such as those of torchao.
PLAIN = (torch.Tensor, nn.Parameter)
CPU_INFO = Path("/proc/cpuinfo")


def product(left: torch.Tensor, right: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """left @ right.T + bias without gradients, (N, O). Either may be transposed in memory.

    Args:
        left: (N, E).
        right: (O, E).
        bias: (O,).
    """
    if is_worth_it(left, right):
        return torch.ops.mkldnn._linear_pointwise(left, right, bias, "none", [], "")
    return left @ right.t() if bias is None else torch.addmm(bias, left, right.t())


def is_worth_it(left: torch.Tensor, right: torch.Tensor) -> bool:
    """Whether `product` uses oneDNN for `left` (N, E) and `right` (O, E)."""
    operations = 2 * left.shape[0] * left.shape[1] * right.shape[0]
    return left.dtype == right.dtype == torch.float32 and operations >= FEWEST_OPERATIONS and is_faster()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, inputs, weight, bias):
        ctx.save_for_backward(inputs, weight)
        return product(inputs, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        inputs, weight = ctx.saved_tensors
        of_inputs = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_inputs = product(gradient, weight.t())
        if ctx.needs_input_grad[1]:
            of_weight = product(inputs.t(), gradient.t()).t()  # this way round it is faster than as its transpose
        if ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=0)
        return of_inputs, of_weight, of_bias


def linear(inputs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """`torch.nn.functional.linear` for inputs of any shape (..., E). Without a second derivative where oneDNN is used.

    Args:
        weight: (O, E).
        bias: (O,).
    """
    if not _can_run(inputs, weight):
        return F.linear(inputs, weight, bias)
    flat = inputs.flatten(0, -2)
    outputs = _Linear.apply(flat, weight, bias) if torch.is_grad_enabled() else product(flat, weight, bias)
    return outputs.unflatten(0, inputs.shape[:-1])


class Linear(nn.Linear):
    """`torch.nn.Linear` by [`linear`]."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return linear(input, self.weight, self.bias)


def _can_run(inputs: torch.Tensor, weight: torch.Tensor) -> bool:
    """A graph that is recorded, a transform of `torch.func` and gradients forward through the computation need torch's
    operator, and so do quantized weights, which only look like numbers; autocast computes in another type."""
    return (
        inputs.dim() > 1
        and type(inputs) in PLAIN
        and type(weight) in PLAIN
        and inputs.dtype == weight.dtype == torch.float32
        and can_read(inputs)  # before a size that a graph may leave open
        and 2 * inputs.numel() * weight.shape[0] >= FEWEST_OPERATIONS
        and forward_ad._current_level < 0
        and not torch.is_autocast_enabled("cpu")
        and is_faster()
    )


@functools.cache
def is_faster() -> bool:
    """Whether torch would use MKL on a processor of AMD with AVX-512, and oneDNN is there and right. It is tried once
    in a process; the seeds of torch stay as they are."""
    operator = getattr(torch.ops.mkldnn, "_linear_pointwise", None)
    if operator is None or not torch.backends.mkldnn.is_available() or str(operator.default._schema) != SCHEMA:
        return False
    if not torch.backends.mkl.is_available() or not is_amd() or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    numbers = torch.arange(64 * 96, dtype=torch.float64)
    inputs, weight = ((numbers * factor).sin().float().view(64, 96) for factor in (1.7, 2.3))
    with torch.no_grad():
        found, exact = operator(inputs, weight, None, "none", [], ""), inputs.double() @ weight.double().t()
    return bool((found - exact).abs().max() <= 1e-5 * exact.abs().max())


def is_amd() -> bool:
    """Whether Linux says that this is a processor of AMD."""
    try:
        return "AuthenticAMD" in CPU_INFO.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


__all__ = ["Linear", "is_faster", "is_worth_it", "linear", "product"]
