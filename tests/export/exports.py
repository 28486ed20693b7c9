"""Exports made by hand, as `finetune export` writes them but without its checks, and an environment without torch."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from conftest import NEGATIVE, POSITIVE

from pipeline import inference
from pipeline.config.data import Data
from pipeline.config.models import Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.export import folder as exporting
from pipeline.export import runner_settings
from pipeline.inference import Loaded
from pipeline.run import train

# torch records the graph of a transformer in ten seconds.
SLOW = pytest.mark.slow
RUNNER = Path(runner_settings.__file__).with_name("runner.py")


def export(loaded: Loaded, folder: Path, recipe: Path | None = None) -> Path:
    """Write an export of `loaded` into the new folder `folder`."""
    folder.mkdir(parents=True)
    loaded.model.config.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    for name, graph in exporting._graphs(loaded, 18).items():
        onnx.save(graph, folder / name)
    (folder / "export.json").write_text(json.dumps(runner_settings.settings(loaded)), encoding="utf-8")
    for name in ("runner.py", *exporting.BESIDE_RUNNER.values()):
        shutil.copyfile(RUNNER.with_name(name), folder / name)
    if loaded.model.can_generate():
        loaded.model.generation_config.save_pretrained(folder)
    if recipe:
        shutil.copyfile(recipe, folder / "recipe.json")
    return folder


def export_run(run: Path | str, folder: Path) -> Path:
    """Write an export of the model in the run folder `run`."""
    return export(inference.load(str(run)), folder, Path(run) / "recipe.json")


SENTENCES = [("Ada", "PER", "B"), ("Bell", "PER", "E"), ("went", "", ""), ("to", "", ""), ("Paris", "LOC", "S")]


def tags(scheme: str, word: tuple[str, str, str]) -> str:
    letters = {"iob2": {"B": "B", "E": "I", "S": "B"}, "bioes": {}}[scheme]
    return f"{letters.get(word[2], word[2])}-{word[1]}" if word[1] else "O"


def rows_of_words(scheme: str) -> str:
    sentences = [[*SENTENCES[start:], (f"n{number}", "", "")] for number in range(20) for start in (0, 2, 4)]
    return "\n".join("".join(f"{word[0]}\t{tags(scheme, word)}\n" for word in own) for own in sentences)


def rows_of_texts(answer: Callable[[int, bool], Any], pairs: bool = False) -> str:
    texts = [f"{text} {number}" for number in range(8) for text in POSITIVE + NEGATIVE]
    rows: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        second = {"text_pair": texts[number - 1]} if pairs else {}
        rows.append({"text": text, **second, "label": answer(number, number % 8 < 4)})
    return "".join(json.dumps(row) + "\n" for row in rows)


def rows_of_translations() -> str:
    """Reviews, and their words in Hebrew from the last to the first."""
    texts = [f"{text} {number}" for number in range(5) for text in POSITIVE + NEGATIVE]
    hebrew = str.maketrans("abcdefghijklmnopqrstuvw", "אבגדהוזחטיכלמנסעפצקרשתך")
    rows = [{"source": text, "target": " ".join(text.translate(hebrew).split()[::-1])} for text in texts]
    return "".join(json.dumps(row) + "\n" for row in rows)


def small(**settings: Any) -> Recurrent:
    return Recurrent(hidden_size=8, embedding_size=8, **settings)


def by_name(number: int, good: bool) -> str:
    return "good" if good else "bad"


# Name -> task, file, its content, settings of the data, model.
MODELS: dict[str, tuple[str, str, str, dict[str, Any], Any]] = {
    "labels": ("sentiment", "a.jsonl", rows_of_texts(by_name), {}, small(pooling="max", bidirectional=True)),
    "several": (
        *("sentiment", "a.jsonl", rows_of_texts(lambda n, good: [by_name(n, good), "odd"][: n % 3])),
        *({}, small(cell="gru")),
    ),
    "numbers": ("sentiment", "a.jsonl", rows_of_texts(lambda n, good: n / 7 + good), {}, small(cell="rnn")),
    "pairs": ("sentiment", "a.jsonl", rows_of_texts(by_name, pairs=True), {}, small(pooling="mean")),
    "windows": (
        *("sentiment", "a.jsonl", rows_of_texts(by_name)),
        *({"max_length": 8, "long_texts": "windows", "tokenizer": "wordpiece"}, small()),
    ),
    "both-ends": (
        *("sentiment", "a.jsonl", rows_of_texts(by_name), {"max_length": 8, "long_texts": "head+tail"}),
        small(pooling="attention"),
    ),
    "end": (
        *("sentiment", "a.jsonl", rows_of_texts(by_name), {"max_length": 8, "long_texts": "tail"}),
        small(pooling="mean"),
    ),
    "tags": ("ner", "a.conll", rows_of_words("iob2"), {"max_length": 32}, small(bidirectional=True)),
    "crf": (
        *("ner", "a.conll", rows_of_words("bioes"), {"scheme": "bioes", "max_length": 8, "zero_digits": True}),
        small(crf=True, char_encoder="cnn", bidirectional=True),
    ),
    "bert-pairs": (
        *("sentiment", "a.jsonl", rows_of_texts(by_name, pairs=True)),
        *({"max_length": 16}, Scratch("bert", hidden_size=8, heads=2, layers=1)),
    ),
    "bert-tags": (
        *("ner", "a.conll", rows_of_words("bioes"), {"scheme": "bioes", "max_length": 16}),
        Scratch("bert", hidden_size=16, heads=2, layers=1),
    ),
    "next": ("next_word", "a.txt", "\n".join(POSITIVE * 20) + "\n", {}, small()),
    "next-bpe": ("next_word", "a.txt", "\n".join(POSITIVE * 20) + "\n", {"tokenizer": "bpe"}, small(cell="gru")),
    "translation": (
        *("translation", "a.jsonl", rows_of_translations(), {"prefix": "to Hebrew: ", "max_length": 24}),
        small(cell="gru", bidirectional=True, attention="additive", input_feeding=True, tie_embeddings=True),
    ),
    "translation-apart": (
        *("translation", "a.jsonl", rows_of_translations()),
        {"prefix": "to Hebrew: ", "max_length": 24, "separate_vocabs": True},
        small(cell="gru", bidirectional=True, attention="additive", input_feeding=True, tie_embeddings=True),
    ),
    "translation-t5": (
        *("translation", "a.jsonl", rows_of_translations(), {"max_length": 24}),
        Scratch("t5", hidden_size=16, heads=2, layers=1),
    ),
    "gpt2": (
        *("next_word", "a.txt", "\n".join(POSITIVE * 20) + "\n"),
        *({"max_length": 32, "tokenizer": "wordpiece"}, Scratch("gpt2", hidden_size=8, heads=2, layers=2)),
    ),
}


class Folders:
    """The folders of small runs and of their exports in `root`, each made when it is first asked for."""

    def __init__(self, root: Path):
        self.root = root

    def __call__(self, name: str) -> tuple[Path, Path]:
        run, exported = self.root / name, self.root / f"{name}-onnx"
        if not run.is_dir():
            task, file, content, data, model = MODELS[name]
            self.root.mkdir(exist_ok=True)
            source = self.root / f"{name}-{file}"
            source.write_text(content, encoding="utf-8")
            settings = Data(str(source), **{"max_length": 64, **data})
            training = Train(epochs=12 if task == "ner" else 2, batch_size=8, output_dir=str(run))
            train(Recipe(name, task, settings, model, optim=Optim(learning_rate=0.05), train=training))
            export_run(run, exported)
        return run, exported


def bare_environment(folder: Path) -> Path:
    """A new folder that holds, as links, the three packages that runner.py imports, and nothing else."""
    folder.mkdir()
    for name in ("numpy", "onnxruntime", "tokenizers"):
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        package = Path(spec.origin).parent
        (folder / name).symlink_to(package)
        libraries = package.with_name(f"{name}.libs")
        if libraries.is_dir():  # of a Linux wheel, found by its place beside the package
            (folder / libraries.name).symlink_to(libraries)
    return folder


def python(environment: Path, *arguments: Any, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run Python with the packages in `environment` and no others."""
    variables = {"PYTHONPATH": str(environment), "PATH": os.environ["PATH"]}
    command = [sys.executable, "-S", *map(str, arguments)]  # -S: without site-packages
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env=variables)


def answers(environment: Path, folder: Path, texts: list[Any], *options: str) -> list[dict[str, Any]]:
    """What runner.py in `folder` prints about `texts`, which it is given as JSON lines unless all are strings of one
    line."""
    is_plain = all(isinstance(text, str) and not set(text) & set("\r\n") for text in texts)
    lines = texts if is_plain else map(json.dumps, texts)
    done = python(
        environment,
        folder / "runner.py",
        *options,
        *([] if is_plain else ["--json"]),
        stdin="".join(f"{line}\n" for line in lines).encode(),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    return [json.loads(line) for line in done.stdout.decode("utf-8").splitlines()]


def difference(one: Any, other: Any) -> float:
    """The largest difference of two numbers at the same place of two answers, relative to those above 1, as float32
    rounds them. The answers must agree in all else: keys, their order, and texts."""
    if isinstance(one, float):
        return abs(one - other) / max(1.0, abs(other))
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert list(one) == list(other)
        return max((difference(one[key], other[key]) for key in one), default=0.0)
    if isinstance(one, list):
        assert len(one) == len(other)
        return max(map(difference, one, other), default=0.0)
    assert one == other
    return 0.0
