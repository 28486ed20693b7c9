"""`transformers serve` and `accelerate estimate-memory`, on folders and on a Hub."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tools.outside import environment
from transformers import AutoModel

from pipeline import inference

pytestmark = pytest.mark.tools
BIN = Path(sys.executable).parent
SECONDS = 120


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@contextmanager
def served(folder: str, work: Path) -> Iterator[str | None]:
    """The address of `transformers serve` with the model of `folder`; None if it ended instead of serving."""
    port = free_port()
    command = [BIN / "transformers", "serve", folder, "--trust-remote-code", "--port", str(port), "--device", "cpu"]
    with (work / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=work, env=environment(work / "modules"))
    try:
        address, end = f"http://127.0.0.1:{port}", time.monotonic() + SECONDS
        while process.poll() is None:
            assert time.monotonic() < end, (work / "log").read_text()
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.3)
        yield address if process.poll() is None else None
    finally:
        process.terminate()
        process.wait()


def test_transformers_serve_completes_a_text_as_predict_does(saved, tmp_path):
    folder = saved["language-model-gpt2"]
    with served(folder, tmp_path) as address:
        body = {"model": folder, "prompt": "the fog", "max_tokens": 5, "temperature": 0}
        request = urllib.request.Request(
            f"{address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            (choice,) = json.load(answer)["choices"]
    (expected,) = inference.predict(folder, ["the fog"], generate=5)
    assert choice["text"].strip() == expected["continuation"].strip()


def test_transformers_serve_looks_for_classes_in_transformers_alone(saved, tmp_path):
    with served(saved["language-model"], tmp_path) as address:
        assert address is None
    assert "module transformers has no attribute RecurrentForCausalLM" in (tmp_path / "log").read_text()


def test_estimate_memory_counts_the_bytes_of_the_weights(ask, saved):
    """A folder stands in for a repository: the information that the Hub has of one is its config.json."""
    names = ["classifier", "language-model", "bert"]
    found = ask(
        """
        from types import SimpleNamespace
        from accelerate.commands import estimate
        from accelerate.utils import calculate_maximum_sizes

        result = {}
        for name in given["names"]:
            folder = given["saved"][name]
            config = json.load(open(f"{folder}/config.json"))
            about = SimpleNamespace(library_name="transformers", config=config, tags=[])
            estimate.verify_on_hub = lambda *given: about
            model = estimate.create_empty_model(folder, "transformers", trust_remote_code=True)
            result[name] = calculate_maximum_sizes(model)[0]
        """,
        names=names,
    )
    for name in names:
        model = AutoModel.from_pretrained(saved[name], trust_remote_code=True)
        smallest = 4 * sum(parameter.numel() for parameter in model.parameters())
        assert smallest <= found[name] < 2 * smallest  # with the head that the folder has
