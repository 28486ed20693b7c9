"""How a row is shown, with its gold answer and those of two contenders: one class for each kind of answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import numpy as np

from pipeline.compare.page import surprisal
from pipeline.compare.page.html import Html, cut, join, number, tag, user
from pipeline.compare.page.view import Answers, Entry, View
from pipeline.metrics import ngrams

LONGEST = 600  # characters of a text
MOST_WORDS = 90  # of a sentence or a document
TYPES = 8  # colours of types of entities

Row = dict[str, Any]


class RowView(ABC):
    """Shows rows of a kind."""

    columns: ClassVar[tuple[str, ...]] = ()
    """What is read of each run."""

    def __init__(self, view: View):
        self.view = view

    def legend(self) -> Html:
        """What the colours mean; nothing by default."""
        return Html("")

    def items(self, rows: np.ndarray, entries: tuple[Entry, Entry], answers: tuple[Answers, Answers]) -> Iterator[Html]:
        """Each of `rows`."""
        read = [own.table.select([c for c in self.columns if own.has(c)]).take(rows).to_pylist() for own in answers]
        for one, other in zip(*read, strict=True):
            yield self.item(((entries[0], one), (entries[1], other)))

    @abstractmethod
    def item(self, sides: Sequence[tuple[Entry, Row]]) -> Html:
        """One row: the gold answer is the same on both sides."""


def _text(row: Row) -> Html:
    pair = row.get("text_pair")
    return join(user(cut(text, LONGEST), "p", "text") for text in (row.get("text"), pair) if text is not None)


def _answer(label: object, *content: object, class_: str = "") -> Html:
    return tag("span", label, " ", *content, class_=f"answer {class_}".strip())


def _mark(is_right: bool) -> str:
    return "right" if is_right else "wrong"


class ClassRows(RowView):
    """A class for each row."""

    columns = ("text", "text_pair", "gold", "prediction", "scores")

    def item(self, sides: Sequence[tuple[Entry, Row]]) -> Html:
        gold = sides[0][1]["gold"]
        said = [
            _answer(
                entry.badge(),
                user(row["prediction"]),
                tag("small", f" {max(row['scores'], default=0.0):.2f}"),
                class_=_mark(row["prediction"] == gold),
            )
            for entry, row in sides
        ]
        return join([_text(sides[0][1]), tag("p", _answer("gold", user(gold)), *said, class_="answers")])


class LabelRows(RowView):
    """Any number of labels for each row."""

    columns = ("text", "text_pair", "gold", "prediction")

    def item(self, sides: Sequence[tuple[Entry, Row]]) -> Html:
        gold = sides[0][1]["gold"]
        said = [
            _answer(entry.badge(), self._labels(row["prediction"]), class_=_mark(set(row["prediction"]) == set(gold)))
            for entry, row in sides
        ]
        return join([_text(sides[0][1]), tag("p", _answer("gold", self._labels(gold)), *said, class_="answers")])

    @staticmethod
    def _labels(labels: Sequence[str]) -> Html:
        return join((user(label) for label in labels), ", ") if labels else tag("i", "none")


class NumberRows(RowView):
    """A number for each row."""

    columns = ("text", "text_pair", "gold", "prediction")

    def item(self, sides: Sequence[tuple[Entry, Row]]) -> Html:
        gold = sides[0][1]["gold"]
        distances = [abs(row["prediction"] - gold) for _, row in sides]
        said = [
            _answer(entry.badge(), number(row["prediction"]), class_=_mark(distance == min(distances)))
            for (entry, row), distance in zip(sides, distances, strict=True)
        ]
        return join([_text(sides[0][1]), tag("p", _answer("gold", number(gold)), *said, class_="answers")])


class EntityRows(RowView):
    """The entities of each sentence, in colours: gold, and those of both."""

    columns = ("words", "gold_spans", "predicted_spans")

    def __init__(self, view: View):
        super().__init__(view)
        every = [
            kind
            for own in view.answers.values()
            for spans in (own.gold_spans, own.predicted_spans)
            for row in spans
            for _, _, kind in row
        ]
        self.types = sorted(set(every))

    def legend(self) -> Html:
        shown = (tag("li", tag("mark", user(kind), class_=self._colour(kind))) for kind in self.types)
        return tag("ul", *shown, class_="legend", aria_label="Types of entities")

    def item(self, sides: Sequence[tuple[Entry, Row]]) -> Html:
        gold = sides[0][1]["gold_spans"]
        lines = [self._line("gold", sides[0][1]["words"], gold)]
        for entry, row in sides:
            is_right = _keys(row["predicted_spans"]) == _keys(gold)
            lines.append(self._line(entry.badge(), row["words"], row["predicted_spans"], _mark(is_right)))
        return join(lines)

    def _line(self, label: object, words: Sequence[str], spans: Sequence[Row], class_: str = "") -> Html:
        parts, place = [], 0
        for span in sorted(spans, key=lambda span: span["start"]):
            if span["start"] >= MOST_WORDS:
                break
            parts += [" ".join(words[place : span["start"]]), self._entity(words, span)]
            place = span["end"]
        parts += [" ".join(words[place:MOST_WORDS]), "…" if len(words) > MOST_WORDS else ""]
        line = tag("span", join((part for part in parts if part), " "), dir="auto", class_="sentence")
        return tag("p", tag("span", label, class_="who"), line, class_=f"spans {class_}".strip())

    def _entity(self, words: Sequence[str], span: Row) -> Html:
        text = " ".join(words[span["start"] : span["end"]])
        return tag("mark", text, tag("small", user(span["type"])), dir="auto", class_=self._colour(span["type"]))

    def _colour(self, kind: str) -> str:
        return f"t{self.types.index(kind) % TYPES}"


def _keys(spans: Sequence[Row]) -> set[tuple[int, int, str]]:
    return {(span["start"], span["end"], span["type"]) for span in spans}


class WordRows(RowView):
    """The surprisal of each word as its colour, two models beside each other."""

    columns = ("text", "nll", "words", "token_nll")

    def __init__(self, view: View):
        super().__init__(view)
        self.tokenizers = surprisal.Tokenizers()

    def legend(self) -> Html:
        return surprisal.legend()

    def item(self, sides: Sequence[tuple[Entry, Row]]) -> Html:
        return tag("div", *(self._side(entry, row) for entry, row in sides), class_="sides")

    def _side(self, entry: Entry, row: Row) -> Html:
        bits = surprisal.word_bits(row["text"], row["token_nll"], self.tokenizers.of(entry.run.folder))
        total = row["nll"] / np.log(2)
        head = tag(
            "p",
            entry.badge(),
            tag("small", f" {number(total)} bits, {number(total / max(row['words'], 1))} for each word"),
        )
        if bits is None:  # its tokens are not those that were scored
            return tag("div", head, user(cut(row["text"], LONGEST), "p", "text"))
        return tag("div", head, surprisal.coloured(bits, MOST_WORDS))


class TranslationRows(RowView):
    """The source, the reference and both translations below each other, each in its own direction."""

    columns = ("text", "target", "hypothesis")

    def legend(self) -> Html:
        return tag("p", "Beside each translation stands its chrF.", class_="said")

    def item(self, sides: Sequence[tuple[Entry, Row]]) -> Html:
        target = sides[0][1]["target"]
        lines = [self._line("source", sides[0][1]["text"]), self._line("reference", target)]
        for entry, row in sides:
            score = float(ngrams.chrf(ngrams.chrf_counts([row["hypothesis"]], [target]))[0])
            lines.append(self._line(join([entry.badge(), f" {score:.1f}"]), row["hypothesis"]))
        return tag("div", *lines, class_="lines")

    @staticmethod
    def _line(label: object, text: str) -> Html:
        shown = user(cut(text, LONGEST), "span", "sentence") if text.strip() else tag("i", "empty", class_="sentence")
        return tag("p", tag("span", label, class_="who"), shown, class_="spans")


ROW_VIEWS: dict[str, type[RowView]] = {
    "single": ClassRows,
    "several": LabelRows,
    "numbers": NumberRows,
    "ner": EntityRows,
    "next_word": WordRows,
    "translation": TranslationRows,
}
