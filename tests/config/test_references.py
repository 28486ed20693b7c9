"""The settings that name files or repositories are in one table, which pinning, fetching and redaction all read."""

from __future__ import annotations

import pytest
from hub_fixtures import Place
from huggingface_hub import HfApi

from pipeline import fetch, run
from pipeline.config import references, sources
from pipeline.config.data import Data
from pipeline.config.distil import Distil
from pipeline.config.models import Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.references import HubRepo, Reference
from pipeline.config.serialization import from_json
from pipeline.config.sources import resolve
from pipeline.config.training import Train
from pipeline.errors import UserError
from pipeline.hub import pinning
from pipeline.publish.redact import redacted_recipe

# Two settings that name nothing elsewhere, as if they named a repository and its revision.
ROW = Reference("data", "text_column", HubRepo("label_column", "model", lambda data, _: "/" in data.text_column[1:]))


@pytest.fixture
def row(monkeypatch) -> None:
    monkeypatch.setattr(references, "REFERENCES", (*references.REFERENCES, ROW))


def a_recipe(name: str, model: Recurrent | Pretrained | None = None) -> Recipe:
    return Recipe("x", "sentiment", Data("sample:imdb", text_column=name), model or Recurrent())


def test_a_new_row_is_pinned(hub: Place, row):
    name = hub.name()
    HfApi().create_repo(name)
    asked = a_recipe(name)
    recipe, revisions = pinning.resolve_revisions(asked, resolve(asked.data))
    commit = HfApi().model_info(name).sha
    assert recipe.data.label_column == commit
    assert revisions == {"data.text_column": {"name": name, "asked": None, "commit": commit}}


def test_a_new_row_is_copied_by_fetch(row, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "words.txt").write_text("good\n")
    copies = fetch._copy_files(a_recipe("words.txt"), {}, tmp_path / "gathered")
    assert copies == {"data.text_column": "data/data.text_column/words.txt"}
    assert (tmp_path / "gathered" / copies["data.text_column"]).read_text() == "good\n"


def test_a_new_row_is_redacted(row):
    assert redacted_recipe(a_recipe("/home/me/words.txt"), {}).data.text_column == "words.txt"


def test_a_name_that_a_run_has_read_from_the_hub_is_neither_copied_nor_redacted(row, tmp_path):
    revisions = {"data.text_column": {"name": "org/words", "asked": None, "commit": "1" * 40}}
    assert redacted_recipe(a_recipe("org/words"), {"revisions": revisions}).data.text_column == "org/words"
    assert fetch._copy_files(a_recipe("org/words"), revisions, tmp_path) == {}


def test_samples_and_kinds_of_tokenizers_name_nothing_outside_the_recipe():
    recipe = Recipe("x", "sentiment", Data("sample:imdb", tokenizer="bpe"), Recurrent(vectors="sample:glove-6b-50d"))
    assert references.local_names(recipe, ()) == {}
    source = resolve(recipe.data)
    assert not any(reference.on_hub(recipe, source) for reference in references.REFERENCES)


@pytest.mark.parametrize("reference", references.REFERENCES, ids=lambda reference: reference.setting)
def test_every_row_names_settings_that_exist(reference):
    sections = {"data": [Data], "model": [Recurrent, Pretrained], "distil": [Distil]}[reference.section]
    settings = {name for section in sections for name in section.__dataclass_fields__}
    assert {reference.name, *([reference.hub.revision] if reference.hub else [])} <= settings


def test_a_run_finds_its_source_once(reviews, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sources, "resolve", lambda data, task: asked.append((data, task)) or resolve(data, task))
    model = Recurrent(hidden_size=4, embedding_size=4)
    run.train(Recipe("x", "sentiment", Data(str(reviews)), model, train=Train(str(tmp_path / "run"), max_steps=1)))
    assert asked == [(Data(str(reviews)), "sentiment")]


@pytest.mark.parametrize(
    ("given", "name"),
    [("/home/me/words.csv", "words.csv"), ("../words.csv", "words.csv"), (".", "here"), ("..", "above")],
)
def test_a_redacted_path_keeps_its_last_part_also_if_that_is_not_written_out(tmp_path, monkeypatch, given, name):
    (tmp_path / "above/here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above/here")
    assert redacted_recipe(Recipe("x", "sentiment", Data(given), Recurrent()), {}).data.source == name


def test_the_recipe_of_a_run_that_trusted_a_folder_can_be_read_where_that_folder_is_missing():
    recipe = Recipe("x", "sentiment", Data("sample:imdb"), Pretrained("runs/gone/model", trust_remote_code=True))
    assert from_json(recipe.to_json(), "recipe.json") == recipe
    assert redacted_recipe(recipe, {}).model.checkpoint == "model"


def test_code_of_a_folder_may_run_but_that_of_a_repository_only_at_a_commit(tmp_path):
    def recipe(name: str, revision: str | None = None) -> Recipe:
        return Recipe("x", "sentiment", Data("x.csv"), Pretrained(name, revision=revision, trust_remote_code=True))

    for trusted in (recipe(str(tmp_path)), recipe("sample:minilm"), recipe("org/name", "1" * 40)):
        references.check_trust(trusted)
    for revision in (None, "main", "1" * 39):
        with pytest.raises(
            UserError, match=r"^model.trust_remote_code: org/name would run its own code, at a revision"
        ):
            references.check_trust(recipe("org/name", revision))
    with pytest.raises(UserError, match=r"model.checkpoint: there is no folder"):
        references.check_trust(recipe("./gone"))
