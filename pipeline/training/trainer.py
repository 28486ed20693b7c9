"""`fit`: the training loop, from the first update or the newest checkpoint to the best weights.

The arithmetic of an update is in step.py; what a run reports, in monitoring/; what resuming needs, in checkpointing/.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pipeline.config.recipe import Recipe
from pipeline.data.bucketing import Split
from pipeline.data.fingerprints import Fingerprints
from pipeline.errors import Interrupted, UserError
from pipeline.tasks.base import Task
from pipeline.training import seeding, selection
from pipeline.training.averaging import WeightAverage
from pipeline.training.budget import TimeBudget, most_updates
from pipeline.training.checkpointing import checkpoint
from pipeline.training.checkpointing.run_progress import RunProgress
from pipeline.training.checkpointing.writer import Writer
from pipeline.training.distributed import deepspeed, fsdp
from pipeline.training.evaluation import Evaluation, evaluate
from pipeline.training.hidden_state import BatchLayout, HiddenStateCarry
from pipeline.training.loss import DistilObjective, Objective, build_objective, mean_weight
from pipeline.training.monitoring.log import Log, UpdateStats
from pipeline.training.monitoring.progress import Display
from pipeline.training.monitoring.trackers import Trackers
from pipeline.training.optim import Schedule, TimedSchedule, build_optimizer, build_scheduler
from pipeline.training.selection import Monitor
from pipeline.training.signals import StopRequest
from pipeline.training.step import Batch, TrainState, UpdateBatch, padded_tokens, update, update_batches
from pipeline.training.unfreezing import Unfreezing


@dataclass
class Run:
    """What a run works with, and its progress.

    Attributes:
        labels: names of the classes, in the order of their ids.
        splits: rows of train, validation and, if there is one, test.
        folder: of the run; checkpoints and history go there.
        autocast: whether the forward passes of training run in bfloat16.
        meta_copy: of a sharded model, see `fsdp.meta_copy`.
        fingerprints: of the data, kept in each checkpoint; None: not checked when the run is resumed.
    """

    recipe: Recipe
    task: Task
    model: nn.Module
    tokenizer: Any
    labels: list[str]
    splits: Mapping[str, Split]
    folder: Path
    accelerator: Accelerator
    autocast: bool = False
    progress: RunProgress = field(default_factory=RunProgress)
    meta_copy: nn.Module | None = None
    fingerprints: Fingerprints | None = None

    @property
    def layout(self) -> BatchLayout:
        """How the rows of an update are distributed over the processes."""
        train = self.recipe.train
        return BatchLayout(train.batch_size, train.accumulation, self.accelerator.num_processes)

    @property
    def rows_per_update(self) -> int:
        """Rows of one update on all processes."""
        return self.layout.rows

    @cached_property
    def updates_per_epoch(self) -> int:
        return math.ceil(len(self.splits["train"]) / self.rows_per_update)

    @cached_property
    def total_updates(self) -> int:
        """Updates after which the run ends at the latest."""
        return most_updates(self.recipe.train, self.splits["train"], self.rows_per_update)

    @cached_property
    def time_budget(self) -> TimeBudget:
        return TimeBudget(self.recipe.train.max_seconds, self.accelerator)

    @property
    def share_done(self) -> float:
        """Share of the updates or of the time that is over, whichever is larger, in [0, 1]."""
        return max(self.progress.step / self.total_updates, self.time_budget.share)

    @property
    def is_spent(self) -> bool:
        """Whether all updates are done, or the time is up."""
        return self.progress.step >= self.total_updates or self.time_budget.is_spent

    @property
    def is_over(self) -> bool:
        """Whether the budget is spent, or the validation score has not improved for too long."""
        patience = self.recipe.train.patience
        return self.is_spent or (patience is not None and self.progress.stale >= patience)

    @cached_property
    def monitor(self) -> Monitor:
        """The score that selects the best weights."""
        return selection.choose(self.recipe.train, self.task, self.labels)

    @cached_property
    def objective(self) -> Objective:
        """The loss that is minimised."""
        kind, scale, distil = self.task.problem_type, self.task.output_scale, self.recipe.distil
        objective = build_objective(self.recipe.train, self.labels, self._training_labels, kind, scale)
        if distil is None or self.task.answers_are_texts:
            return objective
        mean = mean_weight(objective, self._training_labels()) if self.recipe.train.class_weights else 1.0
        return DistilObjective(distil, self.task.teacher_losses, objective, mean, scale)

    def _training_labels(self) -> Iterator[torch.Tensor]:
        rows = self.splits["train"]
        return (self.collate("train", chosen)[0]["labels"] for chosen in rows.batches(self.recipe.train.batch_size))

    def collate(self, split: str, rows: np.ndarray) -> tuple[Batch, int]:
        """The batch of `rows` of `split`, and the number of labels in it."""
        return self.collate_each(split, [rows])[0]

    def collate_each(self, split: str, batches: Sequence[np.ndarray]) -> list[tuple[Batch, int]]:
        """What `collate` returns for each of `batches`, faster."""
        return [self.task.collate(rows, self.tokenizer) for rows in self.splits[split].take_each(batches)]

    def weighted_batches(self, batches: Sequence[np.ndarray]) -> list[tuple[Batch, float]]:
        """What `collate_each` returns for the training split, with the weight of each mean loss in its update."""
        return [(batch, self.objective.weight(batch, labels)) for batch, labels in self.collate_each("train", batches)]

    def count_tokens(self, rows: np.ndarray) -> tuple[int, int]:
        """Tokens in the `rows` of an update, on all processes, without and with padding."""
        lengths = self.splits["train"].lengths
        return int(lengths[rows].sum()), padded_tokens(lengths, rows, self.recipe.train.batch_size)

    def full_model(self) -> nn.Module:
        """The unwrapped model, gathered on the first process if it is sharded. All processes must call this."""
        if self.meta_copy is not None:
            return fsdp.full_model(self.model, self.meta_copy, self.accelerator)
        return self.accelerator.unwrap_model(self.model)

    def evaluate(self, split: str) -> Evaluation:
        """Scores and rows of the current model on `split`. What the task chooses on validation is kept for others."""
        rows, size = self.splits[split], self.recipe.train.batch_size
        found = evaluate(
            self.model,
            self.task,
            rows,
            self.tokenizer,
            self.labels,
            size,
            self.accelerator,
            fit=self.recipe.train if split == "validation" else None,
        )
        self.task = found.task
        return found


def fit(run: Run, stop: StopRequest, started: Callable[[], None] = lambda: None) -> RunProgress:
    """Train `run.model` and leave it with the weights that scored best on the validation split.

    Resumes from the newest checkpoint in the run folder if there is one.

    Args:
        started: called once the run has begun or been resumed, and so is not refused any more.

    Raises:
        Interrupted: a signal asked to stop; the checkpoint is complete.
        UserError: the loss is not finite.
    """
    state = _train_state(run)
    run.progress = _resume(run, state)
    started()
    run.model.train()
    with _log(run) as log, Writer().running() as writer:
        run.time_budget.start(lambda: log.training_seconds)
        if _score(run, state, log, stop):  # due if an earlier process was stopped before it
            raise Interrupted
        for batch in log.timed(_remaining_batches(run)):
            _log_unfreezing(run, state, log)
            results = update(run.accelerator, state, batch, run.recipe.optim.max_grad_norm, run.autocast)
            _advance(run)
            log.display.expect(run.time_budget.expected_updates(run.progress.step, run.total_updates))
            log.add(UpdateStats(run.progress.step, batch.rows, *results))
            _average(run, state, log)
            stopping = _score(run, state, log, stop)
            if _save_is_due(run) or stopping:
                with log.paused():
                    _save(run, state, writer)
            if stopping:
                checkpoint.wait_until_written(writer, run.accelerator)
                raise Interrupted
        checkpoint.wait_until_written(writer, run.accelerator)
    _load_best(run)
    return run.progress


def _train_state(run: Run) -> TrainState:
    """The model, sharded or wrapped as the launcher asks, with its optimiser."""
    if fsdp.is_asked_for(run.accelerator):
        run.meta_copy = fsdp.meta_copy(run.model)
        run.model = fsdp.shard(run.model, run.accelerator)
    unfreezing = Unfreezing.of(run.model, run.recipe.optim, run.total_updates)
    average = WeightAverage.of(run.model, run.recipe.optim)
    optimizer = build_optimizer(run.model, run.recipe.optim, run.task.output_scale)
    scheduler = _scheduler(run, optimizer)
    if deepspeed.is_asked_for(run.accelerator):
        run.model, sharded = deepspeed.shard(run.model, optimizer, run.accelerator, run.autocast)
        return TrainState(run.model, sharded, scheduler, _carry(run), run.objective, backend=sharded)
    if run.meta_copy is None:
        run.model = run.accelerator.prepare(run.model)  # the optimiser is not wrapped, see backend.py
    return TrainState(
        run.model, optimizer, scheduler, _carry(run), run.objective, unfreezing=unfreezing, average=average
    )


def _scheduler(run: Run, optimizer: torch.optim.Optimizer) -> torch.optim.lr_scheduler.LRScheduler:
    if run.recipe.train.max_seconds is None:
        return build_scheduler(optimizer, run.recipe.optim, run.total_updates)
    return TimedSchedule(optimizer, run.recipe.optim, run.total_updates, run.time_budget.measure)


def _resume(run: Run, state: TrainState) -> RunProgress:
    """Where to start from. Each process draws different dropout masks."""
    seed = run.recipe.train.seed
    seeding.seed_all(seed + run.accelerator.process_index)
    folder = checkpoint.newest_whole(run.folder, run.accelerator)
    if folder is None:
        return RunProgress()
    checkpoint.check_data(folder, run.fingerprints)
    done = checkpoint.load(folder, state, run.layout, seed, run.accelerator)
    if done.position >= run.updates_per_epoch:
        raise UserError(
            f"{folder}: this checkpoint is at update {done.position} of an epoch that has {run.updates_per_epoch};"
            " resume it with the same data and number of processes, or start over with --train.overwrite"
        )
    return done


def _save(run: Run, state: TrainState, writer: Writer) -> None:
    keep = run.recipe.train.keep_checkpoints
    checkpoint.save(run.folder, state, run.progress, run.layout, run.accelerator, writer, keep, run.fingerprints)


def _carry(run: Run) -> HiddenStateCarry:
    return HiddenStateCarry(run.accelerator.unwrap_model(run.model) if run.splits["train"].carries else None)


def _log(run: Run) -> Log:
    done = run.progress
    display = Display(run.total_updates, done.step, run.updates_per_epoch, run.accelerator.is_main_process)
    trackers = Trackers(run.recipe, run.accelerator, done.step, display.print)
    return Log(run.folder, done, display, run.accelerator, run.recipe.train.log_every, run.count_tokens, trackers)


def _remaining_batches(run: Run) -> Iterator[UpdateBatch]:
    """The updates that are left; the order of an epoch is a function of the seed and the epoch alone."""
    rows, train = run.splits["train"], run.recipe.train
    while not run.is_over:
        order = rows.updates(run.rows_per_update, train.seed, run.progress.epoch)
        left = order[run.progress.position :]
        for batch in update_batches(left, train.batch_size, run.weighted_batches, run.accelerator):
            yield batch
            if run.is_over:
                return


def _log_unfreezing(run: Run, state: TrainState, log: Log) -> None:
    trained = state.unfreezing.trained(run.progress.step)
    if trained is not None:
        log.write("unfreezing", {"trained_parameters": trained})
        log.display.print(f"step {run.progress.step}  training {trained:,} parameters from here on")


def _advance(run: Run) -> None:
    done = run.progress
    done.step += 1
    done.epoch, done.position = divmod(done.step, run.updates_per_epoch)


def _evaluation_is_due(run: Run) -> bool:
    every = run.recipe.train.eval_every or run.updates_per_epoch
    return run.progress.step % every == 0 or run.is_spent


def _save_is_due(run: Run) -> bool:
    """Every `save_every` updates, else at each evaluation; the best weights are always kept."""
    every = run.recipe.train.save_every
    improved = run.progress.best_step == run.progress.step
    return improved or (run.progress.step % every == 0 if every else _evaluation_is_due(run))


def _average(run: Run, state: TrainState, log: Log) -> None:
    if state.average.is_kept and state.average.add(run.share_done):
        run.progress.stale = 0  # the average has yet to show what it can do
        log.write("average", {"begins": run.progress.step})


def _score(run: Run, state: TrainState, log: Log, stop: StopRequest) -> bool:
    """Score the validation split if that is due, and return whether a signal asks to stop.

    A scheduler may leave less time than scoring takes. So a signal interrupts it, and the resumed run begins with it.
    """
    if not _evaluation_is_due(run) or run.progress.scored >= run.progress.step:
        return stop.agreed(run.accelerator)
    try:
        with _scoring(state, log), stop.interruptible(run.accelerator):
            metrics = run.evaluate("validation").scores
    except Interrupted:
        return True
    _remember(run, state, log, metrics)
    return stop.agreed(run.accelerator)  # several processes are not interrupted, but may have been asked to stop


@contextlib.contextmanager
def _scoring(state: TrainState, log: Log) -> Iterator[None]:
    with log.paused(), state.average.applied():
        yield


def _remember(run: Run, state: TrainState, log: Log, metrics: dict[str, Any]) -> None:
    """Log the scores of a validation, and remember the best."""
    monitor, done = run.monitor, run.progress
    value = monitor.read(metrics)
    done.scored = done.step
    if monitor.is_better(monitor.signed(value), done.best_score):
        done.best_score, done.best_step, done.stale = monitor.signed(value), done.step, 0
    else:
        done.stale += 1
    if isinstance(state.scheduler, Schedule):
        state.scheduler.observe(done.stale)
    if state.average.observe(monitor.signed(value)):
        done.stale = 0  # the run does not end before the average begins
    scores = {name: value for name, value in metrics.items() if isinstance(value, float)} | {monitor.name: value}
    log.write("validation", scores)
    log.warn(run.task.concern(metrics))
    shown = "  ".join(f"{name} {value:.4f}" for name, value in scores.items())
    log.display.print(f"step {done.step}  validation  {shown}")


def _load_best(run: Run) -> None:
    if run.progress.best_step is not None:
        best = checkpoint.folder_of(run.folder, run.progress.best_step)
        checkpoint.load_scored_weights(best, run.model, run.accelerator)
