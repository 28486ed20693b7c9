"""`finetune export` of a model that translates: what is in the folder, what was checked, and what is refused."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from exports import Folders
from exports import export as exported_by_hand
from onnx import numpy_helper

from pipeline import inference
from pipeline.errors import UserError
from pipeline.export import checks, latency, pushing, runner, validation_rows
from pipeline.export.folder import export
from pipeline.export.recurrent import build as recurrent
from pipeline.publish import onnx_folder, verify


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return Folders(tmp_path_factory.getbasetemp() / "exports")("translation")[0]  # shared with other modules of tests


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Skip the measurement of the latency."""
    sides = {side: {f"batch_{size}": {"p50": 1.0, "p95": 1.0} for size in (1, 32)} for side in ("before", "after")}
    monkeypatch.setattr(latency, "measure", lambda *_: sides)


def test_the_folder_holds_two_graphs_their_program_and_the_settings_of_the_search(run, tmp_path):
    made = export(str(run), tmp_path / "onnx")
    names = {file.name for file in made.folder.iterdir()}
    assert {"encoder.onnx", "decoder.onnx", "translator.py", "generation_config.json", "handler.py"} <= names
    assert not {"model.onnx", "word_cutting.py"} & names
    settings = json.loads((made.folder / "export.json").read_text())
    assert settings["prefix"] == "to Hebrew: "
    assert settings["generation"]["num_beams"] == 4
    assert settings["checked"]["texts"] == 0
    assert settings["checked"]["difference"] <= 1e-5
    card = (made.folder / "README.md").read_text()
    assert "pipeline_tag: translation" in card
    assert "and no translation does" in card
    assert "\n| chrf | " in card
    assert "\n| bleu | " in card


def test_both_graphs_have_weights_of_one_byte_and_the_losses_of_both_scores_are_stated(run, tmp_path):
    made = export(str(run), tmp_path / "onnx", "int8", allow_loss=True)
    for name in ("encoder.onnx", "decoder.onnx"):
        graph = onnx.load(made.folder / name).graph
        assert "MatMulInteger" in {node.op_type for node in graph.node}
        assert onnx.TensorProto.INT8 in {weight.data_type for weight in graph.initializer}
    assert set(made.checked.others) == {"bleu"}
    assert {file.name for file in made.folder.glob("*.onnx*")} == {"encoder.onnx", "decoder.onnx"}


def test_a_decoder_that_computes_something_else_is_refused_with_both_scores(run, tmp_path, monkeypatch):
    build = recurrent.build_encoder_decoder

    def disturbed(*given) -> tuple[onnx.ModelProto, onnx.ModelProto]:
        encoder, decoder = build(*given)
        weight = next(own for own in decoder.graph.initializer if own.name == "shared.weight")
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight) * 1.001, weight.name))
        return encoder, decoder

    monkeypatch.setattr(recurrent, "build_encoder_decoder", disturbed)
    with pytest.raises(UserError, match=r"export: its logits differ by up to .* after, bleu .* before") as refused:
        export(str(run), tmp_path / "onnx")
    assert "report it, or add --allow-loss" in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def another(answer: Any, texts: list[str], greedily: bool) -> Any:
    """A runner that writes something else for `texts`, with one beam or with several."""

    def answers(given: list[str], **options: Any) -> list[dict[str, Any]]:
        other = {"translation": "?"} if (options.get("beams") == 1) == greedily else {}
        return [{**own, **(other if own["text"] in texts else {})} for own in answer(given, **options)]

    return answers


@pytest.mark.parametrize(("count", "greedily", "refused"), [(1, False, False), (2, False, True), (1, True, True)])
def test_less_than_half_of_what_beams_find_may_be_others(run, tmp_path, monkeypatch, count, greedily, refused):
    loaded, rows = inference.load(str(run)), validation_rows.read(run)
    folder = exported_by_hand(loaded, tmp_path / "onnx")
    answer = runner.load(folder)
    assert len(rows) == 4
    monkeypatch.setattr(runner, "load", lambda _: another(answer, rows.contents[:count], greedily))
    message = r"otherwise than the model: \[0\]\.translation is '\?' instead of"
    with pytest.raises(UserError, match=message) if refused else contextlib.nullcontext():
        checks.check_runner(folder, loaded, rows, exact=True)


def test_it_is_pushed_with_its_program_and_answers_in_a_clean_process(run, tmp_path):
    with pushing.exported(str(run)) as made:
        onnx_folder.stage(made, tmp_path)
        verify.verify_export_in_clean_process(tmp_path, made)
        names = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()}
    assert {"onnx/translator.py", "onnx/runner.py", "onnx/encoder.onnx", "handler.py"} <= names
