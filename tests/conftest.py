"""Fixtures and helpers for all tests: no network, a separate cache, one thread, small data."""

from __future__ import annotations

import importlib.util
import io
import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from hub_server import REAL_HUB, Hub, environment

# Set these before any library reads them.
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "OMP_NUM_THREADS": "1", **environment()}

import pytest

pytest_plugins = ["browser_fixtures", "distil_fixtures", "hub_fixtures", "tool_fixtures"]

ROOT = Path(__file__).parent.parent
POSITIVE = ["a moving , funny film", "warm and gripping", "a joy from start to end", "brilliant , tender and wise"]
NEGATIVE = ["a dull , lifeless mess", "boring and far too long", "an empty bore", "stale jokes and no plot at all"]


def _is_loopback(address: object) -> bool:
    if not isinstance(address, tuple):
        return True  # a Unix socket
    try:
        return ipaddress.ip_address(address[0]).is_loopback
    except ValueError:
        return address[0] == "localhost"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail any test that connects a socket to something other than loopback."""

    def guarded(method: str) -> Callable:
        original = getattr(socket.socket, method)

        def connect(self: socket.socket, address: object) -> object:
            if not _is_loopback(address) and not REAL_HUB:
                pytest.fail(f"the test connected to {address}; tests must run offline")
            return original(self, address)

        return connect

    for method in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, method, guarded(method))


@pytest.fixture(scope="session", autouse=True)
def separate_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep the tests' encoded data out of the user's cache."""
    root = tmp_path_factory.mktemp("cache")
    os.environ["FINETUNE_CACHE"] = str(root)
    return root


@pytest.fixture(scope="session", autouse=True)
def quick_disk() -> Iterator[None]:
    """Leave it to the system when files reach the disk: a run waits for it dozens of times, and no test cuts the
    power."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda handle: None)
        yield


@pytest.fixture(scope="session")
def server() -> Iterator[Hub]:
    """The tests' local Hub, one per process. It is not started when the tests run against the real Hub."""
    hub = Hub()
    if not REAL_HUB:
        hub.start()
    yield hub
    if not REAL_HUB:
        hub.stop()


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """Run torch on one thread, so that results do not depend on the number of cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    """A CSV file with 160 different short reviews, half of them positive."""
    rows = ["text,label"]
    for number in range(80):
        rows.append(f'"{POSITIVE[number % 4]} {number}",positive')
        rows.append(f'"{NEGATIVE[number % 4]} {number}",negative')
    file = tmp_path / "reviews.csv"
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def finetune(*arguments: str | Path, cwd: Path | None = None, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """Run the `finetune` command in a separate process."""
    return subprocess.run(
        [sys.executable, "-c", "from pipeline.cli.main import entry; entry()", *map(str, arguments)],
        cwd=cwd,
        input=stdin,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def finetune_here(
    capfd: pytest.CaptureFixture[str], *arguments: str | Path, cwd: Path | None = None, stdin: bytes = b""
) -> subprocess.CompletedProcess[str]:
    """Run the `finetune` command in this process, which saves the seconds that its imports take."""
    from pipeline.cli import main

    before, usual = os.getcwd(), sys.stdin
    capfd.readouterr()
    try:
        os.chdir(cwd or before)
        sys.stdin = io.TextIOWrapper(io.BytesIO(stdin))
        code = main.exit_code(lambda: main._dispatch([*map(str, arguments)]))
    except SystemExit as stop:  # the parser has printed its message
        code = stop.code
    finally:
        sys.stdin = usual
        os.chdir(before)
    return subprocess.CompletedProcess(arguments, code, *capfd.readouterr())


def save_checkpoint(folder: Path, kind: str, texts: list[str], **config: float) -> None:
    """Save a small BERT, GPT-2 or T5 with a tokenizer trained on `texts`.

    Args:
        folder: where to save; its name, "bert", "gpt2" or "t5", is the architecture.
        kind: the kind of tokenizer.
        texts: the texts to train it on.
        config: other fields of the model's configuration, such as dropout.
    """
    from transformers import (
        BertConfig,
        BertForMaskedLM,
        GPT2Config,
        GPT2LMHeadModel,
        T5Config,
        T5ForConditionalGeneration,
    )

    from pipeline.config.data import Data
    from pipeline.data.tokenization import tokenizers

    tokenizer = tokenizers.train(kind, texts, Data("x", max_length=64, vocab_size=400))
    size, ends = len(tokenizer), {"bos_token_id": tokenizer.eos_token_id, "eos_token_id": tokenizer.eos_token_id}
    model: Any = {
        "bert": lambda: BertForMaskedLM(
            BertConfig(
                vocab_size=size,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=2,
                intermediate_size=32,
                max_position_embeddings=64,
                **config,
            )
        ),
        "gpt2": lambda: GPT2LMHeadModel(
            GPT2Config(vocab_size=size, n_embd=16, n_layer=2, n_head=2, n_positions=64, **ends, **config)
        ),
        "t5": lambda: T5ForConditionalGeneration(
            T5Config(
                vocab_size=size,
                d_model=16,
                d_kv=8,
                d_ff=32,
                num_layers=2,
                num_heads=2,
                pad_token_id=tokenizer.pad_token_id,
                decoder_start_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
                **config,
            )
        ),
    }[folder.name]()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def need_deepspeed() -> None:
    """Skip the test if DeepSpeed is not installed."""
    if importlib.util.find_spec("deepspeed") is None:
        pytest.skip('DeepSpeed is not installed: pip install "finetune-pipeline[deepspeed]"')
