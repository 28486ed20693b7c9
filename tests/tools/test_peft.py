"""peft adapts recurrent weights, and what it saved loads and merges in a fresh process."""

from __future__ import annotations

import pytest
import torch

pytestmark = pytest.mark.tools

# name -> its Auto class and its type of task in peft
KINDS = {
    "classifier": ["AutoModelForSequenceClassification", "SEQ_CLS"],
    "attention": ["AutoModelForSequenceClassification", "SEQ_CLS"],
    "tagger-crf": ["AutoModelForTokenClassification", "TOKEN_CLS"],
    "language-model-tied": ["AutoModelForCausalLM", "CAUSAL_LM"],
}

SETUP = """
import peft
from transformers import AutoTokenizer

def load(name, auto):
    folder = given["saved"][name]
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True)
    texts = ["the fog", "a lovely book , far too long"]
    inputs = AutoTokenizer.from_pretrained(folder)(texts, padding=True, return_tensors="pt")
    return model, {name: inputs[name] for name in ("input_ids", "attention_mask")}

def logits(model, inputs):
    with torch.no_grad():
        return model.eval()(**inputs).logits

result = {}
"""
TRAIN = """
for name, (auto, task) in given["kinds"].items():
    model, inputs = load(name, auto)
    before = logits(model, inputs)
    parameters = ["weight_ih_l0", "weight_hh_l0"]
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(task_type=task, r=4, target_modules=[], target_parameters=parameters)
    )
    optimizer = torch.optim.SGD([p for p in adapted.parameters() if p.requires_grad], 0.5)
    for _ in range(3):
        optimizer.zero_grad()
        adapted.train()(**inputs).logits.square().mean().backward()
        optimizer.step()
    adapted.save_pretrained(name)
    after = logits(adapted, inputs)
    trained = sorted({n.split(".")[-3] for n, p in adapted.named_parameters() if p.requires_grad and "lora_" in n})
    result[name] = [len(trained), (after - before).abs().max().item(), after.tolist()]
"""
LOAD = """
for name, (auto, task) in given["kinds"].items():
    model, inputs = load(name, auto)
    adapted = peft.PeftModel.from_pretrained(model, f"{given['adapters']}/{name}")
    loaded = logits(adapted, inputs).tolist()
    result[name] = [loaded, logits(adapted.merge_and_unload(), inputs).tolist()]
"""


def test_an_adapter_of_the_recurrent_weights_loads_and_merges_exactly_in_a_fresh_process(ask, tmp_path):
    found = ask(SETUP + TRAIN, kinds=KINDS)
    reloaded = ask(SETUP + LOAD, kinds=KINDS, adapters=tmp_path)
    for name, (trained, change, after) in found.items():
        assert trained
        assert change > 1e-2
        loaded, merged = (torch.tensor(logits) for logits in reloaded[name])
        assert torch.equal(loaded, torch.tensor(after)), name
        assert (merged - torch.tensor(after)).abs().max() < 1e-5, name
