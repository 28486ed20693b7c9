"""The scores of a split as one flat list of numbers, which of them are better the lower they are, and perplexity."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# Names of measures of error, as whole words of a score's name.
ERRORS = re.compile(
    r"(?:^|_)(?:loss|nll|perplexity|ppl|bits|mse|rmse|mae|error|errors|hamming|brier|ece|wer|cer|ter)(?:_|$)"
)
# Scores from 0 to 100.
PERCENTAGES = ("bleu", "chrf")


def flatten(scores: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Every float in `scores` by its name; a nested one is named as in `per_class.good.f1`. Counts are left out."""
    flat: dict[str, float] = {}
    for name, value in scores.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif isinstance(value, float):
            flat[prefix + name] = value
    return flat


def is_lower_better(name: str) -> bool:
    """Whether the score called `name` measures an error, such as loss, perplexity_per_word or mse."""
    return ERRORS.search(name.rpartition(".")[2]) is not None


def perplexity(loss: float) -> float:
    """e to the mean NLL `loss`; infinity if that is too large for a float."""
    return math.exp(loss) if loss < 700 else math.inf
