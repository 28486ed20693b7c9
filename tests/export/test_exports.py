"""`finetune export`: what its folder holds, and that no export which answers otherwise than its model is left there."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import exported_runs
import numpy as np
import onnx
import pytest
import torch
from exports import bare_environment, python
from huggingface_hub import RepoCard
from onnx import helper, numpy_helper
from transformers import PreTrainedModel

from pipeline import inference
from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.models import Pretrained
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.export import card, checks, latency, probes, runner_settings, validation_rows
from pipeline.export import folder as exporting
from pipeline.export.checks import Checked
from pipeline.export.exact import Exact
from pipeline.export.exported import Exported
from pipeline.export.folder import export
from pipeline.export.recurrent import build as recurrent
from pipeline.inference import MANY_TOKENS

TEXTS = ["a moving , funny film", "a dull mess", ""]
PROGRAMS = {"runner.py", "handler.py", "requirements.txt"}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return exported_runs.train(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def made(run, tmp_path_factory) -> Exported:
    """Its export in float32."""
    return export(str(run), tmp_path_factory.mktemp("exports") / "deeper/tiny")


@pytest.fixture
def quick(monkeypatch) -> None:
    """Skip the measurement of the latency."""
    sides = {side: {f"batch_{size}": {"p50": 1.0, "p95": 1.0} for size in (1, 32)} for side in ("before", "after")}
    monkeypatch.setattr(latency, "measure", lambda *_: sides)


def disturbed(proto: onnx.ModelProto, scale: float) -> onnx.ModelProto:
    """The graph with its largest weight changed by a factor."""
    weight = max(proto.graph.initializer, key=lambda weight: len(weight.raw_data))
    weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * np.float32(scale), weight.name))
    return proto


def disturb(monkeypatch, scale: float) -> None:
    build = recurrent.build
    monkeypatch.setattr(recurrent, "build", lambda *given: disturbed(build(*given), scale))


def refusal(run: Path, to: Path, **options) -> str:
    """The message with which an export is refused; nothing is left of it."""
    before = set(to.parent.iterdir())
    with pytest.raises(UserError) as error:
        export(str(run), to, **options)
    assert set(to.parent.iterdir()) == before
    return str(error.value)


def test_the_folder_holds_the_graph_and_all_that_it_needs(made):
    names = {file.name for file in made.folder.iterdir()}
    files = {"model.onnx", "config.json", "tokenizer.json", "tokenizer_config.json", "recipe.json", "README.md"}
    assert names == {*files, "export.json", *PROGRAMS}
    settings = json.loads((made.folder / "export.json").read_text())
    assert settings["labels"] == ["bad", "good"]
    assert settings["opset"] == 18
    assert settings["quantization"] is None
    assert settings["checked"]["labels"] == 0
    assert settings["checked"]["difference"] < 1e-5
    assert settings["checked"]["before"] == settings["checked"]["after"] > 0.5
    assert settings["latency"]["after"]["batch_1"]["p50"] <= settings["latency"]["after"]["batch_1"]["p95"]
    config = json.loads((made.folder / "config.json").read_text())
    assert not {"auto_map", "_name_or_path"} & config.keys()


def test_a_graph_does_not_say_where_it_was_made(made):
    graph = (made.folder / "model.onnx").read_bytes()
    assert b"/pipeline/" not in graph
    assert str(Path.home()).encode() not in graph


def test_the_card_has_score_size_and_latency_before_and_after_and_is_one_of_the_hub(made):
    card = (made.folder / "README.md").read_text()
    for row in ("accuracy", "size", "1 text, p50 / p95", "32 texts, p50 / p95"):
        assert f"\n| {row} | " in card
    assert "no label does" in card
    assert "(of the largest of a row, if that is beyond 1)" in card
    assert "`finetune push --with-onnx`" in card
    assert RepoCard(card).data.library_name == "onnx"


def test_predict_and_evaluate_read_the_folder_as_that_of_a_model(run, made, tmp_path):
    expected, found = (list(inference.predict(str(model), TEXTS)) for model in (run, made.folder))
    for one, other in zip(expected, found, strict=True):
        assert one["label"] == other["label"]
        assert one["score"] == pytest.approx(other["score"], abs=1e-6)
    data = exporting.read_run(str(run), "export").recipe.data
    before, after = (inference.evaluate(str(model), data) for model in (run, made.folder))
    assert before["accuracy"] == after["accuracy"]
    assert before["loss"] == pytest.approx(after["loss"], abs=1e-6)


def test_int8_is_smaller_and_its_score_and_answers_stay(run, made, tmp_path):
    small = export(str(run), tmp_path / "small", "int8")
    assert small.quantization == "int8"
    assert small.bytes["after"] < made.bytes["after"]
    assert small.checked.before - small.checked.after <= 0.005
    expected, found = (list(inference.predict(str(model), TEXTS[:2])) for model in (run, small.folder))
    assert [answer["label"] for answer in expected] == [answer["label"] for answer in found]
    operators = {node.op_type for node in onnx.load(small.folder / "model.onnx").graph.node}
    assert "DynamicQuantizeLSTM" in operators
    assert {file.name for file in tmp_path.joinpath("small").iterdir() if "onnx" in file.name} == {"model.onnx"}
    assert "weights in int8" in (small.folder / "README.md").read_text()


@pytest.mark.usefixtures("quick")
def test_an_export_that_returns_other_logits_is_refused_with_both_scores(run, tmp_path, monkeypatch):
    disturb(monkeypatch, 1.001)
    message = refusal(run, tmp_path / "onnx")
    assert message.startswith("export: its logits differ by up to 0.00")
    assert message.endswith("on 10 rows of validation); report it, or add --allow-loss")


def scaled(proto: onnx.ModelProto, scale: float) -> onnx.ModelProto:
    """The graph with its logits multiplied by `scale`."""
    (last,) = (node for node in proto.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "logits before"
    proto.graph.initializer.append(numpy_helper.from_array(np.array(scale, dtype=np.float32), "scale of logits"))
    proto.graph.node.append(helper.make_node("Mul", ["logits before", "scale of logits"], ["logits"]))
    return proto


@pytest.mark.usefixtures("quick")
def test_logits_that_are_wrong_by_3e_5_are_refused_and_a_push_names_only_what_it_can_do(run, tmp_path, monkeypatch):
    build = recurrent.build
    monkeypatch.setattr(recurrent, "build", lambda *given: scaled(build(*given), 1 + 3e-5))
    message = refusal(run, tmp_path / "onnx", remedy="push without --with-onnx")
    assert message.startswith("export: its logits differ by up to 3")
    assert message.endswith("on 10 rows of validation); push without --with-onnx")


@pytest.mark.usefixtures("quick")
def test_the_rounding_of_the_model_is_not_an_error_of_its_graph(run, tmp_path, monkeypatch):
    load = inference.load

    def rounding(name, **options) -> inference.Loaded:
        """The model with errors of its own in float32, which no other computation has."""
        loaded = load(name, **options)
        if isinstance(loaded.model, PreTrainedModel):
            wrong = {torch.float32: 1 + 2e-5, torch.float64: 1.0}
            loaded.model.classifier.register_forward_hook(lambda _, __, logits: logits * wrong[logits.dtype])
        return loaded

    monkeypatch.setattr(inference, "load", rounding)
    assert export(str(run), tmp_path / "onnx").checked.difference < 5e-6


def test_a_model_without_a_form_in_float64_is_its_own_measure(run):
    loaded = inference.load(str(run))
    model, ids = loaded.model, torch.tensor([[3, 4, 5]])
    exact = Exact(model)
    found = exact.logits({"input_ids": ids})
    assert exact.is_exact
    assert found.dtype == np.float64
    model.classifier.register_forward_hook(lambda _, __, logits: logits @ torch.eye(2))  # fails for float64
    exact = Exact(model)
    assert exact.logits({"input_ids": ids}) == pytest.approx(found, abs=1e-5)
    assert not exact.is_exact


@pytest.mark.parametrize(
    ("number", "text"), [(1.04e-6, "2e-06"), (1e-6, "1e-06"), (9.1e-6, "1e-05"), (0.0, "0"), (3.2e-5, "4e-05")]
)
def test_the_card_does_not_round_a_difference_down(number, text):
    assert card._rounded_up(number) == text


def test_an_export_does_not_say_where_its_run_read_and_wrote(run, made):
    assert str(run.parent) in (run / "recipe.json").read_text()
    for file in made.folder.glob("*.json"):
        assert str(run.parent) not in file.read_text()


@pytest.mark.slow  # reads the reviews of a sample with a pretrained model, and torch records its graph
def test_a_pretrained_bert_is_exported_in_float32(tmp_path):
    """torch and ONNX Runtime each round its logits by almost 1e-5, to either side."""
    data = Data("sample:rotten_tomatoes", max_length=128)
    training = Train(epochs=1, max_steps=4, batch_size=8, output_dir=str(tmp_path / "run"))
    runs.train(Recipe("bert", "sentiment", data, Pretrained("sample:minilm"), Optim(learning_rate=5e-5), training))
    made = export(str(tmp_path / "run"), tmp_path / "onnx")
    assert made.checked.labels == 0
    assert made.checked.difference <= 1e-5


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("quantization", ["int8", None])
def test_a_runner_that_names_labels_in_another_order_is_refused_in_int8_as_well(
    run, tmp_path, monkeypatch, quantization
):
    own = runner_settings.settings
    monkeypatch.setattr(runner_settings, "settings", lambda loaded: {**own(loaded), "labels": loaded.labels[::-1]})
    message = refusal(run, tmp_path / "onnx", quantization=quantization, allow_loss=True)
    assert message.startswith("model: it cannot be exported: runner.py answers otherwise than the model: [0].")


@pytest.mark.parametrize("exact", [True, False])
def test_a_score_or_a_difference_that_is_not_finite_is_refused(exact):
    for after, difference in ((math.nan, 0.0), (math.inf, 0.0), (1.0, math.inf), (1.0, math.nan)):
        problem = Checked("perplexity", 10, 1.0, after, difference, None).problem(exact)
        assert problem is not None
        assert "finite" in problem


@pytest.mark.parametrize("exact", [True, False])
def test_a_model_without_a_finite_score_is_exported_in_float32_only(exact):
    problem = Checked("spearman", 10, math.nan, math.nan, 0.0, None).problem(exact)
    assert (problem is None) == exact


@pytest.mark.usefixtures("quick")
def test_a_loss_of_the_score_is_refused_with_both_scores_unless_it_is_allowed(run, tmp_path, monkeypatch):
    disturb(monkeypatch, 0.0)
    message = refusal(run, tmp_path / "onnx", quantization="int8")
    assert "it loses more than half a point (accuracy 1.0000 before and 0.5000 after, on 10 rows" in message
    assert message.endswith("export without --quantize, or add --allow-loss")
    made = export(str(run), tmp_path / "onnx", "int8", allow_loss=True)
    assert made.warning == "it loses more than half a point"
    assert "This export was made although it loses more than half a point." in (made.folder / "README.md").read_text()


@pytest.mark.usefixtures("quick")
def test_a_graph_that_fits_one_length_only_is_refused(run, tmp_path, monkeypatch):
    build = recurrent.build

    def frozen(*given) -> onnx.ModelProto:
        proto = build(*given)
        for value in proto.graph.input:
            value.type.tensor_type.shape.dim[1].dim_value = 5
        return proto

    monkeypatch.setattr(recurrent, "build", frozen)
    message = refusal(run, tmp_path / "onnx")
    assert "model: it cannot be exported: ONNX Runtime fails on 1 rows of" in message


@pytest.mark.parametrize(("limit", "size"), [(40, 40), (1500, 1500), (MANY_TOKENS, None)])
def test_one_row_as_long_as_the_model_can_read_is_tried_and_only_shorter_ones_together(run, tmp_path, limit, size):
    loaded = inference.load(str(run))
    loaded.tokenizer.model_max_length = limit
    columns = checks._probe_columns(validation_rows.read(run), loaded)
    encoded = checks._encoded(columns, loaded, tmp_path / "rows")
    shapes = [tuple(batch["input_ids"].shape) for batch in probes._batches(loaded, encoded)]
    time = max(time for _, time in shapes)
    assert time == size or (size is None and time >= probes.LONGEST)
    assert all(time <= probes.LONGEST or rows == 1 for rows, time in shapes)
    assert len([shape for shape in shapes if shape[0] > 2]) == 2


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, SystemExit])
def test_a_stopped_export_leaves_nothing(run, tmp_path, monkeypatch, stop):
    def stopped(*_) -> None:
        raise stop

    monkeypatch.setattr(latency, "measure", stopped)
    with pytest.raises(stop):
        export(str(run), tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_has_not_kept_its_rows_names_the_command_that_writes_them(run, tmp_path):
    older = Path(shutil.copytree(run, tmp_path / "older"))
    shutil.rmtree(older / "predictions")
    message = refusal(older, tmp_path / "onnx")
    assert f"finetune evaluate {older} --data SOURCE --split validation --rows {older}/predictions/" in message


def test_the_handler_of_an_export_answers_requests_without_torch(made, tmp_path):
    program = """
