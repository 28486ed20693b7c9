"""Checks that folders from the previous version still work: its models load, its runs resume, its folders are pushed.

make_folders.py created the folders. The tests use only the public API and the command, so modules may move freely.
"""

from __future__ import annotations

import json
import re
import runpy
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import clean_process
import pytest
import torch
from conftest import finetune
from hub_server import REAL_HUB, Hub
from safetensors.torch import load_file

from pipeline import Data, evaluate, predict

FOLDERS = Path(__file__).parent / "folders"
DATA = {"sentiment": "reviews", "ner": "names", "next_word": "story", "transformer": "reviews", "adapter": "reviews"}
PREDICTIONS = json.loads((FOLDERS / "predictions.json").read_text(encoding="utf-8"))
# Rounding differs between processors. It moves the final weights of a run by 1e-6, and its scores by less.
SCORE, WEIGHT = 1e-5, 1e-5

needs_peft = pytest.mark.skipif(find_spec("peft") is None, reason="adapters need peft")
finished = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_peft if name == "adapter" else ()) for name in DATA]
)
unfinished = pytest.mark.parametrize("name", sorted(path.name for path in (FOLDERS / "unfinished").iterdir()))
own_code = pytest.mark.skipif(
    sys.version_info < (3, 11), reason="the code in these folders has a bare ClassVar, which Python 3.10 refuses"
)
on_a_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="the runs started on a CPU; dropout differs on a GPU")


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy the folders and make the copy the working directory, because paths in them are relative."""
    shutil.copytree(FOLDERS, tmp_path / "folders")
    monkeypatch.chdir(tmp_path / "folders")
    return tmp_path / "folders"


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """Runs `python -m pipeline` in this process, which saves the time of its imports, and returns the exit code."""

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


def assert_contains(found: Any, expected: Any) -> None:
    """Check that `found` has everything in `expected`; it may have more. Floats are compared with tolerance SCORE."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_contains(found[name], value)
    elif isinstance(expected, list):
        for pair in zip(found, expected, strict=True):
            assert_contains(*pair)
    else:
        assert found == (pytest.approx(expected, abs=SCORE) if isinstance(expected, float) else expected)


def read(file: str) -> Any:
    return json.loads(Path(file).read_text(encoding="utf-8"))


def history(run: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(run, "history.jsonl").read_text(encoding="utf-8").splitlines()]


def assert_same_weights(one: str, other: str) -> None:
    found, expected = (load_file(Path(run, "model/model.safetensors")) for run in (one, other))
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=0.0, atol=WEIGHT, msg=lambda text, n=name: f"{n}: {text}")


@finished
def test_a_saved_model_gives_the_same_predictions(name):
    asked = PREDICTIONS[name]
    answers = predict(f"finished/{name}", asked["texts"], **asked["options"])
    assert_contains(list(answers), asked["answers"])


@finished
def test_a_saved_model_gets_the_same_score_on_its_test_split(name):
    scores = evaluate(f"finished/{name}", Data(source=f"data/{DATA[name]}"), split="test")
    assert_contains(scores, read(f"finished/{name}/metrics.json")["test"])


@pytest.mark.parametrize("names", [("sentiment", "transformer", "adapter"), ("ner",), ("next_word",)], ids="-".join)
def test_finished_runs_of_a_task_are_compared_in_one_table(names, command, capsys):
    assert command("compare", *(f"finished/{name}" for name in names)) == 0
    table = capsys.readouterr().out
    for name in names:
        (row,) = (line for line in table.splitlines() if re.search(rf"^│ {name} ", line))
        assert f"{read(f'finished/{name}/metrics.json')['test']['loss']:.4f}" in row


def test_a_finished_run_is_not_repeated_in_its_folder(command, capsys):
    assert command("run", "sentiment.py", "--train.output-dir", "finished/sentiment") == 2
    assert "finished/sentiment" in capsys.readouterr().err


@pytest.fixture
def draws_of_before(monkeypatch):
    """Dropout draws its masks with torch's own function, as it did in the previous version."""
    monkeypatch.setattr("pipeline.models.recurrent.dropout._can_draw", lambda values: False)


@on_a_cpu
@unfinished
@pytest.mark.usefixtures("draws_of_before")
def test_the_same_command_resumes_a_stopped_run_with_the_result_of_an_uninterrupted_one(name, command):
    assert not Path(f"unfinished/{name}/metrics.json").exists()
    done = history(f"unfinished/{name}")
    assert command("run", f"{name}.py", "--train.output-dir", f"unfinished/{name}") == 0
    resumed, uninterrupted = f"unfinished/{name}", f"finished/{name}"
    assert_same_weights(resumed, uninterrupted)
    assert_contains(read(f"{resumed}/metrics.json")["test"], read(f"{uninterrupted}/metrics.json")["test"])
    scored, expected = (
        [[line["step"], line["loss"]] for line in history(run) if line["kind"] == "validation"]
        for run in (resumed, uninterrupted)
    )
    assert_contains(scored, expected)
    assert history(resumed)[: len(done)] == done


@on_a_cpu
def test_a_stopped_run_resumes_from_its_recipe_json_in_a_new_process(folders, command):
    done = finetune("run", "unfinished/ner/recipe.json", cwd=folders)
    assert done.returncode == 0, done.stderr
    Path("unfinished/ner").rename("elsewhere")
    shutil.copytree(FOLDERS / "unfinished/ner", "unfinished/ner")
    assert command("run", "unfinished/ner/recipe.json") == 0
    assert_same_weights("elsewhere", "unfinished/ner")


@on_a_cpu
@pytest.mark.usefixtures("draws_of_before")
def test_the_recipe_json_of_a_run_repeats_that_run(command):
    assert command("run", "finished/next_word/recipe.json", "--train.output-dir", "again") == 0
    assert_same_weights("again", "finished/next_word")


def test_a_stopped_run_does_not_resume_with_other_settings(command, capsys):
    assert command("run", "ner.py", "--train.output-dir", "unfinished/ner", "--optim.learning-rate", "0.5") == 2
    assert "optim.learning_rate 0.5, was 0.01" in capsys.readouterr().err


@own_code
@pytest.mark.skipif(REAL_HUB, reason="these folders are not meant for the real Hub")
def test_a_push_uploads_every_file_of_a_finished_run(server: Hub, folders, monkeypatch):
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


CLEAN_PROCESS = """
import json, sys
import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

folder, *texts = sys.argv[1:]
model = AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True).eval()
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
answers = []
for text in texts:
    batch = tokenizer(text, return_tensors="pt")
    with torch.inference_mode():
        logits, tags = model(**batch).logits[0].max(dim=-1)
    answers.append({"ids": batch["input_ids"][0].tolist(), "best": tags.tolist(), "logits": logits.tolist()})
print(json.dumps(answers))
"""


@own_code
def test_a_saved_model_runs_on_its_own_code_without_this_package(tmp_path):
    """The model is copied to another folder, as after a download."""
    folder = shutil.copytree("finished/ner/model", tmp_path / "elsewhere/model")
    expected = read("finished/ner/answers.json")
    printed = clean_process.printed_by(CLEAN_PROCESS, folder, *expected["texts"], folder=tmp_path / "elsewhere")
    answers = json.loads(printed.splitlines()[-1])
    expected_answers = [{key: answer[key] for key in ("ids", "best", "logits")} for answer in expected["answers"]]
    assert_contains(answers, expected_answers)
