"""Reference outputs are recorded for every kind of head, so that a push can be checked against them."""

from __future__ import annotations

import torch
from conftest import NEGATIVE, POSITIVE
from transformers import T5Config, T5ForConditionalGeneration

from pipeline.config.data import Data
from pipeline.data.tokenization import tokenizers
from pipeline.publish import reference_outputs


def test_the_decoder_of_an_encoder_decoder_also_reads_the_text():
    tokenizer = tokenizers.train("bpe", POSITIVE + NEGATIVE, Data("x", max_length=64, vocab_size=300))
    sizes = {"d_model": 8, "d_kv": 4, "d_ff": 16, "num_layers": 1, "num_heads": 2, "decoder_start_token_id": 0}
    model = T5ForConditionalGeneration(T5Config(vocab_size=len(tokenizer), **sizes)).eval()
    answers = reference_outputs.compute_outputs(model, tokenizer, POSITIVE[:2])
    for text, answer in zip(POSITIVE, answers, strict=False):
        ids = tokenizer(text, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            best = model(input_ids=ids, decoder_input_ids=ids).logits[0].max(dim=-1)  # (T,)
        assert answer["best"] == best.indices.tolist()
        torch.testing.assert_close(torch.tensor(answer["logits"]), best.values)
    assert reference_outputs.first_difference(answers, answers) is None
