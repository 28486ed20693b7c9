"""The trials of a search in Optuna's storage: drawn, scored and read back.

All values are signed so that higher is better: which score selects the best weights is known only once the data have
been read, after the storage has been created.
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import run_folder
from pipeline.config.task_specs import TASKS
from pipeline.errors import UserError
from pipeline.metrics.scores import flatten, is_lower_better
from pipeline.studies import trial_storage
from pipeline.studies.space import Choice
from pipeline.studies.trial_storage import Plan, Pruner, Sampler

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, Trial

# Attributes of the study, and of a trial.
MONITOR, NUMBER, WHY, SCORE = "monitor", "number", "why", "score"
# Trials that must have finished before others are pruned.
_STARTUP = 5


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
            UserError: the storage is that of another search, or cannot be read.
        """
        self.plan = plan
        self._monitor: str | None = None
        self.study = trial_storage.open_study(plan, _pruner(plan.pruner))
        self.distributions = {name: _distribution(drawn) for name, drawn in plan.space.items()}

    def all(self) -> list[FrozenTrial]:
        """The trials of all commands so far, by number: of each its last attempt."""
        attempts = {number_of(trial): trial for trial in self.study.get_trials(deepcopy=False)}
        return [attempts[number] for number in sorted(attempts)]

    def finished(self) -> list[FrozenTrial]:
        """The trials that are complete, pruned or have failed."""
        return [trial for trial in self.all() if trial.state.is_finished()]

    def unfinished(self) -> list[FrozenTrial]:
        """The trials that run, or did until their command died; first one that has not been asked for yet, which is
        what `resumed` gets next, whichever trial it is called with."""
        found = [trial for trial in self.all() if not trial.state.is_finished()]
        return sorted(found, key=lambda trial: trial.state.name != "WAITING")

    def draw(self) -> Trial:
        """A new trial with its settings: the same after the same trials, however often the search was stopped."""
        return self._asked({}, len(self.all()))

    def resumed(self, trial: FrozenTrial) -> Trial:
        """Another attempt of an unfinished `trial` whose command has died. Settings that it had not drawn are drawn."""
        import optuna

        if trial.state.name == "WAITING":  # its command has died between the two steps of `_asked`
            return self._ask(number_of(trial))
        again = self._asked(trial.params, number_of(trial))
        self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        return again

    def _asked(self, settings: Mapping[str, Any], number: int) -> Trial:
        """An attempt of trial `number` with these `settings`, and others drawn.

        Optuna has no way to go on with a trial of another process, so this is a trial of its own, with the number of
        the trial in our count. It is created together with that: if the command dies, none is without a number.
        """
        self.study.enqueue_trial(dict(settings), user_attrs={NUMBER: number})
        return self._ask(number)

    def _ask(self, number: int) -> Trial:
        import numpy as np  # the help of the command needs no numpy

        seed = np.random.SeedSequence([self.plan.seed, number]).generate_state(1)[0]
        self.study.sampler = _sampler(self.plan.sampler, int(seed))
        return self.study.ask(self.distributions)

    @property
    def monitor(self) -> str | None:
        """The score that selects the best weights; None until the first trial has finished."""
        if self._monitor is None:  # once known it stays, and reading it again costs a query
            self._monitor = self.study.user_attrs.get(MONITOR)
        return self._monitor

    def signed(self, score: float) -> float:
        """`score` such that higher is better."""
        return -score if self.lower_is_better else score

    @property
    def lower_is_better(self) -> bool:
        if self.plan.recipe.task not in TASKS and self.plan.recipe.train.monitor is None:
            from pipeline.tasks.base import load_task

            return load_task(self.plan.recipe.task).lower_is_better
        return is_lower_better(self.monitor or "loss")

    def report(self, trial: Trial, run: Path, known: int) -> Iterator[int]:
        """Report the validation scores that the run of `trial` has logged, except the `known` first ones, one by one.

        A pruner compares the last score that it knows of, so it must be asked after each: otherwise trials are
        compared after different numbers of evaluations.

        Yields:
            How many have been reported, after each; nothing while it is not known which score selects the weights.
        """
        if self.monitor is None:
            return
        records = [record for record in run_folder.history(run) if record.get("kind") == "validation"]
        scores = [float(record[self.monitor]) for record in records if self.monitor in record]
        for evaluation, score in enumerate(scores[known:], known + 1):
            trial.report(self.signed(score), evaluation)
            yield evaluation

    def _report_rest(self, trial: Trial, run: Path, known: int) -> None:
        for _ in self.report(trial, run, known):
            pass

    def complete(self, trial: Trial, run: Path, known: int = 0) -> float | None:
        """Record the score of the finished run of `trial`: that of its best weights on validation, never on test.

        Args:
            known: as for `report`.

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
        self._report_rest(trial, run, known)
        trial.set_user_attr(SCORE, score)
        self.study.tell(trial, self.signed(score))
        return score

    def prune(self, trial: Trial, run: Path, known: int = 0) -> None:
        """Record that the run of `trial` was stopped because others were better; arguments as for `report`."""
        import optuna

        self._report_rest(trial, run, known)
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
        return max(complete, key=lambda trial: (trial.value, -number_of(trial)))


def number_of(trial: FrozenTrial | Trial) -> int:
    """The number of the trial in the search, from 0: the same for all its attempts."""
    return int(trial.user_attrs[NUMBER])


def _best_value(trial: FrozenTrial) -> float | None:
    """Signed; a failed trial has none, because nothing of it could be used."""
    if trial.state.name == "COMPLETE":
        return trial.value
    reported = [value for value in trial.intermediate_values.values() if math.isfinite(value)]
    return max(reported, default=None) if trial.state.name == "PRUNED" else None


def _sampler(name: Sampler, seed: int) -> optuna.samplers.BaseSampler:
    import optuna

    makers: dict[str, Any] = {"tpe": optuna.samplers.TPESampler, "random": optuna.samplers.RandomSampler}
    return makers[name](seed=seed)


def _pruner(name: Pruner) -> optuna.pruners.BasePruner:
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=_STARTUP)
    # By default there is no rung before a trial has completed, and those that run then are compared too late.
    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1) if name == "asha" else optuna.pruners.NopPruner()


def _distribution(drawn: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(drawn, Choice):
        return CategoricalDistribution(drawn.values)
    if isinstance(drawn.low, int) and isinstance(drawn.high, int):
        return IntDistribution(drawn.low, drawn.high, log=drawn.log)
    return FloatDistribution(drawn.low, drawn.high, log=drawn.log)
