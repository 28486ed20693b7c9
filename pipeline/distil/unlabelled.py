"""Texts without labels for a teacher to answer, read from any source and cut into sentences where needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from pipeline.config.data import Data
from pipeline.config.distil import UNLABELLED, named_for_texts
from pipeline.data import new_rows, sources
from pipeline.data.new_rows import Content
from pipeline.data.tokenization.segmentation import cutter
from pipeline.distil import sentences
from pipeline.distil.drawing import Draw, Unlabelled
from pipeline.errors import UserError, listing
from pipeline.tasks.base import Task

COUNTED = ("rows", "empty", "cut", "sentences", "short", "long")
Cut = Callable[[Content, bool], "list[str] | None"]
"""A content and whether it is running text -> its sentences; None: it stays whole."""


def read(
    found: Sequence[Data],
    task: Task,
    held_out: Iterable[Content],
    limit: int,
    seed: int,
    *,
    data: Data,
    tokenizer: PreTrainedTokenizerBase,
    trained: Iterable[Content] = (),
) -> Unlabelled:
    """Up to `limit` different texts of all sources, drawn at random, in the order in which they were read.

    Rows of running text (see data.separate) are cut into sentences. So are documents with more words than
    data.max_length, of which the student would read the beginning or the end only. Sentences of less than
    `sentences.SHORTEST` or more than `sentences.LONGEST` words are left out. Texts for next_word and pairs of texts
    stay whole. For ner, texts are cut into words as `predict` does.

    Args:
        found: the sources; labels in them are ignored. Their own validation and test splits are not read.
        held_out: what the student will be scored on. A text that equals one of them or a sentence of one is left out.
        data: the settings of the recipe, whose columns come first.
        tokenizer: the student's.
        trained: the training rows, which the teacher answers anyway. A text that equals one of them is left out.

    Returns:
        The texts and counts: `rows` - `empty` - `cut` + `sentences` = `short` + `long` + `held_out` + `trained` +
        `duplicates` + `over_limit` + `drawn`. Also the rows of each of the `sources`, and `notes` about how they
        were read.

    Raises:
        UserError: a source is malformed or has no texts, or none is left.
    """
    counts: Counter[str] = Counter()
    cut, words = _cutter(task, data), _words(task, tokenizer)
    scored = (words(part) for own in held_out for part in (own, *(cut(own, True) or ())))
    draw = Draw(limit, seed, scored, map(words, trained))
    rows: Counter[str] = Counter()
    notes: list[str] = []
    for source in found:
        before, own_notes = counts["rows"], list[str]()
        for content in _contents(source, task, data, counts, cut, own_notes):
            if own := words(content):
                draw.add(own)
            else:  # marks of direction, say
                counts["empty"] += 1
        rows[_name(source)] += counts["rows"] - before
        notes += [f"{_name(source)}: {note}" for note in own_notes] if len(found) > 1 else own_notes
    drawn = draw.finish()
    report = {**{name: counts[name] for name in COUNTED}, **drawn.report, "sources": dict(rows), "notes": notes}
    if not drawn.contents:
        raise UserError(f"{UNLABELLED}: no text is left of it ({described(report)}); name another source")
    return Unlabelled(drawn.contents, report)


def _cutter(task: Task, data: Data) -> Cut:
    longest = data.max_length if data.long_texts in ("cut", "tail") else None

    def cut(content: Content, running: bool) -> list[str] | None:
        if task.running_text or not isinstance(content, str):  # a language model learns from whole documents
            return None
        # Fewer characters than that are fewer words, too.
        is_long = longest is not None and len(content) > longest and sentences.words(content) > longest
        return [*sentences.cut(content)] if running or is_long else None

    return cut


def _words(task: Task, tokenizer: PreTrainedTokenizerBase) -> Callable[[Content], Content]:
    """Cuts a text into words, if the task reads words."""
    if "tokens" not in task.columns:
        return lambda content: content
    places = cutter(tokenizer)
    return lambda text: [text[start:end] for start, end in places(text)] if isinstance(text, str) else text


def _contents(
    given: Data, task: Task, data: Data, counts: Counter[str], cut: Cut, notes: list[str]
) -> Iterator[Content]:
    """What the rows of a source say, in sentences if they are to be cut."""
    try:
        source = sources.locate(given, task.name)
        for row in new_rows.read_unscored(source, task, data, notes.append):
            counts["rows"] += 1
            parts = [row.content] if isinstance(row.content, str) else row.content
            if not any(map(str.strip, parts)):
                counts["empty"] += 1
            elif (pieces := cut(row.content, source.is_running_text)) is None:
                yield row.content
            else:
                counts["cut"] += 1
                yield from _of_usual_length(pieces, counts)
    except UserError as error:
        raise UserError(named_for_texts(str(error))) from error


def _of_usual_length(pieces: Sequence[str], counts: Counter[str]) -> Iterator[str]:
    counts["sentences"] += len(pieces)
    for piece in pieces:
        size = sentences.words(piece)
        if size < sentences.SHORTEST:
            counts["short"] += 1
        elif size > sentences.LONGEST:
            counts["long"] += 1
        else:
            yield piece


def _name(source: Data) -> str:
    return source.source if source.subset is None else f"{source.source} ({source.subset})"


# Count in a report -> why these rows or sentences are not among the texts.
LEFT_OUT = {
    "empty": "without text",
    "short": f"of less than {sentences.SHORTEST} words",
    "long": f"of more than {sentences.LONGEST} words",
    "held_out": "equal to a row of validation or test",
    "trained": "equal to a training row",
    "duplicates": "equal to another",
    "over_limit": "over distil.limit",
}


def described(report: dict[str, Any]) -> str:
    """The report of `read` or of `augment.make` in one line."""
    origin = f"made of {report['rows']:,} training rows"
    if "sources" in report:
        origin = f"from {report['rows']:,} rows of {listing([*report['sources']])}"
    if report.get("sentences"):
        origin += f", {report['sentences']:,} sentences"
    left_out = [f"{report[name]:,} {why}" for name, why in LEFT_OUT.items() if report.get(name)]
    return f"{report['drawn']:,} texts {origin}; left out: {', '.join(left_out) or 'none'}"
