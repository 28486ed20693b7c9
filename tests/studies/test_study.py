"""A study is expanded into its runs without torch, and whatever is wrong with any of them is refused at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

from pipeline import Budget, Data, Recipe, Recurrent, Scratch, Study, UserError
from pipeline.config.changes import with_settings
from pipeline.config.expansion import contenders, expand
from pipeline.config.loading import load_recipe
from pipeline.config.study import load_study

GRU = Recipe(name="gru", task="sentiment", data=Data(source="reviews.csv"), model=Recurrent(cell="gru"))
BERT = replace(GRU, name="bert", model=Scratch())


def study(**settings) -> Study:
    return Study(**{"name": "cells", "recipes": [GRU], "seeds": [0], **settings})


def test_every_combination_of_the_grid_is_run_with_every_seed():
    found = expand(study(grid={"model.hidden_size": [8, 16], "optim.learning_rate": [0.1, 1e-3]}, seeds=[3, 5]))
    assert [run.number for run in found] == list(range(8))
    values = [(r.recipe.model.hidden_size, r.recipe.optim.learning_rate, r.recipe.train.seed) for r in found]
    assert values == [(size, rate, seed) for size in (8, 16) for rate in (0.1, 1e-3) for seed in (3, 5)]
    assert str(found[3].folder) == "runs/cells/gru-hidden_size-8-learning_rate-0.001-seed-5"


def test_runs_of_a_contender_differ_only_in_their_seed_and_folder():
    one, two = expand(study(seeds=[0, 1]))
    assert replace(one.recipe, train=two.recipe.train) == two.recipe
    assert replace(one.recipe.train, seed=1, output_dir=two.recipe.train.output_dir) == two.recipe.train


def test_variants_are_added_to_the_grid_and_not_combined_with_it():
    names = [
        c.name
        for c in contenders(study(grid={"model.layers": [1, 2]}, variants={"crf-less": {"optim.schedule": "constant"}}))
    ]
    assert names == ["gru-layers-1", "gru-layers-2", "gru-crf-less"]
    assert [c.name for c in contenders(study(variants={"deep": {"model.layers": 3}}))] == ["gru", "gru-deep"]


def test_each_recipe_is_varied():
    names = [c.name for c in contenders(study(recipes=[GRU, BERT], grid={"model.hidden_size": [8, 16]}))]
    assert names == [f"{name}-hidden_size-{size}" for name in ("gru", "bert") for size in (8, 16)]


def test_a_recipe_may_be_the_path_of_its_file(tmp_path):
    (tmp_path / "gru.json").write_text(GRU.to_json())
    (found,) = expand(study(recipes=[tmp_path / "gru.json"]), tmp_path / "out")
    assert found.recipe == replace(GRU, train=found.recipe.train)
    assert found.folder == tmp_path / "out" / "gru-seed-0"


@pytest.mark.parametrize(
    ("name", "setting"), [("updates", "max_steps"), ("tokens", "max_tokens"), ("seconds", "max_seconds")]
)
def test_a_budget_takes_the_place_of_any_other_limit(name, setting):
    limited = replace(GRU, train=replace(GRU.train, max_steps=5))
    (found,) = expand(study(recipes=[limited], budget=Budget(**{name: 70})))
    limits = {limit: getattr(found.recipe.train, limit) for limit in ("max_steps", "max_tokens", "max_seconds")}
    assert limits == {**dict.fromkeys(limits), setting: 70}
    assert found.recipe.train.epochs > 10**6


def test_a_run_without_a_budget_is_as_long_as_its_recipe_says():
    (found,) = expand(study())
    assert (found.recipe.train.max_steps, found.recipe.train.epochs) == (None, GRU.train.epochs)


def test_values_that_no_folder_can_be_called_after_are_numbered():
    grid = {"data.source": ["a/b.csv", "a b.csv", "a?b.csv"], "model.vectors": [None, "x" * 60]}
    names = [c.name for c in contenders(study(grid=grid))]
    assert names[:2] == ["gru-source-1-vectors-None", "gru-source-1-vectors-2"]
    assert len(set(names)) == 6


def test_a_long_name_is_cut_to_what_a_folder_can_have():
    recipe = replace(GRU, model=Recurrent(dropout=0.1))
    names = [c.name for c in contenders(study(recipes=[recipe], variants={"x" * 300: {"model.dropout": 0.2}}))]
    assert len(names[1].encode()) <= 150


def test_settings_that_need_each_other_are_changed_together():
    changed = with_settings(BERT, {"model.heads": 3, "model.hidden_size": 12})
    assert (changed.model.heads, changed.model.hidden_size) == (3, 12)


def test_a_whole_section_may_be_replaced_and_then_changed():
    changed = with_settings(GRU, {"model.hidden_size": 4, "model": Recurrent(cell="rnn")})
    assert changed.model == Recurrent(cell="rnn", hidden_size=4)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"recipe": []}, "study.recipe: no such setting; did you mean recipes?"),
        ({"recipes": []}, "study.recipes: it is empty"),
        ({"recipes": [7]}, "study.recipes: 7 is not a recipe"),
        ({"recipes": ["nowhere.py"]}, "nowhere.py: no such file"),
        ({"seeds": []}, "study.seeds: it is empty"),
        ({"seeds": [0, 1, 0]}, "study.seeds: 0 is listed twice"),
        ({"seeds": [-1]}, "study.seeds: -1 is out of range"),
        ({"name": "a/b"}, "study.name: 'a/b' cannot name a folder"),
        ({"grid": {"model.layers": []}}, "study.grid.model.layers: it has no values"),
        ({"grid": {"model.layers": 2}}, "study.grid.model.layers: 2 is not a list of values"),
        ({"grid": {"model.cell": "gru"}}, "study.grid.model.cell: 'gru' is not a list of values"),
        ({"grid": {"model.layers": [1, 1]}}, "study.grid.model.layers: 1 is listed twice"),
        ({"grid": [1]}, "study.grid: [1] is not a mapping"),
        ({"variants": {"deep": 3}}, "study.variants.deep: must be a dict"),
        ({"grid": {"optim.learning_rat": [1e-3]}}, "did you mean optim.learning_rate?"),
        ({"grid": {"model.layers": [1, 0]}}, "gru-layers-0: model.layers: 0 is out of range"),
        ({"variants": {"x": {"model.cell": "gruu"}}}, "gru-x: model.cell: 'gruu' is not a valid choice"),
        ({"grid": {"train.seed": [0, 1]}}, "train.seed: list the seeds in study.seeds"),
        ({"variants": {"x": {"train.output_dir": "y"}}}, "train.output_dir: a study chooses the folders"),
        ({"grid": {"train.max_steps": [5]}, "budget": Budget(updates=3)}, "study.budget determines it"),
        ({"grid": {"train.epochs": [5]}, "budget": Budget(updates=3)}, "study.budget determines it"),
        ({"recipes": [GRU, GRU]}, "two of its contenders are called gru"),
        ({"variants": {"a b": {"model.layers": 2}, "a?b": {"model.layers": 3}}}, "contenders are called gru-a-b"),
        ({"space": ["model.layers=1,2"]}, "study.space: only a search draws from it"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_run_is_refused_with_what_is_wrong(settings, message):
    with pytest.raises(UserError) as refused:
        expand(study(**settings))
    assert message in str(refused.value)


def test_a_budget_limits_a_run_in_one_way():
    with pytest.raises(UserError, match=r"budget.seconds: budget.updates already limits each run"):
        Budget(updates=5, seconds=3.0)
    with pytest.raises(UserError, match=r"budget.update: no such setting; did you mean updates\?"):
        Budget(update=5)


def test_a_study_that_is_wrong_in_its_last_run_is_refused_without_torch(tmp_path):
    file = tmp_path / "wrong.py"
    file.write_text(
        "from pipeline import Data, Recipe, Recurrent, Study\n"
        "gru = Recipe(name='gru', task='ner', data=Data(source='x.csv'), model=Recurrent())\n"
        "study = Study(name='wrong', recipes=[gru], grid={'model.dropout': [0.1, 0.2, 2.0]})\n"
    )
    code = (
        f"import sys\nfrom pipeline.config.expansion import *\nfrom pipeline.config.study import load_study\n"
        f"try: expand(load_study({str(file)!r}))\n"
        f"except UserError as error: print(error, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "gru-dropout-2.0: model.dropout: 2.0 is out of range; it must be < 1.0 False" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "no study in it; assign study = Study(...)"),
        ("1 / 0", ":1: division by zero"),
        ("import sys; sys.exit()", "the study exits"),
    ],
)
def test_a_file_without_a_study_is_refused(tmp_path, text, message):
    (tmp_path / "without_a_study.py").write_text(text)
    with pytest.raises(UserError) as refused:
        load_study(str(tmp_path / "without_a_study.py"))
    assert message in str(refused.value)
    with pytest.raises(UserError, match="not a study; it must be"):
        load_study(str(tmp_path / "no.json"))


def test_the_recipe_of_a_run_survives_its_json(tmp_path):
    (found,) = expand(study(grid={"model.vectors": [None]}))
    (tmp_path / "run.json").write_text(found.recipe.to_json())
    assert load_recipe(str(tmp_path / "run.json")) == found.recipe
