"""Use a saved model from a folder or the Hub: load it, evaluate it on new data, predict from texts."""

from __future__ import annotations

import inspect
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline import run_folder
from pipeline.config import paths
from pipeline.config.data import Data
from pipeline.config.hub import check_trust
from pipeline.config.recipe import Recipe, refuse_unused
from pipeline.config.serialization import read_json
from pipeline.config.task_specs import TASKS, head_called
from pipeline.config.training import Train
from pipeline.data.tokenization.tokenizers import load_tokenizer
from pipeline.errors import UserError, writing
from pipeline.hub import download
from pipeline.models import adapters, checkpoints, cpu_functions, exported
from pipeline.models.checkpoints import SEQ2SEQ
from pipeline.models.exported import ExportedModel
from pipeline.models.exported_seq2seq import ExportedSeq2SeqLM
from pipeline.tasks.base import Task, load_task

if TYPE_CHECKING:
    from pipeline.training.evaluation import Evaluation

SORTED_ROWS = 2048  # rows that are sorted by length before they go through the model
MANY_TOKENS = 1_000_000  # if neither the tokenizer nor the model has a limit


@dataclass(frozen=True)
class Loaded:
    """A saved model in evaluation mode, on the GPU if there is one, with its tokenizer and its task.

    Attributes:
        data: settings of the data that it was trained on, if a recipe is next to the weights.
    """

    model: PreTrainedModel | ExportedModel | ExportedSeq2SeqLM
    tokenizer: PreTrainedTokenizerBase
    task: Task
    labels: list[str]
    data: Data | None = None


def load(
    name: str,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    device: str | None = None,
) -> Loaded:
    """Load a saved model whose head belongs to one of the tasks.

    Args:
        name: folder of a run, of a model or of an export, or Hub id.
        revision: commit, tag or branch of a Hub model.
        trust_remote_code: whether to run the code that comes with the model; requires a commit as `revision` of a Hub
            model.
        allow_pickle: whether to read weights from pytorch_model.bin if there are no safetensors.
        device: where the model goes; None: to the GPU if there is one.

    Raises:
        UserError: the model cannot be found or loaded, or has a head that no task uses.
    """
    check_trust(name, revision, trust_remote_code, "trust-remote-code")
    name = run_folder.model_in(name)
    options: Any = {"trust_remote_code": trust_remote_code, "allow_pickle": allow_pickle, "device": device}
    if paths.saved_model(name, "model", adapters=True) is not None:
        return _load(name, **options)
    folder = str(download.snapshot(name, revision, "model", allow_pickle))
    try:
        paths.saved_model(folder, "model", adapters=True)
        return _load(folder, **options)
    except UserError as error:  # named as the user did, not by its path in the cache
        raise UserError(str(error).replace(folder, name)) from error


def _load(name: str, trust_remote_code: bool, allow_pickle: bool, device: str | None) -> Loaded:
    if exported.is_export(name):
        return _load_export(name)
    recipe = _recipe_of(name)
    task = load_task(recipe.task) if recipe else _task_of(name, trust_remote_code)
    model = _load_model(name, task.head, trust_remote_code=trust_remote_code, allow_pickle=allow_pickle).eval()
    tokenizer = load_tokenizer(name, pretokenized="tokens" in task.columns, trust_remote_code=trust_remote_code)
    checkpoints.check_vocabulary(model, tokenizer, "model")
    tokenizer.model_max_length = min(tokenizer.model_max_length, checkpoints.longest(model) or MANY_TOKENS)
    labels = _labels(model, name, task)
    if getattr(model.config, "pad_token_id", None) is None:
        # A classifier on top of GPT-2 looks for the last token before the padding.
        model.config.pad_token_id = tokenizer.pad_token_id
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    task = task.restored(model.config)
    if task.reads_pairs is None and recipe:
        task.reads_pairs = False  # a model that was trained here on pairs says so
    return Loaded(model.to(device), tokenizer, task, labels, recipe.data if recipe else None)


def _load_export(folder: str) -> Loaded:
    task = load_task(exported.read_settings(folder)["task"])
    model, recipe = (ExportedSeq2SeqLM if task.head == SEQ2SEQ else ExportedModel)(folder), _recipe_of(folder)
    task = task.restored(model.config)
    task.reads_pairs = model.settings["reads_pairs"]
    tokenizer = load_tokenizer(folder, pretokenized="tokens" in task.columns)
    tokenizer.model_max_length = min(tokenizer.model_max_length, model.settings["max_length"] or MANY_TOKENS)
    labels = _labels(model, folder, task)
    return Loaded(model, tokenizer, task, labels, recipe.data if recipe else None)


