"""What `finetune compare` prints: a table of scores and costs, and what a verdict says about them.

A new column is an entry in `COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.compare.contenders import Contender, group
from pipeline.compare.runs import ComparedRun, read_runs, split_of
from pipeline.compare.verdict import Estimate, PairResult, Verdict
from pipeline.metrics import statistics

MEBIBYTE = 2**20
# With more contenders than these, their pairs are too many to be read: those of the best one are printed.
MOST_CONTENDERS = 4
MUCH = 10_000  # columns, more than any table needs


@dataclass(frozen=True)
class Column:
    """A column after those of the scores.

    Attributes:
        header: its heading.
        value: the number of a run, whose mean over the seeds is shown; None if a run does not have it.
        format: how the number is written, for `str.format`.
    """

    header: str
    value: Callable[[ComparedRun], float | None]
    format: str


def _of_training(name: str, unit: float = 1.0) -> Callable[[ComparedRun], float | None]:
    """The number called `name` under `train` in metrics.json, in units of `unit`; None if a run lacks it."""

    def value(run: ComparedRun) -> float | None:
        found = run.metrics["train"].get(name)
        return found / unit if isinstance(found, (int, float)) else None

    return value


COLUMNS = (
    Column("parameters", _of_training("parameters"), "{:,.0f}"),
    Column("seconds", _of_training("seconds"), "{:,.0f}"),
    Column("tokens/s", _of_training("tokens_per_second"), "{:,.0f}"),
    Column("memory MiB", _of_training("peak_memory_bytes", MEBIBYTE), "{:,.0f}"),
)


def print_table(folders: Sequence[Path]) -> None:
    """One row for each run, with its scores on the test split, or on validation if a run has no test split, and
    `COLUMNS`. Nothing is tested.

    Raises:
        UserError: a folder is not that of a finished run.
    """
    runs = read_runs(folders)
    split = split_of(runs, None)
    contenders = group(runs, over_seeds=False)
    names = names_of(runs, [run.scores(split) for run in runs])
    _print(contenders, split, names, {run.name: run.scores(split) for run in runs}, {})


def print_verdict(verdict: Verdict, order: Sequence[Path]) -> None:
    """The table, with an interval below each score, then the sentences and notes.

    Args:
        order: folders of the runs in the order in which the table names them.
    """
    places = {folder: number for number, folder in reversed([*enumerate(order)])}
    contenders = sorted(verdict.contenders, key=lambda contender: min(places[run.folder] for run in contender.runs))
    runs = [run for contender in contenders for run in contender.runs]
    names = names_of(runs, [verdict.scores_of_runs[run.name] for run in runs])
    _print(contenders, verdict.split, names, verdict.scores_of_runs, verdict.estimates)
    for line in lines_of(verdict):
        print(line)


def lines_of(verdict: Verdict) -> Iterable[str]:
    """The sentences below the table: those of all pairs, or of the best contender if there are many; then the notes."""
    pairs = verdict.pairs_of(verdict.main_score)
    said = list(zip(pairs, verdict.sentences, strict=True))
    shown = [(pair, text) for pair, text in said if _is_shown(pair, verdict)]
    if shown:
        yield f"{_heading(verdict, pairs)}:"
    for pair, text in shown:
        yield f"- {text}{_over_seeds(pair, verdict)}"
    hidden = [pair for pair, _ in said if not _is_shown(pair, verdict)]
    if hidden:
        different = sum(pair.better is not None for pair in hidden)
        yield f"- {len(hidden)} other pairs, of which {different} differ; --json has all of them"
    for note in verdict.notes:
        yield f"note: {note}"


def _is_shown(pair: PairResult, verdict: Verdict) -> bool:
    return len(verdict.contenders) <= MOST_CONTENDERS or verdict.best.name in (pair.first, pair.second)


def _heading(verdict: Verdict, pairs: Sequence[PairResult]) -> str:
    corrected = f", p-values corrected for {len(pairs)} pairs (Holm)" if len(pairs) > 1 else ""
    tests = " and ".join(dict.fromkeys(pair.test for pair in pairs))
    return f"{verdict.split} {verdict.main_score}, 95 % intervals, {tests}{corrected}"


def _over_seeds(pair: PairResult, verdict: Verdict) -> str:
    """The tests of whole runs, which know nothing of the rows."""
    if pair.over_seeds_p_value is None or pair.aso is None:
        return ""
    from pipeline.metrics.paired_tests import smallest_p_of_runs

    seeds = {contender.name: contender.seeds for contender in verdict.contenders}
    least = smallest_p_of_runs(seeds[pair.first], seeds[pair.second])
    return (
        f" (whole runs: permutation test p = {pair.over_seeds_p_value:.2g}, at least {least:.2g} with so few; almost"
        f" stochastic order {pair.aso:.2g})"
    )


def names_of(runs: Sequence[ComparedRun], scores: Sequence[Iterable[str]]) -> list[str]:
    """The names of the scores in a table, the loss last: those of no single class, and what selected the weights."""
    monitors = {run.monitor for run in runs}
    found = [name for own in scores for name in own if "." not in name or name in monitors]
    return [*dict.fromkeys(name for name in found if name != "loss"), "loss"]


def value_text(verdict: Verdict, contender: Contender, name: str) -> str:
    """A score on the rows that are compared; of several seeds, the mean and the standard deviation."""
    return _score([verdict.scores_of_runs[run.name] for run in contender.runs], name)


def interval_text(estimate: Estimate | None) -> str:
    """`0.731–0.786`, or nothing if there is no interval."""
    if estimate is None or estimate.low is None or estimate.high is None:
        return ""
    low, high = (f"{bound:.3f}" if abs(bound) < 1000 else f"{bound:,.0f}" for bound in (estimate.low, estimate.high))
    return f"{low}{'–' if estimate.low >= 0 else ' to '}{high}"


def cost(runs: Sequence[ComparedRun], column: Column) -> str:
    """The mean over `runs` of what a column shows; empty if no run has it."""
    values = [value for value in map(column.value, runs) if value is not None]
    return column.format.format(statistics.mean(values)) if values else ""


def _score(runs: Sequence[Mapping[str, float]], name: str) -> str:
    """Mean and, for several runs, standard deviation; empty if no run has the score."""
    scores = [own[name] for own in runs if name in own]
    if not scores:
        return ""
    return f"{statistics.mean(scores):.4f}" + (f" ({statistics.spread(scores):.4f})" if len(scores) > 1 else "")


def _print(
    contenders: Sequence[Contender],
    split: str,
    names: Sequence[str],
    scores: Mapping[str, Mapping[str, float]],
    estimates: Mapping[str, Mapping[str, Estimate]],
) -> None:
    """Print a row for each contender, from the scores of its runs and the intervals of its own.

    If the terminal is too narrow, the scores and the costs become two tables.
    """
    several = any(contender.seeds > 1 for contender in contenders)
    first = {"settings" if several else "run": [contender.name for contender in contenders]}
    first |= {"seeds": [str(contender.seeds) for contender in contenders]} if several else {}
    of_runs = [[scores[run.name] for run in contender.runs] for contender in contenders]
    intervals = [estimates.get(contender.name, {}) for contender in contenders]
    found = {
        name: [_cell(own, estimate.get(name), name) for own, estimate in zip(of_runs, intervals, strict=True)]
        for name in names
    }
    costs = {column.header: [cost(contender.runs, column) for contender in contenders] for column in COLUMNS}
    console = Console(markup=False, emoji=False)  # a name in brackets is not markup
    if not console.is_terminal:
        console.width = 160  # the default width for files and pipes would fold the columns
    whole = _table({**first, **{f"{split} {name}": cells for name, cells in found.items()}, **costs})
    wanted = console.measure(whole, options=console.options.update(max_width=MUCH)).maximum
    if wanted <= console.width or not console.is_terminal:
        console.print(whole)
        return
    console.print(_table({**first, **{f"{split} {name}".replace("_", " "): cells for name, cells in found.items()}}))
    console.print(_table({**first, **costs}))


def _cell(runs: Sequence[Mapping[str, float]], estimate: Estimate | None, name: str) -> str:
    return "\n".join(filter(None, (_score(runs, name), interval_text(estimate))))


def _table(columns: Mapping[str, Sequence[str]]) -> Table:
    """A table of cells by heading; headings are folded where there is no room, never cells."""
    table = Table()
    for header, cells in columns.items():
        widest = max((len(line) for cell in cells for line in cell.split("\n")), default=0)
        is_first = not table.columns
        table.add_column(
            header, justify="left" if is_first else "right", overflow="fold", min_width=None if is_first else widest
        )
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table
