"""`finetune demo`: what it refuses, what its models answer, and the Space that it makes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import small_runs
from conftest import finetune
from hub_fixtures import Place, local_hub_only
from hub_server import files_of
from huggingface_hub import RepoCard, snapshot_download

from pipeline import inference
from pipeline.cli import demo
from pipeline.demo import contenders, space, space_files
from pipeline.errors import UserError


@pytest.fixture(scope="module")
def reviews(tmp_path_factory) -> list[str]:
    """Two runs of the same task."""
    folder = tmp_path_factory.mktemp("reviews")
    return [small_runs.make(folder, "sentiment", name, hidden_size=size) for name, size in (("small", 4), ("large", 8))]


@pytest.fixture(scope="module")
def names(tmp_path_factory) -> str:
    return small_runs.make(tmp_path_factory.mktemp("names"), "ner", "names")


def test_each_model_answers_as_predict_does_and_its_time_is_taken(reviews):
    loaded = contenders.load(reviews)
    assert [contender.name for contender in loaded] == ["small", "large"]
    for contender, folder in zip(loaded, reviews, strict=True):
        answer, seconds = contender.answer("a warm film")
        assert answer == next(inference.predict(folder, ["a warm film"]))
        assert 0.0 < seconds < 10.0


def test_models_of_different_tasks_are_refused_before_anything_is_loaded_and_afterwards(reviews, names, monkeypatch):
    with pytest.raises(UserError, match=r"^runs: .*small is for sentiment, but .*names is for ner; a demo compares"):
        demo.command([reviews[0], names])
    with pytest.raises(UserError, match=r"small is for sentiment with single_label_classification, but .* ner;"):
        contenders.load([reviews[0], names])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "finetune demo: name at least one run"),
        (["no/such/folder"], "there is no folder no/such/folder"),
        (["RUN", "--private"], "--private: it has no effect without --push USER/SPACE"),
        (["RUN", "--push", "nobody"], "push: nobody is not the name of a Space; use user/name or organization/name"),
    ],
)
def test_a_mistake_is_refused_in_one_line(arguments, message, reviews):
    with pytest.raises(UserError, match=message):
        demo.command([reviews[0] if argument == "RUN" else argument for argument in arguments])


def test_without_gradio_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(demo, "PACKAGE", "no_such_package")
    with pytest.raises(UserError, match=r"no_such_package is not installed; pip install 'finetune-pipeline\[demo\]'"):
        demo.command(["x"])


def test_models_of_the_same_name_are_shown_with_their_folders():
    assert contenders.titles(["runs/a", "user/b", "runs/c/model"]) == ["a", "b", "c"]
    assert contenders.titles(["one/a", "two/a/model"]) == ["one/a", "two/a/model"]


@pytest.mark.parametrize("is_pair", [False, True])
def test_a_text_that_no_field_would_send_is_refused_before_a_model_reads_it(is_pair):
    gradio = pytest.importorskip("gradio")
    from pipeline.demo import page

    read: list = []

    def answer(content):
        read.append(content)
        return {"text": content, "score": 0.5}, 0.1

    fake = SimpleNamespace(name="fake", task=SimpleNamespace(reads_pairs=is_pair), answer=answer)
    demo = page.build([fake])
    (event,) = demo.config["dependencies"]
    assert event["api_visibility"] == "private"
    ask, others = demo.fns[event["id"]].fn, ["text"] * is_pair
    longest = "x" * page.MAX_LENGTH
    assert "0.500" in "".join(ask(longest, *others))
    assert read == [(longest, "text") if is_pair else longest]
    for wrong, message in ((longest + "x", "20,001 characters are too many; write at most 20,000"), (None, "no text")):
        for texts in [[wrong, *others], [*others, wrong]]:
            with pytest.raises(gradio.Error, match=message):
                list(ask(*texts))
    assert len(read) == 1


@pytest.fixture
def untried(monkeypatch) -> None:
    """A Space of few files, which is pushed without being tried."""
    monkeypatch.setattr(space, "_try", lambda folder: None)
    page = Path(space_files.__file__).with_name("page.py")

    def copy(into: Path) -> None:
        (into / "demo").mkdir(parents=True)
        shutil.copy(page, into / "demo")

    monkeypatch.setattr(space_files, "_copy_package", copy)


def test_a_space_has_the_program_its_requirements_its_card_and_the_models(hub: Place, reviews, tmp_path, monkeypatch):
    monkeypatch.setattr(space, "_try", lambda folder: None)  # a process of its own, see below
    there = hub.name()
    commit = hub.server.put("models", there, files_of(Path(reviews[1]) / "model"))
    name = hub.name("space")
    space.push(name, [reviews[0], there], private=True)
    folder = Path(snapshot_download(name, repo_type="space"))
    assert (folder / "models/small/model.safetensors").is_file()
    assert not (folder / "models/large").exists()
    assert (folder / "pipeline/demo/demo.css").is_file()
    assert not [*folder.rglob("__pycache__")]
    app = (folder / "app.py").read_text()
    assert f'"models/small",\n    "{there}"' in app
    assert f'"{there}": "{commit}"' in app
    requirements = (folder / "requirements.txt").read_text().split()
    assert {line.split("==")[0] for line in requirements} >= {"torch", "transformers", "tokenizers", "tyro"}
    assert not [line for line in requirements if "+" in line or "gradio" in line]
    card = RepoCard.load(folder / "README.md")
    assert (card.data.sdk, card.data.app_file, card.data.models) == ("gradio", "app.py", [there])
    info = hub.api.space_info(name)
    assert info.private


@pytest.mark.usefixtures("untried")
def test_a_space_is_brought_up_to_date_and_what_it_no_longer_needs_is_deleted(hub: Place, reviews):
    name = hub.name("space")
    space.push(name, reviews)
    space.push(name, reviews[:1])
    files = hub.api.list_repo_files(name, repo_type="space")
    assert "models/small/config.json" in files
    assert space_files.MARK in files
    assert not [file for file in files if file.startswith("models/large")]


@local_hub_only
@pytest.mark.usefixtures("untried")
def test_a_space_of_others_is_not_changed_unless_that_is_asked_for(hub: Place, reviews):
    hub.server.put("spaces", "alice/mine", {"main.py": b"print('mine')"})
    with pytest.raises(UserError, match=r"push: the Space alice/mine holds files that finetune did not push; choose"):
        space.push("alice/mine", reviews)
    with pytest.raises(UserError, match="exists and is public"):
        space.push("alice/mine", reviews, private=True)
    space.push("alice/mine", reviews, overwrite=True)
    assert "main.py" in hub.api.list_repo_files("alice/mine", repo_type="space")
    with pytest.raises(UserError, match=r"push: bob/mine: .*; you are logged in as alice"):
        space.push("bob/mine", reviews)


@pytest.mark.slow  # two processes that load torch and gradio
def test_the_files_of_a_space_run_without_this_checkout_and_are_not_pushed_if_they_do_not(reviews, tmp_path):
    space_files.write(reviews, {}, "alice/mine", tmp_path / "space")
    moved = (tmp_path / "space").rename(tmp_path / "elsewhere")
    space._try(moved)
    code = "import app, pipeline; print(pipeline.__file__, [*app.demo.config['dependencies']][0]['api_name'])"
    environment = {**os.environ, "PYTHONPATH": str(moved)}
    done = subprocess.run([sys.executable, "-c", code], cwd=moved, env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(moved / "pipeline/__init__.py"), "answer"]
    (moved / "models/small/model.safetensors").unlink()
    with pytest.raises(UserError, match=r"push: the page cannot be built of the files of the Space: .*models/small"):
        space._try(moved)


@pytest.mark.slow  # a process of its own, as a user sees it
def test_a_space_is_pushed_by_the_command(hub: Place, reviews):
    name = hub.name("space")
    done = finetune("demo", *reviews, "--push", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pushed: ")
    assert f"/spaces/{name} at " in done.stdout
