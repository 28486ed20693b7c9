"""How many texts a second a trained model answers, through its task's `predict` as users ask it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipeline.models import modes
from pipeline.tasks.base import Task

BATCH_SIZES = (1, 32)
# Texts that are answered again and again.
TEXTS, CHARACTERS = 32, 10_000
# Seconds for each batch size: a share of those of the run, within these bounds. Short runs must not be twice as long.
SHARE, LEAST, MOST = 0.02, 0.02, 2.0


def measure(
    task: Task,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    labels: list[str],
    texts: Sequence[Any],
    run_seconds: float,
) -> dict[str, float]:
    """Texts per second for each of BATCH_SIZES, as `batch_1` and `batch_32`.

    Args:
        model: on the device on which it answers.
        tokenizer: as it is saved with the model.
        texts: at least one; repeated if there are fewer than TEXTS.
        run_seconds: what the run has taken, which bounds the time of measuring.

    Raises:
        Exception: the task cannot predict.
    """
    chosen = [_cut(texts[number % len(texts)]) for number in range(TEXTS)]
    seconds = min(max(SHARE * run_seconds, LEAST), MOST)
    with modes.evaluating(model):
        return {
            f"batch_{size}": texts_per_second(
                lambda batch: list(task.predict(batch, model, tokenizer, labels)), chosen, size, seconds
            )
            for size in BATCH_SIZES
        }


def _cut(text: Any) -> Any:
    """A text no longer than CHARACTERS: a recurrent language model would read a whole book."""
    return text[:CHARACTERS] if isinstance(text, str) else text


def texts_per_second(answer: Callable[[list[Any]], Any], texts: list[Any], size: int, seconds: float) -> float:
    """The median speed of passes over `texts` in batches of `size`, within about `seconds`, after a first batch that
    warms up. The first pass counts as far as it gets, and later ones only if they are whole.

    If the first batch has taken all the time, it is the measurement.
    """
    clock = time.perf_counter
    batches = [texts[start : start + size] for start in range(0, len(texts), size)]
    started = clock()
    answer(batches[0])
    warm_up = clock() - started
    if warm_up > seconds:
        return len(batches[0]) / warm_up
    speeds: list[float] = []
    until = clock() + seconds
    while clock() < until or not speeds:
        began, done = clock(), 0
        for batch in batches:
            answer(batch)
            done += len(batch)
            if clock() >= until:
                break
        if done == len(texts) or not speeds:
            speeds.append(done / max(clock() - began, 1e-9))
    return statistics.median(speeds)
