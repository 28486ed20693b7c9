"""Speed and memory beside the obvious alternatives, in alternating pairs; prints a table and, with --json, writes JSON.

Run it:

    python scripts/benchmark.py loop           # our loop against a bare PyTorch loop: same batches; each task
    python scripts/benchmark.py recurrent      # our recurrent path against PackedSequence with random batches
    python scripts/benchmark.py bert           # MiniLM fine-tuning against the Trainer of transformers at its defaults
    python scripts/benchmark.py crf            # training a tagger with a CRF against the same without
    python scripts/benchmark.py generate       # writing with a carried state against reading all of the text anew
    python scripts/benchmark.py checkpoint     # how long training stands still at a checkpoint
    python scripts/benchmark.py deterministic  # training with train.deterministic against the same without
    python scripts/benchmark.py memory         # peak memory with 10,000 and with 200,000 rows
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import tyro
from benchmarks.costs import checkpoint, deterministic
from benchmarks.loops import crf, loop
from benchmarks.memory import memory
from benchmarks.models import generate, recurrent
from benchmarks.trainers import bert
from rich.console import Console
from rich.table import Table

MEASURES = {
    "loop": loop,
    "recurrent": recurrent,
    "bert": bert,
    "crf": crf,
    "generate": generate,
    "checkpoint": checkpoint,
    "deterministic": deterministic,
    "memory": memory,
}


def main(
    which: tyro.conf.Positional[Literal[tuple(MEASURES)]],  # type: ignore[valid-type]
    pairs: int = 9,
    threads: int = 1,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Measure one thing.

    Args:
        which: what to measure.
        pairs: alternating measurements of each side; medians are printed.
        threads: of torch. With one, tokens per second are tokens per CPU second.
        json_file: where to write the figures.
    """
    import torch

    from pipeline.run import quiet

    quiet()
    torch.set_num_threads(threads)
    rows = MEASURES[which](pairs)
    table = Table(
        *rows[0], title=f"{which}, {threads} thread(s), median of {pairs} pairs" if which != "memory" else which
    )
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    Console(width=150).print(table)
    if json_file:
        json_file.write_text(
            json.dumps({"benchmark": which, "threads": threads, "pairs": pairs, "rows": rows}, indent=2)
        )


if __name__ == "__main__":
    tyro.cli(main)
