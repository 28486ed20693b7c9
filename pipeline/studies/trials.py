"""The trials of a search in Optuna's storage: opened, drawn, scored and read back. Only this module imports optuna.

All values are signed so that higher is better: which score selects the best weights is known only once the data have
been read, after the storage has been created.
"""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pipeline import run_folder
from pipeline.config.recipe import Recipe
from pipeline.config.task_specs import TASKS
from pipeline.errors import UserError
from pipeline.metrics.scores import flatten, is_lower_better
from pipeline.studies.space import Choice, Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

Sampler = Literal["tpe", "random"]
Pruner = Literal["median", "asha", "none"]
DATABASE = "search.db"
# Attributes of the study, and of a trial.
CONTENT, MONITOR, WHY, SCORE = "content", "monitor", "why", "score"
# Trials that must have finished before others are pruned.
_STARTUP = 5


@dataclass(frozen=True)
class Plan:
    """A search.

    Attributes:
        recipe: what every trial changes; its budget is that of every trial.
        space: what it changes, and to what.
        trials: their number in the end, of all commands that work on this search together.
        folder: folder of the search.
        journal: file of Optuna's journal; None: a database in `folder`.
        seed: of the sampler.
    """

    recipe: Recipe
    space: Space
    trials: int
    folder: Path
    journal: Path | None = None
    sampler: Sampler = "tpe"
    pruner: Pruner = "median"
    seed: int = 0


def check_installed() -> None:
    """Refuse a search without Optuna.

    Raises:
        UserError: it is not installed.
    """
    if importlib.util.find_spec("optuna") is None:
        raise UserError("finetune search: optuna is not installed; pip install 'finetune-pipeline[search]'")


class Trials:
    """The trials of one search."""

    def __init__(self, plan: Plan):
        """Open the storage of the search, or create it.

        Raises:
            UserError: the storage is that of another search.
        """
        import optuna

        self.plan = plan
        self.study = optuna.create_study(
            storage=_storage(plan),
            study_name=plan.recipe.name,
            direction="maximize",
            pruner=_pruner(plan.pruner),
            load_if_exists=True,
        )
        self._refuse_another()
        self.distributions = {name: _distribution(drawn) for name, drawn in plan.space.items()}

    def _refuse_another(self) -> None:
        content = _content(self.plan)
        found = self.study.user_attrs.get(CONTENT)
        if found is None:
            self.study.set_user_attr(CONTENT, content)
            return
        for name, value in content.items():
            if found.get(name) != value:
                raise UserError(
                    f"{self.plan.folder}: it holds another search, with {name} {found.get(name)}, not {value}; choose"
                    " another --folder and --journal"
                )

    def all(self) -> list[FrozenTrial]:
        """The trials of all commands so far, by number."""
        return self.study.get_trials(deepcopy=False)

    def finished(self) -> list[FrozenTrial]:
        """The trials that are complete, pruned or have failed."""
        return [trial for trial in self.all() if trial.state.is_finished()]

    def running(self) -> list[FrozenTrial]:
        return [trial for trial in self.all() if not trial.state.is_finished()]

    def draw(self) -> Trial:
        """A new trial with its settings: the same after the same trials, however often the search was stopped."""
        import numpy as np  # the help of the command needs no numpy

        seed = np.random.SeedSequence([self.plan.seed, len(self.all())]).generate_state(1)[0]
        self.study.sampler = _sampler(self.plan.sampler, int(seed))
        return self.study.ask(self.distributions)

    def resumed(self, trial: FrozenTrial) -> Trial:
        """The running `trial` of a command that has died; settings that it had not drawn yet are drawn."""
        import optuna

        found = optuna.trial.Trial(self.study, trial._trial_id)
        for name, distribution in self.distributions.items():
            found._suggest(name, distribution)
        return found

    @property
    def monitor(self) -> str | None:
        """The score that selects the best weights; None until the first trial has finished."""
        return self.study.user_attrs.get(MONITOR)

    def signed(self, score: float) -> float:
        """`score` such that higher is better."""
        return -score if self.lower_is_better else score

    @property
    def lower_is_better(self) -> bool:
        if self.plan.recipe.task not in TASKS and self.plan.recipe.train.monitor is None:
            from pipeline.tasks.base import load_task

            return load_task(self.plan.recipe.task).lower_is_better
        return is_lower_better(self.monitor or "loss")

    def report(self, trial: Trial, run: Path) -> bool:
        """Report the validation scores that the run of `trial` has logged since the last call.

        Returns:
            Whether the trial should be pruned.
        """
        if self.monitor is None:
            return False
        scores = _validations(run, self.monitor)
        known = len(self.study._storage.get_trial(trial._trial_id).intermediate_values)
        for step, score in enumerate(scores[known:], known):
            trial.report(self.signed(score), step)
        return len(scores) > known and trial.should_prune()

    def complete(self, trial: Trial, run: Path) -> float | None:
        """Record the score of the finished run of `trial`: that of its best weights on validation, never on test.

        Returns:
            The score; None if it is not a number, which counts as a failure.
        """
        metrics = json.loads((run / run_folder.METRICS).read_text(encoding="utf-8"))
        if self.monitor is None:
            self.study.set_user_attr(MONITOR, metrics["train"]["monitor"])
        score = flatten(metrics["validation"]).get(str(self.monitor), float("nan"))
        if not math.isfinite(score):
            self.fail(trial, f"its validation {self.monitor} is {score}")
            return None
        self.report(trial, run)
        trial.set_user_attr(SCORE, score)
        self.study.tell(trial, self.signed(score))
        return score

    def prune(self, trial: Trial) -> None:
        import optuna

        self.study.tell(trial, state=optuna.trial.TrialState.PRUNED)

    def fail(self, trial: Trial, why: str) -> None:
        import optuna

        trial.set_user_attr(WHY, why)
        self.study.tell(trial, state=optuna.trial.TrialState.FAIL)

    def scores(self) -> list[float]:
        """The best validation score of each trial that has one, pruned ones included, by number of the trial."""
        best = [_best_value(trial) for trial in self.finished()]
        return [self.signed(value) for value in best if value is not None]

    def best(self) -> FrozenTrial:
        """The complete trial with the best validation score, the first of several.

        Raises:
            UserError: no trial is complete.
        """
        complete = [trial for trial in self.finished() if trial.state.name == "COMPLETE"]
        if not complete:
            whys = [trial.user_attrs[WHY] for trial in self.finished() if WHY in trial.user_attrs]
            raise UserError(f"{self.plan.folder}: no trial has succeeded; {whys[-1] if whys else 'all were pruned'}")
        return max(complete, key=lambda trial: (trial.value, -trial.number))


