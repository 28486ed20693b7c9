"""From a source to encoded splits, tokenizer and report, cached under a hash of everything that they depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import inspect
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from pipeline.config import paths
from pipeline.config.data import TRAINED_TOKENIZERS, Data
from pipeline.data import checks, scripts, sources, splits, tags, tokenizers
from pipeline.errors import UserError, writing
from pipeline.models.recurrent import RecurrentTokenizer

DONE = "prepared.json"
TOKENIZER = "tokenizer"
ROWS_PER_BATCH = 1000
SCRIPT_ROWS = 2000


class Encoder(Protocol):
    """What preparing asks of a task (see tasks/base.py)."""

    name: ClassVar[str]
    columns: ClassVar[Mapping[str, Sequence[str]]]
    stratify_by: ClassVar[str | None]
    running_text: ClassVar[bool]

    def labels(self, names: Sequence[str] | None, splits: Mapping[str, Dataset]) -> list[str]: ...
    def encode(
        self, rows: dict[str, list[Any]], tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str]
    ) -> dict[str, Any]: ...


class KnownWords(NamedTuple):
    """Words from elsewhere, such as a file of word vectors: what tells them from others, and what reads them."""

    fingerprint: str
    read: Callable[[], Iterable[str]]


class TokenizerChoice(NamedTuple):
    """Which tokenizer cuts the texts; see `prepare`."""

    tokenizer: str
    revision: str | None
    characters: bool
    known_words: KnownWords | None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Prepared:
    """Data that training can start on.

    Attributes:
        splits: train, validation and test, on disk: `id`, `length`, `input_ids` and what else the task encodes.
        labels: names of the classes in the order of their ids.
        report: what was counted and noted on the way; see checks.report.
        revision: commit of a Hub data set.
    """

    splits: dict[str, Dataset]
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    report: dict[str, Any]
    revision: str | None


def prepare(
    data: Data,
    task: Encoder,
    tokenizer: str,
    *,
    tokenizer_revision: str | None = None,
    characters: bool = False,
    known_words: KnownWords | None = None,
    trust_remote_code: bool = False,
) -> Prepared:
    """Read, check, carve and encode `data` for `task`, or open what an earlier run has left.

    Args:
        tokenizer: word, bpe or wordpiece, or where a pretrained one is.
        characters: whether one that is trained has to give the characters of words, too.
        known_words: words that one that is trained has to know besides those of the training split.
        trust_remote_code: whether code that comes with a pretrained one is run.

    Raises:
        UserError: something about the data or a setting is refused; nothing is left behind then.
    """
    origin = sources.locate(data)
    root = cache_root()
    choice = TokenizerChoice(tokenizer, tokenizer_revision, characters, known_words, trust_remote_code)
    target = root / _key(data, task, choice, origin)
    if _is_complete(target):
        try:
            return _open(target, origin)
        except (OSError, ValueError, TypeError, LookupError):  # damaged, though every size is right
            _remove(target)
    aside = _new_folder(root)
    try:
        with writing("FINETUNE_CACHE", root):
            _build(data, task, choice, origin, aside)
            _publish(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return _open(target, origin)


def cache_root() -> Path:
    """Where encoded data is kept: FINETUNE_CACHE, else a folder in the user's cache."""
    return Path(os.environ.get("FINETUNE_CACHE") or Path.home() / ".cache" / "finetune-pipeline")


