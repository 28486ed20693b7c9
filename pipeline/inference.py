"""A saved model, from a folder or from the Hub: loaded, scored on new data, asked about texts."""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline import run_folder
from pipeline.config import paths
from pipeline.config.data import Data
from pipeline.config.hub import check_trust
from pipeline.config.recipe import refuse_unused
from pipeline.config.serialization import read_json
from pipeline.config.task_specs import TASKS, head_called
from pipeline.data.new_data import encode_split
from pipeline.data.sources import locate
from pipeline.data.tokenizers import load_tokenizer
from pipeline.errors import UserError, writing
from pipeline.hub import download
from pipeline.models import adapters, checkpoints
from pipeline.tasks.base import Task, load_task
from pipeline.training.distributed import launch
from pipeline.training.evaluation import Evaluation
from pipeline.training.evaluation import evaluate as score

PREDICT_ROWS = 64
MANY_TOKENS = 1_000_000  # where neither the tokenizer nor the model has a limit


@dataclass(frozen=True)
class Loaded:
    """A saved model, ready to answer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    labels: list[str]


def load(name: str, revision: str | None = None, trust_remote_code: bool = False, allow_pickle: bool = False) -> Loaded:
    """A run's `model` folder, any folder or Hub id with a head that one of the tasks has.

    Args:
        revision: commit, tag or branch of one of the Hub.
        trust_remote_code: whether code that comes with it is run; of the Hub, `revision` is a commit then.
        allow_pickle: whether weights are read from pytorch_model.bin where there are no safetensors.

    Raises:
        UserError: it cannot be found or loaded, or has another head.
    """
    check_trust(name, revision, trust_remote_code, "trust-remote-code")
    name = run_folder.model_in(name)
    options = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle}
    if paths.saved_model(name, "model", adapters=True) is not None:
        return _load(name, **options)
    folder = str(download.snapshot(name, revision, "model", allow_pickle))
    try:
        paths.saved_model(folder, "model", adapters=True)
        return _load(folder, **options)
    except UserError as error:  # by the name that the user knows it by
        raise UserError(str(error).replace(folder, name)) from error


def _load(name: str, trust_remote_code: bool, allow_pickle: bool) -> Loaded:
    task = _task_of(name, trust_remote_code)
    model = _load_model(name, task.head, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle).eval()
    tokenizer = load_tokenizer(name, pretokenized="tokens" in task.columns, trust_remote_code=trust_remote_code)
    checkpoints.check_vocabulary(model, tokenizer, "model")
    positions = getattr(model.config, "max_position_embeddings", None) or MANY_TOKENS
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    labels = checkpoints.label_names(model, name, "model")
    return Loaded(model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, task, labels)


def _load_model(name: str, head: str, **options: Any) -> PreTrainedModel:
    if (Path(name) / paths.ADAPTER).is_file():
        return adapters.load(Path(name), head, options["allow_pickle"])
    return checkpoints.load(name, head, "model", with_head=True, **options)


def _task_of(name: str, trust_remote_code: bool = False) -> Task:
    """The task in the recipe beside the weights, else the one whose head the architecture names."""
    recipe = Path(name) / run_folder.RECIPE
    if recipe.is_file():
        return load_task(read_json(recipe).task)
    told = checkpoints.load_config(name, "model", trust_remote_code=trust_remote_code).architectures
    architectures = [str(architecture) for architecture in told] if isinstance(told, list) else []
    for task, spec in TASKS.items():
        if any(architecture.endswith(head_called(spec.head).architectures) for architecture in architectures):
            return load_task(task)
    heads = ", ".join(dict.fromkeys(f"For{spec.head}" for spec in TASKS.values()))
    raise UserError(f"model: {name} is a {', '.join(architectures) or 'model without a head'}; expected {heads}")


def evaluate(model: str, data: Data, split: str = "test", batch_size: int = 32, **options: Any) -> dict[str, Any]:
    """The task's metrics of a saved model on one split of new data; the same at every batch size.

    Args:
        options: revision, trust_remote_code and allow_pickle of the model, see `load`.

    Raises:
        UserError: the model or the data cannot be read, or the data has labels that the model does not know.
    """
    return evaluate_rows(model, data, split, batch_size, **options).scores


def evaluate_rows(model: str, data: Data, split: str = "test", batch_size: int = 32, **options: Any) -> Evaluation:
    """As `evaluate`, with what each row of the split got."""
    loaded = load(model, **options)
    task = loaded.task
    refuse_unused(task.name, data)
    source, data_warnings = locate(data), list[str]()
    with writing("TMPDIR", Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        encoded = encode_split(source, split, task, loaded.tokenizer, loaded.labels, Path(folder), data_warnings)
        running = source.is_running_text
        rows = task.arrange(encoded, loaded.model, loaded.tokenizer, batch_size, running, training=False)
        accelerator = launch.start()
        for warning in data_warnings:
            if accelerator.is_main_process:  # stdout is for the scores
                print(f"data: {warning}", file=sys.stderr, flush=True)
        return score(loaded.model, task, rows, loaded.tokenizer, loaded.labels, batch_size, accelerator)


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
    loaded = load(model, revision, trust_remote_code, allow_pickle)
    for name in options:
        if name not in inspect.signature(loaded.task.predict).parameters:
            raise UserError(f"{name}: a {loaded.task.name} model has no such option; leave it out")
    pending = iter(texts)
    while chunk := list(islice(pending, PREDICT_ROWS)):
        yield from loaded.task.predict(chunk, loaded.model, loaded.tokenizer, loaded.labels, **options)
