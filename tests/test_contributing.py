"""CONTRIBUTING.md follows a batch and a run through the code: the functions that it names are called in that order."""

from __future__ import annotations

import functools
import importlib
import re
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest
from conftest import ROOT
from hub_server import REAL_HUB

from pipeline import Data, Hub, Optim, Recipe, Recurrent, Train, rehearsal, train

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MOST_STOPS = 15


def stops(title: str) -> list[str]:
    """The functions that the paragraph `title` names, in order."""
    paragraph = re.search(rf"^\*\*{re.escape(title)}\.\*\*(.*?)\n\n", TEXT, re.MULTILINE | re.DOTALL)[1]
    return re.findall(r"`((?:\w+\.)+\w+)`", paragraph)


def code_of(name: str) -> CodeType:
    """The code of a function or a method, by its dotted name below `pipeline`."""
    parts = name.split(".")
    for size in range(len(parts) - 1, 0, -1):
        try:
            found: Any = importlib.import_module(".".join(["pipeline", *parts[:size]]))
        except ModuleNotFoundError:
            continue
        for attribute in parts[size:]:
            found = vars(found)[attribute]
        while isinstance(found, (staticmethod, classmethod)) or hasattr(found, "__wrapped__"):
            found = found.__func__ if isinstance(found, (staticmethod, classmethod)) else found.__wrapped__
        return found.__code__
    raise LookupError(f"there is no pipeline.{name}")


def first_calls(action: Callable[[], Any]) -> dict[CodeType, int]:
    """When each function was first called while `action` ran, as a rank; also those of other threads."""
    seen: dict[CodeType, int] = {}

    def note(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call":
            seen.setdefault(frame.f_code, len(seen))

    threading.setprofile(note)
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
        threading.setprofile(None)  # type: ignore[arg-type]
    return seen


def assert_called_in_order(names: list[str], action: Callable[[], Any]) -> None:
    codes = {name: code_of(name) for name in names}
    calls = first_calls(action)
    assert [name for name in names if codes[name] not in calls] == [], "never called"
    assert sorted(names, key=lambda name: calls[codes[name]]) == names


def a_recipe(reviews: Path, folder: Path, **settings: Any) -> Recipe:
    model = Recurrent(hidden_size=8, embedding_size=8)
    data = Data(str(reviews))
    return Recipe("walk", "sentiment", data, model, Optim(), Train(str(folder), epochs=1), **settings)


@pytest.mark.parametrize("title", ["From file to checkpoint", "From folder to Hub"])
def test_a_walkthrough_names_few_functions(title):
    names = stops(title)
    assert 8 <= len(names) <= MOST_STOPS
    assert len(set(names)) == len(names)


def test_a_batch_goes_from_file_to_checkpoint_by_the_functions_that_are_named(reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "rehearse", lambda *given: None)  # it scores a few rows before training
    action = functools.partial(train, a_recipe(reviews, tmp_path / "run"))
    assert_called_in_order(stops("From file to checkpoint"), action)


@pytest.mark.skipif(REAL_HUB, reason="it would push a model of random weights")
def test_a_run_goes_from_folder_to_hub_by_the_functions_that_are_named(reviews, tmp_path, hub, monkeypatch):
    monkeypatch.setattr(rehearsal, "rehearse", lambda *given: None)  # it calls the same functions before training
    push = Hub(push=True, repo_id=hub.name())
    action = functools.partial(train, a_recipe(reviews, tmp_path / "run", hub=push))
    assert_called_in_order(stops("From folder to Hub"), action)
