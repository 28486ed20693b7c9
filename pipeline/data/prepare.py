"""From a source to encoded splits, a tokenizer and a report, cached under a hash of everything that they depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import inspect
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from pipeline import storage
from pipeline.config.data import Data
from pipeline.config.models import PairEncoding
from pipeline.config.sources import SPLITS, ResolvedSource
from pipeline.data import checks, fingerprints, source_rows, sources, splits, text_stats
from pipeline.data.encoding import Encoder, encode, length_warnings
from pipeline.data.fingerprints import Fingerprints
from pipeline.data.problem_types import PROBLEM_TYPES
from pipeline.data.rows import Places
from pipeline.data.tagging import unified_tags
from pipeline.data.tokenization import long_texts, tokenizers
from pipeline.data.tokenization.tokenizer_choice import (
    KnownWords,
    TokenizerChoice,
    suited,
    tokenizer_of,
    unknown_warnings,
)
from pipeline.errors import UserError, writing
from pipeline.models.recurrent import RecurrentSeq2SeqTokenizer, RecurrentTokenizer

if TYPE_CHECKING:
    from datasets import Dataset

DONE = "prepared.json"
TOKENIZER = "tokenizer"
SCORED = ("validation", "test")
KEPT = ("train", *SCORED)
SCRIPT_ROWS = 2000


@dataclass(frozen=True)
class Prepared:
    """Data that is ready for training.

    Attributes:
        splits: train, validation and test, on disk: `id`, `length`, `input_ids` and what the task adds.
        labels: names of the classes in the order of their ids.
        problem_type: what the labels of texts are, in the terms of transformers' configurations; None: not known.
        report: counts, and data warnings under `notes`; `data` in metrics.json. See checks.report.
        source: where the rows come from.
        fingerprints: of all that a run must find unchanged to go on.
        texts: split that is scored, or each split if they are kept -> file with its rows as they were read, and where
            they stand; see source_rows.
    """

    splits: dict[str, Dataset]
    tokenizer: PreTrainedTokenizerBase
    labels: list[str]
    problem_type: str | None
    report: dict[str, Any]
    source: ResolvedSource
    fingerprints: Fingerprints
    texts: Mapping[str, Path]


def prepare(
    source: ResolvedSource,
    task: Encoder,
    tokenizer: str,
    *,
    tokenizer_revision: str | None = None,
    characters: bool = False,
    known_words: KnownWords | None = None,
    trust_remote_code: bool = False,
    may_change: bool = False,
    pair_encoding: PairEncoding | None = None,
    keep_texts: bool = False,
) -> Prepared:
    """Read, check, split and encode `source` for `task`, or open what an earlier run has cached.

    Args:
        source: a Hub dataset must be at a commit, see `sources.locate`.
        tokenizer: one to train (see `tokenizers.KINDS`), or the folder, Hub id or sample of a pretrained one.
        characters: whether a trained tokenizer also returns the characters of words.
        known_words: words that a trained tokenizer knows besides those of the training split.
        trust_remote_code: whether code that comes with a pretrained tokenizer is run.
        may_change: whether `tokenizer` is only a default; then texts in a script without blanks get one that can cut
            them.
        pair_encoding: how pairs of texts are written into rows, see `text_pairs.for_pairs`.
        keep_texts: whether the texts of train are kept, too, for a teacher that will answer them.

    Raises:
        UserError: something about the data or a setting is refused; nothing is written to the cache then.
    """
    root = cache_root()
    choice = TokenizerChoice(
        tokenizer, tokenizer_revision, characters, known_words, trust_remote_code, may_change, pair_encoding
    )
    kept = KEPT if keep_texts else SCORED
    target = root / _key(task, choice, source, kept)
    if _is_complete(target):
        try:
            return _open(target, source, kept)
        except (OSError, ValueError, TypeError, LookupError):  # damaged, though every size is right
            with writing("FINETUNE_CACHE", root):
                storage.discard(target)
    with writing("FINETUNE_CACHE", root):
        # If another process was faster, its entry is as good.
        storage.publish_folder(
            target, lambda folder: _build(task, choice, source, folder, kept), keep_existing=_is_complete
        )
    return _open(target, source, kept)


def cache_root() -> Path:
    """The cache of encoded data: FINETUNE_CACHE, else a folder in the user's cache."""
    return Path(os.environ.get("FINETUNE_CACHE") or Path.home() / ".cache" / "finetune-pipeline")


