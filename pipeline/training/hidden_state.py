"""Hidden states that a language model carries from update to update, and across a checkpoint.

Running text is read by truncated backpropagation through time (Williams & Peng 1990): each update starts from the final
state of the previous one, and gradients stop at the border between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline.training.checkpointing import serialization


@dataclass(frozen=True)
class BatchLayout:
    """How an update is distributed: slices of `batch_size` rows go to the processes in turn, `accumulation` to each."""

    batch_size: int
    accumulation: int
    processes: int

    @property
    def rows(self) -> int:
        """Rows of an update on all processes."""
        return self.batch_size * self.accumulation * self.processes

    def __str__(self) -> str:
        return f"{self.batch_size} rows x {self.accumulation} micro-batches x {self.processes} processes"


class HiddenStateCarry:
    """The hidden state that each micro-batch of the next update starts from, detached from the graph.

    Micro-batches are identified by their index in the update, and every process has its own carry: with accumulation or
    several processes, a row starts from the same state as in one large batch. A split whose rows continue one another
    (`carries`) puts the same rows at the same index each time, and its position ids say where a state is reset.

    The model must have a method `new_cache`. Its caches have `detach`, `state_dict` and `load_state_dict`; they are
    passed as `past_key_values` and returned under that name.
    """

    def __init__(self, model: nn.Module | None = None):
        """`model`: None if rows do not continue one another; nothing is kept then."""
        self._model: Any = model
        self._caches: dict[int, Any] = {}

    def inputs(self, index: int) -> dict[str, Any]:
        """Further keyword arguments for the micro-batch at `index`."""
        if self._model is None:
            return {}
        return {"past_key_values": self._caches.get(index) or self._model.new_cache(), "use_cache": True}

    def keep(self, index: int, outputs: Any) -> None:
        """Keep the state in the model's `outputs` for the micro-batch at `index`."""
        if self._model is not None:
            self._caches[index] = outputs.past_key_values
            outputs.past_key_values.detach()

    def state_dict(self) -> dict[int, Any]:
        """Tensors and numbers, by the index of the micro-batch."""
        return {index: cache.state_dict() for index, cache in self._caches.items()}

    def load_state_dict(self, states: dict[int, Any]) -> None:
        """Restore what `state_dict` returned."""
        for index, state in states.items():
            self._caches[index] = self._model.new_cache()
            self._caches[index].load_state_dict(state)


def redistribute(carries: list[dict[int, Any]], layout: BatchLayout, process: int) -> dict[int, Any]:
    """The states of `process` when a run is resumed with another batch layout.

    Slice i of the update was micro-batch i // P of process i % P, for P processes (step.micro_batch_rows). Joined in
    this order, the states are those of the update's rows in order, and can be sliced again.

    Args:
        carries: `HiddenStateCarry.state_dict` of each earlier process; together one state for each row of an update.
        layout: the new one, with as many rows in an update as before.

    Raises:
        ValueError: the states differ in structure.
    """
    slices = [state for index in sorted(carries[0]) for state in (carry[index] for carry in carries)]
    if not slices:
        return {}
    whole, size = serialization.concatenate(slices), layout.batch_size
    starts = ((index * layout.processes + process) * size for index in range(layout.accumulation))
    return {index: serialization.slice_rows(whole, start, start + size) for index, start in enumerate(starts)}
