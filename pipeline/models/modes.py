"""Context managers that put a model into another mode and back, also after an error."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode, and afterwards the mode that it was in."""
    was_training = model.training
    try:
        model.eval()
        yield
    finally:
        model.train(was_training)


@contextlib.contextmanager
def keeping_attention(model: Any) -> Iterator[None]:
    """The one implementation of attention in transformers that can return its weights, and afterwards the usual one."""
    usual = model.config._attn_implementation
    try:
        model.set_attn_implementation("eager")
        yield
    finally:
        model.set_attn_implementation(usual)
