"""Speed and memory against the obvious alternatives, measured in alternating pairs. Prints tables; --json writes JSON.

Run it:

    python scripts/benchmark.py loop           # our loop against a bare PyTorch loop: same batches, each task
    python scripts/benchmark.py recurrent      # our recurrent path against PackedSequence with random batches
    python scripts/benchmark.py cells          # layers of each cell against our LSTM's, or --against ANOTHER_CHECKOUT
    python scripts/benchmark.py bert           # fine-tuning MiniLM against the transformers Trainer, also at its best
    python scripts/benchmark.py updates        # updates of recurrent models and MiniLM, with --against ANOTHER_CHECKOUT
    python scripts/benchmark.py crf            # training a tagger with a CRF against one without
    python scripts/benchmark.py generate       # generating with a cached state against reading the text again
    python scripts/benchmark.py translate      # translating with a carried state against without, and in batches
    python scripts/benchmark.py checkpoint     # how long a checkpoint blocks training
    python scripts/benchmark.py deterministic  # training with train.deterministic against without
    python scripts/benchmark.py memory         # peak memory with 10,000 and with 200,000 rows
    python scripts/benchmark.py scaling        # one process and two: speed, share of the all-reduce, bytes per update
    python scripts/benchmark.py cluster        # calculated, not measured: DDP and FSDP on 1 to 1,024 GPUs
    python scripts/benchmark.py kernels        # bf16, fused AdamW, SDPA, padding, torch.compile, each against without
    python scripts/benchmark.py rows           # what writing the rows of an evaluation adds to it
    python scripts/benchmark.py prepare        # from a file to encoded rows: against datasets.map, and on two cores
    python scripts/benchmark.py startup        # CPU time of predict and evaluate, with --against ANOTHER_CHECKOUT
    python scripts/benchmark.py compare        # CPU time of finetune compare, with many rows and with many runs
    python scripts/benchmark.py graphs         # ONNX graphs of recurrent models against torch, at batch 1 and 32
    python scripts/benchmark.py differences    # how far the outputs of these graphs are from torch's
    python scripts/benchmark.py answer         # texts per CPU second of predict, torch and exports; first answers
    python scripts/benchmark.py serve          # finetune serve under load and on SIGTERM, with --models FOLDER...
    python scripts/benchmark.py peers          # against transformers' Trainer, flair, Keras and Ludwig on the same rows

With --device cuda, kernels runs on a GPU and is the default. --scaling prints scaling and cluster: what two processes
cost, and what many GPUs would. peers first installs the other libraries in .venv-peers/; --seeds 0 1 2 trains with each
of these seeds and prints scores in place of the speed. With --all-rows, no model is trained on a part of the rows.
--only TEXT... chooses the rows of loop and updates, and the libraries of peers, with one of these texts in their name.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from benchmarks.answer import answer
from benchmarks.cluster import assumptions, cluster
from benchmarks.common import RowsOfTable
from benchmarks.compare import compare
from benchmarks.costs import checkpoint, deterministic
from benchmarks.graphs import differences, graphs
from benchmarks.kernels import kernels
from benchmarks.loops import crf, loop
from benchmarks.memory import memory
from benchmarks.models import cells, generate, recurrent
from benchmarks.peers.pairs import peers
from benchmarks.prepare import prepare
from benchmarks.rows import rows
from benchmarks.scaling import scaling
from benchmarks.serve import serve
from benchmarks.startup import startup
from benchmarks.translate import translate
from benchmarks.updates import bert, updates
from rich.console import Console
from rich.table import Table

MEASURES = {
    "loop": loop,
    "recurrent": recurrent,
    "cells": cells,
    "bert": bert,
    "updates": updates,
    "crf": crf,
    "generate": generate,
    "translate": translate,
    "checkpoint": checkpoint,
    "deterministic": deterministic,
    "memory": memory,
    "scaling": scaling,
    "cluster": cluster,
    "kernels": kernels,
    "rows": rows,
    "prepare": prepare,
    "startup": startup,
    "compare": compare,
    "graphs": graphs,
    "differences": differences,
    "answer": answer,
    "serve": serve,
    "peers": peers,
}
UNPAIRED = ("memory", "cluster", "compare", "differences")  # one figure each
AGAINST = ("startup", "prepare", "answer", "updates", "cells")  # measured against another checkout
CHOOSING = ("loop", "updates", "peers")  # of which --only chooses a part
NOTES = {"cluster": assumptions}
SCALING = ("scaling", "cluster")  # what --scaling prints


def main(
    which: tyro.conf.Positional[Literal[tuple(MEASURES)] | None] = None,  # type: ignore[valid-type]
    device: Literal["cpu", "cuda"] = "cpu",
    pairs: int = 9,
    threads: int = 1,
    scaling: tyro.conf.FlagCreatePairsOff[bool] = False,
    against: Path | None = None,
    models: tuple[Path, ...] = (),
    only: tuple[str, ...] = (),
    seeds: tuple[int, ...] = (),
    all_rows: tyro.conf.FlagCreatePairsOff[bool] = False,
    json_file: Annotated[Path | None, tyro.conf.arg(name="json")] = None,
) -> None:
    """Run one benchmark, or all of a group.

    Args:
        which: name of the benchmark.
        device: where kernels runs.
        pairs: alternating measurements of each side; medians are printed.
        threads: of torch. With one, tokens per second are tokens per CPU second.
        scaling: run scaling and cluster, one after the other.
        against: for startup, prepare, answer, updates and cells, the folder of another checkout of this project.
        models: for serve, folders of models of single texts.
        only: for loop and updates, parts of the names of the rows to measure; for peers, of the libraries.
        seeds: for peers, values of train.seed, at least two: print scores over them in place of the speed.
        all_rows: for peers, train on all rows, where MiniLM would have a part of them.
        json_file: where to write the results.
    """
    import torch

    from pipeline.cli.quiet import quiet

    quiet()
    torch.set_num_threads(threads)
    names = SCALING if scaling else (which or ("kernels" if device == "cuda" else None),)
    if names == (None,):
        raise SystemExit(f"name a benchmark: {', '.join(MEASURES)}")
    if scaling and which:
        raise SystemExit(f"--scaling: runs {' and '.join(SCALING)}; leave out {which}")
    if device == "cuda" and (names != ("kernels",) or not torch.cuda.is_available()):
        raise SystemExit(f"--device cuda: {'there is no GPU here' if names == ('kernels',) else 'for kernels only'}")
    if names[0] in ("startup", "updates") and not against:
        raise SystemExit(f"--against: {names[0]} needs the folder of another checkout")
    if against and not (against / "pipeline/__init__.py").is_file():
        raise SystemExit(f"--against: {against} is not a checkout of this project")
    if against and not set(names) <= set(AGAINST):
        raise SystemExit(f"--against: only {', '.join(AGAINST[:-1])} and {AGAINST[-1]} take another checkout")
    if ("serve" in names) != bool(models):
        raise SystemExit("--models: serve needs the folders of its models, and nothing else takes any")
    if only and not set(names) <= set(CHOOSING):
        raise SystemExit(f"--only: works with {', '.join(CHOOSING[:-1])} and {CHOOSING[-1]} only")
    if seeds and ("peers" not in names or len(seeds) < 2 or len(set(seeds)) < len(seeds)):
        raise SystemExit("--seeds: needs two or more different seeds for peers, and nothing else takes any")
    if all_rows and "peers" not in names:
        raise SystemExit("--all-rows: only peers trains on a part of the rows")
    options: dict[str, dict[str, Any]] = {
        "peers": {"seeds": seeds, "all_rows": all_rows},
        "serve": {"models": models},
        "kernels": {"device": device},
        **{name: {"against": against} for name in AGAINST},
    }
    for name in CHOOSING:
        options[name] = {**options.get(name, {}), "only": only}
    results = []
    for name in names:
        rows = MEASURES[name](pairs, **options.get(name, {}))
        title = f"{name}, {pairs + 1} passes, {len(seeds)} seeds" if seeds else _title(name, device, threads, pairs)
        _print(name, rows, title)
        results.append({"benchmark": name, "threads": threads, "pairs": pairs, "rows": rows})
    if json_file:
        json_file.write_text(json.dumps(results, indent=2))


def _print(name: str, rows: RowsOfTable, title: str) -> None:
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(f"{value:,.2f}" if isinstance(value, float) else str(value) for value in row.values()))
    console = Console(width=150)
    console.print(table)
    if name in NOTES:
        console.print(NOTES[name]())


def _title(which: str, device: str, threads: int, pairs: int) -> str:
    import torch

    place = torch.cuda.get_device_name() if device == "cuda" else f"{threads} thread(s)"
    return which if which in UNPAIRED else f"{which}, {place}, median of {pairs} pairs"


if __name__ == "__main__":
    tyro.cli(main)
