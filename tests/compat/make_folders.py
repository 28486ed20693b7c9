"""Creates the folders for test_folders.py with the code of a commit: `python tests/compat/make_folders.py COMMIT`.

It keeps the recipes in folders/ and rewrites data/, finished/, unfinished/, commit.txt and predictions.json.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
FOLDERS = HERE / "folders"
# recipe -> inputs for its model
ASKED = {
    "sentiment": ["the warm and gripping film", "a dull plot , a stale mess", "the film"],
    "ner": ["then Ann Lee went to New York .", "Bob saw Rome", "so it was said"],
    "next_word": ["the old king", "a", "then the dog saw the"],
    "transformer": ["the warm and gripping film", "a dull plot , a stale mess", "the film"],
    "adapter": ["the warm and gripping film", "a dull plot , a stale mess", "the film"],
}
OPTIONS = {"next_word": {"generate": 4}}
# Recipes that are also stopped, and after how many updates: in the middle of the second epoch. Sentiment has been
# evaluated by then, so its best weights are in an earlier checkpoint; the other two have not.
STOPPED_AFTER = {"sentiment": 25, "ner": 25, "next_word": 25}
EXIT_INTERRUPTED = 75
# Every saved model holds the same 84 KB of code; only this one keeps it.
WITH_CODE = "ner"
# Replaces the description of the machine in metrics.json and the model card.
NEUTRAL = {"processor": "a processor", "cores": 1, "memory_bytes": 2**33}

POSITIVE = ["warm", "gripping", "tender", "moving", "wise", "brilliant", "funny"]
NEGATIVE = ["dull", "stale", "boring", "lifeless", "empty", "flat", "long"]
PLAIN = ["a", "the", "film", "plot", ",", "and", "it", "is", "story", "cast", "scene"]
PEOPLE = ["Ann Lee", "Bob", "Eve Adams Stone", "Zoe", "York"]
PLACES = ["Rome", "New York", "Lee", "Stone Hill"]
FILLERS = ["who", "went", "there", "and", "saw", "that", "it", "was", "so", ",", ".", "but", "then", "said", "no", "to"]
NOUNS = ["king", "queen", "dog", "forest", "river", "house"]
VERBS = ["saw", "found", "left", "loved"]


def main(commit: str) -> None:
    for name in ("data", "finished", "unfinished"):
        shutil.rmtree(FOLDERS / name, ignore_errors=True)
    write_data(FOLDERS / "data", random.Random(0))
    with tempfile.TemporaryDirectory() as folder:
        version = Version(commit, Path(folder))
        for name in ASKED:
            version.run("run", f"{name}.py", "--train.output-dir", f"finished/{name}")
            strip(FOLDERS / "finished" / name)
        for name, step in STOPPED_AFTER.items():
            version.stop(name, step)
            keep_what_resuming_needs(FOLDERS / "unfinished" / name)
            check_order(name)
        predictions = {name: version.predictions(name) for name in ASKED}
        (FOLDERS / "predictions.json").write_text(json.dumps(predictions, indent=1, ensure_ascii=False) + "\n")
        (FOLDERS / "commit.txt").write_text(version.commit + "\n")
    for cache in FOLDERS.rglob("__pycache__"):
        shutil.rmtree(cache)
    print(f"{sum(file.stat().st_size for file in FOLDERS.rglob('*') if file.is_file()):,} bytes in {FOLDERS}")


class Version:
    """The package at a commit; its commands run in FOLDERS, each in its own process."""

    def __init__(self, commit: str, folder: Path):
        self.commit = git("rev-parse", "--verify", f"{commit}^{{commit}}").decode().strip()
        with tarfile.open(fileobj=io.BytesIO(git("archive", self.commit, "pipeline"))) as archive:
            archive.extractall(folder / "code", filter="data")
        kept = {name: value for name, value in os.environ.items() if name != "HF_TOKEN"}
        self.environment = {
            **kept,
            "PYTHONPATH": str(folder / "code"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "FINETUNE_CACHE": str(folder / "cache"),
            "HF_HOME": str(folder / "home"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "CUDA_VISIBLE_DEVICES": "",
        }
        imported = subprocess.run(
            [sys.executable, "-c", "import pipeline; print(pipeline.__file__)"],
            **self._options(),
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
        if not imported.startswith(str(folder)):
            sys.exit(f"expected the code of {commit}, but imported {imported}")

    def _options(self) -> dict[str, Any]:
        return {"cwd": FOLDERS, "env": self.environment, "text": True, "encoding": "utf-8"}

    def run(self, *arguments: str, stdin: str = "") -> str:
        """Run a command and return its output."""
        command = [sys.executable, "-m", "pipeline", *arguments]
        print("$", *command[1:], flush=True)
        return subprocess.run(command, **self._options(), check=True, input=stdin, stdout=subprocess.PIPE).stdout

    def stop(self, name: str, step: int) -> None:
        """Start a run and send it SIGTERM once it has logged update `step`."""
        folder = FOLDERS / "unfinished" / name
        command = [sys.executable, "-m", "pipeline", "run", f"{name}.py", "--train.output-dir", f"unfinished/{name}"]
        print("$", *command[1:], flush=True)
        with subprocess.Popen(command, **self._options(), stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and not any(line["step"] >= step for line in history(folder)):
                time.sleep(0.001)
            process.send_signal(signal.SIGTERM)
        if process.returncode != EXIT_INTERRUPTED:
            sys.exit(f"{name}: expected exit code {EXIT_INTERRUPTED} after SIGTERM, got {process.returncode}")

    def predictions(self, name: str) -> dict[str, Any]:
        """The inputs of a finished model, and its answers."""
        options = OPTIONS.get(name, {})
        flags = [text for option, value in options.items() for text in (f"--{option}", str(value))]
        output = self.run("predict", f"finished/{name}", *flags, stdin="\n".join(ASKED[name]) + "\n")
        answers = [json.loads(line) for line in output.splitlines()]
        return {"texts": ASKED[name], "options": options, "answers": answers}


def git(*arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=HERE.parents[1], check=True, stdout=subprocess.PIPE).stdout


def history(folder: Path) -> list[dict[str, Any]]:
    """The complete lines of history.jsonl."""
    try:
        lines = (folder / "history.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines]


def strip(folder: Path) -> None:
    """Remove the files that a finished run can do without, and the description of the machine."""
    shutil.rmtree(folder / "checkpoints")
    if folder.name != WITH_CODE:
        for file in (folder / "model").glob("*.py"):
            file.unlink()
    file = folder / "metrics.json"
    metrics = json.loads(file.read_text(encoding="utf-8"))
    machine = metrics["machine"]
    was, now = (f"{described['processor']}, {described['cores']} cores" for described in (machine, NEUTRAL))
    metrics["machine"] = {**machine, **NEUTRAL}
    file.write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    card = folder / "model/README.md"
    text = card.read_text(encoding="utf-8").replace(was, now)
    card.write_text(text, encoding="utf-8")
    # A card whose digest differs counts as edited by hand.
    file = folder / "answers.json"
    answers = {**json.loads(file.read_text(encoding="utf-8")), "card": hashlib.sha256(text.encode()).hexdigest()}
    file.write_text(json.dumps(answers, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def keep_what_resuming_needs(folder: Path) -> None:
    """Remove all checkpoints except the newest and the best one."""
    newest = newest_in(folder)
    kept = {newest.name, f"step-{state_of(newest)['best_step'] or 0:08d}"}
    for checkpoint in (folder / "checkpoints").iterdir():
        if checkpoint.name not in kept:
            shutil.rmtree(checkpoint)


def newest_in(folder: Path) -> Path:
    return max((folder / "checkpoints").glob("step-*"))


def state_of(checkpoint: Path) -> dict[str, Any]:
    return dict(json.loads((checkpoint / "state.json").read_text(encoding="utf-8")))


def check_order(name: str) -> None:
    """Check that the run was stopped within an epoch and before its best update, so that the test covers both."""
    state = state_of(newest_in(FOLDERS / "unfinished" / name))
    metrics = json.loads((FOLDERS / "finished" / name / "metrics.json").read_text(encoding="utf-8"))
    best = metrics["train"]["best_update"]
    print(f"{name}: stopped after update {state['step']}; its best update is {best}")
    if not state["position"] or state["step"] >= best:
        sys.exit(f"{name}: stopped too late, at {state}; try again, or change the recipe")


def write_data(folder: Path, generator: random.Random) -> None:
    """Write three small splits for each task, with enough noise that a model learns them slowly."""
    splits: dict[str, tuple[str, Callable[[random.Random, int], Iterator[str]]]] = {
        "reviews": ("csv", reviews),
        "names": ("conll", sentences),
        "story": ("txt", story),
    }
    for name, (suffix, lines) in splits.items():
        (folder / name).mkdir(parents=True)
        for split, rows in {"train": 160, "validation": 40, "test": 40}.items():
            text = "\n".join(lines(generator, rows)) + "\n"
            (folder / name / f"{split}.{suffix}").write_text(text, encoding="utf-8")


def reviews(generator: random.Random, rows: int) -> Iterator[str]:
    yield "text,label"
    for _ in range(rows):
        words = [generator.choice((*PLAIN, *POSITIVE, *NEGATIVE)) for _ in range(generator.randint(3, 9))]
        mood = sum((word in POSITIVE) - (word in NEGATIVE) for word in words) + generator.gauss(0, 0.5)
        yield f'"{" ".join(words)}",{"positive" if mood > 0 else "negative"}'


def sentences(generator: random.Random, rows: int) -> Iterator[str]:
    for _ in range(rows):
        for kind, names in generator.sample([("PER", PEOPLE), ("LOC", PLACES)], generator.randint(1, 2)):
            for place, word in enumerate(generator.choice(names).split()):
                yield f"{word} {'I' if place else 'B'}-{kind}"
            for _ in range(generator.randint(1, 3)):
                yield f"{generator.choice(FILLERS)} O"
        yield ""


def story(generator: random.Random, rows: int) -> Iterator[str]:
    for _ in range(rows):
        one, other = generator.sample(NOUNS, 2)
        extra = generator.choice(["", "old ", "dark "])
        yield f"then the {extra}{one} {generator.choice(VERBS)} the {other} ."


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
