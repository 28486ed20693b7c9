"""Captum and SHAP explain a saved classifier: the parts that they give to words add up to its answer."""

from __future__ import annotations

import pytest

from pipeline import inference

pytestmark = pytest.mark.tools
TEXT = "dreary to read , far too long"
NAMES = ["classifier", "bidirectional", "attention", "several-labels", "number", "bert"]


def test_the_integrated_gradients_of_captum_add_up_to_the_difference_of_the_logits(ask):
    found = ask(
        """
        from captum.attr import LayerIntegratedGradients
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        result = {}
        for name in given["names"]:
            folder = given["saved"][name]
            model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
            tokenizer = AutoTokenizer.from_pretrained(folder)
            ids = tokenizer(given["text"], return_tensors="pt")["input_ids"]
            unknown = torch.full_like(ids, tokenizer.unk_token_id)
            logit = lambda ids: model(input_ids=ids).logits[:, 0]
            gradients = LayerIntegratedGradients(logit, model.get_input_embeddings())
            parts = gradients.attribute(ids, baselines=unknown, n_steps=200)
            result[name] = [parts.sum().item(), (logit(ids) - logit(unknown)).item()]
        """,
        names=NAMES,
        text=TEXT,
    )
    for parts, difference in found.values():
        assert parts == pytest.approx(difference, abs=2e-3)


def test_the_values_of_shap_add_up_to_the_scores_of_predict(ask, saved):
    names = ["classifier", "attention", "several-labels", "bert"]
    found = ask(
        """
        import shap

        result = {}
        for name in given["names"]:
            classify = transformers.pipeline(
                "text-classification", model=given["saved"][name], trust_remote_code=True, top_k=None
            )
            values = shap.Explainer(classify)([given["text"]], silent=True)
            totals = (values.base_values[0] + values.values[0].sum(axis=0)).tolist()
            result[name] = dict(zip(values.output_names, totals))
        """,
        names=names,
        text=TEXT,
    )
    for name, totals in found.items():
        (answer,) = inference.predict(saved[name], [TEXT])
        assert totals == pytest.approx(answer["scores"], abs=1e-4)
