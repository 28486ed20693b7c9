"""What the sections of the page read: the contenders with their letters, and the answers of each run as arrays."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from pipeline.compare.contenders import Contender
from pipeline.compare.page.html import Html, tag, user
from pipeline.compare.runs import ComparedRun
from pipeline.compare.verdict import Verdict
from pipeline.errors import UserError
from pipeline.metrics import ngrams
from pipeline.predictions import Predictions

COLOURS = 10
SCORE_NAMES = {"bleu": "BLEU", "chrf": "chrF"}
SINGLE, SEVERAL, NUMBERS = "single_label_classification", "multi_label_classification", "regression"


@dataclass(frozen=True)
class Entry:
    """A contender on the page.

    Attributes:
        key: a letter, which stands for it in pictures: A is the best.
        colour: number of its colour, below `COLOURS`.
    """

    contender: Contender
    key: str
    colour: int

    @property
    def name(self) -> str:
        return self.contender.name

    @property
    def run(self) -> ComparedRun:
        """The first of its runs, for what can be shown of a single run only."""
        return self.contender.runs[0]

    def badge(self) -> Html:
        """Its letter on its colour."""
        return tag("span", self.key, class_=f"badge k{self.colour}")

    def title(self) -> Html:
        """Its letter and its name."""
        return tag("span", self.badge(), " ", user(self.name), class_="entry")

    def mean(self, name: str) -> float | None:
        """The mean over its runs of a number under `train` in metrics.json, such as `answering.batch_1`."""
        found = [_number(run.metrics["train"], name) for run in self.contender.runs]
        numbers = [value for value in found if value is not None]
        return float(np.mean(numbers)) if numbers else None


def _number(values: Any, name: str) -> float | None:
    for part in name.split("."):
        values = values.get(part) if isinstance(values, dict) else None
    return float(values) if isinstance(values, (int, float)) and np.isfinite(values) else None


class Answers:
    """The columns of a run's predictions as arrays. N rows, C classes."""

    def __init__(self, predictions: Predictions):
        self.table, self.info = predictions.table, predictions.info
        self.labels = list(self.info.labels)

    def has(self, *columns: str) -> bool:
        return set(columns) <= set(self.table.column_names)

    def values(self, column: str) -> list[Any]:
        """The column as Python objects."""
        return self.table[column].to_pylist()

    def array(self, column: str) -> np.ndarray:
        """(N,) a column of numbers."""
        return self.table[column].to_numpy()

    @cached_property
    def gold(self) -> np.ndarray:
        """(N,) single label: index of the class, -1 for one that the model does not know."""
        return self._indices("gold")

    @cached_property
    def prediction(self) -> np.ndarray:
        """(N,) single label: index of the class."""
        return self._indices("prediction")

    @cached_property
    def gold_sets(self) -> np.ndarray:
        """(N, C) several labels: whether a row has a label."""
        return self._sets("gold")

    @cached_property
    def prediction_sets(self) -> np.ndarray:
        """(N, C) several labels: whether a row was given a label."""
        return self._sets("prediction")

    @cached_property
    def scores(self) -> np.ndarray:
        """(N, C) float64, probabilities of the classes."""
        flat = self.table["scores"].combine_chunks().flatten().to_numpy().astype(np.float64)
        return flat.reshape(self.table.num_rows, -1)

    def spans(self, column: str) -> list[frozenset[tuple[int, int, str]]]:
        """ner: (start, end, type) of the entities of each row."""
        lists = self.table[column].combine_chunks()
        parts = lists.flatten()
        fields = [parts.field(name).to_pylist() for name in ("start", "end", "type")]
        triples = list(zip(*fields, strict=True))
        edges = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())]).tolist()
        return [frozenset(triples[a:b]) for a, b in itertools.pairwise(edges)]

    @cached_property
    def gold_spans(self) -> list[frozenset[tuple[int, int, str]]]:
        return self.spans("gold_spans")

    @cached_property
    def predicted_spans(self) -> list[frozenset[tuple[int, int, str]]]:
        return self.spans("predicted_spans")

    @cached_property
    def bleu_counts(self) -> np.ndarray:
        """translation: (N, ...) what each row adds to BLEU."""
        return ngrams.bleu_counts(self.values("hypothesis"), self.values("target"))

    @cached_property
    def chrf_counts(self) -> np.ndarray:
        """translation: (N, ...) what each row adds to chrF."""
        return ngrams.chrf_counts(self.values("hypothesis"), self.values("target"))

    def _indices(self, column: str) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pc.index_in(self.table[column], value_set=pa.array(self.labels, pa.string()))
        return found.fill_null(-1).to_numpy().astype(np.int64)

    def _sets(self, column: str) -> np.ndarray:
        import pyarrow as pa
        import pyarrow.compute as pc

        lists = self.table[column].combine_chunks()
        classes = pc.index_in(lists.flatten(), value_set=pa.array(self.labels, pa.string())).fill_null(-1).to_numpy()
        rows = np.repeat(np.arange(len(lists)), lists.value_lengths().to_numpy())
        sets = np.zeros((len(lists), len(self.labels)), bool)
        sets[rows[classes >= 0], classes[classes >= 0]] = True
        return sets


