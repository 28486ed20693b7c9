"""Fixtures for the tests of tools: the saved folders, and a clean process to load them in."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tools import saved_models
from tools.outside import outside


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The folder of a short run of each of `saved_models.MODELS`."""
    return {name: str(folder) for name, folder in saved_models.train_all(tmp_path_factory.mktemp("saved")).items()}


@pytest.fixture
def ask(saved: dict[str, str], tmp_path: Path) -> Callable[..., Any]:
    """`outside`, with the saved folders as `given["saved"]`."""
    return lambda code, **given: outside(code, tmp_path, saved=saved, **given)
