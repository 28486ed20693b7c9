"""Every kind of model that a recipe can make is exported, for every task, and answers as before."""

from __future__ import annotations

import onnx
import pytest
import test_matrix
from test_matrix import CASES, PAIRS, TEXTS, a_recipe

from pipeline import inference, run
from pipeline.export import latency
from pipeline.export.comparison import first_difference
from pipeline.export.folder import export

workplace = test_matrix.workplace
# In every run of the tests: a graph of each way to build one, characters with a CRF, and a carried state. torch records
# the graph of a transformer in five to ten seconds.
QUICK = {("ner-crf", "lstm"), ("next_word", "gru"), ("sentiment", "scratch-bert")}
MODELS = [
    pytest.param(*case.values, marks=() if case.values in QUICK else pytest.mark.slow, id="-".join(case.values))
    for case in CASES
]
# What a graph of each kind is built from; its name stands at the end of that of the model.
OPERATORS = {"rnn": "RNN", "lstm": "LSTM", "gru": "GRU", "mingru": "Scan", "minlstm": "Scan"}


@pytest.mark.parametrize(("task", "kind"), MODELS)
def test_a_trained_model_is_exported_and_answers_as_before(task, kind, workplace, tmp_path, monkeypatch):
    sides = {side: {f"batch_{size}": {"p50": 1.0, "p95": 1.0} for size in (1, 32)} for side in ("before", "after")}
    monkeypatch.setattr(latency, "measure", lambda *_: sides)
    run.train(a_recipe(task, kind, workplace, tmp_path / "run"))
    made = export(str(tmp_path / "run"), tmp_path / "onnx")
    assert made.checked.difference <= 1e-5
    assert made.checked.before == pytest.approx(made.checked.after, rel=1e-6, abs=1e-6, nan_ok=True)
    texts = PAIRS if task.endswith("pairs") else TEXTS
    before, after = (list(inference.predict(str(tmp_path / name), texts)) for name in ("run", "onnx"))
    assert first_difference(before, after) is None
    graph = onnx.load(made.folder / ("decoder.onnx" if task == "translation" else "model.onnx")).graph
    operator = OPERATORS.get(kind.removeprefix("bi").split("-")[0])
    assert operator is None or operator in {node.op_type for node in graph.node}
    assert (made.folder / "handler.py").is_file() == (operator is not None)
    inputs = {value.name for value in graph.input}
    assert "input_ids" in inputs
    if task == "translation":
        assert made.checked.texts == 0
        past = "past.0.hidden" if operator else "past_key_values.0.decoder.key"
        assert past in inputs
    elif task == "next_word":
        past = "past.0.hidden" if operator else "past_key_values.0.key"
        assert {past, past.replace("past", "present").replace("present_key_values", "present")} <= inputs | {
            value.name for value in graph.output
        }
