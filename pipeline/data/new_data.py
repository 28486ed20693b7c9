"""New data for a saved model: labels matched to those of the model, rows encoded with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedTokenizerBase

from pipeline.config.sources import ResolvedSource
from pipeline.data import sources, splits, tags
from pipeline.data.prepare import Encoder, encode, is_running, unify_tags
from pipeline.errors import UserError, listing, suggest

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
) -> Dataset:
    """One split of `source`, encoded for a model with `labels` into an Arrow file in `folder`.

    A source with a single split is used for any `split`. Rows are truncated to the maximum length of the model's
    tokenizer; data.max_length is for training.

    Args:
        warnings: gets a line if numbers are read as ids of the model's labels.

    Raises:
        UserError: there is no such split, or it has labels that the model does not know.
    """
    from datasets import Dataset

    in_order = is_running(source, task)
    loaded = sources.load(source, task.columns, folder, keep_empty=in_order, known_labels=labels)
    unify_tags(loaded, source.data.scheme, folder)
    warnings = [] if warnings is None else warnings
    if loaded.ids_read:
        warnings.append(_ids_warning("tags", {number: labels[number] for number in sorted(loaded.ids_read)}))
    if split not in loaded.splits and len(loaded.splits) == 1:
        split = next(iter(loaded.splits))
    if split not in loaded.splits:
        raise UserError(f"split: {source.data.source} has no {split} split, only {', '.join(loaded.splits)}")
    rows = loaded.splits[split]
    if "label" in rows.column_names:
        rows = _with_names_for_ids(rows, labels, warnings)
    rows = splits.limit(rows, source.data.limit, in_order)
    for role in CLASSES_OF.keys() & set(rows.column_names):
        _check_known(rows, role, labels, loaded.names[split])
    encode(rows, task, tokenizer, tokenizer.model_max_length, labels, folder / "encoded")
    return Dataset.from_file(str(folder / "encoded.arrow"))


def _with_names_for_ids(rows: Dataset, labels: list[str], warnings: list[str]) -> Dataset:
    """`rows` with label ids replaced by the model's names, if every label is such an id and none is a name."""
    name_of = {str(number): name for number, name in enumerate(labels)}
    found = set(rows["label"])
    if not found <= name_of.keys() - set(labels):
        return rows
    warnings.append(_ids_warning("labels", {label: name for label, name in name_of.items() if label in found}))
    return rows.remove_columns("label").add_column("label", [name_of[label] for label in rows["label"]])


def _ids_warning(kind: str, names: Mapping[Any, str]) -> str:
    pairs = [f"{number} = {name}" for number, name in names.items()]
    return f"the {kind} are read as ids of the model's labels: {listing(pairs)}"


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
            hint = suggest(label, known).replace("; there are: ", "; it has ")
            raise UserError(f"{name}:{line}: the model does not know the label {label!r}{hint}")
