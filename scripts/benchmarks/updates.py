"""Updates as `finetune run` does them, against those of another checkout and of the Trainer of transformers.

How fast a process is depends on what it has allocated before, and a command sets malloc up. So each side has a process.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, RowsOfTable, a_process, alternate, choose, speed_printed

# Of the Trainer, which sorts 50 batches by length at a time: with fewer, it would train on the longest rows alone.
UPDATES = 50
# Trains the recipe of its argument on the same rows once for each line of standard input, and prints tokens per CPU
# second. Only what other checkouts have as well is used.
OURS = """
import sys, time
import numpy as np, torch
try:
    from pipeline import malloc
    malloc.keep_freed_memory()
except ImportError:
    pass  # an older version
sys.path.insert(0, "scripts")
from benchmarks.common import a_run
from pipeline import *
from pipeline.training.hidden_state import HiddenStateCarry
from pipeline.training.optim import build_optimizer, build_scheduler
from pipeline.training.step import TrainState, update, update_batches
from pipeline.cli.quiet import quiet

quiet()
torch.set_num_threads(1)
this = a_run(eval(sys.argv[1]))
train = this.splits["train"]
order = train.updates(32, 0, 0)[:int(sys.argv[2])]
tokens = int(train.lengths[np.concatenate(order)].sum())
optimizer = build_optimizer(this.model, this.recipe.optim)
carry = HiddenStateCarry(this.model if train.carries else None)
state = TrainState(this.model, optimizer, build_scheduler(optimizer, this.recipe.optim, 10**6), carry)
collate = getattr(this, "weighted_batches", None) or this.weighted_batch  # an older version
for _ in sys.stdin:
    start = time.process_time()
    for batch in update_batches(order, 32, collate, this.accelerator):
        update(this.accelerator, state, batch, this.recipe.optim.max_grad_norm, this.autocast)
    print(tokens / (time.process_time() - start), flush=True)
"""
# The same by the Trainer of transformers, as a script would use it.
THEIRS = """
import contextlib, sys, tempfile, time
import numpy as np, pyarrow as pa, torch
sys.path.insert(0, "scripts")
from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments
from benchmarks.common import a_run
from pipeline import *
from pipeline.cli.quiet import quiet

quiet()
torch.set_num_threads(1)
updates, settings = int(sys.argv[2]), eval(sys.argv[3])
if settings.pop("malloc", False):
    from pipeline import malloc
    malloc.keep_freed_memory()
this = a_run(eval(sys.argv[1]))
split = this.splits["train"]
taken = split.take(np.arange(len(split)))
rows = pa.table({name: taken[name] for name in ("input_ids", "label")}).to_pylist()
counted = []

class Clock(TrainerCallback):
    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 0:
            self.started = time.process_time()

    def on_train_end(self, args, state, control, **kwargs):
        self.seconds = time.process_time() - self.started

def collate(features):
    counted.append(sum(len(feature["input_ids"]) for feature in features))
    return DataCollatorWithPadding(this.tokenizer)(features)

for _ in sys.stdin:
    counted.clear()
    clock = Clock()
    arguments = TrainingArguments(
        tempfile.mkdtemp(), per_device_train_batch_size=32, max_steps=updates, learning_rate=1e-5, use_cpu=True,
        save_strategy="no", report_to=[], disable_tqdm=True, logging_strategy="no", **settings)
    with contextlib.redirect_stdout(sys.stderr):  # it prints what it has measured
        Trainer(this.model, arguments, train_dataset=rows, data_collator=collate, callbacks=[clock]).train()
    print(sum(counted[:updates]) / clock.seconds, flush=True)
"""
MINILM = (
    "Recipe('updates', 'sentiment', Data('sample:rotten_tomatoes', max_length=128), Pretrained('sample:minilm'),"
    " optim=Optim(learning_rate=1e-5), train=Train(batch_size=32, precision={!r}))"
)
LSTM = "Recipe('updates', 'sentiment', Data({!r}, max_length={}), {}, train=Train(batch_size=32))"
GRU = "Recurrent(cell='gru', bidirectional=True, hidden_size={}, layers={})"
# Name -> a recipe, and the updates of a measurement: as many as are collated together, or a multiple of it.
MODELS = {
    "sentiment_bilstm": ("__import__('runpy').run_path('recipes/sentiment_bilstm.py')['recipe']", 64),
    "BiLSTM 1x256, rows of up to 256 words": (
        LSTM.format("sample:imdb", 256, "Recurrent(cell='lstm', bidirectional=True, hidden_size=256)"),
        16,
    ),
    "BiGRU 2x64": (LSTM.format("sample:rotten_tomatoes", 128, GRU.format(64, 2)), 64),
    "BiGRU 1x128": (LSTM.format("sample:rotten_tomatoes", 128, GRU.format(128, 1)), 64),
    "MiniLM in fp32": (MINILM.format("fp32"), 16),
    "MiniLM in bf16": (MINILM.format("bf16"), 16),
}
BEST = {"bf16": True, "train_sampling_strategy": "group_by_length"}
TRAINERS = {"defaults": {}, "its best settings": BEST, "these and our malloc": {**BEST, "malloc": True}}


def updates(pairs: int, against: Path, only: Sequence[str] = ()) -> RowsOfTable:
    """Tokens per CPU second of updates at batch size 32, against those of another checkout.

    Args:
        only: parts of the names of models; none: all models.
    """
    rows = []
    for title in choose(MODELS, only):
        recipe, count = MODELS[title]
        with a_process(ROOT, OURS, recipe, str(count)) as ours, a_process(against, OURS, recipe, str(count)) as other:
            rows.append(_row(title, "other tokens/s", alternate(speed_printed(ours), speed_printed(other), pairs)))
    return rows


def bert(pairs: int) -> RowsOfTable:
    """Tokens per CPU second of MiniLM at batch size 32, ours in bf16, against the Trainer of transformers."""
    rows, (recipe, _) = [], MODELS["MiniLM in bf16"]
    for title, settings in TRAINERS.items():
        count = str(UPDATES // (1 if settings else 4))
        with (
            a_process(ROOT, OURS, recipe, count) as ours,
            a_process(ROOT, THEIRS, recipe, count, repr(settings)) as other,
        ):
            measured = alternate(speed_printed(ours), speed_printed(other), pairs)
        rows.append(_row(f"MiniLM, batch 32, against the Trainer with {title}", "Trainer tokens/s", measured))
    return rows


def _row(title: str, other: str, measured: tuple[float, float, float]) -> dict[str, Any]:
    return {"model": title, "ours tokens/s": measured[0], other: measured[1], "ratio": measured[2]}
