"""Use a saved model from a folder or the Hub: load it, evaluate it on new data, predict from texts."""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline import run_folder
from pipeline.config import paths
from pipeline.config.data import Data
from pipeline.config.hub import check_trust
from pipeline.config.recipe import refuse_unused
from pipeline.config.serialization import read_json
from pipeline.config.task_specs import TASKS, head_called
from pipeline.data.tokenizers import load_tokenizer
from pipeline.errors import UserError, writing
from pipeline.hub import download
from pipeline.models import adapters, checkpoints
from pipeline.tasks.base import Task, load_task

if TYPE_CHECKING:
    from pipeline.training.evaluation import Evaluation

PREDICT_ROWS = 64
MANY_TOKENS = 1_000_000  # if neither the tokenizer nor the model has a limit


@dataclass(frozen=True)
class Loaded:
    """A saved model in evaluation mode, on the GPU if there is one, with its tokenizer and its task."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    task: Task
    labels: list[str]


def load(name: str, revision: str | None = None, trust_remote_code: bool = False, allow_pickle: bool = False) -> Loaded:
    """Load a saved model whose head belongs to one of the tasks.

    Args:
        name: folder of a run or of a model, or Hub id.
        revision: commit, tag or branch of a Hub model.
        trust_remote_code: whether to run the code that comes with the model; requires a commit as `revision` of a Hub
            model.
        allow_pickle: whether to read weights from pytorch_model.bin if there are no safetensors.

    Raises:
        UserError: the model cannot be found or loaded, or has a head that no task uses.
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
    except UserError as error:  # named as the user did, not by its path in the cache
        raise UserError(str(error).replace(folder, name)) from error


def _load(name: str, trust_remote_code: bool, allow_pickle: bool) -> Loaded:
    task = _task_of(name, trust_remote_code)
    model = _load_model(name, task.head, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle).eval()
    tokenizer = load_tokenizer(name, pretokenized="tokens" in task.columns, trust_remote_code=trust_remote_code)
    checkpoints.check_vocabulary(model, tokenizer, "model")
    positions = getattr(model.config, "max_position_embeddings", None) or MANY_TOKENS
    tokenizer.model_max_length = min(tokenizer.model_max_length, positions)
    labels = checkpoints.label_names(model, name, "model")
    task = task.restored(model.config)
    if task.reads_pairs is None and (Path(name) / run_folder.RECIPE).is_file():
        task.reads_pairs = False  # a model that was trained here on pairs says so
    return Loaded(model.to("cuda" if torch.cuda.is_available() else "cpu"), tokenizer, task, labels)


def _load_model(name: str, head: str, **options: Any) -> PreTrainedModel:
    if (Path(name) / paths.ADAPTER).is_file():
        return adapters.load(Path(name), head, options["allow_pickle"])
    return checkpoints.load(name, head, "model", with_head=True, **options)


def _task_of(name: str, trust_remote_code: bool = False) -> Task:
    """The task in the recipe next to the weights; without a recipe, the one whose head matches the architecture."""
    recipe = Path(name) / run_folder.RECIPE
    if recipe.is_file():
        return load_task(read_json(recipe).task)
    named = checkpoints.load_config(name, "model", trust_remote_code=trust_remote_code).architectures
    architectures = [str(architecture) for architecture in named] if isinstance(named, list) else []
    for task, spec in TASKS.items():
        if any(architecture.endswith(head_called(spec.head).architectures) for architecture in architectures):
            return load_task(task)
    heads = ", ".join(dict.fromkeys(f"For{spec.head}" for spec in TASKS.values()))
    raise UserError(f"model: {name} is a {', '.join(architectures) or 'model without a head'}; expected {heads}")


def evaluate(model: str, data: Data, split: str = "test", batch_size: int = 32, **options: Any) -> dict[str, Any]:
    """Score a saved model on one split of new data with its task's metrics; `batch_size` does not change them.

    Args:
        model: folder of a run or of a model, or Hub id.
        options: revision, trust_remote_code and allow_pickle of the model, see `load`.

    Raises:
        UserError: the model or the data cannot be read, or the data has labels that the model does not know.
    """
    return evaluate_rows(model, data, split, batch_size, **options).scores


def evaluate_rows(model: str, data: Data, split: str = "test", batch_size: int = 32, **options: Any) -> Evaluation:
    """Like `evaluate`, with the outcome of each row of the split."""
    # Imported here: reading data and joining other processes takes libraries that `predict` does not need.
    from pipeline.data.new_data import encode_split
    from pipeline.data.sources import locate
    from pipeline.training.distributed import launch
    from pipeline.training.evaluation import evaluate as score

    source, data_warnings = locate(data), list[str]()  # first: a mistyped file does not wait for the weights
    loaded = load(model, **options)
    task = loaded.task
    refuse_unused(task.name, data)
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
    """Predict from texts with a saved model, lazily and in batches: one JSON-serializable prediction per text, in
    order.

    Args:
        model: folder of a run or of a model, or Hub id.
        revision, trust_remote_code, allow_pickle: of the model, see `load`.
        options: further arguments of the task's `predict`.

    Raises:
        UserError: the model cannot be loaded, or its task has no such option.
    """
    loaded = load(model, revision, trust_remote_code, allow_pickle)
    for name in options:
        if name not in inspect.signature(loaded.task.predict).parameters:
            raise UserError(f"{name}: a {loaded.task.name} model has no such option; leave it out")
    pending = iter(texts)
    while chunk := list(islice(pending, PREDICT_ROWS)):
        yield from loaded.task.predict(chunk, loaded.model, loaded.tokenizer, loaded.labels, **options)
