"""The losses of a student against its teacher follow their formulas, with the gradients that these have."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pipeline.config.distil import Distil
from pipeline.training import divergences

TEACHER = Distil("runs/teacher")


def some_logits(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (3 * torch.randn(*shape, generator=generator) for _ in range(2))
    return student.requires_grad_(), teacher


def softmax(logits: np.ndarray) -> np.ndarray:
    return np.exp(logits) / np.exp(logits).sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_of_classes_is_the_divergence_of_the_softened_probabilities_times_the_squared_temperature(temperature):
    student, teacher = some_logits(5, 3)
    found = divergences.of_classes(student, teacher, Distil("x", temperature=temperature)).detach()
    for row, (own, theirs) in enumerate(zip(student.detach().double().numpy(), teacher.double().numpy(), strict=True)):
        p, q = softmax(theirs / temperature), softmax(own / temperature)
        expected = temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
        assert float(found[row]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_the_gradient_is_the_temperature_times_the_difference_of_the_probabilities(temperature):
    """Hinton et al. 2015, section 2.1: dC/dz = (q - p) / T, here times T^2."""
    student, teacher = some_logits(5, 3)
    divergences.of_classes(student, teacher, Distil("x", temperature=temperature)).sum().backward()
    p, q = ((logits / temperature).softmax(dim=-1) for logits in (teacher, student.detach()))
    torch.testing.assert_close(student.grad, temperature * (q - p))


def test_the_divergence_of_many_classes_is_the_mean_of_that_of_each():
    student, teacher = some_logits(5, 3)
    found = divergences.of_each_class(student, teacher, TEACHER)
    own, theirs = (torch.stack([logits, torch.zeros_like(logits)], dim=-1) for logits in (student, teacher))
    each = divergences.of_classes(own.flatten(0, 1), theirs.flatten(0, 1), TEACHER)  # a sigmoid is a softmax of (z, 0)
    torch.testing.assert_close(found, each.view(5, 3).mean(dim=1))


def test_extreme_logits_give_finite_losses_and_gradients():
    student = torch.tensor([[80.0, -80.0], [-80.0, 80.0]], requires_grad=True)
    teacher = torch.tensor([[-80.0, 80.0], [-90.0, 90.0]])
    for divergence in (divergences.of_classes, divergences.of_each_class):
        loss = divergence(student, teacher, TEACHER).sum()
        (gradient,) = torch.autograd.grad(loss, student)
        assert torch.isfinite(loss)
        assert torch.isfinite(gradient).all()


def test_mse_is_the_mean_squared_difference_of_the_logits():
    student, teacher = some_logits(5, 3)
    expected = np.square(student.detach().numpy() - teacher.numpy()).mean(axis=1)
    for divergence in (divergences.of_classes, divergences.of_each_class):
        found = divergence(student, teacher, Distil("x", loss="mse")).detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_numbers_cost_the_squared_difference_in_units_of_the_scale():
    found = divergences.of_numbers(torch.tensor([[3.0], [1.0]]), torch.tensor([[1.0], [1.0]]), scale=4.0)
    assert found.tolist() == [0.25, 0.0]
