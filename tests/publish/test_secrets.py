"""Secrets are found in every file that is pushed, and an ordinary run is not refused."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from pipeline.errors import UserError
from pipeline.publish import secrets as scanning
from pipeline.publish.redact import without_folders
from pipeline.publish.secrets import refuse_secrets

HOME = str(Path.home())
SECRETS = {
    "a Hub token": "hf_" + "aB3" * 11 + "x",
    "a GitHub token": "ghp_" + "aB3" * 12,
    "an AWS key": "AKIA" + "A1B2" * 4,
    "an API key": "sk-" + "a1B2" * 10,
    "a private key": "-----BEGIN RSA PRIVATE KEY-----",
    "a password in a URL": "https://me:pass@host.org/x",
}


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """A folder to be pushed, made on the machine `athena` by the user `pallas`."""
    monkeypatch.setattr(scanning.getpass, "getuser", lambda: "pallas")
    monkeypatch.setattr(socket, "gethostname", lambda: "athena.lab.org")
    place = tmp_path / "staged"
    place.mkdir()
    (place / "README.md").write_text("| data | reviews.csv |\n\nhttps://huggingface.co/data/sets and/or more\n")
    (place / "recipe.json").write_text(json.dumps({"data": {"source": "reviews.csv"}}, indent=2))
    for name in ("tokenizer.json", "source_tokenizer.json"):
        (place / name).write_text(json.dumps({"vocab": {"pallas": 1, "/usr/bin": 2, "athena": 3}}))
    return place


def test_an_ordinary_folder_passes(folder):
    refuse_secrets(folder, "alice")


@pytest.mark.parametrize("file", ["README.md", "recipe.json", "tokenizer.json", "modeling_x.py"])
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_in_any_file_is_found_and_not_repeated(folder, file, kind):
    text = (folder / file).read_text() if (folder / file).exists() else ""
    (folder / file).write_text(f"{text}\n{SECRETS[kind]}\n")
    with pytest.raises(UserError) as error:
        refuse_secrets(folder, "alice")
    assert str(error.value).startswith(
        f"{file}:{text.count(chr(10)) + 2}: it contains {kind}, which others could read once"
    )
    assert SECRETS[kind] not in str(error.value)


@pytest.mark.parametrize("token", ["letme1n", "hf_abc", "opensesameplease"])
def test_the_token_in_use_is_found_in_any_format(folder, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    (folder / "notes.txt").write_text(f"the word is {token}")
    with pytest.raises(UserError, match=r"notes.txt:1: it contains your token"):
        refuse_secrets(folder, "alice")


@pytest.mark.parametrize("token", ["anything", "good", "x", "1", "1234"])
def test_a_token_that_is_a_common_word_is_not_searched_for(folder, monkeypatch, token):
    monkeypatch.setenv("HF_TOKEN", token)
    (folder / "notes.txt").write_text("anything is good x 1 1234")
    refuse_secrets(folder, "alice")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ('"source": "/home/pallas/data/x.csv"', "an absolute path"),
        ("read from /data/projects/x.csv", "an absolute path"),
        ("(/mnt/x/y)", "an absolute path"),
        ("see file:///x", "an absolute path"),
        ("~/runs/a", "an absolute path"),
        (r'"C:\\Users\\someone\\x.csv"', "an absolute path"),
        ("made by pallas", "the user's name"),
        ("Pallas-run-3", "the user's name"),
        ("on athena", "the name of this machine"),
        ("athena.lab.org", "the name of this machine"),
    ],
)
def test_paths_and_names_of_users_and_machines_are_found(folder, text, kind):
    (folder / "README.md").write_text(text)
    with pytest.raises(UserError, match=f"README.md:1: it contains {kind}"):
        refuse_secrets(folder, "alice")


@pytest.mark.parametrize(
    "text",
    ["pallasite", "either/or", "https://huggingface.co/home/x", "1/2", "a </tmp> b", "n/a", "runs/mine/model", "x / y"],
)
def test_text_that_only_looks_like_a_path_or_a_name_passes(folder, text):
    (folder / "README.md").write_text(text)
    refuse_secrets(folder, "alice")


def test_the_owner_of_the_repository_may_be_named(folder):
    (folder / "README.md").write_text("hf download pallas/model")
    refuse_secrets(folder, "pallas")
    with pytest.raises(UserError, match="the user's name"):
        refuse_secrets(folder, "acme")


def test_generic_names_are_not_searched_for(folder, monkeypatch):
    monkeypatch.setattr(scanning.getpass, "getuser", lambda: "train")
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    (folder / "README.md").write_text("rows of train on localhost")
    refuse_secrets(folder, "alice")


def test_a_user_name_that_is_also_a_value_of_a_setting_passes(folder, monkeypatch):
    monkeypatch.setattr(scanning.getpass, "getuser", lambda: "max")
    (folder / "recipe.json").write_text(json.dumps({"model": {"pooling": "max"}}))
    refuse_secrets(folder, "alice")


def test_the_metadata_of_weights_is_searched(folder):
    import torch

    save_file({"a": torch.zeros(1)}, folder / "model.safetensors", metadata={"from": "/home/pallas/run"})
    with pytest.raises(UserError, match=r"model.safetensors:1: it contains"):
        refuse_secrets(folder, "alice")
    save_file(load_file(folder / "model.safetensors"), folder / "model.safetensors", metadata={"format": "pt"})
    refuse_secrets(folder, "alice")


def test_the_modeling_files_pass(folder):
    root = Path(scanning.__file__).parent.parent / "models/recurrent"
    for file in root.glob("*_recurrent.py"):
        shutil.copy(file, folder)
    refuse_secrets(folder, "alice")


def test_every_path_in_the_metrics_loses_its_folders():
    metrics = {"notes": ["/work/my data/a.csv:3: odd, see ../x/b.csv", "3 of 4 rows, 1/2, and/or"], "n": 1.5}
    assert without_folders(metrics) == {"notes": ["a.csv:3: odd, see b.csv", "3 of 4 rows, 1/2, and/or"], "n": 1.5}
