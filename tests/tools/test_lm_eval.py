"""lm-evaluation-harness scores language models as we do."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.tools
TEXTS = ["the fog comes on little cat feet", "it sits looking over harbor and city\nand then moves on", "and"]
LONG = "the fog comes on little cat feet and then moves on . " * 12

ROLL = """
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

result = {}
for name in given["names"]:
    options = {"trust_remote_code": True, "device": "cpu", "batch_size": 2, **given["options"]}
    judge = HFLM(pretrained=given["saved"][name], **options)
    asked = [Instance("loglikelihood_rolling", {}, (text,), n) for n, text in enumerate(given["texts"])]
    result[name] = judge.loglikelihood_rolling(asked, disable_tqdm=True)
"""


def log_likelihood(folder: str, text: str, ends: int = 1) -> float:
    """The sum of log p of the tokens after the first one, which is the end token; in float64, one pass for each.

    Args:
        ends: how many end tokens stand in front of `text`.
    """
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval().double()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [tokenizer.eos_token_id] * ends + tokenizer(text, add_special_tokens=False)["input_ids"]
    total = 0.0
    with torch.no_grad():
        for index in range(1, len(ids)):
            logits = model(torch.tensor([ids[:index]]), use_cache=False).logits[0, -1]
            total += logits.log_softmax(-1)[ids[index]].item()
    return total


NAMES = ["language-model", "language-model-tied", "language-model-gpt2"]


def test_its_rolling_log_likelihood_is_the_sum_of_ours(ask, saved):
    for name, found in ask(ROLL, names=NAMES, texts=TEXTS, options={"add_bos_token": False}).items():
        assert found == pytest.approx([log_likelihood(saved[name], text) for text in TEXTS], abs=1e-3), name


def test_a_recurrent_model_reads_a_text_longer_than_its_training_windows_in_one_pass(ask, saved):
    found = ask(ROLL, names=["language-model"], texts=[LONG], options={"add_bos_token": False})["language-model"]
    assert len(LONG.split()) > 100
    assert found == pytest.approx([log_likelihood(saved["language-model"], LONG)], rel=1e-5)


def test_by_default_it_reads_the_end_token_twice_and_scores_the_second(ask, saved):
    for name, found in ask(ROLL, names=NAMES[:2], texts=TEXTS, options={}).items():
        assert found == pytest.approx([log_likelihood(saved[name], text, ends=2) for text in TEXTS], abs=1e-3), name
