"""A run that is not resumed keeps its folder as it was; one that is resumed records the settings it goes on with."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from test_trainer import a_recipe

from pipeline.config.recipe import Recipe
from pipeline.errors import UserError
from pipeline.run import train

FREE = {"log_every": 3, "trackers": (), "keep_checkpoints": 5, "save_every": 2}  # may change when a run is resumed


@pytest.fixture
def unfinished(reviews, tmp_path) -> Recipe:
    """A recipe whose run has a checkpoint at 15 of 16 updates and no metrics yet."""
    recipe = a_recipe(reviews, tmp_path, save_every=3, keep_checkpoints=9, eval_every=100)
    train(recipe)
    (tmp_path / "run/metrics.json").unlink()
    (tmp_path / "run/revisions.json").write_text('{"kept": {}}')
    shutil.rmtree(tmp_path / "run/checkpoints/step-00000016")
    return recipe


def with_free_settings(recipe: Recipe) -> Recipe:
    return replace(recipe, train=replace(recipe.train, **FREE))


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def other_data(recipe: Recipe, run: Path) -> Recipe:
    Path(recipe.data.source).write_text(Path(recipe.data.source).read_text() + "one more warm film,positive\n")
    return recipe


def other_rows_in_an_update(recipe: Recipe, run: Path) -> Recipe:
    return replace(recipe, train=replace(recipe.train, batch_size=recipe.train.batch_size * 2))


def damaged_checkpoints(recipe: Recipe, run: Path) -> Recipe:
    for folder in (run / "checkpoints").iterdir():
        (folder / "model.safetensors").write_bytes(b"")
    return recipe


def other_settings(recipe: Recipe, run: Path) -> Recipe:
    return replace(recipe, optim=replace(recipe.optim, learning_rate=0.123))


def unreadable_data(recipe: Recipe, run: Path) -> Recipe:
    Path(recipe.data.source).unlink()
    return recipe


REFUSALS = [other_data, other_rows_in_an_update, damaged_checkpoints, other_settings, unreadable_data]


@pytest.mark.parametrize("change", REFUSALS)
def test_a_refused_resume_changes_no_file_of_the_run(unfinished, tmp_path, change):
    recipe = change(with_free_settings(unfinished), tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(UserError):
        train(recipe)
    assert contents(tmp_path / "run") == before


def test_a_resumed_run_records_the_settings_that_it_goes_on_with(unfinished, tmp_path):
    train(with_free_settings(unfinished))
    assert json.loads((tmp_path / "run/recipe.json").read_text())["train"]["log_every"] == FREE["log_every"]
