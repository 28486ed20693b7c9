"""Evaluation: rows are scored once each, together, whatever the batch size and the number of processes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn

from pipeline.training.carry import Carry
from pipeline.training.step import Collate

Progress = Callable[[int, int], None]


class Scorer(Protocol):
    """What evaluation asks of a task (see tasks/base.py)."""

    def outcome(self, outputs: Any, batch: dict[str, Tensor]) -> dict[str, Tensor]: ...
    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]: ...


def evaluate(
    model: nn.Module,
    scorer: Scorer,
    batches: list[np.ndarray],
    collate: Collate,
    labels: list[str],
    accelerator: Accelerator,
    *,
    carries: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Metrics of a split, computed in float32 without autocast, so that they do not move with the batch size.

    Args:
        batches: row indices of each batch; together every row of the split.
        carries: whether the rows of a batch go on from those of the one before; each process then runs all of them.
        facts: of the split as a whole, for scoring.
    """
    model = accelerator.unwrap_model(model)
    was_training = model.training
    model.eval()
    parts, carry = [], Carry(model if carries else None)
    own = batches if carries else batches[accelerator.process_index :: accelerator.num_processes]
    with torch.inference_mode():
        for rows in own:
            batch = {name: value.to(accelerator.device) for name, value in collate(rows)[0].items()}
            outputs = model(**batch, **carry.inputs(0))
            carry.keep(0, outputs)
            parts.append({"id": torch.from_numpy(rows), **scorer.outcome(outputs, batch)})
    model.train(was_training)
    return scorer.score({**_in_order(_gather(parts)), **(facts or {})}, labels)


def _gather(parts: list[dict[str, Tensor]]) -> dict[str, np.ndarray]:
    """Outcomes of all batches of all processes, one array per name."""
    names = parts[0].keys() if parts else ()
    own = {name: torch.cat([part[name].cpu() for part in parts]).numpy() for name in names}
    everyone = [share for share in gather_object([own]) if share]
    return {name: np.concatenate([share[name] for share in everyone]) for name in everyone[0]}


def _in_order(outcome: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each row once, in the order of the split: sums then add up in the same order on every machine."""
    _, first = np.unique(outcome["id"], return_index=True)
    return {name: values[first] for name, values in outcome.items() if name != "id"}
