"""The folder of an export: made beside its place, tried, measured, and only then renamed into place."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import onnx
from transformers import PreTrainedModel

from pipeline import inference, run_folder, storage
from pipeline.config.export import DEFAULT_OPSET, Quantization
from pipeline.errors import UserError, writing
from pipeline.export import (
    card,
    checks,
    latency,
    runner,
    runner_settings,
    transformer,
    transformer_seq2seq,
    validation_rows,
)
from pipeline.export.exported import Exported
from pipeline.export.quantize import quantize as to_int8
from pipeline.export.recurrent import build as recurrent
from pipeline.export.validation_rows import ValidationRows
from pipeline.inference import Loaded
from pipeline.models.checkpoints import SEQ2SEQ
from pipeline.models.exported import GRAPH, SETTINGS
from pipeline.models.exported_seq2seq import DECODER, ENCODER
from pipeline.models.recurrent import RecurrentPreTrainedModel
from pipeline.publish.redact import redacted_recipe
from pipeline.publish.staging import FinishedRun, read_run
from pipeline.training import hardware

RUNNER, HANDLER, CARD = "runner.py", "handler.py", "README.md"
# What else runner.py loads, by task.
BESIDE_RUNNER = {"ner": "word_cutting.py", "translation": "translator.py"}
# What Inference Endpoints install for handler.py.
REQUIREMENTS = "requirements.txt"
# A protobuf, and so a graph with its weights in one file, has less than 2 GiB.
LARGEST = 2**31 - 2**20


def export(
    name: str,
    to: Path,
    quantization: Quantization | None = None,
    opset: int = DEFAULT_OPSET,
    allow_loss: bool = False,
    remedy: str | None = None,
) -> Exported:
    """Export the model of the finished run in the folder `name` to the new folder `to`.

    Args:
        quantization: int8: weights of one byte; None: float32.
        opset: the version of the ONNX operators.
        allow_loss: whether an export that answers otherwise than the model is made all the same.
        remedy: what to do about one that does, for the message; None: what `finetune export` can do.

    Raises:
        UserError: the run has not finished, its model cannot be exported, or the export answers otherwise. Nothing is
            left then.
    """
    run = read_run(name, "export")
    rows = validation_rows.read(run.folder)
    names = ("trust_remote_code", "allow_pickle")
    options: Any = {option: getattr(run.recipe.model, option, False) for option in names}
    loaded = inference.load(str(run.model), device="cpu", **options)
    settings = runner_settings.settings(loaded)
    found: list[Exported] = []
    otherwise = "export without --quantize" if quantization else "report it"
    refuse = None if allow_loss else (remedy or f"{otherwise}, or add --allow-loss")

    def fill(folder: Path) -> None:
        _write_graphs(loaded, folder, quantization, opset)
        _write_beside(folder, run, loaded)
        (folder / SETTINGS).write_text(_json(settings))
        made = _tried(folder, loaded, rows, quantization, opset, refuse)
        (folder / SETTINGS).write_text(_json({**settings, **made.to_json()}), encoding="utf-8")
        (folder / CARD).write_text(card.card(run, made, (folder / HANDLER).is_file()), encoding="utf-8")
        found.append(made)

    with writing("to", to):
        storage.publish_folder(to, fill)
    return replace(found[0], folder=to)


def _tried(
    folder: Path,
    loaded: Loaded,
    rows: ValidationRows,
    quantization: Quantization | None,
    opset: int,
    remedy: str | None,
) -> Exported:
    """The export in `folder`, if it may be used.

    Args:
        remedy: what to do about one that answers otherwise than the model; None: it may.
    """
    exact = quantization is None
    checked = checks.check(folder, loaded, rows, exact)
    problem = checked.problem(exact)
    if problem and remedy:
        raise UserError(f"export: {problem} ({checked.scores}); {remedy}")
    checks.check_runner(folder, loaded, rows, exact=exact and problem is None)
    times = latency.measure(
        lambda contents: list(inference.answers(loaded, contents)),  # as `finetune predict` does
        runner.load(folder),
        rows.contents,
    )
    sizes = {
        "before": sum(weight.numel() * weight.element_size() for weight in loaded.model.parameters()),
        "after": sum(file.stat().st_size for file in folder.glob("*.onnx*")),
    }
    processor = str(hardware.environment()["processor"])
    return Exported(folder, quantization, opset, checked, times, sizes, processor, problem)


def _write_graphs(loaded: Loaded, folder: Path, quantization: Quantization | None, opset: int) -> None:
    for name, proto in _graphs(loaded, opset).items():
        if quantization is None:
            _save(proto, folder / name)
            continue
        whole = folder / "float32.onnx"
        _save(proto, whole)
        to_int8(whole, folder / name)
        for file in folder.glob(f"{whole.name}*"):
            file.unlink()


def _graphs(loaded: Loaded, opset: int) -> dict[str, onnx.ModelProto]:
    """Name of the file -> graph."""
    model: Any = loaded.model
    is_recurrent = isinstance(model, RecurrentPreTrainedModel)
    if loaded.task.head == SEQ2SEQ:
        build_both = recurrent.build_encoder_decoder if is_recurrent else transformer_seq2seq.build
        return dict(zip((ENCODER, DECODER), build_both(model, opset), strict=True))
    return {GRAPH: recurrent.build(model, opset) if is_recurrent else transformer.build(model, loaded.tokenizer, opset)}


def _save(proto: onnx.ModelProto, file: Path) -> None:
    """Write the graph; weights of more than a file can hold stand beside it."""
    size = sum(len(weight.raw_data) for weight in proto.graph.initializer)
    beside: Any = {"save_as_external_data": True, "location": f"{file.name}.data"} if size > LARGEST else {}
    onnx.save(proto, file, **beside)


def _write_beside(folder: Path, run: FinishedRun, loaded: Loaded) -> None:
    """What the graph needs: its tokenizer, its configuration, its recipe, and the programs that run it."""
    loaded.tokenizer.save_pretrained(folder)
    config = _without_origin(json.loads(loaded.model.config.to_json_string()))
    (folder / "config.json").write_text(_json(config), encoding="utf-8")
    recipe = redacted_recipe(run.recipe, run.metrics)  # an export may be given to others by hand
    (folder / run_folder.RECIPE).write_text(recipe.to_json(), encoding="utf-8")
    programs = Path(__file__).parent
    for program in (RUNNER, *filter(None, [BESIDE_RUNNER.get(loaded.task.name)])):
        shutil.copyfile(programs / program, folder / program)
    if loaded.task.head == SEQ2SEQ:
        cast(PreTrainedModel, loaded.model).generation_config.save_pretrained(folder)
    if isinstance(loaded.model, RecurrentPreTrainedModel):
        shutil.copyfile(programs / HANDLER, folder / HANDLER)
        (folder / REQUIREMENTS).write_text("numpy\nonnxruntime\ntokenizers\n", encoding="utf-8")


def _without_origin(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration, and those in it, without the place that the model came from and the names of its code, which is
    not exported."""
    kept = {name: value for name, value in config.items() if name not in ("_name_or_path", "auto_map")}
    return {name: _without_origin(value) if isinstance(value, dict) else value for name, value in kept.items()}


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"
