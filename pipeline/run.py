"""A run from recipe to folder: the one module that sees data, tasks, models and training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from pipeline import assembly, run_folder, storage
from pipeline.config import paths
from pipeline.config.recipe import Recipe
from pipeline.data.prepare import Prepared
from pipeline.errors import writing
from pipeline.hub import pinning
from pipeline.models import adapters
from pipeline.publish import reference_outputs
from pipeline.publish.card import card
from pipeline.publish.card_data import CardData
from pipeline.publish.push import push_or_report
from pipeline.publish.staging import labels_in
from pipeline.tasks.base import load_task
from pipeline.training import batch_size_finder, hardware, seeding, trainer
from pipeline.training.distributed import launch
from pipeline.training.monitoring import trackers
from pipeline.training.signals import StopRequest

TOO_MUCH = "lower train.batch_size and raise train.accumulation, or let --train.auto-batch do that"


def train(recipe: Recipe) -> dict[str, Any]:
    """Train, evaluate and save what `recipe` says; continue the run that is in its folder if there is one.

    Returns:
        What metrics.json holds.

    Raises:
        UserError: a setting, the data or a checkpoint is refused; nothing has been written then.
        Interrupted: a signal asked to stop; what has been written is complete and the same call continues.
    """
    run_folder.check(pinning.with_recorded_revisions(recipe))
    trackers.check(recipe.train.trackers)
    with seeding.deterministic(recipe.train.deterministic), StopRequest() as stop:
        accelerator = launch.start()
        with stop.interruptible(accelerator):
            this, notes, prepared = _ready(recipe, accelerator)
        with run_folder.unless_refused(recipe.folder), writing("train.output_dir", recipe.folder):
            with hardware.out_of_memory_is_refused(TOO_MUCH):
                trainer.fit(this, stop)
            with stop.interruptible(accelerator):
                _merge_adapters(this)
                metrics = {**_measure(this, notes, prepared), "revisions": pinning.read_revisions(recipe.folder)}
            this.model = this.full_model()
            if accelerator.is_main_process:
                _save(this, metrics, prepared)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process and recipe.hub.push:
        push_or_report(recipe.folder, recipe.hub)
    return metrics


def _ready(recipe: Recipe, accelerator: Accelerator) -> tuple[trainer.Run, dict[str, Any], Prepared]:
    """The run, its folder open, with what is to be told of its model and its data."""
    recipe, revisions = broadcast_object_list(
        [*pinning.resolve_revisions(recipe)] if accelerator.is_main_process else [None, None]
    )
    task = load_task(recipe.task)
    with accelerator.main_process_first():
        prepared = assembly.prepare_for(recipe, task)
    model, notes = assembly.build_for(recipe, task, prepared)
    this = assembly.run_of(recipe, task, model, prepared, accelerator)
    if recipe.train.auto_batch:
        recipe = batch_size_finder.with_found_batch_size(this, run_folder.unfinished(recipe))
        this = assembly.run_of(recipe, task, model, prepared, accelerator)  # evaluation takes batches of this size, too
    if accelerator.is_main_process:
        run_folder.open_(recipe)
        pinning.write_revisions(recipe.folder, revisions)
        _tell(this, notes, prepared)
    accelerator.wait_for_everyone()
    return this, notes, prepared


def _tell(this: trainer.Run, notes: dict[str, Any], prepared: Prepared) -> None:
    for note in prepared.report["notes"]:
        print(f"data: {note}", flush=True)
    for name, value in notes.items():
        print(f"model: {name.replace('_', ' ')} {value}", flush=True)
    train = this.recipe.train
    if train.auto_batch:
        print(f"training: micro-batches of {train.batch_size} rows, {train.accumulation} to an update", flush=True)


def _merge_adapters(this: trainer.Run) -> None:
    """Low-rank adapters become part of the weights, where the recipe wants that."""
    lora = getattr(this.recipe.model, "lora", None)
    if lora and lora.merge:
        this.model = adapters.merged(this.accelerator.unwrap_model(this.model))


def _measure(this: trainer.Run, notes: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """metrics.json: the best weights on validation and test, and what training them took."""
    splits = [split for split in ("validation", "test") if split in this.splits]
    scores: dict[str, Any] = {split: this.evaluate(split).scores for split in splits}
    state, model = this.progress, this.accelerator.unwrap_model(this.model)
    cost = {
        "seconds": state.seconds,
        "tokens_per_second": state.tokens / max(state.busy_seconds, 1e-9),
        "peak_memory_bytes": hardware.peak_memory(this.accelerator.device),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "updates": state.step,
        "best_update": state.best_step,
        "epochs": state.step / this.updates_per_epoch,
        "precision": "bf16" if this.autocast else "fp32",
        "batch_size": this.recipe.train.batch_size,
        "accumulation": this.recipe.train.accumulation,
        "processes": this.accelerator.num_processes,
        "distributed_type": this.accelerator.distributed_type.value,
        "device": str(this.accelerator.device.type),
        **notes,
        **this.objective.metadata(),
    }
    return {**scores, "train": cost, "data": prepared.report, "machine": hardware.environment()}


def _save(this: trainer.Run, metrics: dict[str, Any], prepared: Prepared) -> None:
    """model/ aside and renamed, metrics.json last: a folder that has it is a finished run."""
    model = this.accelerator.unwrap_model(this.model)

    def fill(folder: Path) -> None:
        model.save_pretrained(folder)
        if this.labels and (folder / paths.ADAPTER).is_file():
            adapters.write_labels(folder, model)
        this.tokenizer.save_pretrained(folder)
        (folder / run_folder.RECIPE).write_text(this.recipe.to_json(), encoding="utf-8")
        text = card(CardData(this.recipe, metrics, any(folder.glob("*.py")), labels_in(folder)))
        (folder / "README.md").write_text(text, encoding="utf-8")
        reference_outputs.write(
            this.folder, model, this.tokenizer, load_task(this.recipe.task).head, prepared.splits["validation"], text
        )

    storage.publish_folder(this.folder / run_folder.MODEL, fill)
    storage.write(this.folder / run_folder.METRICS, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
