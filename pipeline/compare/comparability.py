"""Which scores of several runs can be compared, and what a reader of the comparison must know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.compare.rows import Aligned
from pipeline.compare.runs import ComparedRun
from pipeline.compare.scoring import RowScores
from pipeline.errors import UserError, listing

# Scores per token, which are comparable between runs with the same tokens only; and what ranks runs with others.
PER_TOKEN = {
    "next_word": ("loss", "perplexity_per_token", "accuracy", "accuracy_top5"),
    "ner": ("loss",),
    "translation": ("loss", "perplexity_per_token"),
}
RANKED_BY = {"next_word": "bits_per_byte"}
# Rows that give another score than metrics.json are those of another evaluation. Devices differ by less than this.
TOLERANCE = 1e-3


def common_monitor(runs: Sequence[ComparedRun]) -> str | None:
    """The score that has selected the weights of every run; None if they were selected by different ones."""
    monitors = {run.monitor for run in runs}
    return monitors.pop() if len(monitors) == 1 else None


def task_of(run: ComparedRun) -> tuple[str, str | None]:
    """The task of a run, and the type of its answers, as its recipe and metrics.json say."""
    try:
        task = str(run.settings["task"])
    except UserError:
        task = ""
    return task, run.metrics.get("data", {}).get("problem_type")


def without_rows(runs: Sequence[ComparedRun], split: str) -> str:
    """That these runs cannot be tested, and what to do."""
    names, first = listing([run.name for run in runs]), runs[0]
    file = first.predictions_file(split)
    command = f"finetune evaluate {first.folder} --data {_source(first)} --split {split} --rows {file}"
    verb, it = ("has", "it") if len(runs) == 1 else ("have", "them")
    return (
        f"{names} {verb} no predictions/{split}.parquet, and tests need the rows; if the data has a {split} split of"
        f" its own, write the file with {command}; if not, run {it} again"
    )


def _source(run: ComparedRun) -> str:
    try:
        return str(run.settings["data.source"])
    except UserError:
        return "SOURCE"


def scores_and_notes(
    runs: Sequence[ComparedRun], found: Mapping[str, RowScores], aligned: Aligned, split: str
) -> tuple[list[str], list[str]]:
    """The names of the scores that are compared, the main one first, and what is worth knowing about them."""
    known = [set(own.scores) for own in found.values()]
    first = found[runs[0].name]
    names = [name for name in first.scores if all(name in own for own in known)]
    if not names:
        raise UserError("finetune compare: these runs have no score in common that their rows can give")
    monitor, main = common_monitor(runs), first.main
    notes = [
        *_about_rows(runs, aligned, split),
        *_about_metrics(runs, found, aligned, split),
        *_about_monitors(runs, monitor),
    ]
    if monitor in names:
        main = str(monitor)
    task = aligned.predictions[runs[0].name].info.task
    if task in PER_TOKEN and _have_other_tokens(aligned):
        names = [name for name in names if name not in PER_TOKEN[task]]
        main = RANKED_BY.get(task, main) if main not in names else main
        notes.append(_about_tokens(task, names))
    notes += _about_contexts(runs, aligned) + _about_caches(runs, aligned) + _about_unknown_words(runs, task, split)
    return [main, *(name for name in names if "." not in name and name != main)], notes


def _have_other_tokens(aligned: Aligned) -> bool:
    columns = [own.table["tokens"].combine_chunks() for own in aligned.predictions.values()]
    return any(not column.equals(columns[0]) for column in columns)


def _about_rows(runs: Sequence[ComparedRun], aligned: Aligned, split: str) -> list[str]:
    notes = []
    if aligned.left_out:
        most = [f"{name} has {aligned.rows + count:,}" for name, count in aligned.left_out.items()]
        notes.append(f"compared on the {aligned.rows:,} rows that all runs have ({', '.join(most)})")
    if split == "validation" and runs:
        notes.append("the validation rows have also selected the weights of each run, so these scores are too high")
    return notes


def _about_metrics(
    runs: Sequence[ComparedRun], found: Mapping[str, RowScores], aligned: Aligned, split: str
) -> list[str]:
    """Runs whose rows give other scores than metrics.json: a file that was written for other data."""
    notes = []
    for run in runs:
        reported, own = run.scores(split), found[run.name]
        pairs = [(name, own.value(name), reported[name]) for name in own.scores if name in reported and "." not in name]
        wrong = [pair for pair in pairs if abs(pair[1] - pair[2]) > TOLERANCE * max(1.0, abs(pair[2]))]
        if wrong and not aligned.left_out.get(run.name):
            name, value, said = wrong[0]
            notes.append(
                f"{run.name}: its rows give {name} {value:.4f}, and metrics.json says {said:.4f}; the rows are"
                " compared, but they may be those of another evaluation"
            )
    return notes


def _about_monitors(runs: Sequence[ComparedRun], monitor: str | None) -> list[str]:
    if monitor or len(runs) < 2:
        return []
    chosen = [f"{run.name} by {run.monitor or 'an unknown score'}" for run in runs]
    return [f"the weights of the runs were selected by different scores: {listing(chosen)}"]


def _about_tokens(task: str, names: Sequence[str]) -> str:
    dropped = listing(PER_TOKEN[task])
    if task != "next_word":
        counts = "count per token, are" if len(PER_TOKEN[task]) > 1 else "counts per token, is"
        return f"the runs read different tokens, so {dropped}, which {counts} not compared"
    return (
        f"the runs read different tokens, so {dropped}, which count per token, are not compared; bits_per_byte and"
        " perplexity_per_word count per byte and per word of the text, which is the same for all"
    )


def _about_contexts(runs: Sequence[ComparedRun], aligned: Aligned) -> list[str]:
    settings: dict[str, Any] = {run.name: aligned.predictions[run.name].info.settings for run in runs}
    contexts = {name: own.get("context") for name, own in settings.items()}
    if len({str(context) for context in contexts.values()}) < 2:
        return []
    return [
        f"the models see different contexts: {listing([f'{name}: {context}' for name, context in contexts.items()])}"
    ]


def _about_caches(runs: Sequence[ComparedRun], aligned: Aligned) -> list[str]:
    """Rows that `finetune evaluate --cache` has written: a model with a cache also learns from the text it is scored
    on."""
    caches = {run.name: aligned.predictions[run.name].info.settings.get("cache") for run in runs}
    if not any(caches.values()):
        return []
    sizes = [f"{name}: {own['size'] if own else 'no'} positions" for name, own in caches.items()]
    return [f"the rows were scored with a continuous cache (finetune evaluate --cache): {listing(sizes)}"]


def _about_unknown_words(runs: Sequence[ComparedRun], task: str, split: str) -> list[str]:
    """A word that a tokenizer does not know is easy to predict, for it stands for all of them."""
    if task != "next_word":
        return []
    shares = {run.name: _unknown_share(run, split) for run in runs}
    if len(set(shares.values())) < 2:
        return []
    shown = listing([f"{name} {share:.1%}" for name, share in shares.items()])
    return [
        f"an unknown word counts as one easy token, and the runs have different shares of them ({shown}); the more it"
        " has, the better a run looks"
    ]


def _unknown_share(run: ComparedRun, split: str) -> float:
    encoded = run.metrics.get("data", {}).get("encoded", {}).get(split, {})
    share = encoded.get("unknown_share", 0.0)
    return round(share, 4) if isinstance(share, float) else 0.0
