"""How long it takes to turn a file into encoded rows, against `datasets`, another checkout, and on two cores.

Each measurement is a process of its own, which counts from the moment when its libraries are imported. Ours reads,
checks, splits, trains the tokenizer if it is one of words, encodes and writes. `datasets` reads the csv file, encodes
it with `map` and the same tokenizer, and does nothing else.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
ROWS, LINES = 400_000, 5_600_000
MAX_LENGTH = 256


class Measured(NamedTuple):
    """Seconds of one thread or of the clock, MiB at the peak, and rows (of CoNLL: sentences)."""

    cpu: float
    wall: float
    memory: float
    rows: int


def prepare(pairs: int, against: Path | None) -> list[dict[str, Any]]:
    """Rows per CPU second on one thread, and what two cores gain, in alternating measurements.

    Args:
        against: the root of another checkout; None: it is left out.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        csv, conll = _write_csv(folder / "texts.csv", ROWS), _write_conll(folder / "words.conll", LINES)
        small = _write_csv(folder / "small.csv", ROWS // 4)
        results = []
        for tokenizer in ("word", "sample:minilm"):
            saved = folder / tokenizer.replace(":", "-")
            _measure("ours", csv, tokenizer, folder, tokenizer_to=saved)
            sides = {"ours": ("ours", tokenizer, ROOT), "datasets": ("datasets", str(saved), ROOT)}
            if against:
                sides["the other checkout"] = ("ours", tokenizer, against)
            results += _compare(f"csv, {csv.stat().st_size >> 20} MiB, {tokenizer}", csv, sides, folder, pairs)
            results.append(_two_cores(csv, tokenizer, folder, pairs))
        sides = {"ours": ("ours", "word", ROOT)} | (
            {"the other checkout": ("ours", "word", against)} if against else {}
        )
        results += _compare(f"CoNLL, {conll.stat().st_size >> 20} MiB, word", conll, sides, folder, pairs)
        results += [_memory(file, folder) for file in (small, csv)]
    return results


def _compare(what: str, file: Path, sides: dict[str, tuple[str, str, Path]], folder: Path, pairs: int) -> list[dict]:
    """A row for each side, measured in turn; the ratio is ours to theirs, in rows per CPU second."""
    found: dict[str, list[Measured]] = {side: [] for side in sides}
    for _ in range(pairs):
        for side, (kind, tokenizer, root) in sides.items():
            found[side].append(_measure(kind, file, tokenizer, folder, root=root))
    rows = []
    for side, measured in found.items():
        ratio = statistics.median(own.cpu / ours.cpu for ours, own in zip(found["ours"], measured, strict=True))
        rows.append(_row(what, side, statistics.median(own.cpu for own in measured), measured[0], ratio))
    return rows


def _two_cores(file: Path, tokenizer: str, folder: Path, pairs: int) -> dict[str, Any]:
    measured = [
        (_measure("ours", file, tokenizer, folder), _measure("ours", file, tokenizer, folder, cores=2))
        for _ in range(pairs)
    ]
    ratio = statistics.median(one.wall / two.wall for one, two in measured)
    seconds = statistics.median(two.wall for _, two in measured)
    return _row(f"csv, {tokenizer}", "ours on two cores, by the clock", seconds, measured[0][1], ratio)


def _memory(file: Path, folder: Path) -> dict[str, Any]:
    measured = _measure("ours", file, "word", folder)
    return _row(f"csv, {measured.rows:,} rows, word", "ours", measured.cpu, measured, 1.0)


def _row(what: str, side: str, seconds: float, measured: Measured, ratio: float) -> dict[str, Any]:
    speed = {"s": seconds, "rows/s": measured.rows / seconds, "times as fast": ratio, "peak MiB": measured.memory}
    return {"what": what, "side": side, **speed}


def _measure(
    kind: str,
    file: Path,
    tokenizer: str,
    folder: Path,
    root: Path = ROOT,
    cores: int = 1,
    tokenizer_to: Path | None = None,
) -> Measured:
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        threads = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": str(cores), "TOKENIZERS_PARALLELISM": "true"}
        environment = {**os.environ, **threads, "PYTHONPATH": str(root), "FINETUNE_CACHE": cache, "HF_HOME": cache}
        command = [sys.executable, "-P", __file__, kind, str(file), tokenizer, str(tokenizer_to or "")]
        taken = sorted(os.sched_getaffinity(0))[:cores]
        done = subprocess.run(
            ["taskset", "-c", ",".join(map(str, taken)), *command],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
    return Measured(*json.loads(done.stdout.splitlines()[-1]))


def _write_csv(file: Path, rows: int) -> Path:
    import csv

    generator, words = random.Random(0), _words()
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["text", "label"])
        for _ in range(rows):
            text = " ".join(generator.choices(words, k=generator.randint(8, 42)))
            writer.writerow([f"{text} , {generator.choice(words)} .", generator.choice(("bad", "good"))])
    return file


def _write_conll(file: Path, lines: int) -> Path:
    generator, words = random.Random(0), _words()
    with file.open("w") as stream:
        written = 0
        while written < lines:
            length = generator.randint(5, 30)
            sentence = [(word, "NN", "I-NP", "O") for word in generator.choices(words, k=length)]
            for place in range(0, length, 6):
                sentence[place] = (sentence[place][0].title(), "NNP", "I-NP", generator.choice(("B-PER", "B-LOC")))
            stream.write("".join(f"{' '.join(columns)}\n" for columns in sentence) + "\n")
            written += length + 1
    return file


def _words() -> list[str]:
    """Words as often as their rank says (Zipf's law), so that a sample of them looks like text."""
    syllables = [
        consonant + vowel for consonant in "bcdfghklmnprstvw" for vowel in ("a", "e", "i", "o", "u", "ea", "ou")
    ]
    generator = random.Random(1)
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(20_000)]
    return [word for rank, word in enumerate(words, start=1) for _ in range(max(1, 2000 // rank))]


def _child(kind: str, file: str, tokenizer: str, tokenizer_to: str) -> None:
    """Measures one side, in this process."""
    import resource
    import time

    if kind == "ours":
        import datasets

        from pipeline.config.data import Data
        from pipeline.data.prepare import prepare
        from pipeline.data.sources import locate
        from pipeline.tasks.ner import Ner
        from pipeline.tasks.sentiment import Sentiment

        task = Ner() if file.endswith(".conll") else Sentiment()
    else:
        import datasets
        from transformers import AutoTokenizer
    datasets.disable_progress_bars()
    cpu, wall = time.process_time(), time.perf_counter()
    if kind == "ours":
        prepared = prepare(locate(Data(file, max_length=MAX_LENGTH)), task, tokenizer)
        rows = sum(map(len, prepared.splits.values()))
        if tokenizer_to:
            prepared.tokenizer.save_pretrained(tokenizer_to)
    else:
        fast = AutoTokenizer.from_pretrained(tokenizer)
        table = datasets.load_dataset("csv", data_files=file, split="train")
        rows = len(table.map(lambda batch: fast(batch["text"], truncation=True, max_length=MAX_LENGTH), batched=True))
    seconds = time.process_time() - cpu, time.perf_counter() - wall
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, rows]))


if __name__ == "__main__":
    _child(*sys.argv[1:])
