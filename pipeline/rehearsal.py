"""Everything that the end of a run does, done with the new model before training, so that no trained model is lost.

What a run writes, reads back and checks when it has finished depends on its settings, its data and its kind of model,
and hardly on the values of the weights. So the model that has just been built is saved as that of a finished run,
loaded again, and its outputs are compared. This takes less space than a checkpoint.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedTokenizerBase

from pipeline import inference, run_folder, saving, storage
from pipeline.config.models import MODELS
from pipeline.data.prepare import Prepared
from pipeline.errors import UserError, writing
from pipeline.models import adapters
from pipeline.publish import push, reference_outputs
from pipeline.training import evaluation
from pipeline.training.trainer import Run

Outputs = list[dict[str, Any]]
# How many encoded rows are tried, and their tokens at most.
ROWS, TOKENS = 4, 2048


def rehearse(run: Run, build_info: dict[str, Any], prepared: Prepared, revisions: dict[str, Any], folder: Path) -> None:
    """Finish `run` in an empty `folder`, with a model that has not been trained.

    Args:
        run: with its model as it was built, on the CPU. Its weights and its tokenizer do not change; the configuration
            of its model is that of a finished run afterwards.
        revisions: what the run reads from the Hub.

    Raises:
        UserError: the finished run could not be saved, loaded again or, if the recipe pushes it, verified.
    """
    metrics = saving.metrics_of(run, build_info, prepared, {}, revisions)
    trial = copy.copy(run)
    trial.folder = folder
    if adapters.is_adapted(run.model):
        trial.model = adapters.disturbed_copy(run.model)
    tokenizer = saving.saved_tokenizer(trial)
    texts = reference_outputs.sample_texts(prepared.splits["validation"], tokenizer, bool(run.task.reads_pairs))
    expected = _outputs(trial.model, tokenizer, texts)
    trial.model = saving.merged_model(trial)
    with writing("train.output_dir", run.folder):
        storage.write(folder / run_folder.RECIPE, run.recipe.to_json())
        saving.save(trial, metrics, prepared)
        _try_rows(trial, prepared)
    if type(run.recipe.model) in MODELS.values() and expected is not None:  # others may load in their own way
        _compare(trial, texts, expected)
    if run.recipe.hub.push:
        push.rehearse(str(folder), run.recipe.hub)


def _try_rows(trial: Run, prepared: Prepared) -> None:
    """Write the first rows of the validation split with what the new model makes of them."""
    split = prepared.splits["validation"]
    lengths = np.cumsum(split[:ROWS]["length"])
    if lengths[0] > TOKENS:  # a document that takes long: nothing to try
        return
    few = split.select(range(int((lengths <= TOKENS).sum())))
    model, tokenizer, running = trial.model, prepared.tokenizer, prepared.source.is_running_text
    rows = trial.task.arrange(few, model, tokenizer, 1, running, training=False)
    found = evaluation.tried(model, trial.task, rows, tokenizer, trial.labels)
    saving.save_rows(trial, "validation", found, prepared)


def _outputs(model: Any, tokenizer: PreTrainedTokenizerBase, texts: list[Any]) -> Outputs | None:
    """The reference outputs of a new model; None for a model that needs more than text, see `reference_outputs`."""
    try:
        return reference_outputs.compute_outputs(model, tokenizer, texts)
    except Exception:  # a third-party model may need other inputs; what it raises is its own
        return None


def _compare(trial: Run, texts: list[Any], expected: Outputs) -> None:
    """Load the model that `trial` has saved as `finetune predict` does, and compare its outputs."""
    trusted = getattr(trial.recipe.model, "trust_remote_code", False)
    pickled = getattr(trial.recipe.model, "allow_pickle", False)
    folder = trial.folder / run_folder.MODEL
    try:
        loaded = inference.load(str(folder), trust_remote_code=trusted, allow_pickle=pickled, device="cpu")
    except UserError as error:
        problem = str(error).replace(str(folder), str(trial.recipe.folder / run_folder.MODEL))
        raise UserError(f"model: a finished run could not be loaded again; {problem}") from error
    classes = [answer["best"] for answer in expected]
    found = reference_outputs.compute_outputs(loaded.model, loaded.tokenizer, texts, classes)
    difference = reference_outputs.first_difference(expected, found)
    if difference:
        remedy = "set model.lora.merge to True" if adapters.is_adapted(trial.model) else "use another model"
        raise UserError(
            f"model: saved and loaded again after the run, it would give other outputs: {difference}; {remedy}"
        )
