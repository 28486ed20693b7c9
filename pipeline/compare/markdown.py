"""A verdict as Markdown, for a model card or a paper."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.compare.table import COLUMNS, cost, interval_text, value_text
from pipeline.compare.verdict import Verdict

PIPE = str.maketrans({"|": "\\|", "\n": " "})


def text(verdict: Verdict) -> str:
    """The contenders in a table, the best first, then the sentences, the notes, and how the figures were computed."""
    return "\n".join([*_table(verdict), *_list(verdict.sentences), *_list(verdict.notes), "", _method(verdict), ""])


def _table(verdict: Verdict) -> Iterator[str]:
    several = any(contender.seeds > 1 for contender in verdict.contenders)
    headings = [f"{verdict.split} {score}" for score in verdict.scores]
    yield _row(["run", *(["seeds"] if several else []), *headings, *(column.header for column in COLUMNS)])
    yield _row(["---"] * (1 + several + len(headings) + len(COLUMNS)))
    for contender in verdict.contenders:
        estimates = verdict.estimates[contender.name]
        cells = [contender.name, *([str(contender.seeds)] if several else [])]
        for score in verdict.scores:
            value, interval = value_text(verdict, contender, score), interval_text(estimates.get(score))
            cells.append(f"{value} [{interval}]" if interval else value)
        yield _row([*cells, *(cost(contender.runs, column) for column in COLUMNS)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.translate(PIPE) for cell in cells)} |"


def _list(sentences: Sequence[str]) -> list[str]:
    return ["", *(f"- {sentence}." for sentence in sentences)] if sentences else []


def _method(verdict: Verdict) -> str:
    """How intervals and p-values were computed."""
    if not verdict.rows:
        return "Scores as the runs have reported them, without intervals."
    confidence = f"{100 * (1 - verdict.level):.0f} %"
    over = "rows and seeds" if any(contender.seeds > 1 for contender in verdict.contenders) else "rows"
    found = f"In brackets: {confidence} intervals, by bootstrap over {over}; {verdict.rows:,} rows."
    pairs = verdict.pairs_of(verdict.main_score)
    if not pairs:
        return found
    tests = " and ".join(dict.fromkeys(pair.test for pair in pairs))
    corrected = f", corrected for {len(pairs)} pairs (Holm)" if len(pairs) > 1 else ""
    return f"{found} Test of {verdict.main_score}: {tests}{corrected}."
