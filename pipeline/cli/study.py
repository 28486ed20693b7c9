"""`finetune study`: run what a study says, and compare the runs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import tyro

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.config.expansion import StudyRun
from pipeline.config.schema import Count
from pipeline.config.study import Study, load_study
from pipeline.errors import UserError
from pipeline.studies import comparison, jobs
from pipeline.studies.pool import Results
from pipeline.studies.processes import Job, environments
from pipeline.studies.runner import Runner


def _study(
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FILE")],
    processes: Count = 1,
    folder: Path | None = None,
    only: int | None = None,
    list: tyro.conf.FlagCreatePairsOff[bool] = False,
    count: tyro.conf.FlagCreatePairsOff[bool] = False,
    recipe: int | None = None,
) -> None:
    """Run what a study says, and compare the runs. The same command resumes an interrupted study.

    Finished runs are skipped, and unfinished ones resume from their last checkpoint. A run that fails is reported, and
    the others go on. Several of these commands may work on the same folder.

    Example: finetune study recipes/studies/cells.py --processes 2

    Args:
        file: .py file that assigns study = Study(...).
        processes: how many runs at a time; they share the cores and take turns with the GPUs.
        folder: folder of the study; by default runs/ and its name.
        only: do only this one of what --list shows; for job arrays.
        list: print the runs with their numbers, folders and settings, and run none.
        count: print the number of runs, and run none.
        recipe: write the recipe of the run with this number, print its file, and run none; for other launchers.
    """
    _refuse_together({"list": list, "count": count, "recipe": recipe is not None, "only": only is not None}, processes)
    study = load_study(str(file))
    home = folder or study.folder
    _refuse_missing("only", only, study, home)
    _refuse_missing("recipe", recipe, study, home)
    if count:
        print(len(_titles(study, home)))
    elif list:
        for number, title in enumerate(_titles(study, home)):
            print(number, *title, sep="\t")
    elif recipe is not None:
        if study.budget.trials is not None:
            raise UserError("recipe: this study searches for the settings of its runs; use --only")
        print(jobs.prepare(study, home)[recipe].recipe)
    else:
        startup.stop_on_signals()
        _run(study, home, file, processes, only)


def command(given: Arguments) -> None:
    arguments.call(_study, given, "finetune study")


def _refuse_together(given: Mapping[str, bool], processes: int) -> None:
    """Refuse flags of which one would be ignored."""
    flags = [f"--{name}" for name, is_given in given.items() if is_given]
    if len(flags) > 1:
        raise UserError(f"{flags[0]} and {flags[1]}: each says what to do; give one of them")
    if flags and processes > 1:
        raise UserError(f"{flags[0]}: it starts one run at most, so --processes {processes} says nothing; leave it out")


def _titles(study: Study, folder: Path) -> Sequence[tuple[str, str]]:
    """Folder and settings of each job."""
    runs = jobs.runs_of(study, folder)
    if study.budget.trials is None:
        return [(str(run.folder), f"{_settings(run)} train.seed={run.recipe.train.seed}".strip()) for run in runs]
    first = {run.contender.name: run for run in reversed(runs)}
    contenders = [*reversed(first.values())]
    return [(str(jobs.search_folder(folder, run.contender)), _settings(run)) for run in contenders]


def _settings(run: StudyRun) -> str:
    return " ".join(f"{name}={value}" for name, value in run.contender.settings.items())


def _refuse_missing(flag: str, number: int | None, study: Study, folder: Path) -> None:
    if number is not None and number not in range(total := len(_titles(study, folder))):
        raise UserError(f"{flag}: there is no run {number} in this study; it has {total}, from 0 to {total - 1}")


def _run(study: Study, folder: Path, file: Path, processes: int, only: int | None) -> None:
    all_jobs = jobs.prepare(study, folder)
    chosen = all_jobs if only is None else [all_jobs[only]]
    results = Runner(chosen, environments(processes, imports=file.parent), say).run()
    results.raise_if_stopped()
    unfinished = [job for job in all_jobs if not job.is_finished()]
    if only is None or not unfinished:
        with startup.importing("pipeline.compare.judging"):  # silent, as in `finetune compare`
            pass
        comparison.conclude(jobs.runs_of(study, folder), folder, say)
    else:
        say(f"{len(unfinished)} of {len(all_jobs)} have not finished; the last of them ends with the comparison")
    exit_if_failed(results, chosen)


def say(line: str) -> None:
    print(line, flush=True)


def exit_if_failed(results: Results, chosen: Sequence[Job]) -> None:
    """List the jobs that have failed, and exit with code 1 if there is one."""
    if results.failed:
        print(f"{len(results.failed)} of {len(chosen)} failed; the same command repeats them", file=sys.stderr)
        for name, why in results.failed.items():
            print(f"  {name}: {why}", file=sys.stderr)
        raise SystemExit(1)