def _key(task: Encoder, choice: TokenizerChoice, source: ResolvedSource, kept: Sequence[str]) -> str:
    """Hash of the rows, the settings, the tokenizer and the code that turns one into the other."""
    # Every module in this folder, imported or not: all processes must arrive at the same entry.
    code = [
        *files_of(task),
        *(Path(inspect.getfile(kind)) for kind in (RecurrentTokenizer, RecurrentSeq2SeqTokenizer)),
        *Path(inspect.getfile(ResolvedSource)).parent.rglob("*.py"),
        *Path(__file__).parent.rglob("*.py"),
    ]
    parts = {
        "rows": source.fingerprint,
        "classes": dict(source.classes),
        "data": {**dataclasses.asdict(source.data), "source": None},
        # Data warnings name files, so a copy under another name gets its own entry.
        "names": {split: [str(part.file) for part in parts] for split, parts in source.parts.items()},
        "home": source.data.source.partition("/")[0] if source.data.source.startswith("~") else None,
        "task": task.name,
        "texts": list(kept),
        "tokenizer": choice.fingerprint(),
        "code": sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in code),
        "versions": [importlib.metadata.version(name) for name in ("tokenizers", "transformers", "pyarrow")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def files_of(task: Encoder) -> set[Path]:
    """The modules of a task, of the classes that it inherits from, and of its variants, and those beside them that are
    named after them, such as ner_teacher.py."""
    kinds = {kind for problem_type in PROBLEM_TYPES for kind in type(task.variant(problem_type)).__mro__}
    own = {Path(inspect.getfile(kind)) for kind in kinds if kind.__module__ not in ("builtins", "abc", "typing")}
    return own | {helper for file in own for helper in file.parent.glob(f"{file.stem}_*.py")}


def _is_complete(target: Path) -> bool:
    """Whether every file of an entry has the size that it was written with."""
    try:
        sizes = json.loads((target / DONE).read_text(encoding="utf-8"))["sizes"]
        return all((target / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _build(task: Encoder, choice: TokenizerChoice, source: ResolvedSource, folder: Path, kept: Sequence[str]) -> None:
    """Fill `folder` with the encoded splits, the tokenizer and the report."""
    work, data = folder / "work", source.data
    work.mkdir()
    raw, places, task, labels, report = _read(task, source, work)
    choice = suited(choice, "tokens" in task.columns, report)
    tokenizer = tokenizer_of(choice, data, raw["train"])
    long_texts.keep(tokenizer, data.long_texts)
    for split, rows in raw.items():
        report.setdefault("encoded", {})[split] = encode(rows, task, tokenizer, data.max_length, labels, folder / split)
        if split in kept:
            source_rows.write(rows, task.columns, source_rows.shown(places[split], source), _texts_of(folder, split))
    report["notes"] += length_warnings(report["encoded"], data.max_length)
    unknown = {split: counted["unknown_share"] for split, counted in report["encoded"].items()}
    report["notes"] += unknown_warnings(choice, unknown)
    tokenizer.model_max_length = data.max_length
    tokenizer.save_pretrained(folder / TOKENIZER)
    shutil.rmtree(work)
    files = [file for file in folder.rglob("*") if file.is_file()]
    sizes = {str(file.relative_to(folder)): file.stat().st_size for file in files}
    rows = {split: fingerprints.of_file(folder / f"{split}.arrow") for split in raw}
    done = {"labels": labels, "report": report, "splits": list(raw), "rows": rows, "sizes": sizes}
    (folder / DONE).write_text(json.dumps(done, ensure_ascii=False), encoding="utf-8")


def _read(
    task: Encoder, source: ResolvedSource, folder: Path
) -> tuple[dict[str, Dataset], dict[str, Places], Encoder, list[str], dict[str, Any]]:
    """The three splits as texts, the places of their rows, the task for their labels, the labels, and the report;
    `folder` is for the files of the splits."""
    data, in_order = source.data, is_running(source, task)
    loaded = sources.load(source, task.columns, folder, pairs=task.pairs, keep_empty=in_order)
    task = task.variant(loaded.columns.problem_type)
    loaded, found = unify_tags(loaded, data, folder)
    where = str(loaded.names.get("train", data.source))
    raw = {split: splits.limit(rows, data.limit, in_order) for split, rows in loaded.splits.items()}
    _check_labelled(loaded, where)
    splits.require_train(raw, where)
    task.labels(loaded.label_names, raw)  # first: texts or ids taken for labels would leave nothing to carve
    raw = splits.complete(raw, data, task.stratify_by, where, loaded.warnings, in_order, folder=folder)
    labels = task.labels(loaded.label_names, raw)
    report = {**found, **checks.report(raw, loaded.names, loaded.empty)}
    report["notes"] = [*loaded.warnings, *map(_unlabelled_warning, loaded.unlabelled), *report["notes"]]
    report |= {"columns": str(loaded.columns), "problem_type": loaded.columns.problem_type}
    report["pairs"] = "text_pair" in raw["train"].column_names
    sample = [text for role in ("text", "target") for text in raw["train"][:SCRIPT_ROWS].get(role, ())]
    report["scripts"] = text_stats.script_shares(sample)
    report["right_to_left_share"] = text_stats.right_to_left_share(sample)
    places = {split: loaded.names[split if split in loaded.splits else "train"] for split in raw}  # or carved from it
    return raw, places, task, labels, report


def raw_splits(source: ResolvedSource, task: Encoder, folder: Path) -> dict[str, Dataset]:
    """The rows of each split before they are encoded, in the same order as `prepare` has them; `folder` is for their
    files."""
    return _read(task, source, folder)[0]


def opened(file: Path) -> Dataset:
    """The rows in an Arrow file."""
    from datasets import Dataset

    return Dataset.from_file(str(file))


def _texts_of(folder: Path, split: str) -> Path:
    return folder / f"{split}-texts.arrow"


def _check_labelled(loaded: sources.LoadedSource, where: str) -> None:
    if "train" in loaded.unlabelled:
        raise UserError(f"{where}: no row of train has a label ({loaded.columns}); set data.label_column")


def _unlabelled_warning(split: str) -> str:
    return f"{split} has no labels, so it is left out"


def is_running(source: ResolvedSource, task: Encoder) -> bool:
    """Whether the rows are lines of one text, for a task where that matters."""
    return task.running_text and source.is_running_text


def unify_tags(
    loaded: sources.LoadedSource, data: Data, folder: Path, known: Sequence[str] = ()
) -> tuple[sources.LoadedSource, dict[str, Any]]:
    """Convert the tags of all splits, if they have any, to one scheme; also returns the scheme found, for the report.

    Args:
        known: tags of an existing model, in the order of their ids.
    """
    if "tags" not in loaded.columns.columns:
        return loaded, {}
    unified = unified_tags.unify(
        loaded.splits,
        loaded.names,
        data.scheme or "iob2",
        folder,
        classes=loaded.classes,
        given=data.names_of_labels,
        known=known,
    )
    loaded = dataclasses.replace(
        loaded,
        splits=unified.splits,
        label_names=unified.label_names,
        unlabelled=unified.unlabelled,
        warnings=[*loaded.warnings, *unified.warnings],
    )
    return loaded, {"scheme": unified.found}


def _open(folder: Path, source: ResolvedSource, kept: Sequence[str]) -> Prepared:
    done = json.loads((folder / DONE).read_text(encoding="utf-8"))
    found = {split: opened(folder / f"{split}.arrow") for split in done["splits"]}
    tokenizer = tokenizers.load_tokenizer(str(folder / TOKENIZER))
    rows = {split: (int(count), str(digest)) for split, (count, digest) in done["rows"].items()}
    return Prepared(
        splits={split: found[split] for split in SPLITS},
        tokenizer=tokenizer,
        labels=list(done["labels"]),
        problem_type=done["report"]["problem_type"],
        report={**done["report"], "fingerprint": source.fingerprint},
        source=source,
        fingerprints=Fingerprints(rows, list(done["labels"]), fingerprints.of_vocabulary(tokenizer)),
        texts={split: _texts_of(folder, split) for split in kept},
    )