def _labels(model: PreTrainedModel | ExportedModel, name: str, task: Task) -> list[str]:
    """Names of the classes. In transformers' configurations a task without classes has LABEL_0 and LABEL_1."""
    return [] if type(task).labels is Task.labels else checkpoints.label_names(model, name, "model")


def _load_model(name: str, head: str, **options: Any) -> PreTrainedModel:
    if (Path(name) / paths.ADAPTER).is_file():
        return adapters.load(Path(name), head, **options)
    return checkpoints.load(name, head, "model", with_head=True, **options)


def _recipe_of(name: str) -> Recipe | None:
    """The recipe next to the weights."""
    file = Path(name) / run_folder.RECIPE
    return read_json(file) if file.is_file() else None


def _task_of(name: str, trust_remote_code: bool = False) -> Task:
    """The task whose head matches the architecture."""
    named = checkpoints.load_config(name, "model", trust_remote_code=trust_remote_code).architectures
    architectures = [str(architecture) for architecture in named] if isinstance(named, list) else []
    for task, spec in TASKS.items():
        if any(architecture.endswith(head_called(spec.head).architectures) for architecture in architectures):
            return load_task(task)
    heads = ", ".join(dict.fromkeys(f"For{spec.head}" for spec in TASKS.values()))
    raise UserError(f"model: {name} is a {', '.join(architectures) or 'model without a head'}; expected {heads}")


