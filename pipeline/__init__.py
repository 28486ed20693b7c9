"""Fine-tune recurrent networks and transformers side by side on the Hugging Face stack.

The public names are imported when they are first used: a recipe file that imports `Recipe` does not wait for torch.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.cli.main import main
    from pipeline.config.data import Data
    from pipeline.config.distil import Distil
    from pipeline.config.hub import Hub
    from pipeline.config.models import Lora, Pretrained, Recurrent, Scratch
    from pipeline.config.recipe import Recipe
    from pipeline.config.study import Budget, Study
    from pipeline.config.training import Optim, Train
    from pipeline.errors import UserError
    from pipeline.inference import evaluate, predict
    from pipeline.run import train

_HOMES = {
    "cli.main": ("main",),
    "config.data": ("Data",),
    "config.distil": ("Distil",),
    "config.hub": ("Hub",),
    "config.models": ("Lora", "Pretrained", "Recurrent", "Scratch"),
    "config.recipe": ("Recipe",),
    "config.study": ("Budget", "Study"),
    "config.training": ("Optim", "Train"),
    "errors": ("UserError",),
    "inference": ("evaluate", "predict"),
    "run": ("train",),
}

__all__ = [
    "Budget",
    "Data",
    "Distil",
    "Hub",
    "Lora",
    "Optim",
    "Pretrained",
    "Recipe",
    "Recurrent",
    "Scratch",
    "Study",
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
            found = getattr(importlib.import_module(f"pipeline.{home}"), name)
            if name == "main" and _importer() == "__main__":
                importlib.import_module("pipeline.errors").install_hook()
            return found
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")


def _importer() -> str | None:
    """The module whose `from pipeline import ...` is being executed; "__main__" is the program that Python runs."""
    frame = sys._getframe(2)
    while frame.f_back and frame.f_globals.get("__name__", "").startswith("importlib"):
        frame = frame.f_back
    return frame.f_globals.get("__name__")
