"""Seconds per token of recurrent models and transformers of the same width, by length: training, and answering.

Threads are a choice of the whole process, so each number of threads is measured in a process of its own:

    python -m pipeline.studies.claims.timing --threads 1 --rounds 9 --output timing.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

LENGTHS = (16, 32, 64, 128, 256, 512, 1024)
# Texts in a batch, the same number for each length; the action `single` is answering one text.
TEXTS = 8
ACTIONS = ("training", "answering", "single")
WORDS, WIDTH, LAYERS, HEADS = 2000, 128, 2, 4
MODELS = ("rnn", "gru", "lstm", "bert", "gpt2")


@dataclass(frozen=True)
class Options:
    """Measure seconds per token of each model, action and length."""

    threads: int
    """Threads of torch."""
    output: Path
    """JSON file for the figures."""
    rounds: int = 9
    """How often everything is measured, in turn."""
    lengths: tuple[int, ...] = LENGTHS
    """Words of a text."""


def measure_in_processes(folder: Path, threads: Sequence[int], rounds: int, lengths: Sequence[int] = LENGTHS) -> None:
    """Write `timing-<threads>.json` for each number of threads, unless it is there. One process runs at a time.

    Raises:
        subprocess.CalledProcessError: a measurement failed; it has printed why.
    """
    for count in threads:
        file = folder / f"timing-{count}.json"
        if file.is_file():
            continue
        numbers = ["--threads", count, "--output", file, "--rounds", rounds, "--lengths", *lengths]
        own = {**os.environ, "OMP_NUM_THREADS": str(count), "MKL_NUM_THREADS": str(count)}
        subprocess.run([sys.executable, "-m", __name__, *map(str, numbers)], check=True, env=own)


def measure(options: Options) -> dict[str, Any]:
    """`seconds[model][action][length]`: seconds per token in each round.

    In a round each model takes its turn at each action and length, so that whatever else slows the machine down for a
    while slows down all of them. The first round, which also warms up, is not kept.
    """
    import torch

    torch.set_num_threads(options.threads)
    machine = {"threads": options.threads, "cores": os.cpu_count(), "torch": torch.__version__, "load": _load()}
    models = {name: _build(name, max(options.lengths)) for name in MODELS}
    seconds: dict[str, Any] = {n: {a: {str(t): [] for t in options.lengths} for a in ACTIONS} for n in MODELS}
    for number in range(options.rounds + 1):
        for length in options.lengths:
            for action in ACTIONS:
                for name, model in models.items():
                    taken = _seconds_per_token(_step(model, action, length), length, action)
                    if number:
                        seconds[name][action][str(length)].append(taken)
    return {**machine, "waited": _waited(), "seconds": seconds}


def _load() -> float:
    """Processes that want to run, on average over the last minute; NaN where the system does not say."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")


def _waited() -> float:
    """Share of the time, in [0, 1], that the threads of this process were ready to run but had no core, on Linux; NaN
    elsewhere. Two threads cannot be compared with one if it is large."""
    files = list(Path("/proc/self/task").glob("*/schedstat"))
    if not files:
        return float("nan")
    ran, waited = (
        sum(times) for times in zip(*(map(int, file.read_text().split()[:2]) for file in files), strict=True)
    )
    return waited / max(1, ran + waited)


def _build(name: str, longest: int) -> Any:
    """A classifier of the name's kind, all of the same width and depth."""
    from transformers import BertConfig, BertForSequenceClassification, GPT2Config, GPT2ForSequenceClassification

    from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification

    if name == "bert":
        sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
        config = BertConfig(vocab_size=WORDS, intermediate_size=4 * WIDTH, max_position_embeddings=longest, **sizes)
        return BertForSequenceClassification(config)
    if name == "gpt2":
        config = GPT2Config(
            vocab_size=WORDS, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=longest, pad_token_id=0,
            bos_token_id=None, eos_token_id=None,
        )  # fmt: skip
        return GPT2ForSequenceClassification(config)
    config = RecurrentConfig(
        vocab_size=WORDS, embedding_size=WIDTH, units=WIDTH, num_hidden_layers=LAYERS, cell_type=name
    )
    return RecurrentForSequenceClassification(config)


def _texts(action: str) -> int:
    return 1 if action == "single" else TEXTS


def _step(model: Any, action: str, length: int) -> Callable[[], Any]:
    """One forward pass, and in training the backward pass as well; the optimiser costs the same whatever the length."""
    import torch

    ids = torch.randint(1, WORDS, (_texts(action), length), generator=torch.Generator().manual_seed(length))
    labels = torch.zeros(len(ids), dtype=torch.long)

    def train() -> None:
        model(input_ids=ids, labels=labels).loss.backward()
        model.zero_grad()

    def answer() -> None:
        with torch.inference_mode():
            model(input_ids=ids)

    model.train(action == "training")
    return train if action == "training" else answer


def _seconds_per_token(step: Callable[[], Any], length: int, action: str) -> float:
    started = time.perf_counter()
    step()
    return (time.perf_counter() - started) / (length * _texts(action))


Seconds = Mapping[str, Mapping[str, Mapping[str, Sequence[float]]]]


def ratios(seconds: Seconds, first: str, second: str, action: str, length: int) -> np.ndarray:
    """Seconds of `first` over those of `second` in each round."""
    return np.array(seconds[first][action][str(length)]) / np.array(seconds[second][action][str(length)])


def median_interval(values: Sequence[float] | np.ndarray, confidence: float = 0.95) -> tuple[float, float, float]:
    """The median and an interval for it that assumes nothing but independent values: two of the ordered values, the
    same number from either end, whose binomial probability of holding the median is at least `confidence` (Conover
    1999, section 3.2). With fewer than 6 values at 0.95 there is no such pair, and the extremes are returned.
    """
    from scipy import stats

    ordered = np.sort(np.asarray(values, dtype=float))
    count = len(ordered)
    outside = [rank for rank in range(count // 2) if 2 * stats.binom.cdf(rank, count, 0.5) <= 1 - confidence]
    rank = outside[-1] if outside else 0
    return float(np.median(ordered)), float(ordered[rank]), float(ordered[count - 1 - rank])


if __name__ == "__main__":
    import tyro

    from pipeline import storage

    chosen = tyro.cli(Options)
    storage.write(chosen.output, json.dumps(measure(chosen)))
