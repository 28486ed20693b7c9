"""A run from recipe to folder: the one module that sees data, tasks, models and training."""

from __future__ import annotations

import inspect
import json
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import datasets
import huggingface_hub
import transformers
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline import run_folder, storage
from pipeline.config import paths
from pipeline.config.recipe import WHOLE_WORDS, Data, Recipe, refuse_unused
from pipeline.data.bucketing import Rows
from pipeline.data.prepare import KnownWords, Prepared, encode_split, prepare
from pipeline.data.sources import is_running
from pipeline.errors import UserError, writing
from pipeline.hub import pinning
from pipeline.inference import load
from pipeline.models import adapters, build, embeddings
from pipeline.publish import reference_outputs
from pipeline.publish.card import card
from pipeline.publish.card_data import Facts
from pipeline.publish.push import after_run
from pipeline.publish.staging import labels_in
from pipeline.tasks.base import Task, load_task
from pipeline.training import batch_size_finder, hardware, seeding, trainer
from pipeline.training.distributed import launch
from pipeline.training.evaluation import evaluate as evaluate_rows
from pipeline.training.hardware import has_fast_bf16
from pipeline.training.monitoring import trackers
from pipeline.training.signals import StopRequest

PREDICT_ROWS = 64
TOO_MUCH = "lower train.batch_size and raise train.accumulation, or let --train.auto-batch do that"


def quiet() -> None:
    """Keep the libraries' own bars, hints and warnings off the terminal: what matters is said by us."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    huggingface_hub.utils.disable_progress_bars()
    huggingface_hub.logging.set_verbosity_error()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def train(recipe: Recipe) -> dict[str, Any]:
    """Train, evaluate and save what `recipe` says; continue the run that is in its folder if there is one.

    Returns:
        What metrics.json holds.

    Raises:
        UserError: a setting, the data or a checkpoint is refused; nothing has been written then.
        Interrupted: a signal asked to stop; what has been written is complete and the same call continues.
    """
    quiet()
    run_folder.check(pinning.recall(recipe))
    trackers.check(recipe.train.trackers)
    with seeding.deterministic(recipe.train.deterministic), StopRequest() as stop:
        accelerator = launch.start()
        with stop.interruptible(accelerator):
            this, notes, prepared = _ready(recipe, accelerator)
        with run_folder.unless_refused(recipe.folder), writing("train.output_dir", recipe.folder):
            with hardware.sufficing(TOO_MUCH):
                trainer.fit(this, stop)
            with stop.interruptible(accelerator):
                _merge_adapters(this)
                metrics = {**_measure(this, notes, prepared), "revisions": pinning.read(recipe.folder)}
            this.model = this.whole_model()
            if accelerator.is_main_process:
                _save(this, metrics, prepared)
        accelerator.wait_for_everyone()
    if accelerator.is_main_process and recipe.hub.push:
        after_run(recipe.folder, recipe.hub)
    return metrics


def _ready(recipe: Recipe, accelerator: Accelerator) -> tuple[trainer.Run, dict[str, Any], Prepared]:
    """The run, its folder open, with what is to be told of its model and its data."""
    recipe, revisions = broadcast_object_list([*pinning.pin(recipe)] if accelerator.is_main_process else [None, None])
    task = load_task(recipe.task)
    with accelerator.main_process_first():
        prepared = prepare_for(recipe, task)
    model, notes = build_for(recipe, task, prepared)
    this = run_of(recipe, task, model, prepared, accelerator)
    if recipe.train.auto_batch:
        recipe = batch_size_finder.settled(this, run_folder.unfinished(recipe))
        this = run_of(recipe, task, model, prepared, accelerator)  # evaluation takes batches of this size, too
    if accelerator.is_main_process:
        run_folder.open_(recipe)
        pinning.write(recipe.folder, revisions)
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


def run_of(
    recipe: Recipe, task: Task, model: PreTrainedModel, prepared: Prepared, accelerator: Accelerator
) -> trainer.Run:
    """What training works with."""
    return trainer.Run(
        recipe=recipe,
        task=task,
        model=model,
        tokenizer=prepared.tokenizer,
        labels=prepared.labels,
        splits=arrange(recipe, task, model, prepared, accelerator),
        folder=recipe.folder,
        accelerator=accelerator,
        autocast=precision(recipe, accelerator) == "bf16",
    )


def prepare_for(recipe: Recipe, task: Task) -> Prepared:
    """The recipe's data, encoded for `task` with the recipe's tokenizer."""
    own = recipe.data.tokenizer is None
    return prepare(
        recipe.data,
        task,
        recipe.tokenizer,
        tokenizer_revision=getattr(recipe.model, "revision", None) if own else recipe.data.tokenizer_revision,
        characters=recipe.model.reads_characters,
        known_words=_words_with_vectors(recipe, task),
        trust_remote_code=own and getattr(recipe.model, "trust_remote_code", False),
    )


def _words_with_vectors(recipe: Recipe, task: Task) -> KnownWords | None:
    """Words of the word vectors: texts to come hold some that no training text does. A model that predicts words needs
    none that it has never seen."""
    vectors = getattr(recipe.model, "vectors", None)
    if vectors is None or recipe.tokenizer not in WHOLE_WORDS or task.head == build.CAUSAL:
        return None
    return KnownWords(embeddings.fingerprint(vectors), lambda: embeddings.words(vectors))


def build_for(recipe: Recipe, task: Task, prepared: Prepared) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The recipe's model for the labels and the vocabulary of the prepared data."""
    return build.build(
        recipe.model, task.head, prepared.labels, prepared.tokenizer, recipe.data.max_length, recipe.train.seed
    )


