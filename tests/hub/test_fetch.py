"""`finetune fetch` downloads what a recipe needs, and the run then needs no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import pytest
from conftest import NEGATIVE, POSITIVE, ROOT, save_checkpoint
from hub_fixtures import Place, local_hub_only
from huggingface_hub import HfApi

from pipeline import fetch as fetching
from pipeline.cli import main, run
from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.loading import load_recipe
from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.publish import push as pushing

TEXTS = [f"{text} {number}" for number in range(12) for text in POSITIVE + NEGATIVE]
LABELS = [int(text.rsplit(maxsplit=1)[0] in POSITIVE) for text in TEXTS]

# Any connection is an error, even one with which a library checks whether there is network.
WITHOUT_NETWORK = """
import socket, sys

def refused(*_):
    raise SystemExit("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refused
from pipeline.cli.main import entry
entry()
"""


def offline(*arguments: Any, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process without network, and with empty caches."""
    empty = dict.fromkeys(("HF_HUB_CACHE", "HF_DATASETS_CACHE", "HF_TOKEN"), "")
    variables = {name: value for name, value in {**os.environ, **empty, **environment}.items() if value}
    variables |= {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    variables.setdefault("HF_HOME", str(cwd / "empty"))
    command = [sys.executable, "-c", WITHOUT_NETWORK, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, check=False)


def upload(hub: Place, folder: Path, kind: str = "model") -> tuple[str, str]:
    name = hub.name(kind)
    HfApi().create_repo(name, repo_type=kind)
    with pushing.without_xet():
        return name, HfApi().upload_folder(repo_id=name, repo_type=kind, folder_path=folder).oid


def a_recipe(data: Data, model: Any) -> Recipe:
    return Recipe("tiny", "sentiment", data, model, Optim(learning_rate=0.02), Train(max_steps=2, batch_size=8))


def written(recipe: Recipe, folder: Path) -> Path:
    (folder / "asked.json").write_text(recipe.to_json())
    return folder / "asked.json"


@pytest.fixture
def of_the_hub(hub, tmp_path, monkeypatch) -> Recipe:
    """A recipe with a dataset and a model of the Hub, without revisions."""
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, os.environ[name])  # the command sets them: they are restored
    save_checkpoint(tmp_path / "bert", "wordpiece", TEXTS)
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})
    (tmp_path / "rows").mkdir()
    rows.to_parquet(tmp_path / "rows/train.parquet")
    rows.select(range(10)).to_parquet(tmp_path / "rows/test.parquet")
    data, _ = upload(hub, tmp_path / "rows", "dataset")
    model, _ = upload(hub, tmp_path / "bert")
    return a_recipe(Data(data, max_length=32), Pretrained(model))


