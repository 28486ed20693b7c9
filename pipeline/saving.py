"""The folder of a finished run: its model with everything that comes with it, and its metrics."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedTokenizerBase

from pipeline import run_folder, storage
from pipeline.config import paths
from pipeline.data import source_rows
from pipeline.data.prepare import Prepared
from pipeline.data.tokenization.saved_forms import saved_form
from pipeline.distil.scores import share
from pipeline.errors import reason
from pipeline.models import adapters, checkpoints
from pipeline.models.checkpoints import CAUSAL
from pipeline.publish import reference_outputs
from pipeline.publish.card import card
from pipeline.publish.card_data import CardData
from pipeline.publish.staging import has_word_pieces, labels_in
from pipeline.training import answering_speed, hardware
from pipeline.training.distributed import fsdp
from pipeline.training.evaluation import Evaluation
from pipeline.training.selection import Monitor
from pipeline.training.trainer import Run


def save(run: Run, metrics: dict[str, Any], prepared: Prepared) -> None:
    """Write model/, complete or not at all, then metrics.json, whose presence marks a finished run.

    Args:
        run: with its whole model, adapters merged if the recipe asks for it.
        metrics: the contents of metrics.json.
    """
    model, tokenizer = run.accelerator.unwrap_model(run.model), saved_tokenizer(run)

    def fill(folder: Path) -> None:
        run.task.configure(model.config)
        adapters.save(model, folder)
        if run.labels and (folder / paths.ADAPTER).is_file():
            adapters.write_labels(folder, model)
        tokenizer.save_pretrained(folder)
        (folder / run_folder.RECIPE).write_text(run.recipe.to_json(), encoding="utf-8")
        has_code, pieces = any(folder.glob("*.py")), has_word_pieces(folder)
        text = card(CardData(run.recipe, metrics, has_code, labels_in(folder), has_word_pieces=pieces))
        (folder / "README.md").write_text(text, encoding="utf-8")
        rows, pairs = prepared.splits["validation"], bool(run.task.reads_pairs)
        reference_outputs.write(run.folder, model, tokenizer, run.task.head, rows, text, pairs)

    storage.publish_folder(run.folder / run_folder.MODEL, fill)
    storage.write(run.folder / run_folder.METRICS, _json(metrics))


def save_rows(run: Run, split: str, found: Evaluation, prepared: Prepared) -> None:
    """Write the rows of an evaluation of `split` into the folder of the run, with its model as it was evaluated."""
    file = run_folder.predictions_of(run.folder, split)
    file.parent.mkdir(exist_ok=True)
    storage.sync(run.folder)
    model = run.accelerator.unwrap_model(run.model)
    # What a sharded model attends to would take all processes, and only this one writes.
    found.write(file, split, prepared.texts[split], None if fsdp.is_sharded(model) else model, run.tokenizer)


def answering_speed_of(run: Run, prepared: Prepared) -> dict[str, Any]:
    """`answering`, the texts per second that the whole model of the run answers on the run's device; nothing if it
    cannot be measured, because no run may fail by that: its task may not predict, or its model was sharded and does not
    fit on the device."""
    model = run.accelerator.unwrap_model(run.model)
    if model.device.type != run.accelerator.device.type:
        return {}
    try:
        tokenizer = saved_tokenizer(run)
        longest = checkpoints.longest(adapters.base_of(model))
        tokenizer.model_max_length = min(tokenizer.model_max_length, longest or tokenizer.model_max_length)
        texts = source_rows.sample(prepared.texts["validation"], answering_speed.TEXTS)
        speeds = answering_speed.measure(run.task, model, tokenizer, run.labels, texts, run.progress.seconds)
    except Exception as error:  # a trained model must not be lost for a figure
        print(f"answering: the speed was not measured: {reason(error)}", flush=True)
        return {}
    return {"answering": speeds}


def merged_model(run: Run) -> nn.Module:
    """The model of the run, with low-rank adapters added to the weights that they adapt if the recipe asks for it."""
    lora = getattr(run.recipe.model, "lora", None)
    return adapters.merged(run.accelerator.unwrap_model(run.model)) if lora and lora.merge else run.model


def saved_tokenizer(run: Run) -> PreTrainedTokenizerBase:
    """A copy of the run's tokenizer, as it is saved with the model; see `saved_form`."""
    model = adapters.base_of(run.accelerator.unwrap_model(run.model))
    own = run.recipe.model.default_tokenizer is not None
    return saved_form(run.tokenizer, model, continues=run.task.head == CAUSAL, own=own)


def metrics_of(
    run: Run, build_info: dict[str, Any], prepared: Prepared, scores: dict[str, Any], revisions: dict[str, Any]
) -> dict[str, Any]:
    """The contents of metrics.json: the scores of each split, and what training has cost.

    Args:
        scores: split -> scores of the best weights.
        revisions: what the run has read from the Hub.
    """
    progress, model = run.progress, run.accelerator.unwrap_model(run.model)
    cost = {
        "seconds": progress.seconds,
        "training_seconds": progress.busy_seconds,
        "tokens": progress.tokens,
        "tokens_per_second": progress.tokens / max(progress.busy_seconds, 1e-9),
        "peak_memory_bytes": hardware.peak_memory(run.accelerator.device),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "updates": progress.step,
        "best_update": progress.best_step,
        "monitor": run.monitor.name,
        "epochs": progress.step / run.updates_per_epoch,
        "precision": "bf16" if run.autocast else "fp32",
        "batch_size": run.recipe.train.batch_size,
        "accumulation": run.recipe.train.accumulation,
        "processes": run.accelerator.num_processes,
        "distributed_type": run.accelerator.distributed_type.value,
        "device": str(run.accelerator.device.type),
        **build_info,
        **run.objective.metadata(),
    }
    data = {name: value for name, value in prepared.report.items() if name != "distil"}
    environment = {"data": data, "machine": hardware.environment(), "revisions": revisions}
    return {**scores, "train": cost, **_distilled(prepared, scores, run.monitor), **environment}


def _distilled(prepared: Prepared, scores: dict[str, Any], monitor: Monitor) -> dict[str, Any]:
    """The teacher, if there is one, with its scores and the share of them that the student reaches."""
    if "distil" not in prepared.report:
        return {}
    found = prepared.report["distil"]
    return {"distil": {**found, "share_of_teacher": share(scores, found["scores"], monitor)}}


def _json(metrics: dict[str, Any]) -> str:
    """Metrics as JSON; those of another library may be scalars of NumPy or torch."""
    return json.dumps(metrics, indent=2, ensure_ascii=False, default=lambda value: value.item()) + "\n"