def evaluate(
    model: str,
    data: Data,
    split: str = "test",
    batch_size: int = 32,
    *,
    rows: Path | None = None,
    cache: int | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Score a saved model on one split of new data with its task's metrics; `batch_size` does not change them.

    Args:
        model: folder of a run or of a model, or Hub id.
        rows: file that gets the rows of the split, see predictions.py.
        cache: positions of a continuous cache, see tasks/word_cache.py; how it is mixed with the model is chosen on the
            validation split of the data. None: no cache.
        options: revision, trust_remote_code and allow_pickle of the model, see `load`.

    Raises:
        UserError: the model or the data cannot be read, or the data has labels that the model does not know.
    """
    return evaluate_rows(model, data, split, batch_size, rows=rows, cache=cache, **options).scores


def evaluate_rows(
    model: str,
    data: Data,
    split: str = "test",
    batch_size: int = 32,
    *,
    rows: Path | None = None,
    cache: int | None = None,
    **options: Any,
) -> Evaluation:
    """Like `evaluate`, with the outcome of each row of the split."""
    # Imported here: reading data and joining other processes takes libraries that `predict` does not need.
    from pipeline.data.sources import locate, locate_again
    from pipeline.tasks.next_word_cache import with_cache
    from pipeline.training.distributed import launch

    source, data_warnings = locate(data), list[str]()  # first: a mistyped file does not wait for the weights
    loaded = load(model, **options)
    task = loaded.task if cache is None else with_cache(loaded.task, loaded.model, cache)
    refuse_unused(task.name, data)
    source = locate_again(source, task.name)
    with writing("TMPDIR", Path(tempfile.gettempdir())), tempfile.TemporaryDirectory() as folder:
        accelerator, texts = launch.start(), Path(folder) / "texts.arrow"
        scored = partial(_score_split, loaded, source, batch_size, accelerator)
        if cache is not None:
            (tuning := Path(folder) / "tuning").mkdir()
            task = scored(task, "validation", tuning, fit=Train(), exact=True).task
        found = scored(task, split, Path(folder), warnings=data_warnings, texts=texts if rows else None)
        if isinstance(loaded.model, ExportedModel) and loaded.model.has_crf:
            found.scores["loss"] = None  # its graph computes none
        if rows and accelerator.is_main_process:
            with writing("rows", rows):
                found.write(rows, split, texts, loaded.model, loaded.tokenizer)
        return found


def _score_split(
    loaded: Loaded,
    source: Any,
    batch_size: int,
    accelerator: Any,
    task: Task,
    split: str,
    folder: Path,
    fit: Train | None = None,
    **options: Any,
) -> Evaluation:
    """Encode a split into `folder` and score it; `fit` is for `training.evaluation.evaluate`, `options` are for
    `encode_split`."""
    from pipeline.data.new_data import encode_split
    from pipeline.training.evaluation import evaluate as score

    encoded, labels = encode_split(
        source, split, task, loaded.tokenizer, loaded.labels, folder, trained=loaded.data, **options
    )
    arranged = task.arrange(encoded, loaded.model, loaded.tokenizer, batch_size, source.is_running_text, training=False)
    for warning in options.get("warnings", ()):
        if accelerator.is_main_process:  # stdout is for the scores
            print(f"data: {warning}", file=sys.stderr, flush=True)
    return score(loaded.model, task, arranged, loaded.tokenizer, labels, batch_size, accelerator, fit)


def predict(
    model: str,
    texts: Iterable[str | tuple[str, str] | list[str]],
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
        texts: strings; tuples of two for a model of pairs of texts; lists of words for a model of tagged words.
        revision, trust_remote_code, allow_pickle: of the model, see `load`.
        options: further arguments of the task's `predict`.

    Raises:
        UserError: the model cannot be loaded, or its task has no such option.
    """
    loaded = load(model, revision, trust_remote_code, allow_pickle)
    yield from answers(loaded, texts, **options)


def predict_rows(
    model: str,
    data: Data,
    split: str | None = None,
    *,
    report: Callable[[str], None] = lambda line: None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    **options: Any,
) -> Iterator[dict[str, Any]]:
    """Predict from the rows of a file or folder in any format that training reads, lazily: one JSON-serializable
    prediction per row, in order, with the row's `id` if it has one.

    Args:
        model: folder of a run or of a model, or Hub id.
        data: labels are not needed. Columns are chosen as for training, and those that the model was trained on first.
        split: which one to read; needed only if there are several.
        report: called with the columns that are read, and with what a user should know about the files.
        revision, trust_remote_code, allow_pickle: of the model, see `load`.
        options: further arguments of the task's `predict`.

    Raises:
        UserError: the model or the data cannot be read, or the task of the model has no such option.
    """
    # Imported here: `predict` must not wait for it.
    from pipeline.data import new_rows
    from pipeline.data.sources import locate, locate_again

    source = locate(data)  # first: a mistyped file does not wait for the weights
    loaded = load(model, revision, trust_remote_code, allow_pickle)
    source = locate_again(source, loaded.task.name)
    rows, ids = new_rows.read(source, loaded.task, loaded.data, split, report), deque[Any]()

    def contents() -> Iterator[Any]:
        for row in rows:
            ids.append(row.id)
            yield row.content

    for answer in answers(loaded, contents(), **options):
        own = ids.popleft()
        yield answer if own is new_rows.MISSING else {"id": own, **answer}


def answers(loaded: Loaded, contents: Iterable[Any], **options: Any) -> Iterator[dict[str, Any]]:
    """Predict from texts with a model that is loaded: one JSON-serializable prediction per text, in order.

    `SORTED_ROWS` of the texts are taken at once, and those of similar length go through the model together. A program
    that cannot wait for that many gives each part of its texts to a call of its own.

    Args:
        contents: strings; tuples of two for a model of pairs of texts; lists of words for a model of tagged words.
        options: further arguments of the task's `predict`.

    Raises:
        UserError: the task has no such option, or a text is not of the kind that the model reads.
    """
    for name in options:
        if name not in inspect.signature(loaded.task.predict).parameters:
            raise UserError(f"{name}: a {loaded.task.name} model has no such option; leave it out")
    pending, size = iter(contents), loaded.task.rows_at_once
    faster = cpu_functions.faster(loaded.model, cpu_functions.ANSWERING)
    while rows := list(islice(pending, SORTED_ROWS)):
        order = list(range(len(rows)))
        if len(rows) > size:
            order.sort(key=lambda row: -_characters(rows[row]))
        found: dict[int, dict[str, Any]] = {}
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            texts = [rows[row] for row in chosen]
            with faster:
                answered = list(loaded.task.predict(texts, loaded.model, loaded.tokenizer, loaded.labels, **options))
            found.update(zip(chosen, answered, strict=True))
        yield from (found[row] for row in range(len(rows)))


def _characters(content: Any) -> int:
    return len(content) if isinstance(content, str) else sum(map(len, content))
