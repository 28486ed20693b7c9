"""torch.func and opacus: the gradient of each row is that of a loop over single rows."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.tools
TEXTS = ["a lovely book", "dreary to read , far too long", "what"]
KINDS = {
    "classifier": "AutoModelForSequenceClassification",
    "attention": "AutoModelForSequenceClassification",
    "several-labels": "AutoModelForSequenceClassification",
    "pairs": "AutoModelForSequenceClassification",
    "tagger": "AutoModelForTokenClassification",
    "tagger-crf": "AutoModelForTokenClassification",
    "language-model": "AutoModelForCausalLM",
    "language-model-tied": "AutoModelForCausalLM",
}

# `looped` holds the gradients of each row as a list, `vmapped` as a tensor with the rows in front.
SETUP = """
from torch.func import functional_call, grad, vmap
from transformers import AutoTokenizer

def load(name):
    folder = given["saved"][name]
    model = getattr(transformers, given["kinds"][name]).from_pretrained(folder, trust_remote_code=True).eval()
    batch = AutoTokenizer.from_pretrained(folder)(given["texts"], padding=True, return_tensors="pt")
    ids, mask = batch["input_ids"], batch["attention_mask"]
    labels = torch.arange(len(ids)) % 3
    if name == "several-labels":
        labels = torch.nn.functional.one_hot(labels, model.config.num_labels).float()
    if "ForSequence" not in given["kinds"][name]:
        labels = (ids % 2 if "tagger" in name else ids).masked_fill(mask == 0, -100)
    return model, (ids, mask, labels)

def loss(model, weights, ids, mask, labels):
    inputs = {"input_ids": ids[None], "attention_mask": mask[None], "labels": labels[None]}
    return functional_call(model, weights, (), inputs).loss

def vmapped(model, rows):
    weights = {name: weight.detach() for name, weight in model.named_parameters()}
    gradient = grad(lambda *given: loss(model, *given))
    return vmap(gradient, (None, 0, 0, 0))(weights, *rows)

def looped(model, rows):
    gradients = []
    for ids, mask, labels in zip(*rows):
        model.zero_grad()
        model(input_ids=ids[None], attention_mask=mask[None], labels=labels[None]).loss.backward()
        gradients.append({n: torch.zeros_like(w) if w.grad is None else w.grad for n, w in model.named_parameters()})
        model.zero_grad()
    return gradients

"""


def test_vmap_of_grad_gives_the_gradients_of_a_loop_for_each_head(ask):
    found = ask(
        SETUP
        + """
result = {}
for name in given["kinds"]:
    model, rows = load(name)
    together = vmapped(model, rows)
    alone = looped(model, rows)
    result[name] = max((together[n][i] - row[n]).abs().max().item() for i, row in enumerate(alone) for n in row)
""",
        kinds=KINDS,
        texts=TEXTS,
    )
    assert found == pytest.approx(dict.fromkeys(KINDS, 0.0), abs=1e-6)


def test_an_update_of_opacus_without_noise_is_the_mean_of_the_clipped_gradients_of_a_loop(ask):
    found = ask(
        SETUP
        + """
from opacus.grad_sample.utils import wrap_model
from opacus.optimizers import DPOptimizer

result = {}
for name in given["kinds"]:
    model, rows = load(name)
    alone = looped(model, rows)
    norms = [sum(g.square().sum() for g in row.values()).sqrt() for row in alone]
    scales = [min(1.0, 0.1 / norm.item()) for norm in norms]
    before = {n: weight.detach().clone() for n, weight in model.named_parameters()}
    wrapped = wrap_model(model, grad_sample_mode="no_op")
    optimizer = DPOptimizer(
        torch.optim.SGD(wrapped.parameters(), 1.0), noise_multiplier=0.0, max_grad_norm=0.1, expected_batch_size=3
    )
    together = vmapped(model, rows)
    for n, weight in model.named_parameters():
        weight.grad_sample = together[n]
    optimizer.step()
    expected = {n: before[n] - sum(s * row[n] for s, row in zip(scales, alone)) / 3 for n in before}
    after = dict(model.named_parameters())
    moved = max((after[n] - before[n]).abs().max().item() for n in before)
    result[name] = [moved, max((after[n] - expected[n]).abs().max().item() for n in before)]
""",
        kinds={name: KINDS[name] for name in ("classifier", "tagger-crf", "language-model")},
        texts=TEXTS,
    )
    for moved, difference in found.values():
        assert moved > 1e-3
        assert difference < 1e-6


def test_the_hooks_of_opacus_are_refused_where_they_would_leave_the_mask_out(ask):
    error = ask(
        SETUP
        + """
from opacus import GradSampleModule

model, (ids, mask, labels) = load("classifier")
try:
    GradSampleModule(model.train())(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
    result = "accepted"
except NotImplementedError as refusal:
    result = str(refusal)
""",
        kinds=KINDS,
        texts=TEXTS,
    )
    assert "grad_sample_mode" in error
