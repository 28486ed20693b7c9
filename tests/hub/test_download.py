"""Models, tokenizers and datasets from the Hub by their ids: at a recorded commit, and without running their code."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import clean_process
import datasets
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, ROOT, save_checkpoint
from hub_fixtures import Place, local_hub_only
from hub_server import files_of
from huggingface_hub import HfApi, ModelCard, constants

from pipeline import inference
from pipeline import run as runs
from pipeline.cli import main
from pipeline.config.data import Data
from pipeline.config.hub import Hub
from pipeline.config.models import Lora, Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.hub import download, pinning
from pipeline.publish import push as pushing

TEXTS = [f"{text} {number}" for number in range(12) for text in POSITIVE + NEGATIVE]
LABELS = [int(text.rsplit(maxsplit=1)[0] in POSITIVE) for text in TEXTS]
ASKED = ["warm and gripping", "a dull , lifeless mess"]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Reviews in a file, and a small BERT with its tokenizer."""
    folder = tmp_path_factory.mktemp("pull")
    rows = [f'"{text}",{("bad", "good")[label]}\n' for text, label in zip(TEXTS, LABELS, strict=True)]
    (folder / "reviews.csv").write_text("text,label\n" + "".join(rows))
    save_checkpoint(folder / "bert", "wordpiece", TEXTS)
    return folder


def a_recipe(workplace: Path, folder: Path, model: Any = None, **changes: Any) -> Recipe:
    own = Recurrent(cell="gru", hidden_size=8, embedding_size=8, pooling="max")
    train = Train(max_steps=4, batch_size=8, output_dir=str(folder))
    given = {"data": Data(str(workplace / "reviews.csv"), max_length=32), "train": train, **changes}
    return Recipe("tiny", "sentiment", model=model or own, optim=Optim(learning_rate=0.02), **given)


