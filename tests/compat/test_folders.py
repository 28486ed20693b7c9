"""What the version before has written is still read: its models answer, its runs go on, its folders are pushed.

make_folders.py has made the folders; nothing here names a module of the package, so that they may move.
"""

from __future__ import annotations

import json
import os
import re
import runpy
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import finetune
from hub_server import REAL_HUB, Hub
from safetensors.torch import load_file

from pipeline import Data, evaluate, predict

FOLDERS = Path(__file__).parent / "folders"
DATA = {"sentiment": "reviews", "ner": "names", "next_word": "story", "transformer": "reviews", "adapter": "reviews"}
PREDICTIONS = json.loads((FOLDERS / "predictions.json").read_text(encoding="utf-8"))
# Another processor sums in another order: that moves weights by 1e-6 until a run has ended, and scores by less.
SCORE, WEIGHT = 1e-5, 1e-5

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="adapters are read by peft")
finished = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_peft if name == "adapter" else ()) for name in DATA]
)
unfinished = pytest.mark.parametrize("name", sorted(path.name for path in (FOLDERS / "unfinished").iterdir()))
on_a_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="the runs began on a CPU; a GPU draws other dropout")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folders, as the working folder: the paths in them are relative to it."""
    shutil.copytree(FOLDERS, tmp_path / "folders")
    monkeypatch.chdir(tmp_path / "folders")
    return tmp_path / "folders"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """`python -m pipeline` within this process, which spares the seconds of the imports; returns its exit code."""

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["finetune", *arguments])
        with pytest.raises(SystemExit) as left:
            runpy.run_module("pipeline", run_name="__main__", alter_sys=False)
        return int(left.value.code or 0)

    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    handlers = [signal.getsignal(number) for number in numbers]
    yield run
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def assert_still_told(found: Any, told: Any) -> None:
    """All that `told` says stands in `found`, which may say more; numbers with a point up to SCORE."""
    if isinstance(told, dict):
        for name, value in told.items():
            assert_still_told(found[name], value)
    elif isinstance(told, list):
        for pair in zip(found, told, strict=True):
            assert_still_told(*pair)
    else:
        assert found == (pytest.approx(told, abs=SCORE) if isinstance(told, float) else told)


def read(file: str) -> Any:
    return json.loads(Path(file).read_text(encoding="utf-8"))


def history(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "history.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_weights(one: str, other: str) -> None:
    found, expected = (load_file(Path(run, "model/model.safetensors")) for run in (one, other))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0.0, atol=WEIGHT, msg=lambda told, n=name: f"{n}: {told}")


@finished
def test_a_saved_model_answers_as_it_did(name):
    asked = PREDICTIONS[name]
    answers = predict(f"finished/{name}", asked["texts"], **asked["options"])
    assert_still_told(list(answers), asked["answers"])


@finished
def test_a_saved_model_is_scored_on_its_test_split_as_it_was(name):
    scores = evaluate(f"finished/{name}", Data(source=f"data/{DATA[name]}"), split="test")
    assert_still_told(scores, read(f"finished/{name}/metrics.json")["test"])


@pytest.mark.parametrize("names", [("sentiment", "transformer", "adapter"), ("ner",), ("next_word",)], ids="-".join)
def test_finished_runs_of_a_task_are_put_into_one_table(names, command, capsys):
    assert command("compare", *(f"finished/{name}" for name in names)) == 0
    table = capsys.readouterr().out
    for name in names:
        (row,) = (line for line in table.splitlines() if re.search(rf"\b{name}\b", line))
        assert f"{read(f'finished/{name}/metrics.json')['test']['loss']:.4f}" in row


def test_a_finished_run_is_not_run_again_in_its_folder(command, capsys):
    assert command("run", "sentiment.py", "--train.output-dir", "finished/sentiment") == 2
    assert "finished/sentiment" in capsys.readouterr().err


@on_a_cpu
@unfinished
def test_a_run_that_was_stopped_goes_on_by_the_same_command_and_ends_as_one_that_was_not(name, command):
    assert not Path(f"unfinished/{name}/metrics.json").exists()
    done = history(f"unfinished/{name}")
    assert command("run", f"{name}.py", "--train.output-dir", f"unfinished/{name}") == 0
    ours, undisturbed = f"unfinished/{name}", f"finished/{name}"
    assert_same_weights(ours, undisturbed)
    assert_still_told(read(f"{ours}/metrics.json")["test"], read(f"{undisturbed}/metrics.json")["test"])
    scored, expected = (
        [[line["step"], line["loss"]] for line in history(run) if line["kind"] == "validation"]
        for run in (ours, undisturbed)
    )
    assert_still_told(scored, expected)
    assert history(ours)[: len(done)] == done


@on_a_cpu
def test_a_stopped_run_goes_on_by_its_own_recipe_json_in_a_process_of_its_own(folders):
    done = finetune("run", "unfinished/ner/recipe.json", cwd=folders)
    assert done.returncode == 0, done.stderr
    assert_same_weights("unfinished/ner", "finished/ner")


@on_a_cpu
def test_a_recipe_json_that_was_left_by_a_run_gives_the_same_run_again(command):
    assert command("run", "finished/next_word/recipe.json", "--train.output-dir", "again") == 0
    assert_same_weights("again", "finished/next_word")


def test_a_stopped_run_with_other_settings_is_refused(command, capsys):
    assert command("run", "ner.py", "--train.output-dir", "unfinished/ner", "--optim.learning-rate", "0.5") == 2
    assert "optim.learning_rate 0.5, was 0.01" in capsys.readouterr().err


@pytest.mark.skipif(REAL_HUB, reason="the folders hold nothing for others to read")
def test_a_finished_run_is_pushed_whole(server: Hub, folders, monkeypatch):
    server.reset()
    for name, value in {"HF_TOKEN": "hf_of_alice", "HF_HUB_OFFLINE": "0"}.items():
        monkeypatch.setenv(name, value)
    done = finetune("push", "finished/ner", "alice/names", cwd=folders)
    assert done.returncode == 0, done.stderr
    files = {name: blob.content for name, blob in server.repos["models", "alice/names"].files.items()}
    model = {path.name: path.read_bytes() for path in Path("finished/ner/model").iterdir()}
    assert files.keys() == {*model, "metrics.json", ".gitattributes"}
    assert files["model.safetensors"] == model["model.safetensors"]
    assert json.loads(files["metrics.json"])["test"] == read("finished/ner/metrics.json")["test"]


STRANGER = """
import importlib.abc, json, sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "pipeline":
            raise ModuleNotFoundError("No module named 'pipeline'", name="pipeline")

sys.meta_path.insert(0, Missing())
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

folder, *texts = sys.argv[1:]
model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
told = []
for text in texts:
    batch = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        logits, tags = model(**batch).logits[0].max(dim=-1)
    told.append({"ids": batch["input_ids"][0].tolist(), "best": tags.tolist(), "logits": logits.tolist()})
print(json.dumps(told))
"""


def test_a_saved_model_answers_by_its_own_code_where_this_package_is_not(tmp_path):
    """It lies in another folder, as it does where somebody has downloaded it."""
    folder = shutil.copytree("finished/ner/model", tmp_path / "elsewhere/model")
    expected = read("finished/ner/answers.json")
    done = subprocess.run(
        [sys.executable, "-I", "-c", STRANGER, str(folder), *expected["texts"]],
        cwd=tmp_path / "elsewhere",
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    wanted = [{key: answer[key] for key in ("ids", "best", "logits")} for answer in expected["answers"]]
    assert_still_told(told, wanted)