import json, sys
from handler import EndpointHandler
handler = EndpointHandler(sys.argv[1])
given = [{"inputs": "a dull mess"}, {"inputs": ["a dull mess", {"text": "a joy"}], "parameters": {}}]
print(json.dumps([handler(request) for request in given]))
try:
    handler({"inputs": 5})
except ValueError as error:
    print(error)
"""
    environment = bare_environment(tmp_path / "packages")
    shutil.copyfile(made.folder / "handler.py", environment / "handler.py")
    done = python(environment, "-c", program, made.folder)
    assert done.returncode == 0, done.stderr.decode()
    answers, problem = done.stdout.decode().splitlines()
    expected = list(inference.predict(str(made.folder), ["a dull mess", "a joy"]))
    (one,), both = json.loads(answers)
    assert [answer["label"] for answer in both] == [answer["label"] for answer in expected]
    assert one == both[0]
    assert problem.startswith("inputs: expected a text")


@pytest.mark.slow  # starts the command
def test_ctrl_c_ends_the_command_in_one_line_and_leaves_nothing(run, tmp_path):
    program = """
import os, signal
from pipeline.cli.main import entry
from pipeline.export import latency
latency.measure = lambda *_: os.kill(os.getpid(), signal.SIGINT)
entry()
"""
    command = [sys.executable, "-c", program, "export", str(run), "--to", str(tmp_path / "onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