def _new_folder(root: Path) -> Path:
    """A folder in `root` to write an entry aside in."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".writing-", dir=root))
    except OSError as error:
        raise UserError(
            f"FINETUNE_CACHE: {root} cannot be written to: {error.strerror}; set it to another folder"
        ) from error


def _key(data: Data, task: Encoder, choice: TokenizerChoice, origin: sources.Origin) -> str:
    """Hash of the rows, the settings, the tokenizer and the code that turns one into the other."""
    # All of this folder, whatever a process has imported of it: each of them must come to the same entry.
    code = [
        *(Path(inspect.getfile(kind)) for kind in (type(task), RecurrentTokenizer)),
        *Path(__file__).parent.rglob("*.py"),
    ]
    parts = {
        "rows": origin.fingerprint,
        "data": {**dataclasses.asdict(data), "source": None},
        # The report names files; a copy elsewhere under another name gets an entry of its own.
        "names": [str(file) for file in origin.files.values()],
        "task": task.name,
        "tokenizer": [
            choice.tokenizer,
            choice.revision,
            choice.characters,
            choice.known_words and choice.known_words.fingerprint,
            _folder_digest(choice.tokenizer),
        ],
        "code": sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in code),
        "versions": [importlib.metadata.version(name) for name in ("tokenizers", "transformers", "pyarrow")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def _folder_digest(tokenizer: str) -> str | None:
    """Hash of a local tokenizer's files."""
    folder = None if tokenizer in TRAINED_TOKENIZERS else paths.saved_tokenizer(tokenizer, "data.tokenizer")
    if folder is None:
        return None
    files = sorted(file for file in folder.iterdir() if file.suffix in (".json", ".txt", ".model", ".bpe"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()


def _is_complete(target: Path) -> bool:
    """Whether every file of an entry has the size that it was written with."""
    try:
        sizes = json.loads((target / DONE).read_text(encoding="utf-8"))["sizes"]
        return all((target / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _remove(target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    if target.is_file():
        target.unlink()


def _publish(aside: Path, target: Path) -> None:
    """Rename into place; where another process was faster, its entry is as good."""
    if target.exists() and not _is_complete(target):
        _remove(target)
    try:
        aside.rename(target)
    except OSError:
        if not _is_complete(target):
            raise


def _build(data: Data, task: Encoder, choice: TokenizerChoice, origin: sources.Origin, folder: Path) -> None:
    work = folder / "work"
    work.mkdir()
    running = _is_running(data, task)
    source = sources.load(data, origin, task.columns, work, keep_empty=running)
    facts = _tidy(source, data.scheme, work)
    where = source.names.get("train", data.source)
    raw = {split: splits.limit(rows, data.limit, running) for split, rows in source.splits.items()}
    splits.require_train(raw, where)
    task.labels(source.label_names, raw)  # first: texts or ids taken for labels would leave nothing to carve
    raw = splits.complete(raw, data, task.stratify_by, where, running)
    labels = task.labels(source.label_names, raw)
    report = {**facts, **checks.report(raw, source.names, source.empty)}
    report["notes"] = [*source.notes, *report["notes"]]
    sample = raw["train"][:SCRIPT_ROWS]["text"]
    report |= {"scripts": scripts.shares(sample), "right_to_left_share": scripts.right_to_left_share(sample)}
    pretokenized = "tokens" in task.columns
    if choice.tokenizer in TRAINED_TOKENIZERS:
        loaded: PreTrainedTokenizerBase = tokenizers.train(
            choice.tokenizer,
            Texts(raw["train"]),
            data,
            pretokenized=pretokenized,
            characters=choice.characters,
            known_words=choice.known_words.read() if choice.known_words else (),
        )
    else:
        loaded = tokenizers.load_tokenizer(
            choice.tokenizer, choice.revision, pretokenized, trust_remote_code=choice.trust_remote_code
        )
        tokenizers.check_length(loaded, data.max_length, choice.tokenizer)
    for split, rows in raw.items():
        report.setdefault("encoded", {})[split] = _encode(rows, task, loaded, data.max_length, labels, folder / split)
    report["notes"] += _encoding_notes(report["encoded"], data.max_length)
    loaded.model_max_length = data.max_length
    loaded.save_pretrained(folder / TOKENIZER)
    shutil.rmtree(work)
    files = [file for file in folder.rglob("*") if file.is_file()]
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in files}
    done = {"labels": labels, "report": report, "splits": list(raw), "sizes": sizes}
    (folder / DONE).write_text(json.dumps(done, ensure_ascii=False), encoding="utf-8")


def _is_running(data: Data, task: Encoder) -> bool:
    """Whether the rows are lines of one text, for a task to which that matters."""
    return task.running_text and sources.is_running(data)


def _tidy(source: sources.Source, scheme: str | None, folder: Path) -> dict[str, Any]:
    """Bring the tags of all splits, where there are any, into one scheme; what was found goes to the report."""
    if "tags" not in source.splits[next(iter(source.splits))].column_names:
        return {}
    tidied = tags.tidy(source.splits, source.names, scheme or "iob2", folder)
    source.splits.update(tidied.splits)
    source.notes.extend(tidied.notes)
    return {"scheme": tidied.found}


class Texts:
    """Texts, or the words of each, as often as they are asked for; a few rows at a time are in memory."""

    def __init__(self, rows: Dataset):
        self._rows = rows

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self._rows), ROWS_PER_BATCH):
            batch = self._rows[start : start + ROWS_PER_BATCH]
            yield from itertools.chain.from_iterable(batch["tokens"]) if "tokens" in batch else batch["text"]


def _encode(
    rows: Dataset, task: Encoder, tokenizer: PreTrainedTokenizerBase, max_length: int, labels: list[str], file: Path
) -> dict[str, Any]:
    """Write `rows` encoded to an Arrow file; what was cut, and the share of unknown tokens."""
    truncated = tokens = unknown = written = 0
    stream = None
    with pa.OSFile(str(file.with_suffix(".arrow")), "wb") as sink:
        for start in range(0, len(rows), ROWS_PER_BATCH):
            columns = task.encode(rows[start : start + ROWS_PER_BATCH], tokenizer, max_length, labels)
            truncated += sum(columns.pop("truncated"))
            batch = _record_batch(columns, written, tokenizer)
            written += len(batch)
            flat = batch.column("input_ids").flatten().to_numpy()
            tokens, unknown = tokens + len(flat), unknown + int((flat == tokenizer.unk_token_id).sum())
            stream = stream or pa.ipc.new_stream(sink, batch.schema)
            stream.write_batch(batch)
        if stream:
            stream.close()
    share = unknown / max(tokens, 1)
    return {"tokens": tokens, "truncated": truncated, "more_windows": written - len(rows), "unknown_share": share}


def _record_batch(columns: dict[str, list[Any]], start: int, tokenizer: PreTrainedTokenizerBase) -> pa.RecordBatch:
    """Encoded columns with `id` and `length`; a row without a token gets the unknown one, so that it can be scored."""
    filler = [tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.eos_token_id]
    ids = [tokens or filler for tokens in columns.pop("input_ids")]
    arrays = {
        "id": pa.array(np.arange(start, start + len(ids))),
        "length": pa.array([len(tokens) for tokens in ids], pa.int32()),
        "input_ids": pa.array(ids, pa.list_(pa.int32())),
        **{name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in columns.items()},
    }
    return pa.RecordBatch.from_pydict(arrays)


def _encoding_notes(encoded: Mapping[str, Mapping[str, Any]], max_length: int) -> list[str]:
    told = {
        "truncated": f"rows cut to data.max_length {max_length} tokens",
        "more_windows": f"windows more than rows, as long ones are read in several of {max_length} tokens",
    }
    notes = []
    for fact, words in told.items():
        counts = ", ".join(f"{facts[fact]} of {split}" for split, facts in encoded.items() if facts[fact])
        if counts:
            notes.append(f"{words}: {counts}")
    return notes


def _open(folder: Path, origin: sources.Origin) -> Prepared:
    done = json.loads((folder / DONE).read_text(encoding="utf-8"))
    opened = {split: Dataset.from_file(str(folder / f"{split}.arrow")) for split in done["splits"]}
    return Prepared(
        splits={split: opened[split] for split in paths.SPLITS},
        tokenizer=tokenizers.load_tokenizer(str(folder / TOKENIZER)),
        labels=list(done["labels"]),
        report={**done["report"], "fingerprint": origin.fingerprint},
        revision=origin.revision,
    )


def encode_split(
    data: Data, split: str, task: Encoder, tokenizer: PreTrainedTokenizerBase, labels: list[str], folder: Path
) -> Dataset:
    """One split of new data, encoded for an existing model into an Arrow file in `folder`.

    A source with one split serves as whichever is asked for. Rows are cut where the model's tokenizer cuts; data's own
    max_length is for training.

    Raises:
        UserError: the split is not there, or it has labels that the model does not know.
    """
    running = _is_running(data, task)
    source = sources.load(data, sources.locate(data), task.columns, folder, keep_empty=running)
    _tidy(source, data.scheme, folder)
    if split not in source.splits and len(source.splits) == 1:
        split = next(iter(source.splits))
    if split not in source.splits:
        raise UserError(f"split: {data.source} has no {split} split, only {', '.join(source.splits)}")
    rows = splits.limit(source.splits[split], data.limit, running)
    for role in CLASSES_OF.keys() & set(rows.column_names):
        _check_known(rows, role, labels, source.names[split])
    _encode(rows, task, tokenizer, tokenizer.model_max_length, labels, folder / "encoded")
    return Dataset.from_file(str(folder / "encoded.arrow"))


# Role -> the classes in a value of it, and the classes that a model with some labels knows.
CLASSES_OF: dict[str, tuple[Callable[[Any], set[str]], Callable[[list[str]], list[str]]]] = {
    "label": (lambda label: {label}, lambda labels: labels),
    "tags": (tags.types, lambda labels: sorted(tags.types(labels))),
}


def _check_known(rows: Dataset, role: str, labels: list[str], name: str) -> None:
    classes, known_by = CLASSES_OF[role]
    known = known_by(labels)
    for value, line in zip(rows[role], rows["line"], strict=True):
        for label in sorted(classes(value) - set(known)):
            raise UserError(f"{name}:{line}: the model does not know the label {label!r}; it has {', '.join(known)}")
