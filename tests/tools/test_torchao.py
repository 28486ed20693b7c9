"""torchao quantises the linear layers of a saved model, and its answers stay."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.tools


def test_int8_weights_move_the_logits_by_no_more_than_their_rounding(ask):
    found = ask(
        """
        from torchao.quantization import Int8WeightOnlyConfig, quantize_
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        result = {}
        for name in given["names"]:
            folder = given["saved"][name]
            model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
            inputs = AutoTokenizer.from_pretrained(folder)(given["texts"], padding=True, return_tensors="pt")
            inputs = {name: inputs[name] for name in ("input_ids", "attention_mask")}
            with torch.no_grad():
                expected = model(**inputs).logits
                quantize_(model, Int8WeightOnlyConfig())
                found = model(**inputs).logits
            quantised = [n for n, p in model.named_parameters() if type(p).__name__ == "Int8Tensor"]
            result[name] = [quantised, (found - expected).abs().max().item(), expected.abs().max().item()]
        """,
        names=["classifier", "attention"],
        texts=["a lovely book", "dreary to read , far too long", "what"],
    )
    assert found["classifier"][0] == ["classifier.weight"]
    assert found["attention"][0] == ["pooler.projection.weight", "classifier.weight"]
    for _, difference, largest in found.values():
        assert 0.0 < difference < 0.02 * largest  # 127 steps to the largest weight of a row
