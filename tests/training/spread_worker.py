"""Runs of every task with every kind of model, on as many processes as this script is started on.

    torchrun --nproc-per-node 2 tests/training/spread_worker.py FOLDER

Rank 0 leaves in FOLDER/processes-2.pt what each run computed. test_spread.py calls `measure_all` for one process.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pipeline import run
from pipeline.recipe import Data, ModelSettings, Optim, Pretrained, Recipe, Recurrent, Scratch, Train
from pipeline.training import trainer

ROWS = 8  # of an update, on all processes
DRY = {"dropout": 0.0, "embedding_dropout": 0.0}
RECURRENT = Recurrent(cell="lstm", hidden_size=8, embedding_size=8, layers=2, **DRY)
TASKS = {
    "sentiment": Data("sentiment.d", max_length=24),
    "ner": Data("ner.d", max_length=24),
    "next_word": Data("next_word.d", max_length=16),
    "documents": Data("documents.d", max_length=16),
}
MODELS: dict[str, ModelSettings] = {
    "lstm": RECURRENT,
    "bigru": replace(RECURRENT, cell="gru", bidirectional=True),
    "crf": replace(RECURRENT, cell="rnn", crf=True, char_encoder="cnn"),
    "adaptive": replace(RECURRENT, hidden_size=16, adaptive_cutoffs=(6, 20)),
    "bert": Pretrained("bert"),
    "bert-crf": Pretrained("bert", crf=True),
    "gpt2": Pretrained("gpt2"),
    "scratch": Scratch("bert", hidden_size=8, layers=1, heads=2, dropout=0.0),
}
CASES = [
    (task, model)
    for task, models in {
        "sentiment": ("lstm", "bigru", "bert", "gpt2", "scratch"),
        "ner": ("lstm", "bigru", "crf", "bert", "bert-crf", "scratch"),
        "next_word": ("lstm", "adaptive", "bert", "gpt2", "scratch"),
        "documents": ("lstm", "gpt2"),
    }.items()
    for model in models
]
# processes -> batch size and accumulation, the same rows in an update each time
CUTS = {1: [(8, 1), (1, 8)], 2: [(4, 1), (1, 4)], 4: [(2, 1)]}
BATCH_SIZES = (1, 3, 50)


def a_recipe(task: str, kind: str, place: Path, folder: Path, batch_size: int, accumulation: int) -> Recipe:
    model: Any = MODELS[kind]
    if isinstance(model, Pretrained):
        model = replace(model, checkpoint=str(place / model.checkpoint))
    data = replace(TASKS[task], source=str(place / TASKS[task].source))
    if kind == "adaptive":
        data = replace(data, tokenizer="whitespace")
    return Recipe(
        name="x",
        task="next_word" if task == "documents" else task,
        data=data,
        model=model,
        optim=Optim(learning_rate=0.01, warmup_ratio=0.5),
        train=Train(
            output_dir=str(folder), epochs=1, batch_size=batch_size, accumulation=accumulation, log_every=1,
            eval_every=10**6,
        ),
    )  # fmt: skip


def measure(recipe: Recipe) -> dict[str, Any]:
    """Gradients before each step of the optimiser (flat, one row an update), losses, and metrics of all splits."""
    gradients: list[torch.Tensor] = []
    build, collate = trainer.build_optimizer, trainer.Run.collate

    def watched(model, settings):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):  # of characters: no setting
                module.p = 0.0
        optimizer = build(model, settings)
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        optimizer.register_step_pre_hook(
            lambda *_: gradients.append(torch.cat([_gradient(parameter).flatten() for parameter in parameters]))
        )
        return optimizer

    def with_ignored_rows(this, split, rows):
        """Every third row of training has no label: with batch size 1, whole micro-batches have none."""
        batch, labels = collate(this, split, rows)
        if split != "train":
            return batch, labels
        kept = torch.from_numpy(rows % 3 != 0)
        for name in batch.keys() & {"labels", "shift_labels"}:
            batch[name] = torch.where(kept.view(-1, *[1] * (batch[name].ndim - 1)), batch[name], -100)
        return batch, int((batch["labels"] != -100).sum())

    trainer.build_optimizer, trainer.Run.collate = watched, with_ignored_rows
    try:
        metrics = run.train(recipe)
    finally:
        trainer.build_optimizer, trainer.Run.collate = build, collate
    history = [json.loads(line) for line in (recipe.folder / "history.jsonl").read_text().splitlines()]
    return {
        "gradients": torch.stack(gradients),
        "losses": [line["loss"] for line in history if line["kind"] == "train"],
        "processes": metrics["train"]["processes"],
    }


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    return torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()


def folder_of(place: Path, task: str, kind: str, processes: int, batch_size: int, accumulation: int) -> Path:
    return place / "runs" / f"{task}-{kind}-{processes}x{batch_size}x{accumulation}"


def evaluate(place: Path, task: str, kind: str) -> list[dict[str, Any]]:
    """Metrics of the model that one process has trained, at each batch size."""
    model = folder_of(place, task, kind, 1, 8, 1) / "model"
    data = Data(str(place / TASKS[task].source))
    return [run.evaluate(str(model), data, "validation", batch_size) for batch_size in BATCH_SIZES]


def measure_all(place: Path, processes: int) -> dict[tuple, Any]:
    """By task, model, batch size and accumulation what `measure` gives; by task and model what `evaluate` gives."""
    found: dict[tuple, Any] = {}
    for task, kind in CASES:
        for batch_size, accumulation in CUTS[processes]:
            folder = folder_of(place, task, kind, processes, batch_size, accumulation)
            found[task, kind, batch_size, accumulation] = measure(
                a_recipe(task, kind, place, folder, batch_size, accumulation)
            )
        found[task, kind] = evaluate(place, task, kind)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    world = int(os.environ["WORLD_SIZE"])
    found = measure_all(Path(sys.argv[1]), world)
    if os.environ["RANK"] == "0":
        torch.save(found, Path(sys.argv[1]) / f"processes-{world}.pt")
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down in the usual way
