"""Which rows runs have in common: a row is the same if its text, or its words, and its gold answer are.

Shapes: N rows of a run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.compare.runs import ComparedRun
from pipeline.errors import UserError, listing, shorten
from pipeline.predictions import Predictions

if TYPE_CHECKING:
    import pyarrow as pa

# What a row is, apart from what a model has made of it. The file has those that its task has.
TEXTS = ("text", "text_pair", "words", "target")
GOLD = "gold"
FIELD, ELEMENT, NOTHING = "\x1e", "\x1f", "\x1d"
# Settings of the data that do not decide which rows there are: they only change what a model reads of each.
READING = {
    f"data.{name}"
    for name in (
        "tokenizer",
        "tokenizer_revision",
        "vocab_size",
        "min_frequency",
        "lowercase",
        "zero_digits",
        "max_length",
        "long_texts",
        "prefix",
        "separate_vocabs",
    )
}
ADVICE = "compare the rows that all have with --common"
ONE_KIND = "compare runs of one kind"
SHOWN_SETTINGS = 4


@dataclass(frozen=True)
class Aligned:
    """Predictions of several runs about the same rows in the same order.

    Attributes:
        predictions: name of run -> its predictions.
        left_out: name of run -> number of its rows that are not compared, if there are any.
    """

    predictions: Mapping[str, Predictions]
    left_out: Mapping[str, int]

    @property
    def rows(self) -> int:
        """The number of rows."""
        return next(iter(self.predictions.values())).table.num_rows


def align(runs: Sequence[ComparedRun], predictions: Mapping[str, Predictions], common: bool) -> Aligned:
    """The predictions of `runs`, once they are found to be about the same rows.

    Args:
        runs: those in `predictions`, by name.
        common: take the rows that all runs have, in the order of the run whose name comes first; rows that are equal
            are matched one by one, as often as all runs have them. Otherwise all runs must have the same rows.

    Raises:
        UserError: the runs have other tasks, labels or rows, or none in common.
    """
    first, *others = sorted(runs, key=lambda run: run.name)
    for other in others:
        _check_task(first, other, predictions)
    keys = {run.name: keys_of(predictions[run.name].table) for run in (first, *others)}
    if common:
        return _common(predictions, keys, first.name)
    for other in others:
        if not keys[first.name].equals(keys[other.name]):
            raise UserError(f"{first.folder} and {other.folder}: {_difference(first, other, predictions, keys)}")
    return Aligned(dict(predictions), {})


def keys_of(table: pa.Table) -> pa.Array:
    """(N,) strings, equal for two rows if and only if their texts and their gold answers are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    names = [name for name in (*TEXTS, GOLD) if name in table.column_names and _is_content(table, name)]
    if not names or names == [GOLD]:  # a task of its own that does not record the text: the number of the row counts
        names = ["id", *names]
    parts = [pc.fill_null(_as_text(table[name].combine_chunks()), NOTHING) for name in names]
    return pc.binary_join_element_wise(*parts, pa.scalar(FIELD, pa.large_string()))


def _is_content(table: pa.Table, name: str) -> bool:
    """Whether the column holds texts: `words` of next_word is a number."""
    import pyarrow as pa

    return name == GOLD or not pa.types.is_integer(table.schema.field(name).type)


def _as_text(column: pa.Array) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.binary_join(column.cast(pa.list_(pa.string())), ELEMENT)
    return column.cast(pa.large_string())


def _check_task(one: ComparedRun, other: ComparedRun, predictions: Mapping[str, Predictions]) -> None:
    """Refuse runs that do different things.

    Raises:
        UserError: their tasks, types of answers or labels differ.
    """
    place, ours, theirs = f"{one.folder} and {other.folder}", predictions[one.name].info, predictions[other.name].info
    if ours.task != theirs.task:
        raise UserError(f"{place}: the task of the first is {ours.task}, of the second {theirs.task}; {ONE_KIND}")
    if ours.problem_type != theirs.problem_type:
        kinds = f"the answers of the first are {ours.problem_type}, of the second {theirs.problem_type}"
        raise UserError(f"{place}: {kinds}; {ONE_KIND}")
    mine, its_labels = labels_of(ours.labels, ours.task), labels_of(theirs.labels, theirs.task)
    only = [("the first", mine - its_labels), ("the second", its_labels - mine)]
    found = [f"only {side} has {listing(sorted(labels))}" for side, labels in only if labels]
    if found:
        raise UserError(f"{place}: their labels differ: {'; '.join(found)}; data.label_names renames labels")


def labels_of(labels: Sequence[str], task: str) -> set[str]:
    """The classes, or the types of entities, whatever the scheme of their tags."""
    if task != "ner":
        return set(labels)
    return {label[2:] if label[1:2] == "-" else label for label in labels} - {"O"}


def _difference(
    one: ComparedRun, other: ComparedRun, predictions: Mapping[str, Predictions], keys: Mapping[str, pa.Array]
) -> str:
    """How the rows of two runs differ, from which settings it may come, and what to do."""
    ours, theirs = predictions[one.name].table, predictions[other.name].table
    split = predictions[one.name].info.split
    both = len(_shared([keys[one.name], keys[other.name]])[0])
    counts = f"{ours.num_rows:,} and {theirs.num_rows:,} rows"
    if both == ours.num_rows == theirs.num_rows:
        found = f"their {split} rows are the same, in another order"
    elif other_gold := _other_gold(ours, theirs):
        found = f"the gold answers of their {split} rows differ, {other_gold}"
    else:
        where = _first_difference(ours, theirs, keys, one, other)
        found = f"their {split} rows differ: {counts}, {both:,} of them in both; {where}"
    settings = _settings(one, other)
    return (
        f"{found}{settings}; {ADVICE}"
        if both
        else f"{found}{settings}; no row is in both, so train and test them on the same data"
    )


