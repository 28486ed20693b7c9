"""What a second process costs, measured on one and on two.

As a program this is one of the processes: `python scaling.py MODEL PAIRS FILE`, with RANK and the like set.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.common import ROTTEN_TOMATOES, TAGGER, RowsOfTable, a_run
from pipeline import Pretrained, Recipe, Train

MODELS = {"BiLSTM 128": TAGGER, "MiniLM": Pretrained("sample:minilm")}
ROWS, UPDATES = 16, 6  # rows of a micro-batch on each process; updates in a measurement


def scaling(pairs: int) -> RowsOfTable:
    """Tokens per second of one and of two processes with the same number of rows each, and the cost of the all-reduce.

    Its share of the time is what leaving it out saves, in alternating measurements of the same processes. In a ring of
    n processes each sends 2 (n - 1) / n times the size of the gradients, in a ring of two that size once.
    """
    return [_row(title, pairs) for title in MODELS]


def _row(title: str, pairs: int) -> dict[str, Any]:
    one, two = (_measured(title, pairs, processes) for processes in (1, 2))
    return {
        "model": title,
        "1 process tokens/s": one["tokens/s"],
        "2 processes tokens/s": two["tokens/s"],
        "ratio": two["tokens/s"] / one["tokens/s"],
        "share of all-reduce": two["share"],
        "MiB sent a step": two["bytes"] / 2**20,
    }


def _measured(title: str, pairs: int, processes: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder, socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port, file = found.getsockname()[1], Path(folder) / "measured.json"
        found.close()
        world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        alone = {**os.environ, "OMP_NUM_THREADS": "1"}
        started = [
            subprocess.Popen(
                [sys.executable, __file__, title, str(pairs), str(file)],
                env=alone if processes == 1 else {**alone, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(processes)
        ]
        codes = [process.wait() for process in started]
        if any(codes):
            raise RuntimeError(f"{title} on {processes} processes: exit codes {codes}")
        return json.loads(file.read_text())


def process(title: str, pairs: int, file: Path) -> None:
    """Measure as one of the processes; the first writes the results to `file`."""
    import torch

    from benchmarks.costs import _train_state
    from pipeline.cli.quiet import quiet

    quiet()
    torch.set_num_threads(1)
    this = a_run(Recipe("scaling", "sentiment", ROTTEN_TOMATOES, MODELS[title], train=Train(batch_size=ROWS)))
    state, sent = _train_state(this), [0]
    accelerator = this.accelerator
    state = replace(state, model=accelerator.prepare(this.model))
    if accelerator.num_processes > 1:
        state.model.register_comm_hook(sent, _counted)
    measure = _measure(this, state)
    measure(True)  # warm-up, in which DDP also builds its buckets
    sent[0] = 0
    with_reduce, shares = [], []
    for _ in range(pairs):
        reduced, alone = measure(True), measure(False)
        with_reduce.append(reduced)
        shares.append(1 - reduced / alone)
    ring = 2 * (accelerator.num_processes - 1) / accelerator.num_processes
    results = {
        "tokens/s": statistics.median(with_reduce),
        "share": max(0.0, statistics.median(shares)),
        "bytes": ring * sent[0] / (pairs * UPDATES),
    }
    if accelerator.is_main_process:
        file.write_text(json.dumps(results))
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _counted(sent, bucket):  # DDP accepts only its own classes as annotations
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    sent[0] += bucket.buffer().nbytes
    return allreduce_hook(None, bucket)


def _measure(this: Any, state: Any) -> Callable[[bool], float]:
    """Tokens per second of all processes, with the all-reduce of gradients or without."""
    from pipeline.training.step import update, update_batches

    processes = this.accelerator.num_processes
    order = this.splits["train"].updates(ROWS * processes, 0, 0)[:UPDATES]
    ready = list(update_batches(order, ROWS, this.weighted_batches, this.accelerator))
    tokens = sum(int(this.splits["train"].lengths[batch.rows].sum()) for batch in ready)

    def measure(reduces: bool) -> float:
        state.model.require_backward_grad_sync = reduces  # what DDP's own no_sync sets
        this.accelerator.wait_for_everyone()
        started = time.perf_counter()
        for batch in ready:
            loss, _, _ = update(this.accelerator, state, batch, 1.0, autocast=False)
        loss.item()
        this.accelerator.wait_for_everyone()
        return tokens / (time.perf_counter() - started)

    return measure


if __name__ == "__main__":
    process(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
