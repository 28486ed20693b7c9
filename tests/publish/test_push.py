"""A push: what it uploads, what it refuses, and what it does when the Hub fails."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import NEGATIVE, POSITIVE
from hub_fixtures import Place, local_hub_only
from hub_server import REAL_HUB, Fault, files_of
from huggingface_hub import ModelCard, RepoCard, constants, snapshot_download

from pipeline import run as runs
from pipeline.config.data import Data
from pipeline.config.hub import Hub
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.publish import push as pushing

ROWS = [("text", "label"), *((f"{text} {n}", "good") for n in range(12) for text in POSITIVE)]
ROWS += [(f"{text} {n}", "bad") for n in range(12) for text in NEGATIVE]


def a_recipe(data: Path, folder: Path, **train: Any) -> Recipe:
    model = Recurrent(cell="gru", hidden_size=8, embedding_size=8, pooling="max")
    where = Train(epochs=2, batch_size=8, output_dir=str(folder), **train)
    return Recipe("tiny", "sentiment", Data(str(data)), model, Optim(learning_rate=0.05), where)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """Folder of a finished run, on data that is named by an absolute path."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "reviews.csv").write_text("".join(f'"{text}",{label}\n' for text, label in ROWS))
    runs.train(a_recipe(folder / "reviews.csv", folder / "run"))
    return folder / "run"