@pytest.fixture(scope="module")
def finished(workplace, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    runs.train(a_recipe(workplace, folder))
    return folder


def upload(hub: Place, folder: Path, kind: str = "model", **options: Any) -> tuple[str, str]:
    """Upload a folder without this package; returns its id and its commit."""
    name = hub.name(kind)
    HfApi().create_repo(name, repo_type=kind, **options)
    with pushing.without_xet():
        made = HfApi().upload_folder(repo_id=name, repo_type=kind, folder_path=folder)
    return name, made.oid


def scores(*arguments: Any, **options: Any) -> list[dict[str, float]]:
    return [prediction["scores"] for prediction in inference.predict(*arguments, **options)]


def close(expected: list[dict[str, float]]) -> list[Any]:
    return [pytest.approx(row, abs=1e-6) for row in expected]


def test_a_pushed_model_predicts_by_its_id_like_its_run_without_code_from_the_hub(hub, finished, monkeypatch):
    name = hub.name()
    pushing.push(str(finished), Hub(push=True, repo_id=name, tag="v1"))
    monkeypatch.setattr("transformers.dynamic_module_utils.get_class_from_dynamic_module", None)
    assert scores(name, ASKED) == close(scores(str(finished), ASKED))
    assert scores(name, ASKED, revision="v1") == close(scores(str(finished), ASKED))


def executed(command: list[str], folder: Path) -> str:
    environment = {**clean_process.environment(folder), "HF_HOME": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("kind", ["recurrent", pytest.param("adapter", marks=pytest.mark.slow)])  # two processes each
def test_both_snippets_of_the_card_run(hub, unchecked, workplace, finished, tmp_path, kind):
    run = finished
    if kind == "adapter":
        base, _ = upload(hub, workplace / "bert")
        run = tmp_path / "adapter"
        runs.train(a_recipe(workplace, run, Pretrained(base, lora=Lora(rank=2, merge=False))))
    name = hub.name()
    pushing.push(str(run), Hub(push=True, repo_id=name))
    plain, ours = (block.partition("```")[0] for block in ModelCard.load(name).text.split("```python\n")[1:])
    printed = executed(clean_process.command(plain), tmp_path)
    (expected,) = inference.predict(str(run), ["a gripping , funny and moving film"])
    assert f"'label': '{expected['label']}'" in printed
    assert f"'score': {expected['score']:.4f}"[:-1] in printed
    assert "'text': 'one text'" in executed([sys.executable, "-c", ours], tmp_path)


def test_a_resumed_run_keeps_its_commit_when_the_branch_moves(hub, workplace, tmp_path, monkeypatch):
    base, first = upload(hub, workplace / "bert")
    data = tmp_path / "data"
    data.mkdir()
    shutil.copy(workplace / "reviews.csv", data / "train.csv")
    source, data_commit = upload(hub, data, "dataset")
    recipe = a_recipe(workplace, tmp_path / "run", Pretrained(base), data=Data(source, max_length=32))
    metrics = runs.train(recipe)
    recipe_json = json.loads((tmp_path / "run/recipe.json").read_text())
    assert (recipe_json["model"]["revision"], recipe_json["data"]["revision"]) == (first, data_commit)
    assert metrics["revisions"] == {
        "data.source": {"name": source, "asked": None, "commit": data_commit},
        "model.checkpoint": {"name": base, "asked": None, "commit": first},
    }
    config = json.loads((workplace / "bert/config.json").read_text())
    changed = json.dumps({**config, "note": 1}).encode()
    moved = HfApi().upload_file(path_or_fileobj=changed, path_in_repo="config.json", repo_id=base).oid
    assert moved != first
    (tmp_path / "run/metrics.json").unlink()  # as if it had been killed at the end
    assert runs.train(recipe)["revisions"] == metrics["revisions"]
    anew = runs.train(replace(recipe, train=replace(recipe.train, overwrite=True)))
    assert anew["revisions"]["model.checkpoint"] == {"name": base, "asked": None, "commit": moved}


def test_an_unfinished_run_is_not_resumed_at_another_revision(hub, workplace, tmp_path):
    base, first = upload(hub, workplace / "bert")
    HfApi().create_tag(base, tag="v1", revision=first)
    recipe = a_recipe(workplace, tmp_path / "run", Pretrained(base, revision="v1"))
    runs.train(recipe)
    (tmp_path / "run/metrics.json").unlink()
    assert pinning.with_recorded_revisions(recipe).model.revision == first
    with pytest.raises(UserError, match=f"model.revision None, was {first}"):
        runs.train(replace(recipe, model=Pretrained(base)))


def test_a_dataset_is_loaded_at_a_branch_tag_or_commit(hub, workplace, finished, tmp_path):
    rows = datasets.Dataset.from_dict({"text": TEXTS, "label": LABELS})
    rows = rows.cast_column("label", datasets.ClassLabel(names=["bad", "good"]))
    (tmp_path / "data").mkdir()
    rows.to_parquet(tmp_path / "data/test.parquet")
    source, commit = upload(hub, tmp_path / "data", "dataset")
    HfApi().create_tag(source, tag="v1", repo_type="dataset")
    expected = inference.evaluate(str(finished), Data(str(workplace / "reviews.csv")))
    for revision in (None, "v1", commit):
        found = inference.evaluate(str(finished), Data(source, revision=revision))
        assert found["accuracy"] == expected["accuracy"]
        assert found["loss"] == pytest.approx(expected["loss"])
    with pytest.raises(UserError, match="at revision v2: there is no such revision on the Hub"):
        inference.evaluate(str(finished), Data(source, revision="v2"))


def test_a_tokenizer_from_the_hub_has_its_own_revision(hub, workplace, tmp_path):
    name, commit = upload(hub, workplace / "bert")
    data = Data(str(workplace / "reviews.csv"), max_length=32, tokenizer=name)
    runs.train(a_recipe(workplace, tmp_path / "run", data=data))
    assert json.loads((tmp_path / "run/recipe.json").read_text())["data"]["tokenizer_revision"] == commit


CODE = """
from transformers import BertConfig, BertForSequenceClassification
open({mark!r}, "w").write("run")
class OddConfig(BertConfig):
    model_type = "odd"
class OddModel(BertForSequenceClassification):
    config_class = OddConfig
"""


def test_code_from_the_hub_runs_only_at_a_commit_and_only_if_trusted(hub, workplace, tmp_path):
    odd, mark = Path(shutil.copytree(workplace / "bert", tmp_path / "odd")), tmp_path / "mark"
    config = json.loads((odd / "config.json").read_text())
    places = {"AutoConfig": "odd.OddConfig", "AutoModelForSequenceClassification": "odd.OddModel"}
    (odd / "config.json").write_text(json.dumps({**config, "model_type": "odd", "auto_map": places}))
    (odd / "odd.py").write_text(CODE.format(mark=str(mark)))
    name, commit = upload(hub, odd)
    with pytest.raises(UserError, match="the code that comes with it only runs if it is trusted"):
        runs.train(a_recipe(workplace, tmp_path / "no", Pretrained(name, revision=commit)))
    for revision in (None, "main"):
        model = Pretrained(name, revision=revision, trust_remote_code=True)
        with pytest.raises(UserError, match=r"model.trust_remote_code: .* would run its own code, at a revision"):
            runs.train(a_recipe(workplace, tmp_path / "no", model))
    assert not mark.exists()
    runs.train(a_recipe(workplace, tmp_path / "yes", Pretrained(name, revision=commit, trust_remote_code=True)))
    assert mark.exists()
    elsewhere = {"AutoConfig": "else/where--odd.OddConfig"}
    (odd / "config.json").write_text(json.dumps({**config, "model_type": "odd", "auto_map": elsewhere}))
    name, commit = upload(hub, odd)
    with pytest.raises(UserError, match="refers to code in another repository, which is never run"):
        runs.train(a_recipe(workplace, tmp_path / "x", Pretrained(name, revision=commit, trust_remote_code=True)))


def test_pickled_weights_are_read_only_if_allowed(hub, workplace, tmp_path):
    from safetensors.torch import load_file

    folder = Path(shutil.copytree(workplace / "bert", tmp_path / "pickled"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    name, _ = upload(hub, folder)
    with pytest.raises(UserError, match=r"model.checkpoint: there are no weights in .*: no \*.safetensors file"):
        runs.train(a_recipe(workplace, tmp_path / "no", Pretrained(name)))
    runs.train(a_recipe(workplace, tmp_path / "yes", Pretrained(name, allow_pickle=True)))
    with pytest.raises(UserError, match="only a pickle, which is not loaded unless it is allowed"):
        runs.train(a_recipe(workplace, tmp_path / "no", Pretrained(str(folder))))


@local_hub_only
def test_a_model_that_cannot_be_read_is_refused_in_one_line(hub, workplace, finished):
    bert = files_of(workplace / "bert")
    hub.server.put("models", "bob/secret", bert, private=True)
    hub.server.put("models", "bob/gated", bert)
    hub.server.repos["models", "bob/gated"].gated = True
    hub.server.put("models", "bob/open", {"README.md": b"nothing"})
    cases = {
        "bob/nothing": "model: bob/nothing: not a local folder, and not found on the Hub; check the name (if it is",
        "bob/secret": "not found on the Hub; check the name (if it is private, run `hf auth login` or set HF_TOKEN)",
        "bob/gated": "model: bob/gated: the repository is gated; accept its conditions on its page",
        "bob/open": "model: bob/open is not the folder of a model; there is no config.json in it",
    }
    for name, says in cases.items():
        with pytest.raises(UserError) as error:
            scores(name, ASKED)
        assert says in str(error.value)
    with pytest.raises(UserError, match="at revision v9: there is no such revision on the Hub"):
        scores("bob/open", ASKED, revision="v9")


@local_hub_only
def test_a_cached_model_is_read_while_the_hub_is_down(hub, unchecked, finished, monkeypatch):
    pushing.push(str(finished), Hub(push=True, repo_id="alice/tiny"))
    before = scores("alice/tiny", ASKED)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    download.go_offline_if_unreachable.cache_clear()
    assert scores("alice/tiny", ASKED) == before
    with pytest.raises(UserError, match="is not a local folder, and the Hub cannot be reached to look it up"):
        scores("alice/other", ASKED)


def test_the_commands_accept_ids_and_revisions(hub, unchecked, finished, workplace, tmp_path, capsys):
    name = hub.name()
    pushing.push(str(finished), Hub(push=True, repo_id=name, revision="next", tag="v1"))
    capsys.readouterr()
    (tmp_path / "lines.txt").write_text(ASKED[0] + "\n")
    main._dispatch(["predict", name, "--revision", "v1", "--input", str(tmp_path / "lines.txt")])
    assert json.loads(capsys.readouterr().out)["text"] == ASKED[0]
    main._dispatch(["evaluate", name, "--model-revision", "next", "--data", str(workplace / "reviews.csv")])
    assert json.loads(capsys.readouterr().out).keys() >= {"accuracy", "loss"}
    for command in (["predict"], ["evaluate", "--data", str(workplace / "reviews.csv")]):
        with pytest.raises(UserError, match="set the revision to a commit whose code you have read"):
            main._dispatch([*command, name, "--trust-remote-code"])
    with pytest.raises(UserError, match=r"revision: .* is a local folder and has no revisions; leave it out"):
        main._dispatch(["predict", str(finished), "--revision", "v1"])


@local_hub_only
@pytest.mark.parametrize(
    ("endpoint", "offline_before", "requests", "offline_after"),
    [(None, False, 1, False), ("http://127.0.0.1:9", False, 0, True), (None, True, 0, True)],
    ids=["up", "down", "offline"],
)
def test_the_hub_is_asked_once_whether_it_answers(hub, monkeypatch, endpoint, offline_before, requests, offline_after):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline_before)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", offline_before)
    with monkeypatch.context() as patch:
        patch.setattr(constants, "ENDPOINT", endpoint or constants.ENDPOINT)
        download.go_offline_if_unreachable()
    download.go_offline_if_unreachable()  # even if it would answer by now
    assert len(hub.server.calls("HEAD /")) == requests
    assert constants.HF_HUB_OFFLINE is offline_after
    assert datasets.config.HF_HUB_OFFLINE is offline_after


def test_hub_modules_import_neither_torch_nor_transformers_nor_datasets():
    code = "import sys; from pipeline.hub import download, errors, pinning; print(*sys.modules)"
    imported = set(executed([sys.executable, "-c", code], ROOT).split())
    assert "huggingface_hub" in imported
    assert not {"torch", "transformers", "datasets"} & imported
