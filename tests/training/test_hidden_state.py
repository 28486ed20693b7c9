"""Carried hidden states: from update to update, with accumulation, and across checkpoints."""

from __future__ import annotations

import json
import random

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from stopping import stopped_after
from test_trainer import assert_same_weights, weights
from torch.nn import functional as F

from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.config.recipe import Recipe
from pipeline.config.training import Optim, Train
from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM
from pipeline.run import train
from pipeline.training.checkpointing import checkpoint
from pipeline.training.hidden_state import HiddenStateCarry
from pipeline.training.optim import build_scheduler
from pipeline.training.step import TrainState, update, update_batches


@pytest.fixture
def text(tmp_path):
    """A .txt file of 300 lines in which the next word depends on the words before."""
    generator = random.Random(0)
    lines = []
    for _ in range(300):
        word = generator.randrange(12)
        lines.append(" ".join(f"w{(word := (3 * word + generator.randrange(2)) % 12)}" for _ in range(6)))
    file = tmp_path / "text.txt"
    file.write_text("\n".join(lines) + "\n")
    return file


def a_recipe(text, tmp_path, **changes) -> Recipe:
    settings = {"output_dir": str(tmp_path / "run"), "epochs": 2, "batch_size": 4, "log_every": 1, "patience": None}
    model = Recurrent(hidden_size=8, embedding_size=8, layers=2, **changes.pop("model", {}))
    return Recipe(
        name="x",
        task="next_word",
        data=Data(str(text), tokenizer="whitespace", max_length=10),
        model=model,
        optim=Optim(learning_rate=0.01),
        train=Train(**{**settings, **changes}),
    )


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
def test_an_update_starts_from_the_last_ones_state_and_gradients_stop_between_them(cell):
    """Against a loop in plain torch: state detached, loss of the second window alone."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 20, "embedding_size": 6, "hidden_size": 5, "cell_type": cell}
    model = RecurrentForCausalLM(RecurrentConfig(**sizes))
    text = torch.randint(1, 20, (4, 13))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)  # the weights stay, so that both windows can be compared
    carry = HiddenStateCarry(model)
    state = TrainState(model, optimizer, build_scheduler(optimizer, Optim(warmup_ratio=0.0), 10), carry)

    def batch_of(rows):
        chosen = torch.from_numpy(rows)
        begins = chosen // 4 * 6
        places = begins[:, None] + torch.arange(6)
        ids, labels = text[(chosen % 4)[:, None], places], text[(chosen % 4)[:, None], places + 1]
        return {"input_ids": ids, "labels": labels, "shift_labels": labels}, labels.numel()

    def collate(batches):
        return [*map(batch_of, batches)]

    accelerator = Accelerator(cpu=True)
    order = [np.arange(4), np.arange(4, 8)]
    batches = update_batches(order, 2, collate, accelerator)
    norms = [update(accelerator, state, batch, None, False)[:2] for batch in batches]

    states, reference = (
        None,
        {"rnn": torch.nn.RNN, "lstm": torch.nn.LSTM, "gru": torch.nn.GRU}[cell](6, 5, batch_first=True),
    )
    reference.load_state_dict(model.model.layers[0].state_dict())
    parameters = [*reference.parameters(), model.model.embed_tokens.weight, *model.lm_head.parameters()]
    for window, (loss, norm) in enumerate(norms):
        inputs, labels = text[:, window * 6 : window * 6 + 6], text[:, window * 6 + 1 : window * 6 + 7]
        output, states = reference(model.model.embed_tokens(inputs), states)
        own = F.cross_entropy(model.lm_head(output).flatten(0, 1), labels.flatten())
        gradients = torch.autograd.grad(own, parameters)
        states = tuple(part.detach() for part in states) if cell == "lstm" else states.detach()
        torch.testing.assert_close(loss, own)
        torch.testing.assert_close(norm, torch.stack([gradient.norm() for gradient in gradients]).norm())


def test_accumulation_gives_the_same_run_as_larger_batches(text, tmp_path):
    plain = {"dropout": 0.0, "embedding_dropout": 0.0}
    for batch_size, accumulation in ((6, 1), (2, 3), (3, 2)):
        changes = {"batch_size": batch_size, "accumulation": accumulation, "max_steps": 12, "model": dict(plain)}
        train(a_recipe(text, tmp_path, output_dir=str(tmp_path / str(batch_size)), **changes))
    large = weights(tmp_path / "6")
    for other in ("2", "3"):
        for name, value in weights(tmp_path / other).items():
            torch.testing.assert_close(value, large[name], atol=1e-5, rtol=1e-4)


def test_a_carried_state_survives_a_checkpoint():
    model = RecurrentForCausalLM(RecurrentConfig(vocab_size=20, embedding_size=6, hidden_size=5)).eval()
    ids = torch.randint(1, 20, (2, 9))
    carry, again = HiddenStateCarry(model), HiddenStateCarry(model)
    carry.keep(3, model(ids[:, :5], **carry.inputs(3)))
    again.load_state_dict(carry.state_dict())
    assert torch.equal(model(ids[:, 5:], **again.inputs(3)).logits, model(ids[:, 5:], **carry.inputs(3)).logits)
    assert HiddenStateCarry().inputs(0) == {}


def test_a_run_stopped_within_an_epoch_resumes_with_its_hidden_states(text, tmp_path):
    dropped = {"weight_dropout": 0.3, "word_dropout": 0.1, "unknown_dropout": 0.1}
    for name in ("undisturbed", "run"):
        recipe = a_recipe(text, tmp_path, output_dir=str(tmp_path / name), accumulation=2, model=dict(dropped))
        if name == "run":
            with stopped_after(13):
                train(recipe)
            assert checkpoint.newest(tmp_path / "run").name == "step-00000013"
        train(recipe)
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


def test_for_a_loss_the_lowest_score_is_the_best(text, tmp_path):
    metrics = train(a_recipe(text, tmp_path, epochs=6))
    lines = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["kind"] == "validation"]
    assert metrics["validation"]["loss"] == min(losses)
    assert losses[0] > min(losses)  # so that greater is not better
