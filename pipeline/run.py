"""A run from recipe to folder: prepare, train, evaluate, save. The only module that sees data, tasks and training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from pipeline import assembly, run_folder, storage
from pipeline.config import paths, sources
from pipeline.config.recipe import Recipe
from pipeline.config.sources import ResolvedSource
from pipeline.data.prepare import Prepared
from pipeline.data.tokenization.saved_forms import saved_form
from pipeline.errors import writing
from pipeline.hub import pinning
from pipeline.models import adapters
from pipeline.models.build import CAUSAL
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
    """Train, evaluate and save the model of `recipe`; resume the run in its folder if there is an unfinished one.

    Logging levels, warnings filters and progress bars of other libraries stay as the caller has set them. The global
    random states of Python, NumPy and torch are seeded.

    Returns:
        The contents of metrics.json.

    Raises:
        UserError: a setting, the data or a checkpoint is refused; nothing is written in that case.
        Interrupted: a signal stopped the run; everything written is complete and the same call resumes it.
    """
    run_folder.check(pinning.with_recorded_revisions(recipe))
    trackers.check(recipe.train.trackers)
    with seeding.deterministic(recipe.train.deterministic), StopRequest() as stop:
        accelerator = launch.start()
        with stop.interruptible(accelerator):
            run, build_info, prepared = _ready(recipe, accelerator)
        with run_folder.unless_refused(recipe.folder), writing("train.output_dir", recipe.folder):
            with hardware.out_of_memory_is_refused(TOO_MUCH):
                trainer.fit(run, stop)
            with stop.interruptible(accelerator):
                _merge_adapters(run)
                metrics = {**_measure(run, build_info, prepared), "revisions": pinning.read_revisions(recipe.folder)}
            run.model = run.full_model()
            if accelerator.is_main_process:
                _save(run, metrics, prepared)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process and recipe.hub.push:
        push_or_report(recipe.folder, recipe.hub)
    return metrics


def _ready(recipe: Recipe, accelerator: Accelerator) -> tuple[trainer.Run, dict[str, Any], Prepared]:
    """The run with its folder created, what is worth reporting about how its model was built, and its data."""
    recipe, source, revisions = broadcast_object_list(
        [*_found(recipe)] if accelerator.is_main_process else [None, None, None]
    )
    task = load_task(recipe.task)
    with accelerator.main_process_first():
        prepared = assembly.prepare_for(recipe, task, source)
    task = assembly.task_for(task, prepared)
    model, build_info = assembly.build_for(recipe, task, prepared)
    run = assembly.run_of(recipe, task, model, prepared, accelerator)
    if recipe.train.auto_batch:
        recipe = batch_size_finder.with_found_batch_size(run, run_folder.unfinished(recipe))
        run = assembly.run_of(recipe, task, model, prepared, accelerator)  # evaluation uses the new batch size, too
    if accelerator.is_main_process:
        run_folder.open_(recipe)
        pinning.write_revisions(recipe.folder, revisions)
        _print_start(run, build_info, prepared)
    accelerator.wait_for_everyone()
    return run, build_info, prepared


def _found(recipe: Recipe) -> tuple[Recipe, ResolvedSource, pinning.Revisions]:
    """`recipe` and its data at the commits that the run reads, and the record of them."""
    source = sources.resolve(recipe.data, recipe.task)
    recipe, revisions = pinning.resolve_revisions(recipe, source)
    return recipe, source.at(str(recipe.data.revision)) if source.kind == "hub" else source, revisions


def _print_start(run: trainer.Run, build_info: dict[str, Any], prepared: Prepared) -> None:
    if "columns" in prepared.report:
        print(f"data: {prepared.report['columns']}", flush=True)
    for data_warning in prepared.report["notes"]:
        print(f"data: {data_warning}", flush=True)
    for name, value in build_info.items():
        print(f"model: {name.replace('_', ' ')} {value}", flush=True)
    train = run.recipe.train
    if train.auto_batch:
        print(f"training: micro-batches of {train.batch_size} rows, {train.accumulation} per update", flush=True)


def _merge_adapters(run: trainer.Run) -> None:
    """Add low-rank adapters to the weights that they adapt, if the recipe asks for it."""
    lora = getattr(run.recipe.model, "lora", None)
    if lora and lora.merge:
        run.model = adapters.merged(run.accelerator.unwrap_model(run.model))


def _measure(run: trainer.Run, build_info: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """The contents of metrics.json: scores of the best weights on validation and test, and the cost of training."""
    splits = [split for split in ("validation", "test") if split in run.splits]
    scores: dict[str, Any] = {split: run.evaluate(split).scores for split in splits}
    progress, model = run.progress, run.accelerator.unwrap_model(run.model)
    cost = {
        "seconds": progress.seconds,
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
    return {**scores, "train": cost, "data": prepared.report, "machine": hardware.environment()}


def _save(run: trainer.Run, metrics: dict[str, Any], prepared: Prepared) -> None:
    """Write model/, complete or not at all, then metrics.json, whose presence marks a finished run."""
    model = run.accelerator.unwrap_model(run.model)
    own = run.recipe.model.default_tokenizer is not None
    tokenizer = saved_form(run.tokenizer, model, continues=run.task.head == CAUSAL, own=own)

    def fill(folder: Path) -> None:
        run.task.configure(model.config)
        model.save_pretrained(folder)
        if run.labels and (folder / paths.ADAPTER).is_file():
            adapters.write_labels(folder, model)
        tokenizer.save_pretrained(folder)
        (folder / run_folder.RECIPE).write_text(run.recipe.to_json(), encoding="utf-8")
        text = card(CardData(run.recipe, metrics, any(folder.glob("*.py")), labels_in(folder)))
        (folder / "README.md").write_text(text, encoding="utf-8")
        rows, pairs = prepared.splits["validation"], bool(run.task.reads_pairs)
        reference_outputs.write(run.folder, model, tokenizer, run.task.head, rows, text, pairs)

    storage.publish_folder(run.folder / run_folder.MODEL, fill)
    storage.write(run.folder / run_folder.METRICS, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
