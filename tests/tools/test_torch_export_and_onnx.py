"""Traced and exported models, and ONNX Runtime, compute what the model computes, for every padding."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.tools
TEXTS = ["a lovely book", "dreary to read , far too long for me", "what"]
CLASSIFIERS = ["classifier", "bidirectional", "attention", "several-labels", "number", "bert"]
KINDS = {
    **dict.fromkeys([*CLASSIFIERS, "pairs"], "AutoModelForSequenceClassification"),
    **dict.fromkeys(["tagger", "tagger-crf", "tagger-bert-crf"], "AutoModelForTokenClassification"),
    "language-model": "AutoModelForCausalLM",
}

# `batches` differ in the number of texts, their lengths and the side of the padding; `padded` has 16 positions.
SETUP = """
from transformers import AutoTokenizer

def load(name):
    folder = given["saved"][name]
    model = getattr(transformers, given["kinds"][name]).from_pretrained(folder, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model.config.use_cache = False
    names = ["input_ids", "attention_mask"] + ["token_type_ids"] * ("token_type_ids" in tokenizer.model_input_names)

    def padded(texts, side="right"):
        batch = tokenizer(
            texts, padding="max_length", max_length=16, truncation=True, padding_side=side, return_tensors="pt"
        )
        return {name: batch[name] for name in names}

    return model, padded

def furthest(model, padded, run):
    largest = 0.0
    for side in ("right", "left"):
        for texts in (given["texts"], given["texts"][:1], ["x", "a b c d e f g h i j k l m n o p q r s t", "dreary"]):
            batch = padded(texts, side)
            with torch.no_grad():
                expected, found = model(**batch).logits, run(batch)
            words = batch["attention_mask"].bool() if expected.dim() == 3 else torch.ones(len(texts), dtype=bool)
            largest = max(largest, (found - expected)[words].abs().max().item())
    return largest

result = {}
"""


def test_an_exported_program_made_before_the_first_pass_equals_the_model(ask):
    found = ask(
        SETUP
        + """
for name in given["kinds"]:
    model, padded = load(name)
    example = padded(given["texts"])
    shapes = {name: {0: torch.export.Dim("batch", max=64)} for name in example}
    program = torch.export.export(model, (), example, dynamic_shapes=shapes, strict=False).module()
    result[name] = furthest(model, padded, lambda batch: program(**batch).logits)
""",
        kinds=KINDS,
        texts=TEXTS,
    )
    assert found == pytest.approx(dict.fromkeys(KINDS, 0.0), abs=1e-5)


def test_a_trace_of_a_batch_without_padding_holds_for_every_padding_or_is_refused(ask):
    found = ask(
        SETUP
        + """
import warnings
from torch.jit import TracerWarning

warnings.simplefilter("ignore")
for name in given["kinds"]:
    model, padded = load(name)

    class Logits(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, *inputs):
            return self.model(**dict(zip(names, inputs))).logits

    example = padded(["a b c d e f g h i j k l m n o p q r s t"] * 2)
    example["attention_mask"][:] = 1
    names = list(example)
    try:
        with torch.no_grad():
            traced = torch.jit.trace(Logits().eval(), tuple(example.values()))
    except Exception as error:
        result[name] = f"{type(error).__name__}: {error}"
        continue
    result[name] = furthest(model, padded, lambda batch: traced(*batch.values()))
""",
        kinds=KINDS,
        texts=TEXTS,
    )
    for name, difference in found.items():
        if isinstance(difference, str):
            assert "trace" in difference, f"{name}: {difference}"
        else:
            assert difference < 1e-5, name


ONNX = (
    SETUP
    + """
import onnxruntime
import onnx

for name in given["kinds"]:
    model, padded = load(name)
    example = padded(given["texts"])
    shapes = {name: {0: torch.export.Dim("batch")} for name in example}
    torch.onnx.export(model, (), "model.onnx", kwargs=example, dynamo=True, dynamic_shapes=shapes, verbose=False,
                      output_names=["logits"])
    session = onnxruntime.InferenceSession("model.onnx")
    read = [given.name for given in session.get_inputs()]

    def run(batch):
        outputs = session.run(["logits"], {name: batch[name].numpy() for name in read})
        return torch.tensor(outputs[0])

    result[name] = furthest(model, padded, run)
"""
)


def test_onnx_runtime_computes_the_logits_of_the_model(ask):
    kinds = {name: KINDS[name] for name in [*CLASSIFIERS, "tagger", "language-model"]}
    found = ask(ONNX, kinds=kinds, texts=TEXTS)
    assert found == pytest.approx(dict.fromkeys(kinds, 0.0), abs=1e-5)