def arrange(
    recipe: Recipe, task: Task, model: PreTrainedModel, prepared: Prepared, accelerator: Accelerator
) -> dict[str, trainer.Split]:
    """The rows of each split as the task wants them in batches of the recipe's size."""
    size, running = recipe.train.batch_size, is_running(recipe.data)
    update = size * recipe.train.accumulation * accelerator.num_processes
    return {
        name: _rows(task, split, model, prepared.tokenizer, update if name == "train" else size, running, name)
        for name, split in prepared.splits.items()
    }


def _rows(
    task: Task,
    split: datasets.Dataset,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: int,
    running: bool,
    name: str,
) -> trainer.Split:
    wanted = getattr(task, "arrange", None)
    return wanted(split, model, tokenizer, rows, running, name == "train") if wanted else Rows(split)


def precision(recipe: Recipe, accelerator: Accelerator) -> str:
    """fp32 or bf16; `auto` takes bf16 where the hardware computes in it."""
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return "bf16" if has_fast_bf16(accelerator.device) else "fp32"


def _merge_adapters(this: trainer.Run) -> None:
    """Low-rank adapters become part of the weights, where the recipe wants that."""
    lora = getattr(this.recipe.model, "lora", None)
    if lora and lora.merge:
        this.model = adapters.merged(this.accelerator.unwrap_model(this.model))


def _measure(this: trainer.Run, notes: dict[str, Any], prepared: Prepared) -> dict[str, Any]:
    """metrics.json: the best weights on validation and test, and what training them took."""
    scores: dict[str, Any] = {split: this.evaluate(split) for split in ("validation", "test") if split in this.splits}
    state, model = this.state, this.accelerator.unwrap_model(this.model)
    cost = {
        "seconds": state.seconds,
        "tokens_per_second": state.tokens / max(state.busy_seconds, 1e-9),
        "peak_memory_bytes": hardware.peak(this.accelerator.device),
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
        **this.objective.facts(),
    }
    return {**scores, "train": cost, "data": prepared.report, "machine": hardware.environment()}


def _save(this: trainer.Run, metrics: dict[str, Any], prepared: Prepared) -> None:
    """model/ aside and renamed, metrics.json last: a folder that has it is a finished run."""
    target = this.folder / run_folder.MODEL
    aside = target.with_name(storage.ASIDE + target.name)
    shutil.rmtree(aside, ignore_errors=True)
    model = this.accelerator.unwrap_model(this.model)
    model.save_pretrained(aside)
    if this.labels and (aside / paths.ADAPTER).is_file():
        adapters.write_labels(aside, model)
    this.tokenizer.save_pretrained(aside)
    (aside / run_folder.RECIPE).write_text(this.recipe.to_json(), encoding="utf-8")
    text = card(Facts(this.recipe, metrics, any(aside.glob("*.py")), labels_in(aside)))
    (aside / "README.md").write_text(text, encoding="utf-8")
    reference_outputs.write(
        this.folder, model, this.tokenizer, load_task(this.recipe.task).head, prepared.splits["validation"], text
    )
    for path in (*aside.rglob("*"), aside):
        storage.sync(path)
    shutil.rmtree(target, ignore_errors=True)
    os.replace(aside, target)
    storage.write(this.folder / run_folder.METRICS, json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")


def evaluate(model: str, data: Data, split: str = "test", batch_size: int = 32, **source: Any) -> dict[str, Any]:
    """The task's metrics of a saved model on one split of new data; the same at every batch size.

    Args:
        source: revision, trust_remote_code and allow_pickle of the model, see `load`.

    Raises:
        UserError: the model or the data cannot be read, or the data has labels that the model does not know.
    """
    quiet()
    loaded = load(model, **source)
    refuse_unused(loaded.task.name, data)
    with writing("TMPDIR", Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        encoded = encode_split(data, split, loaded.task, loaded.tokenizer, loaded.labels, Path(folder))
        rows = _rows(loaded.task, encoded, loaded.model, loaded.tokenizer, batch_size, is_running(data), "test")
        return evaluate_rows(
            loaded.model,
            loaded.task,
            rows.batches(batch_size),
            lambda chosen: loaded.task.collate(rows.take(chosen), loaded.tokenizer),
            loaded.labels,
            launch.start(),
            rows,
        )


def predict(
    model: str,
    texts: Iterable[str],
    *,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """What the saved model says of each text, in their order, read and answered a few at a time.

    Args:
        revision, trust_remote_code, allow_pickle: of the model, see `load`.
        options: further arguments of the task's `predict`.

    Raises:
        UserError: the model cannot be loaded, or its task does not know an option.
    """
    quiet()
    loaded = load(model, revision, trust_remote_code, allow_pickle)
    for name in options:
        if name not in inspect.signature(loaded.task.predict).parameters:
            raise UserError(f"{name}: a {loaded.task.name} model has no such option; leave it out")
    pending = iter(texts)
    while chunk := list(islice(pending, PREDICT_ROWS)):
        yield from loaded.task.predict(chunk, loaded.model, loaded.tokenizer, loaded.labels, **options)
