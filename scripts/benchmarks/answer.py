"""How fast texts are answered, on one thread: by `finetune predict`, by torch alone and by exports, and how soon.

The student is a BiLSTM 1x128, its teacher is MiniLM. They learn next to nothing first, which takes no time: how fast a
model answers does not depend on its weights.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.common import RowsOfTable, alternate

ROOT = Path(__file__).parents[2]
RECIPE = """
from pipeline import Data, Pretrained, Recipe, Recurrent, Train

data = Data("sample:rotten_tomatoes", max_length=128, limit={limit})
recipe = Recipe("answer", "sentiment", data, {model}, train=Train(max_steps=1, output_dir={folder!r}))
"""
MODELS = {
    "student": "Recurrent(cell='lstm', bidirectional=True, hidden_size=128, pooling='max')",
    "teacher": "Pretrained('sample:minilm')",
}
# Rows that a model is trained on: the student's vocabulary is that of all.
LIMITS = {"student": None, "teacher": 200}
TEXTS = 1066
# Batches of one text take so much longer that fewer texts are enough.
SINGLE_TEXTS = 200
BATCH = 32
# Answers the file of texts once for each line of standard input, and prints how many texts it answers per CPU second.
ANSWERS = """
import sys, time
import torch
torch.set_num_threads(1)
from pipeline import inference
model, texts = sys.argv[1], open(sys.argv[2], encoding="utf-8").read().splitlines()
loaded = inference.load(model)
inference.load = lambda *arguments, **options: loaded
for _ in sys.stdin:
    start = time.process_time()
    for _ in inference.predict(model, iter(texts)):
        pass
    print(len(texts) / (time.process_time() - start), flush=True)
"""


def answer(pairs: int, against: Path | None) -> RowsOfTable:
    """Texts per CPU second, tokenization included, and CPU seconds and memory of a process with one text.

    Args:
        against: the root of another checkout, whose `finetune predict` is compared; None: it is left out.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = _texts()[:TEXTS]
        (folder / "texts").write_text("".join(f"{text}\n" for text in texts), encoding="utf-8")
        runs = {name: _train(name, folder, against or ROOT) for name in MODELS}
        rows = [_predict(name, run, folder / "texts", pairs, against) for name, run in runs.items() if against]
        from pipeline.export.folder import export  # after training: it needs packages of its own

        exports: dict[tuple[str, str], Path] = {}
        for name, run in runs.items():
            for kind in ("float32", "int8"):
                exports[name, kind] = folder / f"{name}-{kind}"
                export(str(run), exports[name, kind], "int8" if kind == "int8" else None, allow_loss=True)
        rows += _speeds(runs, exports, texts, pairs)
        rows.append(_sizes(exports))
        return rows + _starts(runs["student"], exports["student", "float32"], pairs)


def _texts() -> list[str]:
    import csv
    import random

    from pipeline.config import samples

    file = samples.find("data", "sample:rotten_tomatoes", "data")
    with file.open(encoding="utf-8", newline="") as stream:
        texts = [" ".join(row["text"].split()) for row in csv.DictReader(stream) if row["source"] != "imdb"]
    random.Random(0).shuffle(texts)
    return texts


def _train(name: str, folder: Path, checkout: Path) -> Path:
    """A run made by `checkout`: an older version cannot read what a newer one has saved."""
    run, recipe = folder / name, folder / "recipe.py"
    recipe.write_text(RECIPE.format(model=MODELS[name], folder=str(run), limit=LIMITS[name]))
    command = [sys.executable, "-m", "pipeline", "run", str(recipe)]
    subprocess.run(command, cwd=checkout, env=_environment(checkout), stdout=subprocess.DEVNULL, check=True)
    return run


def _environment(checkout: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(checkout.resolve()), "OMP_NUM_THREADS": "1"}


def _row(what: str, unit: str, measured: Sequence[float]) -> dict[str, Any]:
    ours, other, ratio = measured
    return {"what": what, "unit": unit, "this": ours, "other": other, "ratio": ratio}


