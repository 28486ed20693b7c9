"""What rows go on from: a state for each micro-batch of a window, kept from update to update and over a resume."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from pipeline.training.checkpointing import serialization


@dataclass(frozen=True)
class Dealing:
    """How the rows of an update are dealt out: in slices of `batch_size`, in turn, `accumulation` to each process."""

    batch_size: int
    accumulation: int
    processes: int

    @property
    def rows(self) -> int:
        """Rows of an update on all processes."""
        return self.batch_size * self.accumulation * self.processes

    def __str__(self) -> str:
        return f"{self.batch_size} rows x {self.accumulation} micro-batches x {self.processes} processes"


class Carry:
    """States that the micro-batches of the next window go on from, cut off from the graph at the border between them.

    Every micro-batch has a place of its own in the window, and every process its own carry: with accumulation and on
    several processes a row goes on from the same row's state as in one large batch. A split whose rows go on
    (`carries`) puts the same rows at the same place each time, and its positions say where a state starts anew.

    A model that can go on has a method `new_cache`; its caches have `detach`, `state_dict` and `load_state_dict`, are
    passed as `past_key_values` and come back under that name.
    """

    def __init__(self, model: nn.Module | None = None):
        """`model`: None where rows do not go on from one another; nothing is kept then."""
        self._model: Any = model
        self._caches: dict[int, Any] = {}

    def inputs(self, place: int) -> dict[str, Any]:
        """What the model is given beside the micro-batch at `place`."""
        if self._model is None:
            return {}
        return {"past_key_values": self._caches.get(place) or self._model.new_cache(), "use_cache": True}

    def keep(self, place: int, outputs: Any) -> None:
        """Keep what the model returned for the micro-batch at `place`."""
        if self._model is not None:
            self._caches[place] = outputs.past_key_values
            outputs.past_key_values.detach()

    def state_dict(self) -> dict[int, Any]:
        """Tensors and numbers, by place."""
        return {place: cache.state_dict() for place, cache in self._caches.items()}

    def load_state_dict(self, states: dict[int, Any]) -> None:
        """Put back what `state_dict` gave."""
        for place, state in states.items():
            self._caches[place] = self._model.new_cache()
            self._caches[place].load_state_dict(state)


def redealt(carries: list[dict[int, Any]], dealing: Dealing, process: int) -> dict[int, Any]:
    """What `process` goes on from where the rows of an update are dealt out anew.

    Args:
        carries: `Carry.state_dict` of each process that there was; they hold a state for each row of an update.
        dealing: of the processes that there are, with the same number of rows in an update.

    Raises:
        ValueError: the states are of different forms.
    """
    slices = [state for place in sorted(carries[0]) for state in (carry[place] for carry in carries)]
    if not slices:
        return {}
    whole, size = serialization.joined(slices), dealing.batch_size
    starts = ((place * dealing.processes + process) * size for place in range(dealing.accumulation))
    return {place: serialization.rows_of(whole, start, start + size) for place, start in enumerate(starts)}
