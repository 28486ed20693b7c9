"""Runs of every task with every kind of model, on as many processes as this script is started on.

    torchrun --nproc-per-node 2 tests/training/distributed/equivalence_worker.py FOLDER NAME 4x1,1x4 TASK/MODEL...

Rank 0 leaves in FOLDER/NAME.pt what each run computed. test_equivalence.py calls `measure_all` for one process.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.distributed.tensor import DTensor

from pipeline import inference, predictions, rehearsal, run, run_folder
from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Lora, ModelSettings, Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import Interrupted
from pipeline.tasks.base import scores_of
from pipeline.training import trainer
from pipeline.training.checkpointing import checkpoint
from pipeline.training.distributed import fsdp, launch
from pipeline.training.monitoring.log import Log

ROWS = 8  # of an update, on all processes
DRY = {"dropout": 0.0, "embedding_dropout": 0.0}
RECURRENT = Recurrent(cell="lstm", hidden_size=8, embedding_size=8, layers=2, **DRY)
TASKS = {
    "sentiment": Data("sentiment.d", max_length=24),
    "several": Data("several.d", max_length=24),
    "number": Data("number.d", max_length=24),
    "pairs": Data("pairs.d", max_length=24),
    "ner": Data("ner.d", max_length=24),
    "next_word": Data("next_word.d", max_length=16),
    "documents": Data("documents.d", max_length=16),
    "translation": Data("translation.d", max_length=12),
}
MODELS: dict[str, ModelSettings] = {
    "lstm": RECURRENT,
    "averaged": RECURRENT,
    "taught": RECURRENT,
    "bigru": replace(RECURRENT, cell="gru", bidirectional=True),
    "crf": replace(RECURRENT, cell="rnn", crf=True, char_encoder="cnn"),
    "taught-crf": replace(RECURRENT, crf=True),
    "adaptive": replace(RECURRENT, hidden_size=16, adaptive_cutoffs=(6, 20)),
    "bert": Pretrained("bert"),
    "bert-crf": Pretrained("bert", crf=True),
    "frozen": Pretrained("bert", freeze_layers=1),
    "gradual": Pretrained("bert"),
    "lora": Pretrained("bert", lora=Lora(rank=2, dropout=0.0)),
    "gpt2": Pretrained("gpt2"),
    "scratch": Scratch("bert", hidden_size=8, layers=1, heads=2, dropout=0.0),
    "fed": replace(RECURRENT, cell="gru", bidirectional=True, attention="additive", input_feeding=True, layers=1),
    "t5": Scratch("t5", hidden_size=8, layers=1, heads=2, dropout=0.0),
}
CASES = [
    (task, model)
    for task, models in {
        "sentiment": ("lstm", "averaged", "taught", "bigru", "bert", "gpt2", "scratch", "frozen", "gradual", "lora"),
        "several": ("lstm",),
        "number": ("lstm",),
        "pairs": ("bigru",),
        "ner": ("lstm", "bigru", "crf", "taught-crf", "bert", "bert-crf", "scratch"),
        "next_word": ("lstm", "adaptive", "bert", "gpt2", "scratch"),
        "documents": ("lstm", "gpt2"),
        "translation": ("lstm", "fed", "t5"),
    }.items()
    for model in models
]
TAUGHT = ("taught", "taught-crf")
KINDS = ("several", "number", "pairs")  # of answers, on the recipes of sentiment
Cuts = Sequence[tuple[int, int]]  # batch size and accumulation, the same rows in an update each time
ALONE: Cuts = [(8, 1), (1, 8)]
BATCH_SIZES = (1, 3, 50)


def a_recipe(task: str, kind: str, place: Path, folder: Path, batch_size: int, accumulation: int) -> Recipe:
    model: Any = MODELS[kind]
    if isinstance(model, Pretrained):
        model = replace(model, checkpoint=str(place / model.checkpoint))
    data = replace(TASKS[task], source=str(place / TASKS[task].source))
    if kind == "adaptive":
        data = replace(data, tokenizer="whitespace")
    distil = None
    if kind in TAUGHT:
        teacher = folder_of(place, task, "lstm", "alone", *ALONE[0])  # its case comes before
        distil = Distil(str(teacher), unlabelled=Data(str(place / "other.txt"), separate=True), hard_share=0.4)
    return Recipe(
        name="x",
        task={"documents": "next_word", **dict.fromkeys(KINDS, "sentiment")}.get(task, task),
        data=data,
        model=model,
        optim=Optim(
            learning_rate=0.01,
            warmup_ratio=0.5,
            gradual_unfreezing=0.9 if kind == "gradual" else None,
            average="ema" if kind == "averaged" else None,
        ),
        train=Train(
            output_dir=str(folder), epochs=1, batch_size=batch_size, accumulation=accumulation, log_every=1,
            eval_every=10**6,
        ),
        distil=distil,
    )  # fmt: skip


RANK, DEEPSPEED = int(os.environ.get("RANK", "0")), "ACCELERATE_USE_DEEPSPEED" in os.environ
STOP_AT = 3
RESUMED = ("sentiment", "next_word", "translation")


def resumes(place: Path, name: str, task: str) -> bool:
    """Whether a run that is stopped, by a signal to the last process, and continued ends with the same bytes as one
    that is not, dropout and accumulation included."""
    ends, model = [], "averaged" if task == "sentiment" and not DEEPSPEED else "lstm"
    for kind in ("whole", "stopped"):
        recipe = a_recipe(task, model, place, place / "runs" / f"{name}-{task}-{kind}", 2, 2)
        recipe = replace(
            recipe, model=replace(RECURRENT, dropout=0.3), train=replace(recipe.train, epochs=2, eval_every=None)
        )
        if kind == "stopped":
            stop(recipe)
            assert not (recipe.folder / "metrics.json").exists()
            assert checkpoint.newest(recipe.folder) == checkpoint.folder_of(recipe.folder, STOP_AT)
        run.train(recipe)
        ends.append((recipe.folder / "model/model.safetensors").read_bytes())
    return ends[0] == ends[1]


def left(place: Path, name: str, task: str) -> Path:
    """Folder of a run that is stopped and left to others."""
    return place / "runs" / f"{name}-{task}-left"


def leave(place: Path, name: str, processes: int, tasks: tuple[str, ...] = RESUMED) -> None:
    for task in tasks:
        stop(a_recipe(task, "lstm", place, left(place, name, task), ROWS // processes, 1))


def go_on(place: Path, name: str, task: str, processes: int) -> dict[str, Any]:
    """Metrics of a run that one process has left."""
    folder = place / "runs" / f"{name}-{task}-from-alone"
    if RANK == 0:
        shutil.copytree(left(place, "alone", task), folder)
    torch.distributed.barrier()
    return run.train(a_recipe(task, "lstm", place, folder, ROWS // processes, 1))


def stop(recipe: Recipe) -> None:
    advance, is_last = trainer._advance, int(os.environ.get("WORLD_SIZE", "1")) - 1 == RANK

    def advance_and_stop(this):
        advance(this)
        if this.progress.step == STOP_AT and is_last:
            signal.raise_signal(signal.SIGUSR1)

    trainer._advance = advance_and_stop
    try:
        run.train(recipe)
    except Interrupted:
        return
    finally:
        trainer._advance = advance
    raise AssertionError("the run was not stopped")


def timed(place: Path, name: str, processes: int) -> dict[str, Any]:
    """The costs of a run of four seconds, in which an update takes a second by the clock of the first process and far
    longer by those of the others."""
    recipe = a_recipe("sentiment", "lstm", place, place / "runs" / f"{name}-timed", ROWS // processes, 1)
    recipe = replace(recipe, train=replace(recipe.train, epochs=9, max_seconds=4.0))
    clock, Log.training_seconds = Log.training_seconds, property(lambda log: log.progress.step * (1.0 + 99.0 * RANK))
    try:
        return run.train(recipe)["train"]
    finally:
        Log.training_seconds = clock


def measure(recipe: Recipe) -> dict[str, Any]:
    """Gradients before each step of the optimiser (flat, one row an update), losses, and metrics of all splits."""
    gradients: list[torch.Tensor] = []
    held: list[float] = []  # share of the parameters, or of what the optimiser works on, that this process holds
    build, collate, rehearse = trainer.build_optimizer, trainer.Run.collate_each, rehearsal.rehearse

    def watched(model, settings, *scale):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):  # of characters: no setting
                module.p = 0.0
        held.append(sum(map(_elements, model.parameters())) / sum(p.numel() for p in model.parameters()))
        optimizer = build(model, settings, *scale)
        groups = [list(group["params"]) for group in optimizer.param_groups]
        parts: list[torch.Tensor] = []

        def note(own, *_):
            if own.param_groups[0]["params"][0] is groups[0][0]:
                parts.extend(_gradient(parameter).flatten() for group in groups for parameter in group)
            else:  # DeepSpeed steps with a group at a time, each in one part
                (part,) = own.param_groups[0]["params"]
                size = sum(parameter.numel() for parameter in groups[len(parts)])
                held.append(part.numel() / size)
                parts.append(_joined(part.grad)[:size])
                if len(parts) < len(groups):
                    return
            gradients.append(torch.cat(parts))
            parts.clear()

        optimizer.register_step_pre_hook(note)
        return optimizer

    def with_ignored_rows(this, split, batches):
        return [ignoring(rows, *found) for rows, found in zip(batches, collate(this, split, batches), strict=True)]

    def ignoring(rows, batch, labels):
        """Every third row of training has no label: with batch size 1, whole micro-batches have none. Rows of several
        labels or of a number always have theirs."""
        if batch["labels"].is_floating_point():
            return batch, labels
        kept = torch.from_numpy(rows % 3 != 0)
        for name in batch.keys() & {"labels", "shift_labels"}:
            batch[name] = torch.where(kept.view(-1, *[1] * (batch[name].ndim - 1)), batch[name], -100)
        if "teacher" in batch:  # what it has answered counts with and without a label
            return batch, labels
        return batch, int((batch["labels"] != -100).sum())

    trainer.build_optimizer, trainer.Run.collate_each = watched, with_ignored_rows
    rehearsal.rehearse = lambda *_: None  # it takes a sixth of the time, and the runs that are resumed have it
    try:
        metrics = run.train(recipe)
    finally:
        trainer.build_optimizer, trainer.Run.collate_each, rehearsal.rehearse = build, collate, rehearse
    history = [json.loads(line) for line in (recipe.folder / "history.jsonl").read_text().splitlines()]
    return {
        "gradients": torch.stack(gradients),
        "losses": [line["loss"] for line in history if line["kind"] == "train"],
        "scores": [metrics[split]["loss"] for split in ("validation", "test")],
        "rows give the scores": [rows_give_scores(recipe, split, metrics) for split in ("validation", "test")],
        "held": held[-1],
        "processes": metrics["train"]["processes"],
        "distributed_type": metrics["train"]["distributed_type"],
    }


def rows_give_scores(recipe: Recipe, split: str, metrics: dict[str, Any]) -> bool:
    """Whether the scores of a run can be computed from the rows that it has left, to the last bit."""
    rows = predictions.read(run_folder.predictions_of(recipe.folder, split))
    return json.dumps(scores_of(rows)) == json.dumps(metrics[split])


def _elements(parameter: torch.nn.Parameter) -> int:
    return parameter.to_local().numel() if isinstance(parameter, DTensor) else parameter.numel()


def _joined(part: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(part) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, part)
    return torch.cat(parts)


def _gradient(parameter: torch.nn.Parameter) -> torch.Tensor:
    gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
    return gradient.full_tensor() if isinstance(gradient, DTensor) else gradient


class Normed(torch.nn.Module):
    """A frozen layer, and running means, which are buffers."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 1)
        self.first.requires_grad_(False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.last(self.norm(self.first(inputs)))

    def tie_weights(self) -> None:
        """Nothing is tied."""


def kept() -> list[dict[str, dict[str, torch.Tensor]]]:
    """The tensors of a shared model that was trained, and then made whole, or loaded into parts again."""
    accelerator = launch.start()
    model, other = Normed(), Normed()
    meta = fsdp.meta_copy(model)
    optimizer = torch.optim.AdamW(fsdp.shard(model, accelerator).parameters(), lr=0.1)
    for _ in range(2):
        model(torch.randn(4, 3)).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = {name: fsdp.gather(tensor) for name, tensor in model.state_dict().items()}
    whole = fsdp.full_model(model, meta, accelerator).state_dict()
    fsdp.load(fsdp.shard(other, accelerator), trained)
    loaded = {name: fsdp.gather(tensor) for name, tensor in other.state_dict().items()}
    assert trained["norm.running_mean"].abs().sum() > 0
    return [{"trained": trained, "then": then} for then in (whole, loaded)]


def folder_of(place: Path, task: str, kind: str, name: str, batch_size: int, accumulation: int) -> Path:
    return place / "runs" / f"{task}-{kind}-{name}-{batch_size}x{accumulation}"


def evaluate(place: Path, name: str, task: str, kind: str) -> tuple[list[dict[str, Any]], list[bytes]]:
    """Metrics of the model that one process has trained, and the file with its rows, at each batch size."""
    model = folder_of(place, task, kind, "alone", 8, 1) / "model"
    data = Data(str(place / TASKS[task].source))
    files = [place / f"{name}-{task}-{kind}-{batch_size}.parquet" for batch_size in BATCH_SIZES]
    scores = [
        inference.evaluate(str(model), data, "validation", batch_size, rows=file)
        for batch_size, file in zip(BATCH_SIZES, files, strict=True)
    ]
    return scores, [file.read_bytes() for file in files if RANK == 0]


def measure_all(place: Path, name: str, cuts: Cuts, cases: list[tuple[str, str]]) -> dict[tuple, Any]:
    """By task, model, batch size and accumulation what `measure` gives; by task and model what `evaluate` gives."""
    found: dict[tuple, Any] = {}
    for task, kind in cases:
        for batch_size, accumulation in cuts:
            folder = folder_of(place, task, kind, name, batch_size, accumulation)
            found[task, kind, batch_size, accumulation] = measure(
                a_recipe(task, kind, place, folder, batch_size, accumulation)
            )
        found[task, kind], found["rows", task, kind] = evaluate(place, name, task, kind)
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    os.fsync = lambda handle: None  # as in the process of the tests
    place, name, cut, *named = sys.argv[1:]
    cuts = [(int(batch_size), int(accumulation)) for batch_size, accumulation in (c.split("x") for c in cut.split(","))]
    cases = [(task, kind) for task, kind in (case.split("/") for case in named)]
    folder, processes = Path(place), int(os.environ["WORLD_SIZE"])
    found = measure_all(folder, name, cuts, cases)
    tasks = RESUMED
    leave(folder, name, processes, tasks)
    found |= {("resumed", task): resumes(folder, name, task) for task in tasks}
    found |= {("went on", task): go_on(folder, name, task, processes) for task in tasks}
    found |= {"timed": timed(folder, name, processes)}
    if fsdp.is_asked_for(launch.start()):
        found |= {"kept": kept()}
    if RANK == 0:
        torch.save(found, folder / f"{name}.pt")
    torch.distributed.barrier()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down in the usual way
