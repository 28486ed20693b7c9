"""`finetune export` and `finetune push --with-onnx`: what they print, and what they refuse in one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import exported_runs
import pytest

from pipeline.cli import export, push
from pipeline.errors import UserError
from pipeline.export import latency


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return exported_runs.train(tmp_path_factory.mktemp("tiny"), cell="rnn")


def refusal(*arguments: object) -> str:
    with pytest.raises(UserError) as error:
        export.command([str(argument) for argument in arguments])
    return str(error.value)


def test_score_size_and_latency_before_and_after_are_printed(run, tmp_path, monkeypatch, capsys):
    times = {"p50": 1.25, "p95": 20.0}
    both = {side: {"batch_1": times, "batch_32": times} for side in ("before", "after")}
    monkeypatch.setattr(latency, "measure", lambda *_: both)
    export.command([str(run), "--to", str(tmp_path / "onnx"), "--opset", "20"])
    head, *rows, last = capsys.readouterr().out.splitlines()
    assert head.split() == ["before", "after"]
    assert [row[:4] for row in rows] == ["accu", "size", "1 te", "32 t"]
    assert rows[-1].endswith("1.25 / 20 ms  1.25 / 20 ms")
    assert last == f"exported to {tmp_path}/onnx; to use it: python {tmp_path}/onnx/runner.py < texts.txt"


def test_mistakes_are_refused_in_one_line(run, tmp_path):
    new = tmp_path / "new"
    (tmp_path / "file").touch()
    assert refusal(run, "--to", tmp_path) == f"to: {tmp_path} exists; name a new folder"
    assert refusal(run, "--to", tmp_path / "file/onnx") == f"to: {tmp_path}/file is a file; name a folder"
    assert refusal(run, "--to", new, "--opset", "17") == "opset: 17 is out of range; it must be from 18 to 23"
    assert refusal(tmp_path / "none", "--to", new).startswith(f"model: {tmp_path}/none does not exist; give the folder")
    assert refusal(run / "predictions", "--to", new).startswith(f"model: {run}/predictions is not the folder of a run")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    (unfinished / "recipe.json").write_bytes((run / "recipe.json").read_bytes())
    message = f"model: the run in {unfinished} has not finished; resume it with the same command, then export"
    assert refusal(unfinished, "--to", new) == message
    assert not new.exists()


def test_a_missing_package_names_the_extra(run, tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else find(name))
    remedy = "this requires the package onnxscript; run: pip install 'finetune-pipeline[export]'"
    assert refusal(run, "--to", tmp_path / "new") == f"export: {remedy}"
    with pytest.raises(UserError, match="with-onnx: this requires the package onnxscript"):
        push.command([str(run), "alice/tiny", "--with-onnx"])


def test_a_push_quantizes_an_export_only(run):
    with pytest.raises(UserError, match="quantize: only an export is quantized; add --with-onnx"):
        push.command([str(run), "alice/tiny", "--quantize", "int8"])
