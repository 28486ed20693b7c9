"""`finetune search`: draw settings of a recipe, train with each, and train the best with several seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.table import Table

from pipeline.cli import arguments, startup
from pipeline.cli.arguments import Arguments
from pipeline.cli.study import exit_if_failed, say
from pipeline.config import offline
from pipeline.config.changes import with_settings
from pipeline.config.loading import load_recipe
from pipeline.config.schema import Count, Positive, Seed, Settings, settings
from pipeline.config.study import Budget, refuse_double
from pipeline.errors import UserError
from pipeline.studies import comparison, space
from pipeline.studies.processes import environments
from pipeline.studies.runner import Runner
from pipeline.studies.trial_storage import Plan, Pruner, Sampler
from pipeline.studies.trials import Trials, check_installed
from pipeline.training.monitoring import trackers


@settings("search")
class Options(Settings):
    """Draw settings of a recipe, train with each, and train the best with several seeds.

    Every trial has the same budget: that of the recipe, or the one that --updates, --tokens or --seconds sets. Trials
    are compared and pruned by their validation scores alone. The same command resumes an interrupted search, and with
    more trials it continues one. Settings of the recipe that all trials share may follow, as for `finetune run`.

    Example: finetune search recipes/sentiment_gru.py --trials 20 --space optim.learning_rate=1e-4..1e-2:log
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE [settings]")]
    """.py or .json file of a recipe."""
    trials: Count
    """Number of trials in all."""
    space: tuple[str, ...] = ()
    """What is drawn, as SETTING=LOW..HIGH, SETTING=LOW..HIGH:log or SETTING=VALUE,VALUE, or files of such lines; by
    default what is usual for the kind of model."""
    processes: Count = 1
    """How many trials at a time; they share the cores and take turns with the GPUs."""
    folder: str | None = None
    """Folder of the search; by default runs/ and the recipe's name, with -search."""
    journal: str | None = None
    """File of Optuna's journal, which several jobs share, instead of a database in the folder."""
    seeds: tuple[Seed, ...] = (0, 1, 2)
    """Values of train.seed with which the best is trained again."""
    sampler: Sampler = "tpe"
    """tpe, or random: independent draws, of which the expected best score speaks."""
    pruner: Pruner = "median"
    """How trials are stopped early: below the median of others, asha (successive halving), or none."""
    seed: Seed = 0
    """Seed of the sampler."""
    updates: Count | None = None
    """Updates of each trial."""
    tokens: Count | None = None
    """Training tokens of each trial."""
    seconds: Positive | None = None
    """Seconds of training of each trial."""


def command(given: Arguments) -> None:
    options, shared = tyro.cli(Options, args=list(given), prog="finetune search", return_unknown_args=True)
    startup.stop_on_signals()
    plan = _plan(options, shared)
    check_installed()
    with startup.importing("optuna", "pipeline.compare.judging"):
        from pipeline.studies.search import Search

    search = Search(plan, environments(options.processes, imports=Path(options.recipe).parent), say)
    search.run().raise_if_stopped()
    _conclude(search.trials, options)


def _plan(options: Options, shared: Arguments) -> Plan:
    """The search that is asked for, with everything checked that can be checked before it begins."""
    if not options.seeds:
        options.refuse("seeds", "it is empty; name at least one seed")
    refuse_double(options, "seeds", options.seeds)
    offline.use_caches_beside(Path(options.recipe))
    program = f"finetune search {options.recipe}"
    recipe = arguments.changed(load_recipe(options.recipe), shared, program)
    trackers.check(recipe.train.trackers)
    budget = Budget(updates=options.updates, tokens=options.tokens, seconds=options.seconds)
    recipe = with_settings(recipe, budget.settings())
    folder = Path(options.folder or Path("runs") / f"{recipe.name}-search")
    drawn = space.parse(options.space, recipe)
    if limits := set(drawn) & set(budget.settings()):
        raise UserError(f"space: {min(limits)}: the budget determines it; remove one of the two")
    _refuse_places(folder, journal := Path(options.journal) if options.journal else None)
    return Plan(recipe, drawn, options.trials, folder, journal, options.sampler, options.pruner, options.seed)


def _refuse_places(folder: Path, journal: Path | None) -> None:
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--folder: {folder} is a file; name a folder")
    if journal is None:
        return
    if journal.is_dir():
        raise UserError(f"--journal: {journal} is a folder; name a file")
    if not journal.parent.is_dir():
        raise UserError(f"--journal: there is no folder {journal.parent}; name a file in an existing one")


def _conclude(trials: Trials, options: Options) -> None:
    """Show what the trials have found, train the best with each seed, and compare these runs."""
    from pipeline.studies.search import best_jobs, draw_curve, write_best

    folder = trials.plan.folder
    _print_curve(trials)
    picture, best = draw_curve(trials), write_best(trials)
    say(f"best: {best}   expected best score: {picture}")
    chosen = best_jobs(trials, options.seeds)
    results = Runner(chosen, environments(options.processes, imports=Path(options.recipe).parent), say).run()
    results.raise_if_stopped()
    finished = [best.parent / job.name for job in chosen if job.is_finished()]
    if finished:
        comparison.compare(finished, folder / comparison.PAGE, say)
    exit_if_failed(results, chosen)


def _print_curve(trials: Trials) -> None:
    from pipeline.studies import expected_best

    scores = trials.scores()
    if not scores:
        return
    table = Table("trials", f"expected best validation {trials.monitor}", "standard deviation")
    for column in table.columns:
        column.justify = "right"
    for count, mean, spread in expected_best.rows(scores, trials.lower_is_better):
        table.add_row(str(count), f"{mean:.4f}", f"{spread:.4f}")
    Console(markup=False, emoji=False).print(table)
