"""The scores of a file of rows as sums over its rows, by the names that they have in metrics.json.

Shapes: N rows, C classes or types of entities, K columns of what a row adds to the sums of a score.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.compare.rows import labels_of
from pipeline.errors import UserError
from pipeline.metrics import decomposed, ngrams
from pipeline.metrics.bootstrap import default_block_length
from pipeline.metrics.decomposed import DecomposedScore, Kind, weighted
from pipeline.metrics.scores import is_lower_better
from pipeline.predictions import Predictions

# With more classes than these, their own scores have no intervals, for the time that they take.
MOST_CLASSES = 30


@dataclass(frozen=True)
class RowScores:
    """The scores of a file of rows.

    Attributes:
        scores: name -> the score and the name of its contributions, in the order in which a table shows them.
        contributions: name -> (N, K) what each row adds.
        main: the score that ranks runs which were not selected by the same one.
        block_length: rows in a block of neighbours that depend on each other; 1 if the rows are independent.
    """

    scores: Mapping[str, tuple[DecomposedScore, str]]
    contributions: Mapping[str, np.ndarray]
    main: str
    block_length: int = 1

    def value(self, name: str) -> float:
        """The score called `name` of all rows."""
        score, contributions = self.scores[name]
        return float(score.value(self.contributions[contributions].sum(axis=0)))


def scores_of(predictions: Predictions, metrics: Mapping[str, float]) -> RowScores:
    """The scores of `predictions`.

    Args:
        metrics: those that the run has reported, by name. Of a task that is not built in, the scores are those that
            turn out to be means over the rows.

    Raises:
        UserError: a column is missing, or holds something else.
    """
    info = predictions.info
    make = MAKERS.get((info.task, info.problem_type)) or MAKERS.get((info.task, None))
    try:
        return make(predictions) if make else _of_another_task(predictions, metrics)
    except (KeyError, ValueError, TypeError, pa.ArrowException) as error:
        raise UserError(f"the rows of {info.task} cannot be scored: {error}; write them again") from error


def _numbers(table: pa.Table, name: str) -> np.ndarray:
    return table[name].to_numpy().astype(np.float64)


def _single_label(predictions: Predictions) -> RowScores:
    table, names = predictions.table, predictions.info.labels
    known = pa.array(names, pa.string())
    gold, answer = (pc.index_in(table[side], known).to_numpy().astype(np.int64) for side in ("gold", "prediction"))
    contributions = {
        "correct": weighted(gold == answer),
        "classes": decomposed.class_counts(answer, gold, len(names)),
        "nll": weighted(_numbers(table, "nll")),
    }
    scores = {"accuracy": (decomposed.ACCURACY, "correct"), "macro_f1": (decomposed.MACRO_F1, "classes")}
    scores |= {"loss": (decomposed.LOSS, "nll"), **_of_classes("per_class", names, "classes")}
    return RowScores(scores, contributions, "accuracy")


def _several_labels(predictions: Predictions) -> RowScores:
    table, names = predictions.table, predictions.info.labels
    gold, answer = (_hot(table[side], names) for side in ("gold", "prediction"))
    contributions = {
        "classes": decomposed.label_counts(answer, gold),
        "correct": weighted((gold == answer).all(axis=1)),
        "nll": weighted(_numbers(table, "nll")),
    }
    scores = {
        "micro_f1": (decomposed.MICRO_F1, "classes"),
        "macro_f1": (decomposed.MACRO_F1_OF_LABELS, "classes"),
        "accuracy": (decomposed.ACCURACY, "correct"),
        "loss": (decomposed.LOSS, "nll"),
        **_of_classes("per_class", names, "classes"),
    }
    return RowScores(scores, contributions, "micro_f1")


def _hot(column: pa.ChunkedArray, names: Sequence[str]) -> np.ndarray:
    """(N, C) whether each row has each of `names`."""
    lists = column.combine_chunks()
    hot = np.zeros((len(lists), len(names)), dtype=bool)
    classes = pc.index_in(lists.flatten(), pa.array(names, pa.string())).to_numpy().astype(np.int64)
    hot[pc.list_parent_indices(lists).to_numpy(), classes] = True
    return hot


def _numbers_of_texts(predictions: Predictions) -> RowScores:
    table = predictions.table
    gold, answer = _numbers(table, "gold"), _numbers(table, "prediction")
    contributions = {
        "error": weighted(np.square(gold - answer)),
        "moments": decomposed.moments(answer, gold),
        "ranks": decomposed.rank_pseudovalues(answer, gold),
    }
    scores = {
        "mse": (decomposed.MSE, "error"),
        "pearson": (decomposed.PEARSON, "moments"),
        "spearman": (decomposed.SPEARMAN, "ranks"),
        "loss": (replace(decomposed.MSE, name="loss"), "error"),
    }
    return RowScores(scores, contributions, "mse")


def _entities(predictions: Predictions) -> RowScores:
    table = predictions.table
    gold, answer = (_Spans.read(table, *side) for side in (("gold_spans", "gold"), ("predicted_spans", "prediction")))
    kinds = sorted(labels_of(predictions.info.labels, "ner") | set(gold.kinds) | set(answer.kinds))
    words = pc.list_value_length(table["gold"]).to_numpy()
    contributions = {
        "spans": _span_counts(gold, answer, kinds),
        "strict": _span_counts(gold.strict(), answer.strict(), kinds),
        "words": weighted(_right_words(table), words),
        "nll": weighted(_numbers(table, "nll"), _numbers(table, "tokens")),
    }
    scores = {
        "precision": (decomposed.PRECISION, "spans"),
        "recall": (decomposed.RECALL, "spans"),
        "f1": (decomposed.F1, "spans"),
        "strict_f1": (decomposed.STRICT_F1, "strict"),
        "accuracy": (decomposed.ACCURACY_OF_UNITS, "words"),
        "loss": (decomposed.LOSS, "nll"),
        **_of_classes("per_type", kinds, "spans"),
    }
    return RowScores(scores, contributions, "f1")


@dataclass(frozen=True)
class _Spans:
    """The M spans of N sentences: sentence, first word, end and type of each, and whether its first tag is a B."""

    rows: int
    row: np.ndarray
    start: np.ndarray
    end: np.ndarray
    kind: np.ndarray
    begins: np.ndarray

    @classmethod
    def read(cls, table: pa.Table, spans: str, tags: str) -> _Spans:
        lists, tag_lists = table[spans].combine_chunks(), table[tags].combine_chunks()
        parts = lists.flatten()
        row = pc.list_parent_indices(lists).to_numpy()
        start, end = (parts.field(name).to_numpy().astype(np.int64) for name in ("start", "end"))
        kind = np.array(parts.field("type").to_pylist(), dtype=object)
        lengths = pc.list_value_length(tag_lists).to_numpy()
        first = (np.cumsum(lengths) - lengths)[row] + start
        begins = pc.starts_with(tag_lists.flatten().take(pa.array(first)), "B").to_numpy(zero_copy_only=False)
        return cls(len(lists), row, start, end, kind, begins)

    @property
    def kinds(self) -> set[str]:
        return set(self.kind.tolist())

    def strict(self) -> _Spans:
        """Those that valid tags mark, see `metrics.entities.valid_spans`."""
        chosen = self.begins
        parts = (part[chosen] for part in (self.row, self.start, self.end, self.kind, self.begins))
        return _Spans(self.rows, *parts)

    def codes(self, kinds: Sequence[str], longest: int) -> tuple[np.ndarray, np.ndarray]:
        """(M,) number of the type, and a number that only equal spans of the same sentence share.

        Args:
            longest: more than the words of any sentence.
        """
        number = {kind: index for index, kind in enumerate(kinds)}
        kind = np.array([number[name] for name in self.kind], dtype=np.int64)
        return kind, ((self.row * len(kinds) + kind) * longest + self.start) * longest + self.end


def _span_counts(gold: _Spans, answer: _Spans, kinds: Sequence[str]) -> np.ndarray:
    """(N, 3C) right, true and predicted spans, as `decomposed.span_counts` counts them."""
    longest = 1 + max(int(spans.end.max(initial=0)) for spans in (gold, answer))
    (true_kind, true), (kind, found) = gold.codes(kinds, longest), answer.codes(kinds, longest)
    hit = np.isin(found, true)
    sides = ((answer.row[hit], kind[hit]), (gold.row, true_kind), (answer.row, kind))
    count = len(kinds)
    parts = [np.bincount(row * count + own, minlength=gold.rows * count).reshape(-1, count) for row, own in sides]
    return np.concatenate(parts, axis=1).astype(np.float64)


def _right_words(table: pa.Table) -> np.ndarray:
    """(N,) words of each sentence whose tag is right."""
    gold, answer = (table[name].combine_chunks() for name in ("gold", "prediction"))
    right = pc.equal(gold.flatten(), answer.flatten()).to_numpy(zero_copy_only=False)
    return np.bincount(pc.list_parent_indices(gold).to_numpy(), weights=right, minlength=len(gold))


def _next_word(predictions: Predictions) -> RowScores:
    table, settings = predictions.table, predictions.info.settings
    nll, tokens = _numbers(table, "nll"), _numbers(table, "tokens")
    contributions = {
        "tokens": weighted(nll, tokens),
        "words": weighted(nll, _numbers(table, "words")),
        "bytes": weighted(nll, _numbers(table, "bytes")),
        "first": weighted(_numbers(table, "first"), tokens),
        "in_five": weighted(_numbers(table, "in_five"), tokens),
    }
    scores = {
        "perplexity_per_token": (decomposed.PERPLEXITY_PER_TOKEN, "tokens"),
        "perplexity_per_word": (decomposed.PERPLEXITY_PER_WORD, "words"),
        "bits_per_byte": (decomposed.BITS_PER_BYTE, "bytes"),
        "accuracy": (decomposed.ACCURACY_OF_UNITS, "first"),
        "accuracy_top5": (decomposed.ACCURACY_TOP5, "in_five"),
        "loss": (decomposed.LOSS, "tokens"),
    }
    running = settings.get("running", True)
    return RowScores(scores, contributions, "loss", default_block_length(table.num_rows) if running else 1)


def _translations(predictions: Predictions) -> RowScores:
    table = predictions.table
    texts = [table[name].to_pylist() for name in ("hypothesis", "target")]
    contributions = {
        "words": ngrams.bleu_counts(*texts),
        "characters": ngrams.chrf_counts(*texts),
        "nll": weighted(_numbers(table, "nll"), _numbers(table, "tokens")),
    }
    scores = {
        "chrf": (decomposed.CHRF, "characters"),
        "bleu": (decomposed.BLEU, "words"),
        "perplexity_per_token": (decomposed.PERPLEXITY_PER_TOKEN, "nll"),
        "loss": (decomposed.LOSS, "nll"),
    }
    return RowScores(scores, contributions, "chrf")


def _of_classes(prefix: str, names: Sequence[str], contributions: str) -> dict[str, tuple[DecomposedScore, str]]:
    """The scores of each class, from the same contributions as their average."""
    figures: tuple[Literal["precision", "recall", "f1"], ...] = ("precision", "recall", "f1")
    made = (
        decomposed.of_class(prefix, name, column, len(names), figure)
        for column, name in enumerate(names[:MOST_CLASSES] if len(names) <= MOST_CLASSES else ())
        for figure in figures
    )
    return {score.name: (score, contributions) for score in made}


def _of_another_task(predictions: Predictions, metrics: Mapping[str, float]) -> RowScores:
    """The scores that are means over rows or tokens, recognised by their values."""
    contributions = _candidates(predictions.table)
    scores: dict[str, tuple[DecomposedScore, str]] = {}
    for name, reported in metrics.items():
        for key, rows in contributions.items():
            kind: Kind = "share" if key == "correct" else "nll" if key.startswith("nll") else "other"
            score = DecomposedScore(name, decomposed.ACCURACY.value, is_lower_better(name), kind, (-np.inf, np.inf))
            if np.isclose(score.value(rows.sum(axis=0)), reported, rtol=1e-6, atol=1e-9):
                scores[name] = (score, key)
                break
    if not scores:
        raise ValueError("no score of metrics.json is a mean over its rows")
    return RowScores(scores, contributions, next(iter(scores)))


def _candidates(table: pa.Table) -> dict[str, np.ndarray]:
    """Contributions (N, 2) that a score of any task may be the mean of."""
    numbers = [
        field.name for field in table.schema if pa.types.is_integer(field.type) or pa.types.is_floating(field.type)
    ]
    found = {}
    if {"gold", "prediction"} <= set(table.column_names):
        gold, answer = (table[name].to_pylist() for name in ("gold", "prediction"))
        found["correct"] = weighted([one == other for one, other in zip(gold, answer, strict=True)])
    for name in numbers:
        if name not in ("id", "tokens") and not table[name].null_count:
            found[name] = weighted(_numbers(table, name))
            if "tokens" in numbers:
                found[f"{name} of tokens"] = weighted(_numbers(table, name), _numbers(table, "tokens"))
    return found


MAKERS: dict[tuple[str, str | None], Callable[[Predictions], RowScores]] = {
    ("sentiment", "single_label_classification"): _single_label,
    ("sentiment", "multi_label_classification"): _several_labels,
    ("sentiment", "regression"): _numbers_of_texts,
    ("ner", None): _entities,
    ("next_word", None): _next_word,
    ("translation", None): _translations,
}