def _other_gold(ours: pa.Table, theirs: pa.Table) -> str:
    """How many gold answers differ, and the first, if the texts are the same; else an empty string."""
    if ours.num_rows != theirs.num_rows or GOLD not in ours.column_names or GOLD not in theirs.column_names:
        return ""
    texts = [keys_of(table.drop_columns([GOLD])) for table in (ours, theirs)]
    if not texts[0].equals(texts[1]) or not set(TEXTS) & set(ours.column_names):
        return ""
    differing = np.flatnonzero(_unequal(*(_as_text(table[GOLD].combine_chunks()) for table in (ours, theirs))))
    first = int(differing[0])
    answers = " and ".join(shorten(str(table[GOLD][first].as_py()), 60) for table in (ours, theirs))
    return f"{len(differing):,} of {ours.num_rows:,}, the first at {_place(ours, first)}: {answers}"


def _first_difference(
    ours: pa.Table, theirs: pa.Table, keys: Mapping[str, pa.Array], one: ComparedRun, other: ComparedRun
) -> str:
    size = min(ours.num_rows, theirs.num_rows)
    differing = np.flatnonzero(_unequal(keys[one.name][:size], keys[other.name][:size]))
    if not len(differing):
        longer, name = (ours, one.name) if ours.num_rows > size else (theirs, other.name)
        return f"{name} goes on with row {size} ({_place(longer, size)})"
    first = int(differing[0])
    return f"the first that differs is row {first}, {_place(ours, first)} and {_place(theirs, first)}"


def _unequal(ours: pa.Array, theirs: pa.Array) -> np.ndarray:
    """(N,) bool, of strings that may be null."""
    import pyarrow.compute as pc

    return pc.fill_null(pc.not_equal(pc.fill_null(ours, NOTHING), pc.fill_null(theirs, NOTHING)), True).to_numpy(
        zero_copy_only=False
    )


def _place(table: pa.Table, row: int) -> str:
    """Where a row stands in its source, with the beginning of its text."""
    values: dict[str, Any] = {
        name: table[name][row].as_py() for name in ("place", *TEXTS) if name in table.column_names
    }
    text = values.get("text") or values.get("words") or ""
    shown = shorten(" ".join(text) if isinstance(text, list) else str(text), 40)
    return f"{values.get('place', f'row {row}')} {shown!r}"


def _settings(one: ComparedRun, other: ComparedRun) -> str:
    """The settings of the data that differ, such as `; data.limit is 400 in a and not set in b`."""
    try:
        ours, theirs = one.settings, other.settings
    except UserError:
        return ""
    names = [name for name in ours if name.startswith("data.") and name not in READING]
    found = [
        f"{name} is {_shown(ours[name])} in {one.name} and {_shown(theirs.get(name))} in {other.name}"
        for name in names
        if ours[name] != theirs.get(name)
    ]
    return "".join(f"; {text}" for text in found[:SHOWN_SETTINGS])


def _shown(value: Any) -> str:
    return "not set" if value is None else shorten(str(value), 60)


def _common(predictions: Mapping[str, Predictions], keys: Mapping[str, pa.Array], first: str) -> Aligned:
    """The rows that all runs have, in the order of the run called `first`."""
    import pyarrow as pa

    names = [first, *(name for name in keys if name != first)]
    chosen = dict(zip(names, _shared([keys[name] for name in names]), strict=True))
    if not len(chosen[first]):
        raise UserError(
            f"--common: there is no row that all of {listing(sorted(keys))} have; evaluate them on the same data"
        )
    tables = {name: predictions[name].table.take(pa.array(rows)) for name, rows in chosen.items()}
    left_out = {name: len(keys[name]) - len(chosen[name]) for name in sorted(keys)}
    return Aligned(
        {name: Predictions(tables[name], predictions[name].info) for name in predictions},
        {name: count for name, count in left_out.items() if count},
    )


def _shared(keys: Sequence[pa.Array]) -> list[np.ndarray]:
    """For each run the numbers (M,) of the M rows that all runs have, matched with those of the first run.

    The k-th of equal rows of one run belongs to the k-th of another.
    """
    import pyarrow as pa

    codes = pa.concat_arrays(keys).dictionary_encode().indices.to_numpy().astype(np.int64)
    parts = np.split(codes, np.cumsum([len(own) for own in keys])[:-1])
    distinct = int(codes.max(initial=0)) + 1
    numbered = [own + distinct * _occurrence(own) for own in parts]
    kept = numbered[0]
    for own in numbered[1:]:
        kept = kept[np.isin(kept, own)]
    return [_positions(own, kept) for own in numbered]


def _occurrence(codes: np.ndarray) -> np.ndarray:
    """(N,) how many equal codes stand before each."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])) if len(codes) else np.zeros(0, np.int64)
    before = np.arange(len(codes)) - np.repeat(starts, np.diff(np.append(starts, len(codes))))
    occurrence = np.empty(len(codes), np.int64)
    occurrence[order] = before
    return occurrence


def _positions(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where in `values` (N,), all different, each of `wanted` (M,) stands."""
    order = np.argsort(values)
    return order[np.searchsorted(values[order], wanted)]
