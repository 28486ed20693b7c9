"""An export takes the place of its model in `finetune predict` and `finetune evaluate`."""

from __future__ import annotations

import io
import json
import math
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exports import SLOW, Folders, difference

from pipeline import inference, predictions
from pipeline.cli import evaluate, predict
from pipeline.config.data import Data
from pipeline.errors import UserError

CLOSE = 2e-6


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> Folders:
    return Folders(tmp_path_factory.getbasetemp() / "exports")  # shared with other modules of tests


def data_of(run: Path) -> Data:
    return Data(json.loads((run / "recipe.json").read_text())["data"]["source"])


CONTENTS: dict[str, list[Any]] = {
    "several": ["a warm film", "", "dull " * 40],
    "pairs": [("a warm film", "dull"), ("", " ")],
    "crf": ["Ada Bell went to Paris", ["Ada", "in", "Paris"], ["Paris"] * 30, ""],
    "next": ["a moving", "", "stale jokes and no"],
    "translation": ["a moving", " ", "stale jokes and no plot " * 9],
    "translation-apart": ["a moving", " ", "stale jokes and no plot " * 9],
    "translation-t5": ["a moving", " ", "stale jokes and no plot " * 9],
    "gpt2": ["a moving", "", "stale jokes and no"],
}


QUICK = ["several", "pairs", "crf", "next", "translation"]
OTHERS = [pytest.param(name, marks=SLOW) for name in ("translation-apart", "translation-t5", "gpt2")]


@pytest.mark.parametrize("name", [*QUICK, *OTHERS])
def test_it_is_scored_as_its_model_is(folders, name, tmp_path):
    run, exported = folders(name)
    scores, rows = [], []
    for folder in (run, exported):
        file = tmp_path / f"{folder.name}.parquet"
        scores.append(inference.evaluate(str(folder), data_of(run), "train", 4, rows=file))
        rows.append(predictions.read(file).table.to_pylist())
    if name == "crf":  # its graph computes no loss
        assert scores[1]["loss"] is None
        del scores[0]["loss"], scores[1]["loss"]
        assert all(math.isnan(row.pop("nll")) for row in rows[1])
        assert all(row.pop("nll") >= 0.0 for row in rows[0])
    assert difference(*scores) < CLOSE * 100
    assert difference(*rows) < CLOSE * 100


@pytest.mark.parametrize("name", [*QUICK, *OTHERS])
def test_it_answers_as_its_model_does(folders, name):
    options: dict[str, Any] = {"generate": 5} if name in ("next", "gpt2") else {}
    if name.startswith("translation"):
        options = {"beams": 3, "length_penalty": 0.5, "n_best": 2, "attention": True}
    found = [list(inference.predict(str(folder), CONTENTS[name], **options)) for folder in folders(name)]
    assert difference(*found) < CLOSE


def test_a_text_does_not_continue_the_one_before_it(folders):
    """The lines of a file are documents of their own; the graph's state is reset in the middle of a batch."""
    run, exported = folders("next")
    data = replace(data_of(run), separate=True)
    assert difference(*(inference.evaluate(str(folder), data, "train", 3) for folder in (run, exported))) < CLOSE * 100
    running = inference.evaluate(str(exported), data_of(run), "train", 3)
    assert running["loss"] != inference.evaluate(str(exported), data, "train", 3)["loss"]


def test_the_commands_take_its_folder(folders, capsys, monkeypatch):
    run, exported = folders("several")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a warm film\n")))
    predict.command([str(exported)])
    (answer,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert list(answer) == ["text", "labels", "scores"]
    evaluate.command([str(exported), "--data", data_of(run).source])
    assert json.loads(capsys.readouterr().out)["micro_f1"] >= 0.0


@pytest.fixture
def copied(folders, tmp_path) -> Path:
    return shutil.copytree(folders("several")[1], tmp_path / "export")


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        inference.load(str(folder))
    return str(refused.value)


def test_without_onnxruntime_it_is_refused_with_the_extra_to_install(copied, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    needs = "is an export, which needs onnxruntime; run: pip install 'finetune-pipeline[export]'"
    assert refusal(copied) == f"model: {copied} {needs}"


def test_broken_and_missing_files_are_named(copied):
    (copied / "model.onnx").write_bytes(b"x")
    assert refusal(copied).startswith(f"model: {copied}/model.onnx cannot be loaded: ")
    (copied / "model.onnx").unlink()
    assert refusal(copied) == f"model: there is no model.onnx in {copied}; export the model again"
    (copied / "export.json").write_text("[]")
    assert refusal(copied) == f"model: {copied}/export.json names no task; export the model again"
    (copied / "export.json").write_text("{")
    assert refusal(copied).startswith(f"model: {copied}/export.json cannot be read: Expecting property name")
