"""`fit`: the story of a training run, from its first update, or its last checkpoint, to its best weights."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from pipeline.config.recipe import Recipe
from pipeline.errors import Interrupted, UserError
from pipeline.storage import Writer
from pipeline.training import seeding
from pipeline.training.checkpointing import checkpoint
from pipeline.training.distributed import deepspeed, fsdp
from pipeline.training.evaluation import Scorer, evaluate
from pipeline.training.hidden_state import Carry, Dealing
from pipeline.training.loss import Objective, build_objective
from pipeline.training.monitoring.log import Figures, Log
from pipeline.training.monitoring.progress import Display
from pipeline.training.monitoring.trackers import Dashboards
from pipeline.training.optim import build_optimizer, build_scheduler
from pipeline.training.signals import StopRequest
from pipeline.training.step import Batch, Parts, Window, cells, update, windows


class Trainable(Scorer, Protocol):
    """What training asks of a task (see tasks/base.py)."""

    monitor: ClassVar[str]

    def collate(self, rows: Any, tokenizer: Any) -> tuple[Batch, int]: ...


class Split(Protocol):
    """What training asks of the encoded rows of a split (see data/batching.py).

    Attributes:
        lengths: tokens of each row.
        carries: whether each row of a batch goes on from the same row of the batch before.
    """

    lengths: np.ndarray
    carries: ClassVar[bool]

    def __len__(self) -> int: ...
    def take(self, rows: np.ndarray) -> Any: ...
    def updates(self, rows_per_update: int, seed: int, epoch: int) -> list[np.ndarray]: ...
    def batches(self, batch_size: int) -> list[np.ndarray]: ...
    def facts(self, names: Sequence[str]) -> dict[str, Any]: ...


@dataclass
class Run:
    """What a run works with.

    Attributes:
        splits: rows of train, validation and, where there is one, test.
        folder: of the run; checkpoints and history go there.
        autocast: whether the forward passes of training run in bfloat16.
        state: where the run stands.
        skeleton: of a model that has been sharded, see sharding.py.
    """

    recipe: Recipe
    task: Trainable
    model: nn.Module
    tokenizer: Any
    labels: list[str]
    splits: Mapping[str, Split]
    folder: Path
    accelerator: Accelerator
    autocast: bool = False
    state: checkpoint.State = field(default_factory=checkpoint.State)
    skeleton: nn.Module | None = None

    @property
    def dealing(self) -> Dealing:
        """How the rows of an update are dealt out to the processes."""
        train = self.recipe.train
        return Dealing(train.batch_size, train.accumulation, self.accelerator.num_processes)

    @property
    def rows_per_update(self) -> int:
        """Rows of one update on all processes."""
        return self.dealing.rows

    @property
    def updates_per_epoch(self) -> int:
        return math.ceil(len(self.splits["train"]) / self.rows_per_update)

    @property
    def total_updates(self) -> int:
        planned = self.updates_per_epoch * self.recipe.train.epochs
        return min(planned, self.recipe.train.max_steps or planned)

    @property
    def is_over(self) -> bool:
        """Whether all updates are done, or the validation score has not improved for too long."""
        patience = self.recipe.train.patience
        return self.state.step >= self.total_updates or (patience is not None and self.state.stale >= patience)

    @cached_property
    def objective(self) -> Objective:
        """What is minimised."""
        return build_objective(self.recipe.train, self.labels, self._training_labels)

    def _training_labels(self) -> Iterator[torch.Tensor]:
        rows = self.splits["train"]
        return (self.collate("train", chosen)[0]["labels"] for chosen in rows.batches(self.recipe.train.batch_size))

    def collate(self, split: str, rows: np.ndarray) -> tuple[Batch, int]:
        """The batch of `rows` of `split`, and the number of labels in it."""
        return self.task.collate(self.splits[split].take(rows), self.tokenizer)

    def weighed(self, rows: np.ndarray) -> tuple[Batch, float]:
        """The batch of `rows` of the training split, and what its mean loss counts."""
        batch, labels = self.collate("train", rows)
        return batch, self.objective.weight(batch, labels)

    def whole_model(self) -> nn.Module:
        """The model that `save_pretrained` is called on, by the first process; all of them have to call this."""
        if self.skeleton is not None:
            return fsdp.whole(self.model, self.skeleton, self.accelerator)
        return self.accelerator.unwrap_model(self.model)

    def evaluate(self, split: str) -> dict[str, Any]:
        """Metrics of the model as it stands on `split`."""
        rows = self.splits[split]
        return evaluate(
            self.model,
            self.task,
            rows.batches(self.recipe.train.batch_size),
            lambda chosen: self.collate(split, chosen),
            self.labels,
            self.accelerator,
            rows,
        )


def fit(run: Run, stop: StopRequest) -> checkpoint.State:
    """Train `run.model` and leave it with the weights that scored best on the validation split.

    Continues from the newest checkpoint in the run's folder if there is one.

    Raises:
        Interrupted: a signal asked to stop; the checkpoint is complete.
        UserError: the loss is no longer a number.
    """
    parts = _parts(run)
    run.state = _resume(run, parts)
    run.model.train()
    with _log(run) as log, Writer().running() as writer:
        if _score(run, log, stop):  # where the process before was stopped first
            raise Interrupted
        for window in log.timed(_remaining_windows(run)):
            figures = update(run.accelerator, parts, window, run.recipe.optim.max_grad_norm, run.autocast)
            _advance(run)
            log.add(_figures(run, window, *figures))
            stopping = _score(run, log, stop)
            if _save_is_due(run) or stopping:
                with log.paused():
                    _save(run, parts, writer)
            if stopping:
                checkpoint.settle(writer, run.accelerator)
                raise Interrupted
        checkpoint.settle(writer, run.accelerator)
    _load_best(run)
    return run.state


def _parts(run: Run) -> Parts:
    """The model as its processes train it, with its optimiser."""
    if fsdp.is_asked_for(run.accelerator):
        run.skeleton = fsdp.skeleton(run.model)
        run.model = fsdp.shard(run.model, run.accelerator)
    optimizer = build_optimizer(run.model, run.recipe.optim)
    scheduler = build_scheduler(optimizer, run.recipe.optim, run.total_updates)
    if deepspeed.is_asked_for(run.accelerator):
        run.model, shared = deepspeed.share(run.model, optimizer, run.accelerator, run.autocast)
        return Parts(run.model, shared, scheduler, _carry(run), run.objective, shared)
    if run.skeleton is None:
        run.model, optimizer = run.accelerator.prepare(run.model, optimizer)
    return Parts(run.model, optimizer, scheduler, _carry(run), run.objective)


def _resume(run: Run, parts: Parts) -> checkpoint.State:
    """The state to start from; dropout draws differently on each process."""
    seed = run.recipe.train.seed
    seeding.seed_all(seed + run.accelerator.process_index)
    folder = checkpoint.choose(run.folder, run.accelerator)
    if folder is None:
        return checkpoint.State()
    state = checkpoint.load(folder, parts, run.dealing, seed, run.accelerator)
    if state.position >= run.updates_per_epoch:
        raise UserError(
            f"{folder}: this checkpoint is at update {state.position} of an epoch that has {run.updates_per_epoch}; go"
            " on with the same data and number of processes, or start anew with --train.overwrite"
        )
    return state


def _save(run: Run, parts: Parts, writer: Writer) -> None:
    keep = run.recipe.train.keep_checkpoints
    checkpoint.save(run.folder, parts, run.state, run.dealing, run.accelerator, writer, keep)


def _carry(run: Run) -> Carry:
    """What the rows of training go on from, where they do."""
    return Carry(run.accelerator.unwrap_model(run.model) if run.splits["train"].carries else None)


def _log(run: Run) -> Log:
    display = Display(run.total_updates, run.state.step, run.updates_per_epoch, run.accelerator.is_main_process)
    dashboards = Dashboards(run.recipe, run.accelerator, run.state.step, display.say)
    return Log(run.folder, run.state, display, run.accelerator, run.recipe.train.log_every, dashboards)


def _remaining_windows(run: Run) -> Iterator[Window]:
    """Windows from where the state stands; the order of an epoch is a function of the seed and the epoch alone."""
    rows, train = run.splits["train"], run.recipe.train
    while not run.is_over:
        order = rows.updates(run.rows_per_update, train.seed, run.state.epoch)
        for window in windows(order[run.state.position :], train.batch_size, run.weighed, run.accelerator):
            yield window
            if run.is_over:
                return


def _advance(run: Run) -> None:
    run.state.step += 1
    run.state.epoch, run.state.position = divmod(run.state.step, run.updates_per_epoch)


def _figures(run: Run, window: Window, loss: torch.Tensor, norm: torch.Tensor, learning_rate: float) -> Figures:
    lengths = run.splits["train"].lengths
    tokens, padded = int(lengths[window.rows].sum()), cells(lengths, window.rows, run.recipe.train.batch_size)
    return Figures(run.state.step, window.rows, tokens, padded, loss, norm, learning_rate)


def _evaluation_is_due(run: Run) -> bool:
    every = run.recipe.train.eval_every or run.updates_per_epoch
    return run.state.step % every == 0 or run.state.step == run.total_updates


def _save_is_due(run: Run) -> bool:
    """Every `save_every` updates, else at each evaluation; the best weights are always kept."""
    every = run.recipe.train.save_every
    improved = run.state.best_step == run.state.step
    return improved or (run.state.step % every == 0 if every else _evaluation_is_due(run))


def _score(run: Run, log: Log, stop: StopRequest) -> bool:
    """Score the validation split where that is due. Whether a signal asks to stop, which may leave less time than
    scoring takes: the run that goes on begins with it then."""
    due = _evaluation_is_due(run) and run.state.scored < run.state.step
    try:
        with log.paused() if due else contextlib.nullcontext(), stop.interruptible(run.accelerator):
            metrics = run.evaluate("validation") if due else None
    except Interrupted:
        return True
    if metrics is None:
        return False
    _remember(run, log, metrics)
    return stop.agreed(run.accelerator)  # several processes have gone on to its end


def _remember(run: Run, log: Log, metrics: dict[str, Any]) -> None:
    """Note a validation's scores; the state remembers the best and how many evaluations ago it was."""
    score, state = metrics[run.task.monitor], run.state
    state.scored = state.step
    score = -score if getattr(run.task, "lower_is_better", False) else score
    if state.best_score is None or score > state.best_score:
        state.best_score, state.best_step, state.stale = score, state.step, 0
    else:
        state.stale += 1
    figures = {name: value for name, value in metrics.items() if isinstance(value, float)}
    log.write("validation", figures)
    log.tell(getattr(run.task, "concern", lambda _: None)(metrics))
    log.display.say(
        f"step {state.step}  validation  " + "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
    )


def _load_best(run: Run) -> None:
    if run.state.best_step is not None:
        best = checkpoint.folder_of(run.folder, run.state.best_step)
        checkpoint.load_weights(best, run.model, run.accelerator)
