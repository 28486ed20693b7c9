"""The model that our recipe builds under the Trainer of transformers, with the settings that make it fastest."""

from __future__ import annotations

import sys
import tempfile
from typing import Any

from transformers import DataCollatorWithPadding, Trainer, TrainerCallback, TrainingArguments

from benchmarks.common import a_run
from benchmarks.peers.side import Passes
from pipeline.config.loading import load_recipe


class Clock(TrainerCallback):
    """Starts and times each epoch."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        self._passes.begin()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        self._passes.end()


def main() -> None:
    passes = Passes()
    run = a_run(load_recipe(sys.argv[1]))
    split, recipe = run.splits["train"], run.recipe
    arguments = TrainingArguments(
        output_dir=tempfile.mkdtemp(),
        num_train_epochs=recipe.train.epochs,
        per_device_train_batch_size=recipe.train.batch_size,
        learning_rate=recipe.optim.learning_rate,
        weight_decay=recipe.optim.weight_decay,
        lr_scheduler_type="constant",
        bf16=run.autocast,
        optim="adamw_torch_fused",
        train_sampling_strategy="group_by_length",
        length_column_name="length",
        seed=recipe.train.seed,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(
        run.model,
        arguments,
        train_dataset=_in_memory(split),
        data_collator=DataCollatorWithPadding(run.tokenizer),
        callbacks=[Clock(passes)],
    )
    passes.ready("transformers", "torch")
    trainer.train()
    passes.score(run.evaluate("test").scores[run.monitor.name])


def _in_memory(split: Any) -> Any:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset

    rows = split.take(np.arange(len(split)))
    return Dataset(pa.table({name: rows[name] for name in ("input_ids", "label", "length")}))


if __name__ == "__main__":
    main()
