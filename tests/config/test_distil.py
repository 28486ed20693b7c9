"""The settings of distillation: what is refused before torch is imported, and how they are written."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from conftest import ROOT, finetune
from hub_fixtures import Place
from huggingface_hub import HfApi

from pipeline.config import loading, references
from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.loading import load_recipe, override
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import from_json
from pipeline.config.sources import resolve
from pipeline.config.training import Train
from pipeline.errors import UserError
from pipeline.hub import pinning
from pipeline.publish.redact import redacted_recipe

TEXTS = Data("sample:imdb_text")


def a_recipe(distil: Distil | None, **train: object) -> Recipe:
    return Recipe("x", "sentiment", Data("sample:imdb"), Recurrent(), train=Train(**train), distil=distil)


@pytest.mark.parametrize("texts", [None, TEXTS, (TEXTS, Data("more.txt", separate=True))])
def test_a_recipe_with_a_teacher_survives_a_round_trip_through_json_and_the_command_line(texts):
    recipe = a_recipe(Distil("runs/teacher", unlabelled=texts, hard_share=0.5))
    assert from_json(recipe.to_json(), "here") == recipe
    assert override(recipe, [], "here") == recipe
    changed = override(recipe, ["--distil.teacher", "runs/other", "--distil.temperature", "2"], "here")
    assert changed.distil == replace(recipe.distil, teacher="runs/other", temperature=2.0)


def test_a_flag_changes_the_source_of_texts():
    recipe = override(a_recipe(Distil("t", unlabelled=TEXTS)), ["--distil.unlabelled.source", "more.txt"], "here")
    assert recipe.distil.sources == (Data("more.txt"),)


def test_flags_cannot_give_a_teacher_to_a_recipe_that_has_none():
    with pytest.raises(UserError, match=r"^distil: the recipe has no teacher"):
        override(a_recipe(None), ["--distil.teacher", "runs/teacher"], "here")


def test_a_recipe_of_an_earlier_version_has_no_teacher():
    values = json.loads(a_recipe(None).to_json())
    del values["distil"]
    assert from_json(json.dumps(values), "here") == a_recipe(None)


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({"unlabelled": ()}, "distil.unlabelled: it names no source"),
        ({"unlabelled": TEXTS, "augment": "mask"}, "distil.augment: it replaces texts that are missing"),
        ({"limit": 9}, "distil.limit: it counts rows without labels"),
        ({"loss": "mse", "temperature": 2.0}, "distil.temperature: mse compares logits"),
        ({"hard_share": 1.0}, "distil.hard_share: 1.0 is out of range; it must be < 1.0"),
        ({"temperature": 0.0}, "distil.temperature: 0.0 is out of range; it must be > 0.0"),
        ({"unlabelled": Data("x", max_length=9)}, "distil.unlabelled.max_length: "),
        ({"unlabelled": (TEXTS, Data("x", label_column="y"))}, "distil.unlabelled.label_column: "),
        ({"unlabelled": "x.txt"}, "distil.unlabelled: 'x.txt' is not a Data or a tuple"),
    ],
)
def test_a_setting_without_meaning_is_refused(settings, refusal):
    with pytest.raises(UserError) as refused:
        Distil("runs/teacher", **settings)
    assert str(refused.value).startswith(refusal)


@pytest.mark.parametrize("setting", [{"class_weights": "balanced"}, {"label_smoothing": 0.1}])
def test_settings_of_the_loss_of_labels_need_a_share_of_it(setting):
    (name,) = setting
    with pytest.raises(UserError, match=rf"^train.{name}: it is about the loss of labels, which distil.hard_share 0"):
        a_recipe(Distil("runs/teacher"), **setting)
    a_recipe(Distil("runs/teacher", hard_share=0.5), **setting)


@pytest.mark.parametrize("setting", [{"loss": "mse"}, {"temperature": 2.0}, {"hard_share": 0.5}])
def test_a_student_of_translation_learns_texts_with_the_usual_loss(setting):
    (name,) = setting
    smoothed = replace(a_recipe(None, label_smoothing=0.1), task="translation", distil=Distil("runs/teacher"))
    with pytest.raises(UserError, match=rf"^distil.{name}: a teacher of translation answers with texts, which take"):
        replace(smoothed, distil=Distil("runs/teacher", **setting))


def test_a_teacher_that_is_not_there_is_refused_before_torch_is_imported(tmp_path):
    for name, refusal in (
        ("runs/gone", "distil.teacher: there is no folder runs/gone"),
        ("gone.py", "distil.teacher: gone.py: no such file"),
    ):
        (tmp_path / "runs").mkdir(exist_ok=True)
        (tmp_path / "recipe.json").write_text(a_recipe(Distil(name)).to_json())
        done = finetune("run", "recipe.json", cwd=tmp_path)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {refusal}")


@pytest.mark.parametrize(
    ("source", "refusal"),
    [
        ("gone.csv", r"^distil\.unlabelled\.source: there is no file or folder gone\.csv"),
        ("texts.pdf", r"^distil\.unlabelled: .*texts\.pdf: \.pdf files cannot be read"),
        ("empty", r"^distil\.unlabelled: .*empty: "),
    ],
)
def test_texts_that_cannot_be_read_are_refused_by_the_name_of_their_setting(tmp_path, monkeypatch, source, refusal):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "texts.pdf").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    texts = (TEXTS, Data(source))
    with pytest.raises(UserError, match=refusal):
        loading.check_names(a_recipe(Distil(str(ROOT / "recipes/sentiment_bert.py"), unlabelled=texts)))


def recipe_file(folder, name: str, teacher: str, task: str = "sentiment") -> str:
    recipe = replace(a_recipe(Distil(teacher) if teacher else None, output_dir=name), task=task)
    (folder / f"{name}.json").write_text(recipe.to_json())
    return f"{name}.json"


def test_the_recipe_of_a_teacher_is_checked_too(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe_file(tmp_path, "tagger", "", "ner")
    with pytest.raises(UserError, match=r"^distil.teacher: tagger.json is for the task ner, not sentiment"):
        loading.check_names(load_recipe(recipe_file(tmp_path, "one", "tagger.json")))
    recipe_file(tmp_path, "teacher", "")
    with pytest.raises(UserError, match=r"^distil.revision: teacher.json is on this machine"):
        loading.check_names(replace(a_recipe(Distil("teacher.json", revision="main"))))
    loading.check_names(load_recipe(recipe_file(tmp_path, "student", "teacher.json")))


def test_a_model_cannot_be_its_own_teacher(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipe_file(tmp_path, "one", "two.json")
    recipe_file(tmp_path, "two", "one.json")
    with pytest.raises(UserError, match=r"^distil.teacher: the run of two.json would need its own model"):
        loading.check_names(load_recipe("one.json"))
    (tmp_path / "own/model").mkdir(parents=True)
    (tmp_path / "own/model/config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match=r"^distil.teacher: own is the folder of this run"):
        loading.check_names(a_recipe(Distil("own"), output_dir="own"))


def test_code_of_a_teacher_on_the_hub_runs_only_at_a_commit():
    with pytest.raises(UserError, match=r"^distil.trust_remote_code: org/name would run its own code"):
        references.check_trust(a_recipe(Distil("org/name", trust_remote_code=True)))
    references.check_trust(a_recipe(Distil("org/name", trust_remote_code=True, revision="1" * 40)))


def test_a_teacher_on_the_hub_is_pinned(hub: Place):
    name = hub.name()
    HfApi().create_repo(name)
    asked = a_recipe(Distil(name))
    recipe, revisions = pinning.resolve_revisions(asked, resolve(asked.data))
    commit = HfApi().model_info(name).sha
    assert recipe.distil.revision == commit
    assert revisions == {"distil.teacher": {"name": name, "asked": None, "commit": commit}}


def test_texts_on_the_hub_are_pinned_each_of_them(hub: Place):
    name = hub.name()
    HfApi().create_repo(name, repo_type="dataset")
    commit = HfApi().dataset_info(name).sha
    for texts, setting in (
        (Data(name), "distil.unlabelled.source"),
        ((TEXTS, Data(name)), "distil.unlabelled.1.source"),
    ):
        asked = a_recipe(Distil("sample:minilm", unlabelled=texts))
        recipe, revisions = pinning.resolve_revisions(asked, resolve(asked.data))
        assert recipe.distil.sources[-1].revision == commit
        assert revisions == {setting: {"name": name, "asked": None, "commit": commit}}


def test_a_published_recipe_names_teacher_and_texts_without_folders():
    texts = (Data("/home/me/new.txt"), TEXTS, Data("/home/me/more.txt"))
    redacted = redacted_recipe(a_recipe(Distil("/home/me/runs/teacher", unlabelled=texts)), {})
    assert redacted.distil.teacher == "teacher"
    assert [source.source for source in redacted.distil.sources] == ["new.txt", "sample:imdb_text", "more.txt"]