def _predict(name: str, run: Path, texts: Path, pairs: int, against: Path) -> dict[str, Any]:
    """`finetune predict` in two processes, each with the code of one checkout, in turn."""
    command = [sys.executable, "-c", ANSWERS, str(run), str(texts)]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}

    def speed_of(process: subprocess.Popen[str]) -> float:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("\n")
        process.stdin.flush()
        return float(process.stdout.readline())

    with (
        subprocess.Popen(command, cwd=ROOT, env=_environment(ROOT), **pipes) as ours,
        subprocess.Popen(command, cwd=against, env=_environment(against), **pipes) as theirs,
    ):
        measured = alternate(lambda: speed_of(ours), lambda: speed_of(theirs), pairs)
    return _row(f"{name}: finetune predict, against the other checkout", "texts/s", measured)


def _speeds(runs: dict[str, Path], exports: dict[tuple[str, str], Path], texts: list[str], pairs: int) -> RowsOfTable:
    from pipeline import inference
    from pipeline.export import runner

    models = {name: inference.load(str(run), device="cpu") for name, run in runs.items()}
    graphs = {key: runner.load(folder) for key, folder in exports.items()}

    def predicted(name: str) -> Callable[[list[str]], Any]:
        return lambda own: list(inference.answers(models[name], own))

    def compare(what: str, ours: Callable[[list[str]], Any], theirs: Callable[[list[str]], Any], batch: int) -> None:
        own = texts if batch > 1 else texts[:SINGLE_TEXTS]
        sides = (_speed(side, own, batch) for side in (ours, theirs))
        rows.append(_row(f"{what}, batch {batch}", "texts/s", alternate(*sides, pairs)))

    rows: RowsOfTable = []
    for name in runs:
        for batch in (BATCH, 1):
            for kind in ("float32", "int8"):
                compare(f"{name}: ONNX {kind}, against predict", graphs[name, kind], predicted(name), batch)
    for kind in ("float32", "int8"):
        compare(f"student in ONNX {kind}, against its teacher in torch", graphs["student", kind],
                lambda own: _in_torch(models["teacher"], own), BATCH)  # fmt: skip
    return rows


def _speed(side: Callable[[list[str]], Any], texts: list[str], batch: int) -> Callable[[], float]:
    """Texts per CPU second; `side` makes batches of `BATCH` itself."""
    parts = [texts] if batch > 1 else [[text] for text in texts]

    def measure() -> float:
        start = time.process_time()
        for part in parts:
            side(part)
        return len(texts) / (time.process_time() - start)

    return measure


def _in_torch(loaded: Any, texts: list[str]) -> None:
    """Torch as it is, with batches of similar length."""
    import torch

    rows = loaded.tokenizer(texts, truncation=True, verbose=False)["input_ids"]
    rows.sort(key=len, reverse=True)
    for start in range(0, len(rows), BATCH):
        batch = loaded.tokenizer.pad({"input_ids": rows[start : start + BATCH]}, return_tensors="pt")
        with torch.inference_mode():
            loaded.model(**batch).logits.softmax(dim=-1).tolist()


def _sizes(exports: dict[tuple[str, str], Path]) -> dict[str, Any]:
    whole, small = ((exports["student", kind] / "model.onnx").stat().st_size / 1e6 for kind in ("float32", "int8"))
    return _row("student: model.onnx in int8, against float32", "MB", (small, whole, small / whole))


def _starts(run: Path, exported: Path, pairs: int) -> RowsOfTable:
    """A process that answers one text: CPU seconds and the most memory that it takes."""
    runner = [sys.executable, str(exported / "runner.py")]
    predict = [sys.executable, "-m", "pipeline", "predict", str(run)]
    what, rows = "student: first answer of runner.py, against finetune predict", list[dict[str, Any]]()
    for unit in ("CPU s", "MiB"):
        measured = alternate(partial(_once, runner, unit), partial(_once, predict, unit), pairs)
        rows.append(_row(what, unit, measured))
    return rows


ONCE = """
import json, resource, subprocess, sys
subprocess.run(sys.argv[1:], input=b"a warm and funny film\\n", stdout=subprocess.DEVNULL, check=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps({"CPU s": used.ru_utime + used.ru_stime, "MiB": used.ru_maxrss / 1024}))
"""


def _once(command: list[str], unit: str) -> float:
    done = subprocess.run(
        [sys.executable, "-c", ONCE, *command], cwd=ROOT, env=_environment(ROOT), capture_output=True, check=True
    )
    return float(json.loads(done.stdout)[unit])
