"""The logits with which a graph is compared: its model's in float64, so that only the graph's rounding counts."""

# Shapes: B batch, T time, C classes, V vocabulary.

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


class Exact:
    """Logits of a model, computed in float64 where that works, and by the model itself where it does not.

    Attributes:
        model: what computes them.
    """

    def __init__(self, model: Any, wanted: bool = True):
        """
        Args:
            wanted: False: the model itself is enough, and takes half the time.
        """
        self.model, self._own = model, model
        if wanted:
            try:
                self.model = copy.deepcopy(model).double()
            except Exception:  # of code that is not ours: it has no form in float64
                self.model = model

    @property
    def is_exact(self) -> bool:
        """Whether they are in float64."""
        return self.model is not self._own

    def logits(self, inputs: Mapping[str, torch.Tensor]) -> np.ndarray:
        """(B, C) or (B, T, C or V)."""
        if self.is_exact:
            try:
                return self._logits(inputs)
            except Exception:  # a type that is written into the code, in any of torch's classes of errors
                self.model = self._own
        return self._logits(inputs)

    def _logits(self, inputs: Mapping[str, torch.Tensor]) -> np.ndarray:
        with torch.inference_mode():
            logits = self.model(**inputs).logits
        found: np.ndarray = (logits if logits.dtype == torch.float64 else logits.float()).numpy()
        return found
