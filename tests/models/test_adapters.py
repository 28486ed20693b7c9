"""What is trained of a pretrained model: adapters, upper layers, or all layers at different learning rates."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import clean_process
import pytest
import torch
from conftest import NEGATIVE, POSITIVE, save_checkpoint
from safetensors.torch import load_file
from transformers import AlbertConfig, AlbertForSequenceClassification, AutoModelForSequenceClassification

from pipeline import inference, run
from pipeline.config.data import Data
from pipeline.config.models import Lora, Pretrained
from pipeline.config.recipe import Recipe
from pipeline.config.serialization import from_json
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.models import checkpoints
from pipeline.models.layers import depths_of
from pipeline.training.optim import build_optimizer, parameter_groups


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapters")
    texts = [f"{text} {number}" for number in range(10) for text in POSITIVE + NEGATIVE]
    rows = [{"text": text, "label": "good" if text.rsplit(maxsplit=1)[0] in POSITIVE else "bad"} for text in texts]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_checkpoint(folder / "bert", "wordpiece", texts)
    save_checkpoint(folder / "gpt2", "bpe", texts)
    return folder


def trained(place: Path, folder: Path, **model) -> Path:
    """A run of three updates."""
    recipe = Recipe(
        name="x",
        task="sentiment",
        data=Data(str(place / "data.jsonl"), max_length=32),
        model=Pretrained(str(place / model.pop("kind", "bert")), **model),
        optim=Optim(learning_rate=0.02),
        train=Train(max_steps=3, batch_size=8, output_dir=str(folder)),
    )
    run.train(recipe)
    return folder


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_merged_adapters_leave_a_plain_model_that_differs_only_in_the_adapted_weights(place, tmp_path, kind):
    after = load_file(trained(place, tmp_path / "run", kind=kind, lora=Lora(rank=2)) / "model/model.safetensors")
    before = load_file(place / kind / "model.safetensors")
    changed = {name for name in before.keys() & after.keys() if not torch.equal(before[name], after[name])}
    targets = {"bert": ("query.weight", "value.weight"), "gpt2": ("c_attn.weight",)}[kind]
    assert changed
    assert all(name.endswith(targets) for name in changed)
    assert not any("lora" in name for name in after)


def test_adapters_train_few_parameters_and_the_run_says_how_many(place, tmp_path):
    metrics = json.loads((trained(place, tmp_path / "run", lora=Lora(rank=2)) / "metrics.json").read_text())["train"]
    adapters = 2 * 2 * 2 * 2 * 16  # layers, query and value, two matrices of rank x width
    head = 16 * 16 + 16 + 16 * 2 + 2  # pooler and classifier
    assert metrics["trained_parameters"] == adapters + head


def test_a_separate_adapter_predicts_like_the_merged_model_here_and_in_plain_transformers(place, tmp_path):
    merged = trained(place, tmp_path / "merged", lora=Lora(rank=2))
    alone = trained(place, tmp_path / "alone", lora=Lora(rank=2, merge=False))
    assert not (alone / "model/model.safetensors").exists()
    texts = ["a dull mess", "funny"]
    expected = [answer["scores"] for answer in inference.predict(str(merged), texts)]
    assert [answer["scores"] for answer in inference.predict(str(alone), texts)] == [
        pytest.approx(scores, abs=1e-6) for scores in expected
    ]
    snippet, _ = re.findall(r"```python\n(.*?)```", (alone / "model/README.md").read_text(), re.DOTALL)
    code = snippet.replace("path/to/this/folder", str(alone / "model"))
    code += "print(json.dumps(classify(sys.argv[1:], top_k=None)))"
    printed = clean_process.printed_by(code, *texts, folder=tmp_path)
    found = [{answer["label"]: answer["score"] for answer in row} for row in json.loads(printed.splitlines()[-1])]
    assert found == [pytest.approx(scores, abs=1e-6) for scores in expected]


def test_a_stopped_run_with_adapters_resumes_to_the_same_weights(place, tmp_path):
    straight = trained(place, tmp_path / "straight", lora=Lora(rank=2, dropout=0.2))
    stopped = trained(place, tmp_path / "stopped", lora=Lora(rank=2, dropout=0.2))
    (stopped / "metrics.json").unlink()  # as if it had been killed while it saved the model
    trained(place, tmp_path / "stopped", lora=Lora(rank=2, dropout=0.2))
    first, second = (load_file(folder / "model/model.safetensors") for folder in (straight, stopped))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_frozen_layers_keep_every_bit_and_the_others_change(place, tmp_path):
    after = load_file(trained(place, tmp_path / "run", freeze_layers=1) / "model/model.safetensors")
    before = load_file(place / "bert/model.safetensors")
    kept = {name for name in before.keys() & after.keys() if torch.equal(before[name], after[name])}
    below = {name for name in after if name.startswith(("bert.embeddings.", "bert.encoder.layer.0."))}
    assert below == kept


def a_model(place: Path):
    return AutoModelForSequenceClassification.from_pretrained(place / "bert")


def test_depths_follow_the_forward_pass(place):
    depths = depths_of(a_model(place), "x")
    assert depths["bert.embeddings.word_embeddings.weight"] == 0
    assert depths["bert.encoder.layer.0.attention.self.query.weight"] == 1
    assert depths["bert.encoder.layer.1.output.dense.bias"] == 2
    assert depths["bert.pooler.dense.weight"] == depths["classifier.weight"] == 3


def test_each_layer_learns_at_a_share_of_the_rate_above_it(place):
    model, settings = a_model(place), Optim(learning_rate=0.1, layer_decay=0.5, weight_decay=0.3)
    groups = parameter_groups(model, settings)
    names = {parameter: name for name, parameter in model.named_parameters()}
    depths = depths_of(model, "x")
    seen = [parameter for group in groups for parameter in group["params"]]
    assert len(seen) == len(set(seen)) == len(names)
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == pytest.approx(0.1 * 0.5 ** (3 - depths[names[parameter]]))
            is_matrix = parameter.ndim == 2 and "embeddings" not in names[parameter]
            assert group["weight_decay"] == (0.3 if is_matrix else 0.0)


def test_the_rates_of_the_layers_reach_the_optimizer(place):
    optimizer = build_optimizer(a_model(place), Optim(learning_rate=0.1, layer_decay=0.5))
    assert sorted({round(group["lr"], 6) for group in optimizer.param_groups}) == [0.0125, 0.025, 0.05, 0.1]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ({"freeze_layers": 3}, "model.freeze_layers: 3 is out of range; the model has 2 layers"),
        ({"lora": Lora(targets=("value", "querry"))}, "model.lora.targets: .* called querry; did you mean query"),
    ],
)
def test_layers_that_the_model_does_not_have_are_refused(place, tmp_path, model, message):
    with pytest.raises(UserError, match=message):
        trained(place, tmp_path / "run", **model)
    assert not (tmp_path / "run").exists()


def test_layers_that_share_weights_cannot_be_frozen_separately(tmp_path):
    config = AlbertConfig(hidden_size=8, num_hidden_layers=2, num_attention_heads=1, intermediate_size=8, vocab_size=9)
    with pytest.raises(UserError, match="x: a model of the type albert has no list of 2 layers"):
        depths_of(AlbertForSequenceClassification(config), "x")


def test_an_adapter_cannot_be_the_base_of_another_training(place, tmp_path):
    alone = trained(place, tmp_path / "alone", lora=Lora(rank=2, merge=False))
    for folder in (alone / "model", alone):
        with pytest.raises(UserError, match="model is an adapter; name the model that it adapts"):
            checkpoints.load_config(str(folder), "model.checkpoint")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda m: (m / "labels.json").unlink(), "holds an adapter that cannot be read"),
        (lambda m: (m / "labels.json").write_text("[]"), "holds an adapter that cannot be read"),
        (lambda m: (m / "adapter_config.json").write_text("{}"), "holds an adapter that cannot be read"),
        (lambda m: (m / "adapter_model.safetensors").write_bytes(b"x"), "does not fit"),
    ],
)
def test_a_damaged_adapter_is_refused(place, tmp_path, damage, message):
    alone = trained(place, tmp_path / "alone", lora=Lora(rank=2, merge=False))
    damage(alone / "model")
    with pytest.raises(UserError, match=message):
        list(inference.predict(str(alone), ["x"]))


def test_a_recipe_with_an_adapter_survives_json():
    recipe = Recipe("x", "sentiment", Data("a.csv"), Pretrained("org/name", lora=Lora(targets=("query",), alpha=3.0)))
    assert from_json(recipe.to_json(), "r.json") == recipe
    with pytest.raises(UserError, match=r"model.lora.rnk: no such setting; did you mean rank\?"):
        from_json(recipe.to_json().replace('"rank"', '"rnk"'), "r.json")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Pretrained("x", lora=Lora(), freeze_layers=1), "model.freeze_layers: model.lora freezes all layers"),
        (
            lambda: Pretrained("x", crf=True, lora=Lora(merge=False)),
            "model.lora.merge: an adapter cannot contain",
        ),
        (lambda: Pretrained("sample:minilm", lora=Lora(merge=False)), "model.lora.merge: sample:minilm exists on"),
        (lambda: Lora(rank=0), "model.lora.rank: 0 is out of range"),
        (lambda: Pretrained("x", lora=8), "model.lora: 8 is not a Lora"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()


def test_layer_decay_is_refused_for_models_from_scratch():
    from pipeline.config.models import Recurrent

    recipe = Recipe("x", "sentiment", Data("a.csv"), Pretrained("x"), optim=Optim(layer_decay=0.9))
    with pytest.raises(UserError, match=r"optim.layer_decay: only for pretrained models"):
        replace(recipe, model=Recurrent())
