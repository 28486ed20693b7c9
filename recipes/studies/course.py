"""Measures what courses say about recurrent networks and transformers, and writes a chapter about it.

Run all of it, which takes half an hour on two cores, or a part of it; what has been measured is kept:

    python recipes/studies/course.py --processes 2
    python recipes/studies/course.py --claims 1 2
    python recipes/studies/course.py --scale 0.02 --folder runs/course-small
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))  # the other recipes

import ner_bilstm
import next_word_gpt2
import sentiment_bert
import sentiment_lstm
import sentiment_transformer
import tyro

from pipeline import Data, Optim, Recipe, Recurrent, Scratch, Study, Train, UserError, storage
from pipeline.errors import report

CELLS = ("rnn", "gru", "lstm")
# Words of noise in the memory task, and its texts; a model for each length, or one for all.
NOISE = (16, 32, 64, 128)
TEXTS = {"train": 3200, "validation": 320, "test": 640}
TASKS = {**{str(noise): (noise,) for noise in NOISE}, "all": NOISE}
# More rows for testing than a recipe has, so that smaller differences can be seen.
REVIEWS, TWEETS = {"test_share": 0.3}, {"test_share": 0.3}


@dataclass(frozen=True)
class Options:
    """Measure the course's claims."""

    folder: Path = Path("runs/course")
    """Folder for runs, figures and the page."""
    claims: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8)
    """Numbers of the claims."""
    processes: int = 1
    """How many runs at a time. Times per token are always measured alone."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Values of train.seed."""
    scale: float = 1.0
    """Share of the rows and rounds, to see quickly what is measured."""
    chapter: Path | None = None
    """Also write the page as Markdown to this file, with its pictures beside it."""


# ---- The recipes: in each comparison, one thing differs.


def memory(cell: str, task: str, folder: Path) -> Recipe:
    """A model that must say what the first word of a text was."""
    return Recipe(
        name=f"recall-{cell}-{task}",
        task="sentiment",
        data=Data(source=str(folder / "recall" / task), tokenizer="whitespace", min_frequency=1, max_length=256),
        model=Recurrent(cell=cell, hidden_size=64, embedding_size=32, dropout=0.0, embedding_dropout=0.0),
        optim=Optim(learning_rate=3e-3),
        train=Train(epochs=10),
    )


def reviews(recipe: Recipe, name: str, epochs: int, **model: object) -> Recipe:
    """`recipe` on Rotten Tomatoes, with other model settings, for a fixed number of passes."""
    return replace(
        recipe,
        name=name,
        data=replace(recipe.data, **REVIEWS),
        model=replace(recipe.model, **model),
        train=replace(recipe.train, epochs=epochs),
    )


LSTM, BERT, GPT2, NER = sentiment_lstm.recipe, sentiment_transformer.recipe, next_word_gpt2.recipe, ner_bilstm.recipe
# MiniLM's sizes, from scratch.
SAME_SIZES = replace(
    sentiment_bert.recipe,
    data=replace(sentiment_bert.recipe.data, tokenizer="sample:minilm"),
    model=Scratch(architecture="bert", hidden_size=384, layers=6, heads=12),
    optim=BERT.optim,
)


def tweets(name: str, bidirectional: bool) -> Recipe:
    return replace(
        NER,
        name=name,
        data=replace(NER.data, **TWEETS),
        model=replace(NER.model, bidirectional=bidirectional),
        train=replace(NER.train, epochs=8),
    )


def next_words(name: str, positions: str) -> Recipe:
    return replace(GPT2, name=name, model=replace(GPT2.model, positions=positions), train=replace(GPT2.train, epochs=3))


# Name -> the claims that need it, and the contenders that are compared.
COMPARISONS: dict[str, tuple[tuple[int, ...], list[Recipe]]] = {
    "cells": ((3,), [reviews(LSTM, cell, 8, cell=cell) for cell in CELLS]),
    "both-ways": ((4,), [reviews(LSTM, "lstm", 8), reviews(LSTM, "lstm-both-ways", 8, bidirectional=True)]),
    "ner": ((4,), [tweets("ner-one-way", False), tweets("ner-both-ways", True)]),
    "layers": ((5,), [reviews(LSTM, "lstm", 8), reviews(LSTM, "lstm-two-layers", 8, layers=2)]),
    "attention": ((5,), [reviews(LSTM, "lstm", 8), reviews(LSTM, "lstm-attention", 8, pooling="attention")]),
    "positions": (
        (7, 8),
        [
            reviews(BERT, "bert-positions", 5, positions="learned"),
            reviews(BERT, "bert-no-positions", 5, positions="none"),
        ],
    ),
    "gpt2": ((7,), [next_words("gpt2-positions", "learned"), next_words("gpt2-no-positions", "none")]),
    "pretraining": (
        (8,),
        [reviews(sentiment_bert.recipe, "minilm-pretrained", 1), reviews(SAME_SIZES, "minilm-scratch", 1)],
    ),
}


def recipes_for(claims: tuple[int, ...], folder: Path) -> dict[str, Recipe]:
    """The recipes that the claims need, by name; none for claim 6, which measures fresh models only."""
    recipes = {}
    for users, contenders in COMPARISONS.values():
        if set(users) & set(claims):
            recipes |= {recipe.name: recipe for recipe in contenders}
    if {1, 2} & set(claims):
        named = [memory(cell, task, folder) for cell in CELLS for task in TASKS]
        recipes |= {recipe.name: recipe for recipe in named if 2 in claims or recipe.name.endswith("-all")}
    return recipes


