"""The table of `finetune compare`: what it prints, and what a new column takes."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_folders import write_run

from pipeline.compare import table
from pipeline.compare.judging import judge
from pipeline.compare.runs import TRAIN_METRICS
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError

TRAIN = {"parameters": 1234567, "seconds": 12.4, "tokens_per_second": 4567.8, "peak_memory_bytes": 300 * 2**20}


def a_run(folder: Path, rate: float = 0.01, seed: int = 0, train: dict[str, Any] | None = None, **scores: Any) -> Path:
    """The files of a finished run that `finetune compare` reads."""
    folder.mkdir()
    recipe = Recipe("x", "sentiment", Data("a.csv"), Recurrent(), Optim(learning_rate=rate), Train(seed=seed))
    (folder / "recipe.json").write_text(recipe.to_json())
    metrics = {"test": {"accuracy": 0.9, "loss": 0.5, **scores}, "train": {**TRAIN, **(train or {})}}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def cells(printed: str) -> list[list[str]]:
    """The cells of each row; the heading has bars of another kind."""
    rows = [line for line in printed.splitlines() if "│" in line]
    return [[cell.strip() for cell in row.strip("│").split("│")] for row in rows]


def headers(printed: str) -> list[str]:
    (row,) = (line for line in printed.splitlines() if line.startswith("┃"))
    return [cell.strip() for cell in row.strip("┃").split("┃")]


def test_each_run_is_a_row_with_its_scores_and_costs(tmp_path, capsys):
    table.print_table([a_run(tmp_path / "a"), a_run(tmp_path / "b", accuracy=0.25)])
    printed = capsys.readouterr().out
    costs = ["1,234,567", "12", "4,568", "300"]
    first = ["run", "test accuracy", "test loss", "parameters", "seconds", "tokens/s", "memory MiB"]
    assert headers(printed)[: len(first)] == first
    rows = [row[: len(first)] for row in cells(printed)]
    assert rows == [["a", "0.9000", "0.5000", *costs], ["b", "0.2500", "0.5000", *costs]]


def test_seeds_are_averaged_in_one_row_for_each_setting(tmp_path, capsys):
    runs = [a_run(tmp_path / "a", seed=0, accuracy=0.8), a_run(tmp_path / "b", seed=1, accuracy=0.9)]
    runs.append(a_run(tmp_path / "c", rate=0.1, train={"seconds": 20.0}))
    table.print_verdict(judge(runs), runs)
    first, second = cells(capsys.readouterr().out)
    assert first[:4] == ["optim.learning_rate 0.01", "2", "0.8500 (0.0707)", "0.5000 (0.0000)"]
    assert second[:4] == ["optim.learning_rate 0.1", "1", "0.9000", "0.5000"]
    assert (first[5], second[5]) == ("12", "20")


def test_a_table_has_an_interval_below_each_score_in_the_order_of_the_arguments(tmp_path, capsys):
    runs = [write_run(tmp_path / "worse", skill=0.6), write_run(tmp_path / "better", hidden_size=16)]
    verdict = judge(runs)
    table.print_verdict(verdict, runs)
    worse, below, better, _ = cells(capsys.readouterr().out)[:4]
    assert (worse[0], better[0], below[0]) == ("worse", "better", "")
    low, high = (getattr(verdict.estimates["worse"]["accuracy"], side) for side in ("low", "high"))
    assert below[1] == f"{low:.3f}–{high:.3f}"
    assert verdict.best.name == "better"


def test_a_table_too_wide_for_the_terminal_becomes_two_without_cutting_names_or_intervals(
    tmp_path, capsys, monkeypatch
):
    runs = [write_run(tmp_path / "sentiment-bilstm"), write_run(tmp_path / "sentiment-bert", hidden_size=16)]
    verdict = judge(runs)
    narrow = functools.partial(Console, force_terminal=True, color_system=None, width=80)
    monkeypatch.setattr(table, "Console", narrow)
    table.print_verdict(verdict, runs)
    printed = capsys.readouterr().out
    assert max(len(line) for line in printed.splitlines() if line[:1] in "┃│") <= 80
    assert printed.count("sentiment-bilstm │") == printed.count("sentiment-bert   │") == 2
    for estimate in (
        verdict.estimates[name][score]
        for name in ("sentiment-bert", "sentiment-bilstm")
        for score in ("accuracy", "loss")
    ):
        assert table.interval_text(estimate) in printed


def test_a_column_is_an_entry_in_a_table_and_empty_for_runs_that_lack_it(tmp_path, capsys, monkeypatch):
    epochs = table.Column("epochs", lambda run: run.metrics["train"].get("epochs"), "{:.1f}")
    rate = table.Column("peak lr", lambda run: run.settings["optim.learning_rate"], "{:g}")
    monkeypatch.setattr(table, "COLUMNS", (*table.COLUMNS, epochs, rate))
    table.print_table([a_run(tmp_path / "a", train={"epochs": 2.5}), a_run(tmp_path / "b", rate=0.1)])
    printed = capsys.readouterr().out
    assert headers(printed)[-2:] == ["epochs", "peak lr"]
    assert [row[-2:] for row in cells(printed)] == [["2.5", "0.01"], ["", "0.1"]]


def test_runs_are_compared_on_validation_if_one_has_no_test_split(tmp_path, capsys):
    for name, splits in (("a", ("validation", "test")), ("b", ("validation",))):
        file = a_run(tmp_path / name) / "metrics.json"
        metrics = {"train": TRAIN, **{split: {"loss": len(split) / 10} for split in splits}}
        file.write_text(json.dumps(metrics))
    table.print_table([tmp_path / "a", tmp_path / "b"])
    assert "validation loss" in headers(capsys.readouterr().out)


@pytest.mark.parametrize("missing", TRAIN_METRICS)
def test_metrics_without_a_cost_are_refused(tmp_path, missing):
    run = a_run(tmp_path / "a")
    train = {name: value for name, value in TRAIN.items() if name != missing}
    (run / "metrics.json").write_text(json.dumps({"test": {"loss": 1.0}, "train": train}))
    with pytest.raises(UserError, match="not the metrics of a run, or some of them are missing"):
        table.print_table([run])
