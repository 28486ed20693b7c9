"""How far a student is from its teacher: the losses of knowledge distillation, position by position.

Shapes: M places, C classes. All are computed in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.config.distil import Distil


def of_classes(student: Tensor, teacher: Tensor, settings: Distil) -> Tensor:
    """(M,) what the student's logits (M, C) cost against the teacher's, where each place has one of C classes.

    kl: T^2 KL(p || q) of p = softmax(teacher / T) and q = softmax(student / T) (Hinton et al. 2015, section 2).
    mse: the mean of (student - teacher)^2 over the classes (Ba & Caruana 2014, section 2.2).
    """
    student, teacher = student.float(), teacher.float()
    if settings.loss == "mse":
        return (student - teacher).square().mean(dim=-1)
    temperature = settings.temperature
    own, theirs = ((logits / temperature).log_softmax(dim=-1) for logits in (student, teacher))
    return temperature**2 * F.kl_div(own, theirs, reduction="none", log_target=True).sum(dim=-1)


def of_numbers(student: Tensor, teacher: Tensor, scale: float) -> Tensor:
    """(M,) the squared difference of the only outputs, (M, 1), in units of `scale`, for any setting: with two normal
    distributions of the same variance, the divergence is proportional to it."""
    return ((student - teacher).float()[:, 0] / scale).square()


def of_each_class(student: Tensor, teacher: Tensor, settings: Distil) -> Tensor:
    """(M,) the same where each place has or has not each of the classes: kl is the mean over the classes of
    T^2 KL(p || q), where p and q are sigmoids."""
    student, teacher = student.float(), teacher.float()
    if settings.loss == "mse":
        return (student - teacher).square().mean(dim=-1)
    temperature = settings.temperature
    own, theirs = student / temperature, teacher / temperature
    divergence = torch.zeros_like(own)
    for sign in (1, -1):  # the class, and not the class
        log_p, log_q = F.logsigmoid(sign * theirs), F.logsigmoid(sign * own)
        divergence = divergence + log_p.exp() * (log_p - log_q)
    return temperature**2 * divergence.mean(dim=-1)
