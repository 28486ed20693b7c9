"""Evaluation: rows are scored once each, together, whatever the batch size and the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from pipeline.training.distributed import fsdp
from pipeline.training.hidden_state import HiddenStateCarry
from pipeline.training.step import Collate

Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """What evaluation asks of a task (see tasks/base.py)."""

    def outcome(self, outputs: Any, batch: dict[str, Tensor]) -> dict[str, Any]: ...
    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]: ...


class Scored(Protocol):
    """What evaluation asks of the rows of a split (see data/batching.py).

    Attributes:
        carries: whether each row of a batch goes on from the same row of the batch before.
    """

    carries: ClassVar[bool]

    def facts(self, names: Sequence[str]) -> dict[str, Any]: ...


def evaluate(
    model: nn.Module,
    scorer: Scorer,
    batches: list[np.ndarray],
    collate: Collate,
    labels: list[str],
    accelerator: Accelerator,
    split: Scored | None = None,
) -> dict[str, Any]:
    """Metrics of a split, computed in float32 without autocast, so that they do not move with the batch size.

    An outcome is an array with an element for each row, or, where rows have different numbers of them, a pair: the
    elements of all rows one behind another (M,) and their numbers (rows,).

    Args:
        batches: row indices of each batch; together every row of the split.
        split: the rows; what it knows under the names in the scorer's `scored_with` joins the outcome. Where they carry
            a state from batch to batch, each process runs all of them. A sharded model, whose processes have to run as
            many batches each, runs some twice.
    """
    model = accelerator.unwrap_model(model)
    was_training = model.training
    model.eval()
    carries = split is not None and split.carries
    parts, carry = [], HiddenStateCarry(model if carries else None)
    sharded = fsdp.is_sharded(model)
    own = batches if carries else _share(batches, accelerator, in_step=sharded)
    # What is made in inference mode stays with a sharded model, which then cannot train.
    with torch.no_grad() if sharded else torch.inference_mode():
        for rows in own:
            batch = {name: value.to(accelerator.device) for name, value in collate(rows)[0].items()}
            outputs = model(**batch, **carry.inputs(0))
            carry.keep(0, outputs)
            parts.append({"id": torch.from_numpy(rows), **scorer.outcome(outputs, batch)})
    model.train(was_training)
    fsdp.reshard(model)
    outcome = _in_order(_gather(parts))
    if split is not None:
        outcome |= split.facts(getattr(scorer, "scored_with", ()))
    return scorer.score(outcome, labels)


def _share(batches: list[np.ndarray], accelerator: Accelerator, in_step: bool) -> list[np.ndarray]:
    """This process's batches; `in_step`: as many as every other's, one of them a repetition whose rows count once."""
    own = batches[accelerator.process_index :: accelerator.num_processes]
    missing = -(-len(batches) // accelerator.num_processes) - len(own) if in_step else 0
    return own + batches[:missing]


def _gather(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """Outcomes of all batches of all processes, one array, or pair of them, per name."""
    names = parts[0].keys() if parts else ()
    own = {name: _join([_on_host(part[name]) for part in parts]) for name in names}
    everyone = [share for share in gather_object([own]) if share]
    return {name: _join([share[name] for share in everyone]) for name in everyone[0]}


def _on_host(values: Any) -> Any:
    return tuple(map(_on_host, values)) if isinstance(values, tuple) else values.cpu().numpy()


def _join(parts: list[Any]) -> Any:
    if isinstance(parts[0], tuple):
        return tuple(map(np.concatenate, zip(*parts, strict=True)))
    return np.concatenate(parts)


def _in_order(outcome: dict[str, Any]) -> dict[str, Any]:
    """Each row once, in the order of the split: sums then add up in the same order on every machine."""
    _, first = np.unique(outcome["id"], return_index=True)
    return {name: _take(values, first) for name, values in outcome.items() if name != "id"}


def _take(values: Any, rows: np.ndarray) -> Any:
    """The elements of `rows`, in this order."""
    if not isinstance(values, tuple):
        return values[rows]
    elements, counts = values
    taken = counts[rows]
    shift = np.cumsum(counts)[rows] - np.cumsum(taken)
    return elements[np.arange(taken.sum()) + np.repeat(shift, taken)], taken
