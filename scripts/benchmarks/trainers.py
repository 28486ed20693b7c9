"""Fine-tuning against the transformers Trainer."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import ROTTEN_TOMATOES, RowsOfTable, a_run, alternate
from pipeline import Optim, Pretrained, Recipe, Train


def bert(pairs: int) -> RowsOfTable:
    """MiniLM on Rotten Tomatoes at batch 32: our update on bucketed batches, in bf16, against transformers' Trainer."""
    import numpy as np

    from pipeline.training.optim import build_optimizer, build_scheduler
    from pipeline.training.step import TrainState, update, update_batches

    train = Train(batch_size=32, precision="auto")
    recipe = Recipe("bert", "sentiment", ROTTEN_TOMATOES, Pretrained("sample:minilm"), train=train)
    ours, updates_each = a_run(recipe), 12
    order = ours.splits["train"].updates(32, 0, 0)[:updates_each]
    tokens = int(ours.splits["train"].lengths[np.concatenate(order)].sum())
    optimizer = build_optimizer(ours.model, Optim(learning_rate=1e-5))
    state = TrainState(ours.model, optimizer, build_scheduler(optimizer, Optim(), 10**6))

    def our_updates() -> float:
        started = time.perf_counter()
        for batch in update_batches(order, 32, lambda rows: ours.collate("train", rows), ours.accelerator):
            update(ours.accelerator, state, batch, 1.0, ours.autocast)
        return tokens / (time.perf_counter() - started)

    their_updates = _hf_trainer(a_run(recipe), updates_each)
    speed, other, ratio = alternate(our_updates, their_updates, pairs)
    name = f"MiniLM, batch 32, ours in {'bf16' if ours.autocast else 'fp32'}"
    return [{"model": name, "ours tokens/s": speed, "Trainer tokens/s": other, "ratio": ratio}]


def _hf_trainer(run: Any, updates_each: int) -> Callable[[], float]:
    """Tokens per second of the transformers Trainer with its defaults and dynamic padding."""
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