def _best_value(trial: FrozenTrial) -> float | None:
    """Signed; a failed trial has none, because nothing of it could be used."""
    if trial.state.name == "COMPLETE":
        return trial.value
    reported = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return max(reported, default=None) if trial.state.name == "PRUNED" else None


def _validations(run: Path, monitor: str) -> list[float]:
    """The scores on validation in the order in which the run has logged them."""
    file = run / run_folder.HISTORY
    found = []
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            record = json.loads(line)
        except ValueError:  # the run is writing it
            break
        if record.get("kind") == "validation" and monitor in record:
            found.append(float(record[monitor]))
    return found


def _content(plan: Plan) -> dict[str, str]:
    """What makes a search another one."""
    settings = {
        n: v for n, v in run_folder.settings_of(plan.recipe).items() if n not in run_folder.FREE - {"train.batch_size"}
    }
    described = {name: repr(drawn) for name, drawn in plan.space.items()}
    return {"the recipe": json.dumps(settings, default=str), "the space": json.dumps(described)}


def _storage(plan: Plan) -> optuna.storages.BaseStorage:
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    if plan.journal is None:
        return optuna.storages.get_storage(f"sqlite:///{plan.folder / DATABASE}")
    return JournalStorage(JournalFileBackend(str(plan.journal)))


def _sampler(name: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    makers: dict[str, Any] = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    return makers[name](seed=seed)


def _pruner(name: Pruner) -> optuna.pruners.BasePruner:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_STARTUP)
    return optuna.pruners.SuccessiveHalvingPruner() if name == "asha" else optuna.pruners.NopPruner()


def _distribution(drawn: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(drawn, Choice):
        return CategoricalDistribution(drawn.values)
    if isinstance(drawn.low, int) and isinstance(drawn.high, int):
        return IntDistribution(drawn.low, drawn.high, log=drawn.log)
    return FloatDistribution(drawn.low, drawn.high, log=drawn.log)