def study(options: Options) -> Study:
    """All runs that the claims need. Every run lasts as many updates as its recipe says, without early stopping."""
    recipes = recipes_for(options.claims, options.folder).values()
    return Study(name="course", recipes=[lasting(recipe, options.scale) for recipe in recipes], seeds=options.seeds)


def lasting(recipe: Recipe, scale: float) -> Recipe:
    """`recipe` without early stopping, on `scale` of its rows of each split."""
    limit = None if scale == 1 else max(100, round(scale * 8000))
    return replace(recipe, data=replace(recipe.data, limit=limit), train=replace(recipe.train, patience=None))


# ---- The story: the runs, then times while nothing else runs, then what both show.


def main(options: Options) -> None:
    from pipeline.studies.claims import timing

    unknown = set(options.claims) - set(range(1, 9))
    if unknown or not options.claims or not 0 < options.scale <= 1:
        raise UserError("course: claims are numbers from 1 to 8, and the scale is above 0 and at most 1")
    figures = options.folder / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    if {1, 2} & set(options.claims):
        write_texts(options.folder / "recall")
    if recipes_for(options.claims, options.folder):
        train_all(options)
    if {3, 6} & set(options.claims):
        timing.measure_in_processes(figures, (1, 2), rounds=max(2, round(9 * options.scale)))
    measure(options, figures)
    write(options, figures)


def write_texts(folder: Path) -> None:
    from pipeline.studies.claims import recall

    for task, noise in TASKS.items():
        if not (folder / task / "test.csv").is_file():
            recall.write(folder / task, noise, TEXTS)


def train_all(options: Options) -> None:
    """Run what has not finished; a run that was interrupted goes on from its last checkpoint."""
    from pipeline.studies import jobs
    from pipeline.studies.processes import environments
    from pipeline.studies.runner import Runner

    todo = jobs.prepare(study(options), options.folder / "runs")
    results = Runner(todo, environments(options.processes), lambda line: print(line, flush=True)).run()
    results.raise_if_stopped()
    if results.failed:
        raise UserError(f"course: {len(results.failed)} runs have failed: {', '.join(results.failed)}; see their logs")


def measure(options: Options, figures: Path) -> None:
    """Write a JSON file for each measurement, unless it is there for the same seeds."""
    from pipeline.studies.claims import measure as measuring

    def runs(*names: str) -> dict[str, list[Path]]:
        return {name: [options.folder / "runs" / f"{name}-seed-{seed}" for seed in options.seeds] for name in names}

    def recalled(task: str) -> dict[str, list[Path]]:
        return {cell: runs(f"recall-{cell}-{task}")[f"recall-{cell}-{task}"] for cell in CELLS}

    measurements = {
        "gradients": ((1,), lambda: measuring.gradient_norms(recalled("all"), max(NOISE))),
        "recall": (
            (2,),
            lambda: {
                "alone": measuring.joined([measuring.accuracy_by_length(recalled(str(noise))) for noise in NOISE]),
                "mixed": measuring.accuracy_by_length(recalled("all")),
            },
        ),
        "sizes": ((3,), lambda: measuring.layer_sizes(CELLS)),
    }
    for name, (claims, contenders) in COMPARISONS.items():
        pair = runs(*(recipe.name for recipe in contenders))
        page = options.folder / f"{name}.html"
        measurements[f"compare-{name}"] = (claims, lambda pair=pair, page=page: measuring.compared(pair, page))
    for name, (claims, found) in measurements.items():
        file = figures / f"{name}.json"
        if set(claims) & set(options.claims) and seeds_of(file) != list(options.seeds):
            print(f"measuring {name}", flush=True)
            storage.write(file, json.dumps({"seeds": options.seeds, **found()}, indent=1) + "\n")


def seeds_of(file: Path) -> list[int] | None:
    """The seeds of the runs that were measured; None if they have not been."""
    return json.loads(file.read_text()).get("seeds") if file.is_file() else None


def write(options: Options, figures: Path) -> None:
    """Write the page, and the chapter if it is wanted, from the figures alone."""
    from pipeline.studies.claims import chapter
    from pipeline.studies.claims.sections import SECTIONS

    measured = {file.stem: json.loads(file.read_text()) for file in sorted(figures.glob("*.json"))}
    sections = [SECTIONS[number](measured) for number in sorted(options.claims)]
    command = "python recipes/studies/course.py"
    pages = sorted(f"{name}.html" for name in COMPARISONS if (options.folder / f"{name}.html").is_file())
    page = options.folder / "page.html"
    storage.write(page, chapter.page(sections, introduction(options), command, pages))
    if options.chapter:
        chapter.write_chapter(options.chapter, sections, introduction(options), command)
    for section in sections:
        print(f"{section.number}. {section.title}: {section.result}")
    print(f"page: {page}")


def introduction(options: Options) -> list[str]:
    scaled = "" if options.scale == 1 else f" on {options.scale:.0%} of the rows"
    return [
        "What courses say about recurrent networks and transformers, tried with the recipes of this package"
        f"{scaled} and seeds {', '.join(map(str, options.seeds))}. `python recipes/studies/course.py --processes 2`"
        " measures everything again, offline, and writes a page, `runs/course/page.html`; with `--chapter FILE` it"
        " writes this chapter.",
        "A claim is held if all of its statements hold, held in part if some do, and not held here otherwise. Which"
        " figure decides a statement was written down before the measurement, in `pipeline/studies/claims/rules.py`."
        " \u201cNot held here\u201d means not seen with models and data of this size; it does not mean that the"
        " opposite holds. Times are those of one machine.",
    ]


if __name__ == "__main__":
    try:
        main(tyro.cli(Options))
    except UserError as error:
        sys.exit(report(error))