def fetch_in_a_process(hub: Place, recipe: Path, *arguments: Any) -> None:
    done = hub.finetune("fetch", recipe, *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_a_fetched_folder_runs_offline_also_after_it_was_moved(hub, of_the_hub, tmp_path):
    fetch_in_a_process(hub, written(of_the_hub, tmp_path), "--to", tmp_path / "gathered")
    shutil.move(tmp_path / "gathered", tmp_path / "carried")
    node = tmp_path / "node"
    node.mkdir()
    done = offline("run", tmp_path / "carried/recipe.json", cwd=node)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    recipe_json = json.loads((node / "runs/tiny/recipe.json").read_text())
    revisions = json.loads((node / "runs/tiny/metrics.json").read_text())["revisions"]
    for section, name in (("data", "source"), ("model", "checkpoint")):
        kind = "dataset" if section == "data" else "model"
        assert recipe_json[section][name] == getattr(getattr(of_the_hub, section), name)
        commit = HfApi().repo_info(recipe_json[section][name], repo_type=kind).sha
        assert recipe_json[section]["revision"] == revisions[f"{section}.{name}"]["commit"] == commit


@pytest.mark.slow  # two more processes
def test_the_original_recipe_runs_offline_from_the_fetched_caches(hub, of_the_hub, tmp_path):
    asked = written(of_the_hub, tmp_path)
    fetch_in_a_process(hub, asked, "--to", tmp_path / "gathered")
    done = offline("run", asked, cwd=tmp_path, HF_HOME=str(tmp_path / "gathered"))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout


@local_hub_only
def test_offline_a_dataset_is_read_at_its_commit_and_never_at_another(hub, of_the_hub, tmp_path, monkeypatch):
    """`load_dataset` takes the newest commit in the cache."""
    from pipeline.data import hub_source

    name = of_the_hub.data.source
    first = HfApi().dataset_info(name).sha
    datasets.Dataset.from_dict({"text": ["new"] * 4, "label": [0, 1] * 2}).to_parquet(tmp_path / "rows/train.parquet")
    second = hub.server.put("datasets", name, {"train.parquet": (tmp_path / "rows/train.parquet").read_bytes()})
    for commit in (first, second):
        hub_source.load(Data(name), commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    counts = [sum(map(len, hub_source.load(Data(name), commit)["train"][0])) for commit in (first, second)]
    assert counts == [len(TEXTS), 4]
    with pytest.raises(UserError, match=f"{name} at {'0' * 40} is not in the local cache"):
        hub_source.load(Data(name), "0" * 40)


def test_local_files_are_copied_next_to_the_recipe(hub, tmp_path, monkeypatch, capsys):
    for name in ("HF_HUB_CACHE", "HF_DATASETS_CACHE"):
        monkeypatch.setenv(name, os.environ[name])
    rows = [f'"{text}",{label}\n' for text, label in zip(TEXTS, LABELS, strict=True)]
    (tmp_path / "reviews.csv").write_text("text,label\n" + "".join(rows))
    (tmp_path / "vectors.txt").write_text("moving 1 2 3\nfunny 3 2 1\n")
    model = Recurrent(hidden_size=8, vectors=str(tmp_path / "vectors.txt"))
    asked = written(a_recipe(Data(str(tmp_path / "reviews.csv")), model), tmp_path)
    main._dispatch(["fetch", str(asked), f"--to={tmp_path / 'gathered'}", "--train.max-steps", "1"])
    shutil.move(tmp_path / "gathered", tmp_path / "carried")
    (tmp_path / "reviews.csv").unlink()
    recipe = load_recipe(str(tmp_path / "carried/recipe.json"))
    assert recipe.train.max_steps == 1
    assert Path(recipe.data.source).read_text().startswith("text,label")
    assert str(tmp_path / "carried") in recipe.model.vectors
    run.train(recipe, ["--train.output-dir", str(tmp_path / "run")], "finetune run")
    assert (tmp_path / "run/metrics.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--to"], "--to: it needs a value, the name of a folder"),
        (["--to", "asked.json"], "to: cannot write to asked.json: "),
        (["--data.streaming", "--data.limit", "3"], "data.streaming: streamed rows cannot be fetched"),
    ],
)
def test_what_cannot_be_fetched_is_refused(hub, of_the_hub, tmp_path, monkeypatch, arguments, says):
    monkeypatch.chdir(tmp_path)
    written(of_the_hub, tmp_path)
    with pytest.raises(UserError) as error:
        main._dispatch(["fetch", "asked.json", *arguments])
    assert says in str(error.value)


@pytest.mark.slow
def test_a_teacher_and_its_texts_are_fetched_and_the_student_is_trained_offline(
    hub: Place, shop, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    name, commit = upload(hub, shop / "teacher/model")
    (tmp_path / "new.jsonl").write_text("".join(json.dumps({"text": f"new {text}"}) + "\n" for text in TEXTS))
    recipe = Recipe(
        "student",
        "sentiment",
        Data(str(shop / "reviews.csv")),
        Recurrent(hidden_size=4, embedding_size=4),
        train=Train(max_steps=2),
        distil=Distil(name, unlabelled=(Data("new.jsonl"), Data(str(shop / "other.txt"))), limit=30),
    )
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    fetch_in_a_process(hub, tmp_path / "recipe.json", "--to", tmp_path / "fetched")
    (tmp_path / "moved").mkdir()
    (tmp_path / "fetched").rename(tmp_path / "moved/fetched")
    done = offline("run", "fetched/recipe.json", cwd=tmp_path / "moved", FINETUNE_CACHE=str(tmp_path / "cache"))
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "moved/runs/student/metrics.json").read_text())
    assert metrics["revisions"]["distil.teacher"]["commit"] == commit
    assert metrics["distil"]["rows"]["unlabelled"] == 30
    assert metrics["distil"]["scores"]["test"]["accuracy"] > 0


def test_of_a_teachers_run_only_the_model_is_copied(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = Recurrent(hidden_size=4, embedding_size=4)
    recipe = Recipe(
        "student", "sentiment", Data(str(shop / "reviews.csv")), model, distil=Distil(str(shop / "teacher"))
    )
    fetching.fetch(recipe, tmp_path / "fetched")
    fetched = load_recipe(str(tmp_path / "fetched/recipe.json"))
    assert (Path(fetched.distil.teacher) / "model.safetensors").is_file()
    assert [*(tmp_path / "fetched").rglob("checkpoints")] == []


def test_a_teacher_that_is_still_to_be_trained_is_not_fetched(shop, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data, model = Data(str(shop / "reviews.csv")), Recurrent(hidden_size=4, embedding_size=4)
    (tmp_path / "teacher.json").write_text(Recipe("teacher", "sentiment", data, model).to_json())
    with pytest.raises(UserError, match=r"^distil.teacher: its run has not finished; first: finetune run teacher.json"):
        fetching.fetch(Recipe("student", "sentiment", data, model, distil=Distil("teacher.json")), None)
