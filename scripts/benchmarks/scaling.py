"""What several processes cost, measured on one and on two.

As a program it is one of the two processes: `python scaling.py MODEL PAIRS FILE`, with RANK and so on set.
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
ROWS, UPDATES = 16, 6  # of one process and micro-batch; in one measurement


def scaling(pairs: int) -> RowsOfTable:
    """Tokens per second of one and of two processes with as many rows each, and what the exchange of gradients takes.

    Its share of the time is what is gained without it, in alternating measurements of the same processes. A process
    sends its gradients once in a ring of two: 2 (n - 1) / n times their size.
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
    """Measure as one of the processes; the first writes `file`."""
    import torch

    from benchmarks.costs import _parts
    from pipeline.cli.quiet import quiet

    quiet()
    torch.set_num_threads(1)
    this = a_run(Recipe("scaling", "sentiment", ROTTEN_TOMATOES, MODELS[title], train=Train(batch_size=ROWS)))
    parts, sent = _parts(this), [0]
    accelerator = this.accelerator
    parts = replace(parts, model=accelerator.prepare(this.model), optimizer=accelerator.prepare(parts.optimizer))
    if accelerator.num_processes > 1:
        parts.model.register_comm_hook(sent, _counted)
    measure = _measure(this, parts)
    measure(True)  # warm-up, in which DDP arranges its buckets, too
    sent[0] = 0
    with_exchange, shares = [], []
    for _ in range(pairs):
        exchanged, alone = measure(True), measure(False)
        with_exchange.append(exchanged)
        shares.append(1 - exchanged / alone)
    ring = 2 * (accelerator.num_processes - 1) / accelerator.num_processes
    told = {
        "tokens/s": statistics.median(with_exchange),
        "share": max(0.0, statistics.median(shares)),
        "bytes": ring * sent[0] / (pairs * UPDATES),
    }
    if accelerator.is_main_process:
        file.write_text(json.dumps(told))
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _counted(sent, bucket):  # DDP refuses other annotations than its own classes
    from torch.distributed.algorithms.ddp_comm_hooks.default_hooks import allreduce_hook

    sent[0] += bucket.buffer().nbytes
    return allreduce_hook(None, bucket)


def _measure(this: Any, parts: Any) -> Callable[[bool], float]:
    """Tokens per second of all processes, with the exchange of gradients or without."""
    from pipeline.training.step import update, windows

    processes = this.accelerator.num_processes
    order = this.splits["train"].updates(ROWS * processes, 0, 0)[:UPDATES]
    ready = list(windows(order, ROWS, this.weighed, this.accelerator))
    tokens = sum(int(this.splits["train"].lengths[window.rows].sum()) for window in ready)

    def measure(exchanges: bool) -> float:
        parts.model.require_backward_grad_sync = exchanges  # what DDP's own no_sync sets
        this.accelerator.wait_for_everyone()
        started = time.perf_counter()
        for window in ready:
            loss, _, _ = update(this.accelerator, parts, window, 1.0, autocast=False)
        loss.item()
        this.accelerator.wait_for_everyone()
        return tokens / (time.perf_counter() - started)

    return measure


if __name__ == "__main__":
    process(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
