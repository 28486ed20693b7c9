"""`finetune serve` as a process: the answers of `finetune predict`, and what signals do to it under load."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from conftest import ROOT, finetune
from running import Client, command, serving, until
from transformers import GPT2Config, GPT2LMHeadModel

from pipeline import inference
from pipeline.cli import serve
from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Train
from pipeline.errors import UserError
from pipeline.run import train

TEXTS = ["a warm film", "", "dull , flat and far too long " * 30, "שלום 🎬"]
ROWS = {
    "sentiment": ("reviews.csv", "text,label\n" + "".join(f"a warm film {n},good\ndull {n},bad\n" for n in range(20))),
    "ner": ("tags.conll", "".join(f"Ann B-PER\nsaw O\nRome B-LOC\n{n} O\n\n" for n in range(40))),
    "next_word": ("lines.txt", "".join(f"the cat sat on the mat {n}\n" for n in range(60))),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, str]:
    """A run of each task."""
    folder = tmp_path_factory.mktemp("serve")
    for task, (name, content) in ROWS.items():
        (folder / name).write_text(content, encoding="utf-8")
        model = Recurrent(hidden_size=8, embedding_size=8)
        train(Recipe(task, task, Data(str(folder / name)), model, train=Train(output_dir=str(folder / task), epochs=1)))
    return {task: str(folder / task) for task in ROWS}


@pytest.mark.parametrize(("task", "options"), [("sentiment", {}), ("ner", {}), ("next_word", {"generate": 3})])
def test_each_task_answers_over_http_what_predict_prints(task, options, runs):
    loaded = inference.load(runs[task])
    printed = json.dumps(list(inference.predict(runs[task], TEXTS, **options)))
    expected = json.loads(printed, parse_float=approximately)

    def predict(contents, given):
        return loaded.task.predict(contents, loaded.model, loaded.tokenizer, loaded.labels, **given)

    with serving(predict, task) as (client, _, _), ThreadPoolExecutor(4) as pool:
        assert client.predict(TEXTS, **options).body == expected
        alone = pool.map(lambda text: client.predict(text, **options).body, TEXTS)
        assert list(alone) == expected
        if task == "ner":
            words = client.predict({"tokens": ["Ann", "saw", "Rome"]}).body
            assert words["tokens"] == ["Ann", "saw", "Rome"]
            assert len(words["tags"]) == 3


def test_a_continuation_longer_than_the_model_reads_is_a_mistake_of_the_request(runs):
    loaded = inference.load(runs["next_word"])
    loaded.tokenizer.model_max_length = 8
    shape = {"n_embd": 8, "n_layer": 1, "n_head": 2, "n_positions": 8}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(loaded.tokenizer), **shape)).eval()

    def predict(contents, options):
        return loaded.task.predict(contents, model, loaded.tokenizer, [], **options)

    with serving(predict, "next_word") as (client, _, _):
        message = "generate: the model reads 8 tokens at most; ask for fewer than that"
        assert client.predict("the cat", generate=20)[:2] == (400, {"error": message})
        assert client.predict("the cat", generate=3).status == 200


def approximately(number: str):
    return pytest.approx(float(number), rel=1e-4)


def flood(client: Client, stop: threading.Event, seen: Counter) -> None:
    """Sends one request after the other, each on a connection of its own, and counts what becomes of them."""
    while not stop.is_set():
        try:
            answer = client.predict("a warm film")
        except ConnectionRefusedError:
            seen["not connected"] += 1
            time.sleep(0.01)
        except (ConnectionError, http.client.HTTPException):
            seen["closed"] += 1
        else:
            seen[answer.status] += 1
            assert answer.status != 200 or answer.body["label"] in ("good", "bad")


def test_a_terminated_server_has_answered_every_request_that_it_has_accepted(runs):
    stop, counts = threading.Event(), [Counter() for _ in range(20)]
    with command(runs["sentiment"], "--batch-size", 8) as (client, process):
        assert client.predict(TEXTS[0]).body["text"] == TEXTS[0]
        clients = [threading.Thread(target=flood, args=(client, stop, seen)) for seen in counts]
        for thread in clients:
            thread.start()
        until(lambda: sum(seen[200] for seen in counts) > 20)
        process.send_signal(signal.SIGTERM)
        printed, errors = process.communicate(timeout=20)
        stop.set()
        for thread in clients:
            thread.join()
    total = sum(counts, Counter())
    assert process.returncode == 0
    assert errors == ""
    assert printed == f"stopped: {total[200] + 1:,} requests answered, {total[503]:,} refused\n"
    assert set(total) <= {200, 503, "not connected", "closed"}


@pytest.mark.slow  # a process of its own, for a rare case
def test_ctrl_c_stops_it_as_well_and_a_second_one_at_once(runs):
    with command(runs["next_word"], "--max-generate", 100_000, "--timeout", 60) as (client, process):
        with socket.create_connection(("127.0.0.1", client.port)) as raw:
            body = json.dumps({"inputs": ["the cat"] * 200, "parameters": {"generate": 100_000}}).encode()
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            raw.sendall(head % len(body) + body)
            while client.metric("finetune_queue_texts") == 0:  # more than a batch: some have to wait
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
            assert client.predict("the cat").status == 503
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=10) == 130
        assert process.stdout.read().startswith("stopped: 0 requests answered, ")


def test_what_cannot_be_served_is_refused_in_one_line_before_anything_is_imported(runs, tmp_path, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        done = finetune("serve", runs["ner"], "--port", port)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"error: port: cannot listen on http://127.0.0.1:{port}: Address already in use")
        assert done.stderr.count("\n") == 1
    with pytest.raises(UserError, match="port: 70000 is out of range; it must be <= 65535"):
        serve.command([runs["ner"], "--port", "70000"])
    with pytest.raises(UserError, match="there is no folder"):
        serve.command([str(tmp_path / "none")])
    for arguments, message in [
        (["--max-texts", "0"], "max_texts: 0 is out of range; it must be >= 1"),
        (["--timeout", "0"], "timeout: 0.0 is out of range; it must be > 0.0"),
        (["--batch-wait", "-1"], "batch_wait: -1.0 is out of range; it must be >= 0.0"),
    ]:
        with pytest.raises(SystemExit):
            serve.command([runs["ner"], *arguments])
        assert message in capsys.readouterr().err


def test_serving_without_its_packages_names_the_extra(monkeypatch):
    monkeypatch.setattr(serve, "PACKAGES", ("starlette", "no_such_package"))
    with pytest.raises(UserError, match=r"no_such_package is not installed; pip install 'finetune-pipeline\[serve\]'"):
        serve.command(["x"])


def test_a_mistake_is_refused_without_torch():
    code = """import sys; from pipeline.cli import serve
try: serve.command(["/none"])
except ValueError: print("torch" in sys.modules)"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout == "False\n"


@pytest.mark.slow  # an export, and a process of its own
def test_an_export_is_served_like_the_model_that_it_was_made_from(runs, tmp_path):
    from pipeline.export.folder import export

    export(runs["sentiment"], tmp_path / "export")
    expected = json.loads(json.dumps([*inference.predict(runs["sentiment"], TEXTS)]), parse_float=approximately)
    with command(tmp_path / "export") as (client, _):
        assert client.predict(TEXTS).body == expected
        assert client.send("GET", "/health").body["model"] == "export"
