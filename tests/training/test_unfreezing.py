"""Gradual unfreezing: what is trained when, and that it is the arithmetic of parameters that need no gradient."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from conftest import NEGATIVE, POSITIVE, save_checkpoint
from safetensors.torch import load_file
from stopping import stopped_after
from torch import nn

from pipeline.config.data import Data
from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.errors import UserError
from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification
from pipeline.run import train
from pipeline.training import unfreezing
from pipeline.training.optim import build_optimizer, build_scheduler
from pipeline.training.step import TrainState, UpdateBatch, update
from pipeline.training.unfreezing import Unfreezing

SETTINGS = Optim(
    learning_rate=0.05, weight_decay=0.1, layer_decay=0.5, gradual_unfreezing=0.5, max_grad_norm=0.1, warmup_ratio=0.0
)
UPDATES = 12
# Done updates when the first parameter of each name begins: two layers between embeddings and head.
STARTS = {"classifier": 0, "model.layers.1": 2, "model.layers.0": 4, "model.embed_tokens": 6}


def a_model() -> RecurrentForSequenceClassification:
    torch.manual_seed(0)
    return RecurrentForSequenceClassification(
        RecurrentConfig(vocab_size=20, embedding_size=6, hidden_size=5, num_hidden_layers=2)
    )


def batches() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(1, 20, (4, 7), generator=generator) for _ in range(UPDATES)]
    return [{"input_ids": ids, "labels": torch.tensor([0, 1, 1, 0])} for ids in rows]


def weights_after_each_update() -> list[dict[str, torch.Tensor]]:
    model = a_model()
    optimizer = build_optimizer(model, SETTINGS)
    scheduler = build_scheduler(optimizer, SETTINGS, UPDATES)
    state = TrainState(model, optimizer, scheduler, unfreezing=Unfreezing.of(model, SETTINGS, UPDATES))
    seen = []
    for batch in batches():
        update(Accelerator(cpu=True), state, UpdateBatch([(batch, 4)], torch.arange(4).numpy()), 0.1, autocast=False)
        seen.append({name: value.clone() for name, value in model.state_dict().items()})
    return seen


def test_layers_begin_from_the_head_down_to_the_embeddings_within_the_share():
    before = a_model().state_dict()
    for done, after in enumerate(weights_after_each_update()):
        changed = {name for name in after if not torch.equal(before[name], after[name])}
        assert changed == {name for name in after if any(name.startswith(p) for p in STARTS if STARTS[p] <= done)}
        before = after


def test_a_frozen_parameter_is_trained_as_if_it_needed_no_gradient():
    """Neither its moments nor the norm of the gradient, which is clipped here, know of it."""
    model = a_model()
    optimizer = build_optimizer(model, SETTINGS)
    scheduler = build_scheduler(optimizer, SETTINGS, UPDATES)
    for done, (batch, found) in enumerate(zip(batches(), weights_after_each_update(), strict=True)):
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(any(name.startswith(p) for p in STARTS if STARTS[p] <= done))
        model(**batch).loss.backward()
        nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 0.1)
        optimizer.step()
        optimizer.zero_grad()
        scheduler.step()
        for name, value in model.state_dict().items():
            torch.testing.assert_close(found[name], value, atol=1e-6, rtol=1e-5)


def test_a_new_count_is_told_only_when_more_is_trained():
    model = a_model()
    schedule = Unfreezing.of(model, SETTINGS, UPDATES)
    sizes = {p: sum(v.numel() for n, v in model.named_parameters() if n.startswith(p)) for p in STARTS}
    told = {done: schedule.trained(done) for done in range(UPDATES)}
    assert {done: count for done, count in told.items() if count is not None} == {
        start: sum(sizes[p] for p in STARTS if STARTS[p] <= start) for start in STARTS.values()
    }
    assert Unfreezing().trained(0) is None


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("unfreezing")
    texts = [f"{text} {number}" for number in range(10) for text in POSITIVE + NEGATIVE]
    rows = [{"text": text, "label": "good" if text.rsplit(maxsplit=1)[0] in POSITIVE else "bad"} for text in texts]
    (folder / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    save_checkpoint(folder / "bert", "wordpiece", texts)
    return folder


def a_recipe(place: Path, folder: Path) -> Recipe:
    return Recipe(
        name="x",
        task="sentiment",
        data=Data(str(place / "data.jsonl"), max_length=32),
        model=Pretrained(str(place / "bert")),
        optim=Optim(learning_rate=0.02, gradual_unfreezing=0.75, layer_decay=0.5),
        train=Train(max_steps=UPDATES, batch_size=8, output_dir=str(folder), save_every=2, log_every=1, patience=None),
    )


def unfrozen(folder: Path) -> list[tuple[int, int]]:
    records = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
    return [(record["step"], record["trained_parameters"]) for record in records if record["kind"] == "unfreezing"]


@pytest.mark.parametrize("step", [5, 6])  # before and at the update with which a layer begins
def test_a_run_that_is_stopped_while_layers_are_frozen_ends_with_the_same_weights_and_log(place, tmp_path, step):
    straight, stopped = a_recipe(place, tmp_path / "straight"), a_recipe(place, tmp_path / "stopped")
    train(straight)
    with stopped_after(step):
        train(stopped)
    train(stopped)
    first, second = (load_file(tmp_path / name / "model/model.safetensors") for name in ("straight", "stopped"))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert unfrozen(tmp_path / "straight") == unfrozen(tmp_path / "stopped")
    assert [begun for begun, _ in unfrozen(tmp_path / "straight")] == [0, 3, 6, 9]
    total = sum(value.numel() for value in first.values())
    assert unfrozen(tmp_path / "straight")[-1] == (9, total)


@pytest.mark.parametrize("model", [Recurrent(), Scratch()])
def test_gradual_unfreezing_is_refused_for_models_from_scratch(model):
    with pytest.raises(UserError, match=r"optim.gradual_unfreezing: only for pretrained models"):
        Recipe("x", "sentiment", Data("a.csv"), model, optim=Optim(gradual_unfreezing=0.5))


def test_gradual_unfreezing_is_refused_where_the_optimizer_would_count_the_steps_of_frozen_weights():
    accelerator = SimpleNamespace(distributed_type=DistributedType.DEEPSPEED)
    unfreezing.check_launch(Optim(), accelerator)
    with pytest.raises(UserError, match=r"optim.gradual_unfreezing: DeepSpeed updates all weights; use fsdp.yaml"):
        unfreezing.check_launch(SETTINGS, accelerator)