class View:
    """A verdict as the sections read it."""

    def __init__(self, verdict: Verdict):
        self.verdict = verdict
        self.entries = [
            Entry(contender, _letter(place), place % COLOURS) for place, contender in enumerate(verdict.contenders)
        ]
        self._by_name = {entry.name: entry for entry in self.entries}
        self._validation: dict[str, Answers | None] = {}

    @cached_property
    def answers(self) -> dict[str, Answers]:
        """Name of the run -> its answers; empty if the rows were not kept."""
        return {name: Answers(predictions) for name, predictions in self.verdict.predictions.items()}

    @cached_property
    def kind(self) -> str | None:
        """What the answers are: single, several, numbers, ner, next_word or translation; None if they are not known
        here."""
        first = next(iter(self.answers.values()), None)
        if first is None:
            return None
        needed = {
            "ner": ("words", "gold_spans", "predicted_spans"),
            "next_word": ("text", "words", "token_nll"),
            "translation": ("text", "target", "hypothesis"),
            "numbers": ("gold", "prediction", "squared_error"),
            "single": ("gold", "prediction", "scores", "nll"),
            "several": ("gold", "prediction", "scores", "nll"),
        }
        types = {SINGLE: "single", SEVERAL: "several", NUMBERS: "numbers"}
        kind = types.get(self.verdict.problem_type or "", self.verdict.task)
        known = kind in needed and all(answers.has(*needed[kind]) for answers in self.answers.values())
        return kind if known else None

    def with_rows(self) -> View:
        """The same without the contenders whose rows were not kept, for the sections that read them."""
        own = copy.copy(self)
        own.entries = [e for e in self.entries if all(run.name in self.answers for run in e.contender.runs)]
        return own

    def entry(self, name: str) -> Entry:
        return self._by_name[name]

    def of(self, entry: Entry) -> list[Answers]:
        """The answers of each of its runs."""
        return [self.answers[run.name] for run in entry.contender.runs if run.name in self.answers]

    def first(self, entry: Entry) -> Answers:
        """The answers of its first run."""
        return self.of(entry)[0]

    def mean(self, entry: Entry, value: Callable[[Answers], Any]) -> Any:
        """The mean of `value` over its runs: a number, or an array."""
        return np.mean([value(answers) for answers in self.of(entry)], axis=0)

    def validation(self, run: ComparedRun) -> Answers | None:
        """The answers of a run on the validation split; None if it has not kept them."""
        if run.name not in self._validation:
            try:
                self._validation[run.name] = Answers(run.predictions("validation"))
            except UserError:
                self._validation[run.name] = None
        return self._validation[run.name]

    @cached_property
    def texts(self) -> list[str]:
        """The text of each row; of a pair, both."""
        first = next(iter(self.answers.values()))
        if first.has("words") and self.kind == "ner":
            return [" ".join(words) for words in first.values("words")]
        texts = first.values("text") if first.has("text") else [""] * self.verdict.rows
        if first.has("text_pair"):
            return [f"{a} {b or ''}" for a, b in zip(texts, first.values("text_pair"), strict=True)]
        return texts

    @property
    def text_scores(self) -> list[str]:
        """What costs and learning curves show of translations, whichever score has selected the weights."""
        own = ("chrf", "bleu") if self.verdict.task == "translation" else ()
        return [score for score in own if score in self.verdict.scores]

    @property
    def several_seeds(self) -> bool:
        return any(entry.contender.seeds > 1 for entry in self.entries)

    def legend(self, entries: Sequence[Entry] | None = None) -> Html:
        """The letters and what they stand for."""
        shown = self.entries if entries is None else entries
        return tag("ul", *(tag("li", entry.title()) for entry in shown), class_="legend", aria_label="Legend")

    def heads(self) -> list[Html]:
        """The letters of all contenders, as the heading of a table."""
        return [entry.badge() for entry in self.entries]


def _letter(place: int) -> str:
    """A to Z, then A1 to Z1 and so on."""
    return chr(ord("A") + place % 26) + (str(place // 26) if place >= 26 else "")


def score_name(score: str) -> str:
    """The name of a score in words."""
    return SCORE_NAMES.get(score) or score.replace("_", " ").replace("f1", "F1")


def capital(text: str) -> str:
    """`text` with a capital at its beginning, unless it begins with the name of a score that has none."""
    return text if text.startswith(tuple(SCORE_NAMES.values())) else text[:1].upper() + text[1:]