@pytest.fixture
def run(finished, tmp_path) -> Path:
    """A copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "runs/tiny", dirs_exist_ok=True))


def push(folder: Path, repo_id: str, **settings: Any) -> None:
    pushing.push(str(folder), Hub(push=True, repo_id=repo_id, **settings))


def refusal(folder: Path, repo_id: str, **settings: Any) -> str:
    with pytest.raises(UserError) as error:
        push(folder, repo_id, **settings)
    return str(error.value)


def test_model_recipe_metrics_and_card_are_pushed(hub: Place, run, capsys):
    name = hub.name()
    assert (run / "predictions/test.parquet").is_file()  # has the user's texts, and stays here
    push(run, name)
    folder = Path(snapshot_download(name))
    names = {file.name for file in folder.iterdir()} - {".gitattributes"}
    own = {"activity.py", "adaptive_softmax.py", "cache.py", "cells.py", "characters.py", "configuration_recurrent.py",
           "cpu_kernels.py", "cpu_linear.py", "crf.py", "crf_inference.py", "dropout.py", "field_names.py", "layout.py",
           "minimal_cells.py", "mixing.py", "modeling_recurrent.py", "pairs.py", "per_sample.py", "pooling.py",
           "recurrence.py", "saved_type.py", "scan.py", "sizes.py", "tag_constraints.py", "tag_labels.py"}  # fmt: skip
    assert names == {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "recipe.json",
                    "metrics.json", "README.md", *own}  # fmt: skip
    assert (folder / "model.safetensors").read_bytes() == (run / "model/model.safetensors").read_bytes()
    assert json.loads((folder / "config.json").read_text())["id2label"] == {"0": "bad", "1": "good"}
    assert json.loads((folder / "recipe.json").read_text())["data"]["source"] == "reviews.csv"
    there, here = (json.loads((place / "metrics.json").read_text()) for place in (folder, run))
    assert there["test"] == here["test"]
    RepoCard.load(folder / "README.md").validate(repo_type="model")
    assert f"pushed: {constants.ENDPOINT}/{name}" in capsys.readouterr().out


def test_a_second_push_of_the_same_run_makes_no_commit(hub: Place, run, unchecked, capsys):
    name = hub.name()
    push(run, name)
    before = hub.api.model_info(name).sha
    push(run, name)
    assert hub.api.model_info(name).sha == before
    assert "nothing to push" in capsys.readouterr().out


def test_only_changed_files_are_uploaded_and_leftovers_of_another_model_are_deleted(hub: Place, run, unchecked):
    name = hub.name()
    push(run, name)
    with pushing.without_xet():
        for file in ("model-00001-of-00002.safetensors", "notes.md", "modeling_crf.py"):
            hub.api.upload_file(path_or_fileobj=b"x", path_in_repo=file, repo_id=name)
    config = json.loads((run / "model/config.json").read_text())
    (run / "model/config.json").write_text(json.dumps({**config, "note": 1}))
    hub.server.log.clear()
    push(run, name)
    files = hub.api.list_repo_files(name)
    assert not {"model-00001-of-00002.safetensors", "modeling_crf.py"} & set(files)
    assert "notes.md" in files
    assert hub.server.calls("PUT .*") == []


def test_a_model_without_code_deletes_all_that_an_earlier_one_has_brought(hub: Place, run, unchecked):
    name, code = hub.name(), {file.name for file in (run / "model").glob("*.py")}
    push(run, name)
    for file in code:
        (run / "model" / file).unlink()
    push(run, name)
    assert len(code) > 10
    assert not code & set(hub.api.list_repo_files(name))


def test_licence_and_languages_of_the_published_card_are_kept_unless_others_are_given(hub: Place, run, unchecked):
    name = hub.name()
    push(run, name, license="mit", languages=("en", "he"))
    first = hub.api.model_info(name).sha
    push(run, name)
    assert hub.api.model_info(name).sha == first
    push(run, name, license="apache-2.0")
    data = ModelCard.load(name).data
    assert (data.license, data.language) == ("apache-2.0", ["en", "he"])


def test_branches_are_created_and_tags_never_move(hub: Place, run, unchecked):
    name = hub.name()
    push(run, name, revision="next/1", tag="v1")
    refs = hub.api.list_repo_refs(name)
    heads, tags = ({ref.name: ref.target_commit for ref in part} for part in (refs.branches, refs.tags))
    assert tags["v1"] == heads["next/1"] != heads["main"]
    push(run, name, revision="next/1", tag="v1")  # the same again
    (run / "model/config.json").write_text((run / "model/config.json").read_text() + " ")
    assert "already has a tag v1" in refusal(run, name, revision="next/1", tag="v1")


def test_a_private_push_makes_a_private_repository_and_refuses_a_public_one(hub: Place, run, unchecked):
    name = hub.name()
    push(run, name, private=True)
    assert hub.api.model_info(name).private
    public = hub.name()
    push(run, public)
    assert "exists and is public" in refusal(run, public, private=True)


@local_hub_only
def test_members_can_push_to_an_organisation_and_others_learn_where_they_may_write(hub: Place, run, unchecked):
    push(run, "acme/tiny")
    message = refusal(run, "bob/tiny")
    assert message.startswith("push: bob/tiny: the token does not allow this")
    assert "you are logged in as alice and may write to alice and acme" in message
    hub.log_in("hf_of_bob")
    (run / "model/config.json").write_text((run / "model/config.json").read_text() + " ")
    assert "you are logged in as bob and may write to bob" in refusal(run, "acme/tiny")


def test_a_repository_without_an_owner_belongs_to_the_user(hub: Place, run, unchecked):
    name = hub.name()
    push(run, name.split("/")[1])
    assert hub.api.repo_exists(name)


@local_hub_only
def test_a_user_without_write_access_can_open_a_pull_request(hub: Place, run, unchecked, capsys):
    push(run, "alice/tiny")
    hub.log_in("hf_of_bob")
    (run / "model/config.json").write_text((run / "model/config.json").read_text() + " ")
    push(run, "alice/tiny", create_pr=True)
    assert "opened a pull request: " in capsys.readouterr().out
    repo = hub.server.repos["models", "alice/tiny"]
    assert list(repo.pulls) == ["refs/pr/1"]
    assert repo.heads["main"] != repo.pulls["refs/pr/1"]
    assert "alice/none does not exist, so no pull request can be opened" in refusal(run, "alice/none", create_pr=True)


@local_hub_only
def test_a_repository_with_other_files_is_refused(hub: Place, run, unchecked):
    hub.server.put("models", "alice/other", {"config.json": b"{}"})
    assert "alice/other already holds files that finetune did not push; choose another name" in refusal(
        run, "alice/other"
    )
    push(run, "alice/other", overwrite=True)
    recipe = (run / "recipe.json").read_text()
    hub.server.put("models", "alice/tagger", {"recipe.json": recipe.replace("sentiment", "ner").encode()})
    assert "alice/tagger already holds a model for ner, not sentiment; choose another name" in refusal(
        run, "alice/tagger"
    )
    hub.server.put("models", "bob/secret", {"config.json": b"{}"}, private=True)
    hub.server.users["hf_of_alice"] = replace(hub.server.users["hf_of_alice"], organisations=("acme",))
    assert "bob/secret: " in refusal(run, "bob/secret")


@local_hub_only
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault("POST /api/.*/commit/.*", 403, message="Private repository storage limit reached"), "quota is exceeded"),
        (Fault("POST .*/batch", 413), "a file is larger than the Hub accepts"),
        (Fault("POST /api/repos/create", 402), "the storage quota is exceeded"),
        (Fault("GET /api/whoami-v2", 401), "the token is not valid; run `hf auth login` or set HF_TOKEN"),
        (Fault("GET /api/whoami-v2", 503), "the Hub answered with server error 503; try again later"),
        (Fault("PUT .*", 500), "the Hub answered with server error 500; try again later"),
        (Fault("POST /api/.*/commit/.*", 429, headers={"Retry-After": "1"}), "too many requests; wait"),
        (Fault("POST /api/validate-yaml", 400), "Invalid metadata in README.md"),
    ],
    ids=lambda value: f"{value.status} {value.calls}" if isinstance(value, Fault) else "",
)
def test_an_error_of_the_hub_is_explained_in_one_line(hub: Place, run, unchecked, fault, says):
    hub.server.faults.append(fault)
    message = refusal(run, "alice/tiny")
    assert says in message
    assert "\n" not in message
    assert "http" not in message.replace("https://hf", "")


@local_hub_only
def test_a_read_only_token_no_token_no_network_and_offline_mode_have_messages_of_their_own(
    hub: Place, run, unchecked, monkeypatch
):
    hub.log_in("hf_reader")
    assert "the token of alice is read-only" in refusal(run, "alice/tiny")
    hub.log_in("")
    assert "you are not logged in; run `hf auth login` or set HF_TOKEN" in refusal(run, "alice/tiny")
    hub.log_in("hf_of_alice")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "the Hub cannot be reached at http://127.0.0.1:9" in refusal(run, "alice/tiny")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refusal(run, "alice/tiny")


@local_hub_only
def test_a_failed_upload_is_retried(hub: Place, run, unchecked):
    hub.server.faults += [Fault("PUT .*", 500, times=2), Fault("POST /api/.*/commit/.*", 503, times=2)]
    hub.server.faults.append(Fault("POST /api/repos/create", 502, times=1))
    push(run, "alice/tiny")
    assert "model.safetensors" in hub.server.repos["models", "alice/tiny"].files


@local_hub_only
def test_a_second_push_does_not_send_a_large_file_again(hub: Place, run, unchecked):
    hub.server.faults.append(Fault("POST /api/.*/commit/.*", 500))
    assert "try again later" in refusal(run, "alice/tiny")
    assert len(hub.server.calls("PUT .*")) == 1
    assert set(hub.server.repos["models", "alice/tiny"].files) == {".gitattributes"}  # all or nothing
    hub.server.faults.clear()
    push(run, "alice/tiny")
    assert len(hub.server.calls("PUT .*")) == 1


@local_hub_only
def test_a_lost_response_does_not_lead_to_a_second_commit(hub: Place, run, unchecked, monkeypatch):
    create, lost = pushing.HfApi.create_commit, []

    def losing(*args: Any, **options: Any) -> Any:
        made = create(*args, **options)
        if not lost:
            lost.append(made)
            raise ConnectionError("reset by peer")
        return made

    monkeypatch.setattr(pushing.HfApi, "create_commit", losing)
    push(run, "alice/tiny")
    assert list(hub.server.repos["models", "alice/tiny"].titles.values()) == [
        "initial commit",
        "Push a run of finetune",
    ]


@local_hub_only
@pytest.mark.slow  # a separate process, to be killed
def test_a_killed_push_leaves_no_partial_commit_and_the_same_command_finishes_it(hub: Place, run):
    hub.server.faults.append(Fault("POST /api/.*/commit/.*", 0, times=1, seconds=30.0))
    command = "from pipeline.cli.main import entry; entry()"
    process = subprocess.Popen([sys.executable, "-c", command, "push", str(run), "alice/tiny"])
    while not hub.server.calls("POST /api/.*/commit/.*"):
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    assert set(hub.server.repos["models", "alice/tiny"].files) == {".gitattributes"}
    push(run, "alice/tiny")
    assert "model.safetensors" in hub.server.repos["models", "alice/tiny"].files
    assert len(hub.server.calls("PUT .*")) == 1


def test_a_recipe_pushes_after_its_run_and_a_failed_push_is_reported_and_never_fails_the_run(
    hub: Place, run, unchecked, capsys
):
    data = run.parent.parent / "reviews.csv"
    data.write_text("".join(f'"{text}",{label}\n' for text, label in ROWS))
    recipe = a_recipe(data, run.parent / "pushing", max_steps=1)
    name = hub.name()
    runs.train(replace(recipe, hub=Hub(push=True, repo_id=name, private=True)))
    assert hub.api.model_info(name).private
    if REAL_HUB:  # it finds a token elsewhere
        return
    hub.log_in("")
    other = replace(recipe, train=replace(recipe.train, output_dir=str(run.parent / "failing")))
    metrics = runs.train(replace(other, hub=Hub(push=True, repo_id=name, tag="v2", private=True)))
    assert metrics["test"]
    printed = capsys.readouterr().err
    assert "its model was not pushed: push: you are not logged in" in printed
    assert f"to push it later: finetune push {run.parent}/failing {name} --private --tag v2" in printed


@local_hub_only
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_during_the_push_of_a_finished_run_ends_only_the_push(hub: Place, run, number):
    folder = run.parent / "pushing"
    recipe = replace(a_recipe(run.parent.parent / "reviews.csv", folder), hub=Hub(push=True, repo_id="alice/tiny"))
    Path(recipe.data.source).write_text("".join(f'"{text}",{label}\n' for text, label in ROWS))
    (run.parent / "recipe.json").write_text(recipe.to_json())
    hub.server.faults.append(Fault("GET /api/whoami-v2", 0, times=1, seconds=60.0))
    call = [
        sys.executable,
        "-c",
        "from pipeline.cli.main import entry; entry()",
        "run",
        str(run.parent / "recipe.json"),
    ]
    with subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not hub.server.calls("GET /api/whoami-v2"):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        printed, errors = process.communicate(timeout=50)
    assert process.returncode == 0
    assert f"its model was not pushed: it was stopped; to push it later: finetune push {folder} alice/tiny" in errors
    assert "test accuracy" in printed


def test_the_card_has_mean_and_standard_deviation_over_seeds(hub: Place, run, unchecked, tmp_path):
    first = json.loads((run / "metrics.json").read_text())["test"]["accuracy"]
    folders = [run]
    for seed, accuracy in ((1, 0.5), (2, 0.75)):
        other = Path(shutil.copytree(run, tmp_path / f"seed{seed}"))
        recipe = json.loads((other / "recipe.json").read_text())
        recipe["train"]["seed"], recipe["name"] = seed, f"tiny-{seed}"
        (other / "recipe.json").write_text(json.dumps(recipe))
        metrics = json.loads((other / "metrics.json").read_text())
        metrics["test"]["accuracy"] = accuracy
        (other / "metrics.json").write_text(json.dumps(metrics))
        folders.append(other)
    name = hub.name()
    pushing.push(str(run), Hub(push=True, repo_id=name), [str(folder) for folder in folders])
    card = ModelCard.load(name)
    found = [r for r in card.data.eval_results if (r.dataset_split, r.metric_type) == ("test", "accuracy")]
    mean = (first + 0.5 + 0.75) / 3
    spread = (sum((value - mean) ** 2 for value in (first, 0.5, 0.75)) / 2) ** 0.5
    assert found[0].metric_value == pytest.approx(mean)
    assert found[0].metric_args == {"seeds": [0, 1, 2], "spread": pytest.approx(spread), "this_model": first}
    assert f"| {first:.4f} | {mean:.4f} | {spread:.4f} |" in card.text
    recipe = json.loads((folders[1] / "recipe.json").read_text())
    recipe["train"]["epochs"] = 7
    (folders[1] / "recipe.json").write_text(json.dumps(recipe))
    with pytest.raises(UserError, match=r"differs from .* in more than the seed: train.epochs 2, was 7"):
        pushing.push(str(run), Hub(push=True, repo_id=name), [str(folders[1])])


def test_an_edited_card_is_pushed_as_it_is(hub: Place, run, unchecked, capsys):
    file = run / "model/README.md"
    file.write_text(file.read_text() + "\nSeen by a person.\n")
    name = hub.name()
    push(run, name)
    assert RepoCard.load(name).text.endswith("Seen by a person.\n")
    assert "README.md was edited by hand" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda run: (run / "metrics.json").unlink(), "has not finished; resume it with the same command"),
        (lambda run: (run / "recipe.json").unlink(), "is not the folder of a run"),
        (lambda run: shutil.rmtree(run), "does not exist; give the folder of a finished run"),
        (lambda run: (run / "model/config.json").unlink(), "is not the folder of a model; there is no config.json"),
        (lambda run: (run / "metrics.json").write_text("{}"), "not the metrics of a run"),
        (lambda run: (run / "answers.json").unlink(), "there is no answers.json, against which a model is verified"),
    ],
)
def test_a_folder_that_is_not_a_finished_run_is_refused(hub: Place, run, unchecked, break_it, says):
    break_it(run)
    assert says in refusal(run, "alice/tiny")
    assert not hub.server.calls("POST /api/.*/commit/.*")


def test_the_folder_of_a_model_without_its_run_is_refused(hub: Place, run, tmp_path):
    plain = Path(shutil.copytree(run / "model", tmp_path / "plain"))
    assert "without the metrics for a card; give the folder of a run, or upload it" in refusal(plain, "a/b")
    assert files_of(plain)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"repo_id": "a b/c"}, "hub.repo_id: 'a b/c' is not a valid repository; use user/name"),
        ({"repo_id": "https://huggingface.co/a/b"}, "is not a valid repository"),
        ({"repo_id": "a/b--c"}, "is not a valid repository"),
        ({"repo_id": "x" * 97}, "is not a valid repository"),
        ({"revision": "0" * 40}, "cannot name a branch"),
        ({"tag": "v 1"}, "hub.tag: 'v 1' cannot name a tag; use letters"),
        ({"create_pr": True, "tag": "v1"}, "hub.tag: a pull request cannot set it"),
        ({"languages": ("English",)}, "hub.languages: 'English' is not a language code"),
        ({"push": False, "private": True}, "hub.private: it has no effect without hub.push"),
    ],
)
def test_invalid_settings_of_a_push_are_refused(settings, says):
    with pytest.raises(UserError, match=says.replace("(", r"\(")):
        Hub(**{"push": True, **settings})
