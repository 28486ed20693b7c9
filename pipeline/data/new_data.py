"""New data for a saved model: labels matched to those of the model, rows encoded with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from pipeline.config.data import Data
from pipeline.config.sources import ResolvedSource
from pipeline.data import sources, splits
from pipeline.data.column_choice import Choice
from pipeline.data.columns import kind_of
from pipeline.data.encoding import Encoder, encode
from pipeline.data.labels import count
from pipeline.data.new_rows import check_pairs
from pipeline.data.prepare import is_running, unify_tags
from pipeline.data.rows import Places
from pipeline.data.tagging import model_labels, tags
from pipeline.errors import UserError, suggest

if TYPE_CHECKING:
    from datasets import Dataset


def encode_split(
    source: ResolvedSource,
    split: str,
    task: Encoder,
    tokenizer: PreTrainedTokenizerBase,
    labels: list[str],
    folder: Path,
    warnings: list[str] | None = None,
    trained: Data | None = None,
) -> Dataset:
    """One split of `source`, encoded for a model with `labels` into an Arrow file in `folder`.

    A source with a single split is used for any `split`. Rows are truncated to the maximum length of the model's
    tokenizer; data.max_length is for training.

    Args:
        trained: settings of the data of the model; its columns come first.
        warnings: gets what a user should know about the data, such as ids of labels that are read as names.

    Raises:
        UserError: there is no such split, it has no labels, or labels that the model does not know.
    """
    from datasets import Dataset

    in_order = is_running(source, task)
    loaded = sources.load(
        source,
        task.columns,
        folder,
        pairs=() if task.reads_pairs is False else task.pairs,
        keep_empty=in_order,
        known_labels=labels,
        problem_type=task.problem_type,
        trained=trained,
    )
    check_pairs(task, source.data, loaded.columns, str(next(iter(loaded.names.values()))))
    loaded, _ = unify_tags(loaded, source.data, folder, known=labels)
    if warnings is not None:
        if not _are_obvious(loaded.columns, task, source.data):
            warnings.append(str(loaded.columns))
        warnings += loaded.warnings
    found = [*loaded.splits, *loaded.unlabelled]
    if split not in found and len(found) == 1:
        split = found[0]
    if split in loaded.unlabelled:
        raise UserError(f"{loaded.names[split]}: it has no labels, so there is nothing to score; use finetune predict")
    if split not in loaded.splits:
        raise UserError(f"split: {source.data.source} has no {split} split, only {', '.join(found)}")
    rows = splits.limit(loaded.splits[split], source.data.limit, in_order)
    for role in CLASSES_OF.keys() & set(rows.column_names):
        _check_known(rows, role, labels, loaded.names[split])
    encode(rows, task, tokenizer, tokenizer.model_max_length, labels, folder / "encoded")
    return Dataset.from_file(str(folder / "encoded.arrow"))


def _are_obvious(columns: Choice, task: Encoder, data: Data) -> bool:
    """Whether a setting names each column, or its name says what it is."""
    return all(
        getattr(data, kind_of(role).setting, None) == column or column.strip().lower() in task.columns.get(role, ())
        for role, column in columns.columns.items()
    )


# Role -> the classes in a label or tag, and the classes that a model with some labels knows.
CLASSES_OF: dict[str, tuple[Callable[[str], set[str]], Callable[[list[str]], list[str]]]] = {
    "label": (lambda label: {label}, lambda labels: labels),
    "tags": (lambda tag: tags.types([tag]), lambda labels: sorted(model_labels.read(labels).types)),
}


def _check_known(rows: Dataset, role: str, labels: list[str], places: Places) -> None:
    if getattr(rows.features[role], "dtype", None) == "float64":  # numbers are not classes
        return
    classes, known_by = CLASSES_OF[role]
    known = known_by(labels)
    if all(classes(value) <= set(known) for value in count(rows, role)):
        return
    for value, place in zip(rows[role], rows["line"], strict=True):
        for label in sorted(set().union(*map(classes, value if isinstance(value, list) else [value])) - set(known)):
            hint = suggest(label, known).replace("; there are: ", "; it has ")
            raise UserError(f"{places.at(place)}: the model does not know the label {label!r}{hint}")
