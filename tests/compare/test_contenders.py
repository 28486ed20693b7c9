"""Runs that differ only in their seed are one contender; what each contender is called."""

from __future__ import annotations

import json

import pytest
from run_folders import KINDS, write_run
from verdicts import a_verdict

from pipeline import run_folder
from pipeline.compare.contenders import group
from pipeline.compare.runs import ComparedRun, distinct_names, read_runs
from pipeline.errors import UserError


def names(contenders) -> dict[str, list[str]]:
    return {contender.name: [run.name for run in contender.runs] for contender in contenders}


def test_runs_that_differ_only_in_their_seed_are_one_contender_in_the_order_of_their_seeds(tmp_path):
    small = [write_run(tmp_path / f"small-{seed}", seed=seed) for seed in (1, 0)]
    large = write_run(tmp_path / "large", hidden_size=16)
    found = group(read_runs([*small, large]))
    assert names(found) == {"model.hidden_size 8": ["small-0", "small-1"], "model.hidden_size 16": ["large"]}
    assert [contender.seeds for contender in found] == [2, 1]


def test_several_runs_are_called_by_the_name_of_their_recipe_if_it_tells_them_apart(tmp_path):
    runs = [write_run(tmp_path / f"a{seed}", seed=seed, recipe="lstm") for seed in (0, 1)]
    runs.append(write_run(tmp_path / "b", recipe="gru"))
    assert names(group(read_runs(runs))) == {"lstm": ["a0", "a1"], "gru": ["b"]}


def test_recipes_of_one_name_are_told_apart_by_their_settings(tmp_path):
    runs = [write_run(tmp_path / f"a{seed}", seed=seed, recipe="lstm") for seed in (0, 1)]
    runs += [write_run(tmp_path / "b", recipe="lstm", hidden_size=16), write_run(tmp_path / "c", recipe="gru")]
    assert list(names(group(read_runs(runs)))) == ["lstm  model.hidden_size 8", "lstm  model.hidden_size 16", "gru"]


def test_single_runs_keep_the_names_of_their_folders(tmp_path):
    runs = [write_run(tmp_path / "a"), write_run(tmp_path / "b", hidden_size=16)]
    assert names(group(read_runs(runs))) == {"a": ["a"], "b": ["b"]}


def test_each_run_stands_alone_if_asked(tmp_path):
    runs = [write_run(tmp_path / f"a{seed}", seed=seed) for seed in (0, 1)]
    assert names(group(read_runs(runs), over_seeds=False)) == {"a0": ["a0"], "a1": ["a1"]}


def test_runs_with_the_same_settings_and_seed_stand_alone(tmp_path):
    runs = [write_run(tmp_path / name) for name in "ab"]
    assert names(group(read_runs(runs))) == {"a": ["a"], "b": ["b"]}


def test_a_run_whose_recipe_cannot_be_read_stands_alone(tmp_path):
    runs = [write_run(tmp_path / name, seed=number) for number, name in enumerate("abc")]
    (runs[0] / "recipe.json").write_text("{}")
    assert sorted(map(len, names(group(read_runs(runs))).values())) == [1, 2]


def test_folders_of_one_name_are_called_by_as_many_parts_as_tell_them_apart(tmp_path):
    runs = [write_run(tmp_path / path) for path in ("x/run", "y/run", "z")]
    assert [run.name for run in read_runs(runs)] == ["x/run", "y/run", "z"]
    assert distinct_names([tmp_path / "a/b", tmp_path / "b"]) == ["a/b", f"{tmp_path.name}/b"]


def test_a_run_that_is_named_twice_is_refused(tmp_path):
    run = write_run(tmp_path / "a")
    with pytest.raises(UserError, match="is named twice; name each run once"):
        read_runs([run, tmp_path / "b" / ".." / "a"])


def test_the_history_is_read_line_by_line_and_a_damaged_one_is_refused(tmp_path):
    (run,) = read_runs([write_run(tmp_path / "a")])
    assert {record["kind"] for record in run.history} == {"train", "validation"}
    (run.folder / "history.jsonl").write_text('{"kind": "train"}\n{"kin')
    assert run_folder.history(run.folder) == [{"kind": "train"}]  # the last one is being written
    (run.folder / "history.jsonl").write_text('{"kin\n{"kind": "train"}\n')
    with pytest.raises(UserError, match="not lines of JSON"):
        _ = ComparedRun(run.folder, run.metrics, "a").history


@pytest.mark.parametrize("kind", KINDS)
def test_a_verdict_is_json(tmp_path, kind):
    runs = [write_run(tmp_path / f"{size}", kind, hidden_size=size) for size in (8, 16)]
    found = json.loads(json.dumps(a_verdict(runs).to_json(), allow_nan=False))
    assert {row["name"] for row in found["contenders"]} == {"8", "16"}
