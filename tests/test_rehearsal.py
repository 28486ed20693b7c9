"""The end of a run is tried before training: what would fail then is refused now, and nothing is changed or left."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, finetune, save_checkpoint

from pipeline import inference, rehearsal, run, saving
from pipeline.config.data import Data
from pipeline.config.hub import Hub
from pipeline.config.models import Lora, ModelSettings, Pretrained, Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.doctor import estimate
from pipeline.errors import UserError
from pipeline.models import adapters
from pipeline.publish import push
from pipeline.tasks.sentiment import Sentiment
from pipeline.training import trainer

SMALL = Recurrent(hidden_size=8, embedding_size=8)


def a_recipe(reviews: Path, folder: Path, model: ModelSettings = SMALL, **settings: Any) -> Recipe:
    train = Train(max_steps=2, batch_size=8, output_dir=str(folder))
    data = Data(str(reviews), max_length=32)
    return Recipe("x", settings.pop("task", "sentiment"), data, model, Optim(learning_rate=0.02), train, **settings)


@pytest.fixture
def bert(tmp_path) -> Path:
    save_checkpoint(tmp_path / "bert", "wordpiece", POSITIVE + NEGATIVE)
    return tmp_path / "bert"


@pytest.fixture
def begun(monkeypatch) -> list[int]:
    """Grows when a training begins."""
    found, fit = [], trainer.fit
    monkeypatch.setattr(trainer, "fit", lambda *given, **more: (found.append(1), fit(*given, **more))[1])
    return found


def refused(*given: Any, **more: Any) -> None:
    raise UserError("refused: at the end")


@pytest.mark.parametrize(
    ("module", "name"),
    [(saving, "card"), (saving, "labels_in"), (saving, "saved_form"), (inference, "load"), (adapters, "save")],
)
def test_what_fails_at_the_end_of_a_run_is_refused_before_it_begins(
    reviews, tmp_path, monkeypatch, begun, module, name
):
    monkeypatch.setattr(module, name, refused)
    with pytest.raises(UserError, match="refused: at the end"):
        run.train(a_recipe(reviews, tmp_path / "runs/new"))
    assert not begun
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["open_run", "stage_files", "refuse_secrets", "verify_in_clean_process"])
def test_what_only_a_push_checks_is_checked_before_a_run_that_pushes(reviews, tmp_path, monkeypatch, begun, name):
    monkeypatch.setattr(push, "verify_in_clean_process", lambda *given: None)
    monkeypatch.setattr(push, name, refused)
    with pytest.raises(UserError, match="refused: at the end"):
        run.train(a_recipe(reviews, tmp_path / "new", hub=Hub(push=True)))
    assert not begun
    run.train(a_recipe(reviews, tmp_path / "new"))
    assert begun


def test_a_rehearsal_changes_neither_the_weights_nor_the_tokenizer_nor_the_task(reviews, tmp_path, monkeypatch, bert):
    seen = []

    def state(this: trainer.Run) -> list[Any]:
        weights = {name: value.clone() for name, value in this.model.state_dict().items()}
        return [weights, this.tokenizer.backend_tokenizer.to_str(), this.task]

    def watched(this: trainer.Run, *given: Any) -> None:
        before = state(this)
        rehearse(this, *given)
        seen.append((before, state(this)))

    rehearse = rehearsal.rehearse
    monkeypatch.setattr(rehearsal, "rehearse", watched)
    models = (SMALL, Pretrained(str(bert), lora=Lora(rank=2)), Pretrained(str(bert), lora=Lora(merge=False)))
    for number, model in enumerate(models):
        run.train(a_recipe(reviews, tmp_path / str(number), model))
    assert len(seen) == len(models)
    for (weights, *others), (now, *others_now) in seen:
        assert all(torch.equal(weights[name], now[name]) for name in weights | now)
        assert others == others_now


def test_adapters_that_merging_would_change_are_refused_whatever_the_reason(reviews, tmp_path, monkeypatch, bert):
    def wrongly(model: Any) -> Any:
        plain = merged(model)
        with torch.no_grad():
            plain.classifier.bias += 0.1
        return plain

    merged = adapters.merged
    monkeypatch.setattr(adapters, "merged", wrongly)
    with pytest.raises(
        UserError, match=r"loaded again after the run, it would give other outputs: text 1 has the logit"
    ):
        run.train(a_recipe(reviews, tmp_path / "run", Pretrained(str(bert), lora=Lora(rank=2))))


CODE = """
from transformers import BertConfig, BertForSequenceClassification
class OddConfig(BertConfig):
    model_type = "odd"
class OddModel(BertForSequenceClassification):
    config_class = OddConfig
"""


@pytest.mark.parametrize("lora", [None, pytest.param(Lora(rank=2, merge=False), marks=pytest.mark.slow)])
def test_a_local_checkpoint_with_code_of_its_own_is_trained_and_used(reviews, tmp_path, bert, lora):
    config = json.loads((bert / "config.json").read_text())
    places = {"AutoConfig": "odd.OddConfig", "AutoModelForSequenceClassification": "odd.OddModel"}
    (bert / "config.json").write_text(json.dumps({**config, "model_type": "odd", "auto_map": places}))
    (bert / "odd.py").write_text(CODE)
    recipe = a_recipe(reviews, tmp_path / "run", Pretrained(str(bert), trust_remote_code=True, lora=lora))
    (tmp_path / "recipe.json").write_text(recipe.to_json())
    done = finetune("run", tmp_path / "recipe.json")
    assert done.returncode == 0, done.stderr
    answered = finetune("predict", tmp_path / "run", "--trust-remote-code", stdin="a dull mess\n")
    assert answered.returncode == 0, answered.stderr
    assert set(json.loads(answered.stdout)["scores"]) == {"positive", "negative"}


class WithScalars(Sentiment):
    """Its scores are NumPy's, as those of many libraries."""

    def score(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        return {**super().score(outcome, labels), "rows": np.int64(len(outcome["label"])), "half": np.float32(0.5)}


def test_scores_of_other_libraries_do_not_lose_a_trained_model(reviews, tmp_path):
    run.train(a_recipe(reviews, tmp_path / "run", task=f"{__name__}:WithScalars"))
    scores = json.loads((tmp_path / "run/metrics.json").read_text())["validation"]
    assert (scores["rows"], scores["half"]) == (16, 0.5)


def test_the_doctor_refuses_what_a_run_would(reviews, tmp_path, monkeypatch, bert, capsys):
    recipe = a_recipe(reviews, tmp_path / "run", Pretrained(str(bert)))
    estimate.examine(recipe)
    assert "updates" in capsys.readouterr().out
    monkeypatch.setattr(saving, "card", refused)
    with pytest.raises(UserError, match="refused: at the end"):
        estimate.examine(recipe)
    with pytest.raises(UserError, match="would run its own code, at a revision that can change"):
        estimate.examine(replace(recipe, model=Pretrained("org/name", trust_remote_code=True)))
    assert not (tmp_path / "run").exists()
