"""A run from recipe to folder: prepare, train, evaluate, save. The only module that sees data, tasks and training."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from pipeline import assembly, rehearsal, run_folder, saving
from pipeline.config import sources
from pipeline.config.loading import check_names
from pipeline.config.recipe import Recipe
from pipeline.config.sources import ResolvedSource
from pipeline.data.prepare import Prepared
from pipeline.distil import preparation, teacher
from pipeline.errors import writing
from pipeline.hub import pinning
from pipeline.publish.push import push_or_report
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
    if recipe.distil is not None:
        check_names(recipe)  # before the teacher's run, which takes long
        teacher.train_first(recipe, train, launch.start())
    with seeding.deterministic(recipe.train.deterministic), StopRequest() as stop:
        accelerator = launch.start()
        with stop.interruptible(accelerator):
            run, build_info, prepared, revisions = _ready(recipe, accelerator)
        with run_folder.unless_refused(recipe.folder), writing("train.output_dir", recipe.folder):
            with hardware.out_of_memory_is_refused(TOO_MUCH):
                trainer.fit(run, stop, started=lambda: _record(run, revisions))
            with stop.interruptible(accelerator):
                run.model = saving.merged_model(run)
                metrics = saving.metrics_of(run, build_info, prepared, _scores(run, prepared), revisions)
            run.model = run.full_model()
            if accelerator.is_main_process:
                metrics["train"] |= saving.answering_speed_of(run, prepared)
                saving.save(run, metrics, prepared)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process and recipe.hub.push:
        push_or_report(recipe.folder, recipe.hub)
    return metrics


def _ready(recipe: Recipe, accelerator: Accelerator) -> tuple[trainer.Run, dict[str, Any], Prepared, pinning.Revisions]:
    """The run with its folder created, what is worth reporting about how its model was built, its data, and what it
    reads from the Hub. Everything that its end will do has been tried."""
    recipe, source, revisions = broadcast_object_list(
        [*_found(recipe)] if accelerator.is_main_process else [None, None, None]
    )
    task = load_task(recipe.task)
    with accelerator.main_process_first():
        prepared = assembly.prepare_for(recipe, task, source)
    task = assembly.task_for(task, prepared)
    model, build_info = assembly.build_for(recipe, task, prepared)
    if recipe.distil is not None:
        prepared = preparation.with_teacher(recipe, task, model, prepared, accelerator)
    run = assembly.run_of(recipe, task, model, prepared, accelerator)
    if recipe.train.auto_batch:
        recipe = batch_size_finder.with_found_batch_size(run, run_folder.unfinished(recipe))
        run = assembly.run_of(recipe, task, model, prepared, accelerator)  # evaluation uses the new batch size, too
    if accelerator.is_main_process:
        with run_folder.aside(recipe.folder) as aside:
            rehearsal.rehearse(run, build_info, prepared, revisions, aside)
        run_folder.open_(recipe)
        _print_start(run, build_info, prepared)
    accelerator.wait_for_everyone()
    return run, build_info, prepared, revisions


def _record(run: trainer.Run, revisions: pinning.Revisions) -> None:
    """Write the recipe and the commits of a run that has begun; a run that may not be resumed keeps its own."""
    if run.accelerator.is_main_process:
        run_folder.write_recipe(run.recipe)
        pinning.write_revisions(run.folder, revisions)


def _found(recipe: Recipe) -> tuple[Recipe, ResolvedSource, pinning.Revisions]:
    """`recipe` and its data at the commits that the run reads, and the record of them."""
    check_names(recipe)
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


def _scores(run: trainer.Run, prepared: Prepared) -> dict[str, Any]:
    """The scores of the best weights on validation and test; their rows are written at once, one split at a time."""
    scores, run.task = {}, run.task.finished()
    for split in ("validation", "test"):
        if split in run.splits:
            found = run.evaluate(split)
            if run.accelerator.is_main_process:
                saving.save_rows(run, split, found, prepared)
            scores[split] = found.scores
    return scores
