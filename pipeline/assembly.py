"""From a recipe to its data, its model and its run, for `finetune run` and for `finetune doctor`."""

from __future__ import annotations

from typing import Any

from accelerate import Accelerator
from transformers import PreTrainedModel

from pipeline.config.data import WHOLE_WORDS
from pipeline.config.recipe import Recipe
from pipeline.config.sources import ResolvedSource
from pipeline.data.bucketing import Split
from pipeline.data.prepare import KnownWords, Prepared, prepare
from pipeline.models import build, embeddings
from pipeline.tasks.base import Task
from pipeline.training import evaluation, selection, trainer, unfreezing
from pipeline.training.distributed import fsdp
from pipeline.training.hardware import has_fast_bf16


def prepare_for(recipe: Recipe, task: Task, source: ResolvedSource) -> Prepared:
    """The recipe's data, found as `source`, encoded for `task` with the recipe's tokenizer.

    Raises:
        UserError: the data cannot be read or encoded, or does not suit the recipe's word vectors.
    """
    vectors = getattr(recipe.model, "vectors", None)
    if recipe.data.zero_digits and vectors is not None:
        embeddings.check_digits(vectors)
    own = recipe.data.tokenizer is None
    return prepare(
        source,
        task,
        recipe.tokenizer,
        tokenizer_revision=getattr(recipe.model, "revision", None) if own else recipe.data.tokenizer_revision,
        characters=recipe.model.reads_characters,
        pair_encoding=recipe.model.pair_encoding,
        known_words=_words_with_vectors(recipe, task),
        trust_remote_code=own and getattr(recipe.model, "trust_remote_code", False),
        keep_texts=recipe.distil is not None,
        may_change=own and recipe.model.default_tokenizer is not None and not recipe.model.reads_characters,
    )


def _words_with_vectors(recipe: Recipe, task: Task) -> KnownWords | None:
    """The words with pretrained vectors, so that the vocabulary covers words that only occur in later texts.

    None for a model that predicts words: it cannot learn to predict a word that it has never seen.
    """
    vectors = getattr(recipe.model, "vectors", None)
    if vectors is None or recipe.tokenizer not in WHOLE_WORDS or task.head == build.CAUSAL:
        return None
    return KnownWords(embeddings.fingerprint(vectors), lambda: embeddings.words(vectors))


def build_for(recipe: Recipe, task: Task, prepared: Prepared) -> tuple[PreTrainedModel, dict[str, Any]]:
    """The recipe's model for the labels and the vocabulary of the prepared data, and what is worth reporting about how
    it was built (JSON-serializable).

    Raises:
        UserError: the model cannot be built, or a setting of the training does not suit the labels.
    """
    task.check(recipe.train)
    length, seed, pairs = recipe.data.max_length, recipe.train.seed, bool(task.reads_pairs)
    model, info = build.build(recipe.model, task.head, prepared.labels, prepared.tokenizer, length, seed, pairs)
    task.configure(model.config)
    return model, {**info, **task.start(model, prepared.splits["train"])}


def task_for(task: Task, prepared: Prepared) -> Task:
    """The task for the labels that the data has, and for pairs of texts if it has pairs."""
    task = task.variant(prepared.problem_type)
    task.reads_pairs = bool(prepared.report.get("pairs"))
    return task


def run_of(
    recipe: Recipe, task: Task, model: PreTrainedModel, prepared: Prepared, accelerator: Accelerator
) -> trainer.Run:
    """The run that `trainer.fit` trains.

    Raises:
        UserError: the task scores generated text, which it cannot do with a model that would be sharded; or
            train.monitor names a score that the task does not report.
    """
    evaluation.check_generation(task, model, sharded=fsdp.is_asked_for(accelerator))
    unfreezing.check_launch(recipe.optim, accelerator)
    run = trainer.Run(
        recipe=recipe,
        task=task,
        model=model,
        tokenizer=prepared.tokenizer,
        labels=prepared.labels,
        splits=arrange(recipe, task, model, prepared, accelerator),
        folder=recipe.folder,
        fingerprints=prepared.fingerprints,
        accelerator=accelerator,
        autocast=precision(recipe, accelerator) == "bf16",
    )
    selection.check_support(run.monitor, prepared.report.get("labels", {}).get("validation", {}))
    return run


def arrange(
    recipe: Recipe, task: Task, model: PreTrainedModel, prepared: Prepared, accelerator: Accelerator
) -> dict[str, Split]:
    """The rows of each split, arranged by the task for batches of the recipe's size."""
    size, running = recipe.train.batch_size, prepared.source.is_running_text
    update = size * recipe.train.accumulation * accelerator.num_processes
    return {
        name: task.arrange(
            split, model, prepared.tokenizer, update if name == "train" else size, running, training=name == "train"
        )
        for name, split in prepared.splits.items()
    }


def precision(recipe: Recipe, accelerator: Accelerator) -> str:
    """fp32 or bf16; `auto` is bf16 if the hardware computes in it."""
    if recipe.train.precision != "auto":
        return recipe.train.precision
    return "bf16" if has_fast_bf16(accelerator.device) else "fp32"
