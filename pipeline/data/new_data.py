"""New data for a saved model: labels matched to those of the model, rows encoded with its tokenizer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import PreTrainedTokenizerBase

from pipeline.config.data import Data
from pipeline.config.sources import ResolvedSource
from pipeline.data import source_rows, sources, splits
from pipeline.data.column_choice import Choice
from pipeline.data.columns import kind_of
from pipeline.data.encoding import Encoder, encode
from pipeline.data.labels import count
from pipeline.data.new_rows import check_pairs
from pipeline.data.prepare import is_running, unify_tags
from pipeline.data.rows import Places
from pipeline.data.tagging import model_labels, tags
from pipeline.errors import UserError, listing, shorten, suggest

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
    texts: Path | None = None,
    exact: bool = False,
) -> tuple[Dataset, list[str]]:
    """One split of `source`, encoded for a model with `labels` into an Arrow file in `folder`.

    A source with a single split is used for any `split`, unless `exact` is set. Rows are truncated to the maximum
    length of the model's tokenizer; data.max_length is for training.

    Args:
        trained: settings of the data of the model; its columns come first.
        warnings: gets what a user should know about the data, such as ids of labels that are read as names.
        texts: file that gets the rows as they were read, and where they stand; see source_rows.

    Returns:
        The rows, and the names of the labels: those of the data if the model's have none, see `_Names`.

    Raises:
        UserError: there is no such split, it has no labels, or labels that the model does not know.
    """
    from datasets import Dataset

    in_order, names = is_running(source, task), _Names(labels, source.data)
    labels = names.by_setting
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
    labels = names.by_classes(loaded.classes)
    _check_indicators(loaded.columns.indicators, labels, source.data.source)
    if "tags" in task.columns:
        names.require()
    loaded, _ = unify_tags(loaded, source.data, folder, known=labels)
    if warnings is not None:
        if not _are_obvious(loaded.columns, task, source.data):
            warnings.append(str(loaded.columns))
        warnings += [*loaded.warnings, *names.warnings]
    split = _split_called(split, loaded, source.data.source, exact)
    rows = splits.limit(loaded.splits[split], source.data.limit, in_order)
    for role in CLASSES_OF.keys() & set(rows.column_names):
        _check_known(rows, role, labels, loaded.names[split])
    if texts:
        source_rows.write(rows, task.columns, source_rows.shown(loaded.names[split], source), texts)
    encode(rows, task, tokenizer, tokenizer.model_max_length, labels, folder / "encoded")
    return Dataset.from_file(str(folder / "encoded.arrow")), labels


def _split_called(name: str, loaded: sources.LoadedSource, source: str, exact: bool) -> str:
    """The labelled split called `name` or, unless `exact` is set, the only one.

    Raises:
        UserError: there is none.
    """
    found = [*loaded.splits, *loaded.unlabelled]
    split = found[0] if name not in found and len(found) == 1 and not exact else name
    if split in loaded.unlabelled:
        raise UserError(f"{loaded.names[split]}: it has no labels, so there is nothing to score; use finetune predict")
    if split not in loaded.splits:
        raise UserError(f"split: {source} has no {split} split, only {', '.join(found)}")
    return split


def _check_indicators(size: int, labels: list[str], source: str) -> None:
    if size not in (0, len(labels)):
        raise UserError(
            f"{source}: each row has a 0 or 1 for each of {size} labels, but the model has {len(labels)}:"
            f" {listing(labels)}"
        )


class _Names:
    """The names of a model's labels. Those of a model that was trained without any are LABEL_0, LABEL_1, ...; such a
    model was trained on ids, so the names of the ids in the data are theirs.

    Attributes:
        labels: the names so far.
        by_setting: with those that data.label_names gives to ids, as in 0=negative 1=positive.
    """

    def __init__(self, labels: list[str], data: Data):
        self.is_unnamed = labels == [f"LABEL_{index}" for index in range(len(labels))]
        given = data.names_of_labels if self.is_unnamed else {}
        self._own = labels
        self.labels = self.by_setting = [given.get(str(index), label) for index, label in enumerate(labels)]

    def by_classes(self, classes: Sequence[str] | None) -> list[str]:
        """With the names that the source of the data has for its ids, if it has as many as the model has labels."""
        if self.is_unnamed and self.labels == self._own and classes is not None and len(classes) == len(self.labels):
            self.labels = list(classes)
        return self.labels

    def require(self) -> None:
        """Refuse labels without names.

        Raises:
            UserError: tags cannot be compared with them.
        """
        if self.is_unnamed and self.labels == self._own:
            raise UserError(
                f"data.label_names: the labels of the model have no names ({listing(self.labels)}), so they cannot be"
                " compared with tags; name them by their ids (0=O 1=B-PER ...)"
            )

    @property
    def warnings(self) -> list[str]:
        if self.labels == self._own:
            return []
        pairs = [f"{own} = {name}" for own, name in zip(self._own, self.labels, strict=True)]
        return [f"the labels of the model have no names; they get those of the ids in the data: {listing(pairs)}"]


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
            if "did you mean" not in hint:
                hint += f"; if it is one of them, say which with data.label_names {shorten(label, 40)}=NAME"
            raise UserError(f"{places.at(place)}: the model does not know the label {label!r}{hint}")
