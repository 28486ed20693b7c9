"""Fine-tuning recurrent networks and transformers side by side on the Hugging Face stack.

The public names are resolved when they are first used: a recipe file that imports `Recipe` does not wait for torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.cli.main import main
    from pipeline.config.recipe import Data, Hub, Lora, Optim, Pretrained, Recipe, Recurrent, Scratch, Train
    from pipeline.errors import UserError
    from pipeline.run import evaluate, predict, train

_HOMES = {
    "cli.main": ("main",),
    "errors": ("UserError",),
    "config.recipe": ("Data", "Hub", "Lora", "Optim", "Pretrained", "Recipe", "Recurrent", "Scratch", "Train"),
    "run": ("evaluate", "predict", "train"),
}

__all__ = [
    "Data",
    "Hub",
    "Lora",
    "Optim",
    "Pretrained",
    "Recipe",
    "Recurrent",
    "Scratch",
    "Train",
    "UserError",
    "evaluate",
    "main",
    "predict",
    "train",
]


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"pipeline.{home}"), name)
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
