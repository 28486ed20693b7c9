"""Stops a run as a scheduler does, at an update that a test chooses."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from pipeline.errors import Interrupted
from pipeline.training import trainer


@contextlib.contextmanager
def stopped_after(step: int) -> Iterator[None]:
    """The run in the block is sent a signal after update `step`, and must stop."""
    advance = trainer._advance

    def advance_and_stop(run: Any) -> None:
        advance(run)
        if run.progress.step == step:
            signal.raise_signal(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "_advance", advance_and_stop)
        with pytest.raises(Interrupted):
            yield
