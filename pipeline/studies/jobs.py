"""Which processes a study needs: one for each run, or one search for each contender, and what each of them leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from pipeline import run_folder, storage
from pipeline.config.expansion import Contender, StudyRun, contenders, expand, seeded
from pipeline.config.loading import check_paths
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import read_json
from pipeline.config.study import Study
from pipeline.errors import UserError, writing
from pipeline.metrics.scores import flatten
from pipeline.studies.processes import Job
from pipeline.training.monitoring import trackers

# In the folder of a study: the recipes of its runs, and their locks.
STATE = ".study"
# The folder of a search beside those of the runs, and in it that of the best trial and its runs.
SEARCH, BEST = "-search", "best"


def command(*arguments: str) -> tuple[str, ...]:
    """The `finetune` command with `arguments`, of this Python."""
    return (sys.executable, "-m", "pipeline", *arguments)


def prepare(study: Study, folder: Path) -> list[Job]:
    """The jobs of `study` in `folder`, with the recipes of all runs checked and written. No run has started yet.

    Raises:
        UserError: a recipe is refused, names a file that does not exist, or its folder holds another run.
    """
    runs = runs_of(study, folder)
    _check_paths(runs)
    trackers.check([name for run in runs for name in run.recipe.train.trackers])
    if study.budget.trials is None:
        for run in runs:
            refuse_other_run(run.recipe)
        return [run_job(run.recipe, folder) for run in runs]
    return [_search_job(study, contender, folder) for contender in contenders(study)]


def runs_of(study: Study, folder: Path) -> list[StudyRun]:
    """The runs of `study` that are compared at its end; those of a search are in the folder of its best trial.

    Raises:
        UserError: as for `expand`.
    """
    if study.budget.trials is None:
        return expand(study, folder)
    homes = {contender.name: search_folder(folder, contender) / BEST for contender in contenders(study)}
    return [
        StudyRun(
            run.number, run.contender, seeded(run.recipe, run.recipe.train.seed, homes[run.contender.name] / run.name)
        )
        for run in expand(study, folder)
    ]


def search_folder(folder: Path, contender: Contender) -> Path:
    """The folder of the search for the settings of `contender`."""
    return folder / f"{contender.name}{SEARCH}"


def run_job(recipe: Recipe, folder: Path) -> Job:
    """The job that trains `recipe`, whose file is written to `folder`; its log is beside the folder of the run."""
    run = recipe.folder
    file = _written(recipe, folder, run.name)
    return Job(
        name=run.name,
        recipe=file,
        command=command("run", str(file)),
        log=run.with_name(f"{run.name}.log"),
        lock=file.with_suffix(".lock"),
        is_finished=partial(is_finished, run),
        result=partial(score_of, run),
    )


def _search_job(study: Study, contender: Contender, folder: Path) -> Job:
    search = search_folder(folder, contender)
    file = _written(contender.recipe, folder, contender.name)
    seeds = list(map(str, study.seeds))
    runs = [search / BEST / f"{contender.name}-seed-{seed}" for seed in seeds]
    options = ["--trials", str(study.budget.trials), "--folder", str(search), "--seeds", *seeds]
    if study.space:
        options += ["--space", *study.space]
    return Job(
        name=search.name,
        recipe=file,
        command=command("search", str(file), *options),
        log=folder / f"{search.name}.log",
        lock=file.with_suffix(".lock"),
        is_finished=lambda: all(map(is_finished, runs)),
        result=lambda: f"best: {search / BEST / run_folder.RECIPE}",
    )


def _written(recipe: Recipe, folder: Path, name: str) -> Path:
    file = folder / STATE / f"{name}.json"
    with writing("folder", folder):
        file.parent.mkdir(parents=True, exist_ok=True)
        with storage.published(file) as aside:  # another command may write the same
            aside.write_text(recipe.to_json(), encoding="utf-8")
    return file


def is_finished(run: Path) -> bool:
    """Whether the folder `run` holds a finished run."""
    return (run / run_folder.METRICS).is_file()


def score_of(run: Path) -> str:
    """The score that has selected the weights of a finished run, as `validation accuracy 0.7610`."""
    metrics = json.loads((run / run_folder.METRICS).read_text(encoding="utf-8"))
    name = metrics["train"].get("monitor")
    score = flatten(metrics.get("validation", {})).get(name)
    return f"validation {name} {score:.4f}" if score is not None else "without a score"


def _check_paths(runs: Sequence[StudyRun]) -> None:
    """Refuse recipes that name what does not exist; what several runs have in common is looked at once.

    Raises:
        UserError: as above.
    """
    checked: list[tuple[object, ...]] = []
    for run in runs:
        key = (run.recipe.task, run.recipe.data, run.recipe.model)
        if key in checked:
            continue
        try:
            check_paths(run.recipe)
        except UserError as error:
            raise UserError(f"{run.name}: {error}") from error
        checked.append(key)


def refuse_other_run(recipe: Recipe) -> None:
    """Refuse the folder of `recipe` if it holds a run with other settings, finished or not.

    Raises:
        UserError: it does, or the folder cannot be written to.
    """
    file = recipe.folder / run_folder.RECIPE
    if not file.is_file():
        run_folder.check(recipe)
        return
    found = run_folder.differences(recipe, read_json(file))
    # A run writes the commits that it has read from the Hub into its recipe.
    changed = [difference for difference in found if not difference.split()[0].endswith("revision")]
    if changed:
        raise UserError(
            f"{recipe.folder}: it holds a run with other settings ({'; '.join(changed)}); remove it, or choose another"
            " --folder"
        )
