"""transformers' Trainer evaluates and trains saved models, and what it saves loads in a fresh process."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.tools
TEXTS = ["a lovely book", "dreary to read , far too long", "what", "", "neither here nor there", "it just ends"]

# The loss of each row alone is the independent computation: the mean over rows, or over tags or words.
SETUP = """
import tempfile
from datasets import Dataset
from transformers import AutoTokenizer, Trainer, TrainingArguments

def arguments(**more):
    common = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 4, "max_steps": 2, "report_to": []}
    common |= {"use_cpu": True, "disable_tqdm": True, "save_strategy": "no", "seed": 0}
    return TrainingArguments(tempfile.mkdtemp(), **{**common, **more})

def load(name, auto):
    folder = given["saved"][name]
    model = getattr(transformers, auto).from_pretrained(folder, trust_remote_code=True).eval()
    return model, AutoTokenizer.from_pretrained(folder, trust_remote_code=True)

def loss_of(model, row):
    batch = {name: torch.tensor([value]) for name, value in row.items()}
    with torch.no_grad():
        return model(**batch).loss.item()

"""
CLASSIFY = """
result = {}
for name in given["names"]:
    model, tokenizer = load(name, "AutoModelForSequenceClassification")
    labels = [number % 3 for number in range(len(given["texts"]))]
    if name == "number":
        labels = [float(label) for label in labels]
    if name == "several-labels":
        labels = [[float(label == n) for n in range(model.config.num_labels)] for label in labels]
    rows = Dataset.from_dict({**tokenizer(given["texts"]), "labels": labels})
    trainer = Trainer(model, arguments(), train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
    alone = [loss_of(model, row) for row in rows]
    result[name] = [trainer.evaluate()["eval_loss"], sum(alone) / len(alone)]
    trainer.train()
    result[name].append(trainer.evaluate()["eval_loss"])
"""
CLASSIFIERS = ["classifier", "bidirectional", "attention", "pairs", "several-labels", "number"]
TAGGERS = ["tagger", "tagger-crf", "tagger-characters", "tagger-bert-crf"]


def test_its_loss_of_a_classifier_is_the_mean_of_the_losses_of_single_rows(ask):
    for evaluated, alone, trained in ask(SETUP + CLASSIFY, names=CLASSIFIERS, texts=TEXTS).values():
        assert evaluated == pytest.approx(alone, abs=1e-5)
        assert trained < evaluated


TAG = """
from transformers import DataCollatorForTokenClassification

result = {}
for name in given["names"]:
    model, tokenizer = load(name, "AutoModelForTokenClassification")
    words = [text.split() for text in given["texts"] if text]
    encoded = tokenizer(words, is_split_into_words=True)
    special = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    encoded["labels"] = [[-100 if i in special else n % 2 for n, i in enumerate(ids)] for ids in encoded["input_ids"]]
    rows = Dataset.from_dict(dict(encoded))
    collate = DataCollatorForTokenClassification(tokenizer)
    settings = arguments(label_smoothing_factor=given["smoothing"], per_device_eval_batch_size=8)  # all rows
    trainer = Trainer(model, settings, collate, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
    count = sum(label != -100 for row in encoded["labels"] for label in row)
    alone = sum(loss_of(model, row) * sum(label != -100 for label in row["labels"]) for row in rows) / count
    batch = {name: torch.as_tensor(value) for name, value in collate([dict(row) for row in rows]).items()}
    with torch.no_grad():
        whole = model(**batch).loss.item()
    try:
        evaluated = trainer.evaluate()["eval_loss"]
        trainer.train()
        result[name] = [whole, alone, evaluated, trainer.evaluate()["eval_loss"]]
    except ValueError as error:
        result[name] = str(error)
"""


def test_it_passes_a_tagger_all_its_inputs_and_takes_the_loss_of_the_crf(ask):
    for whole, alone, evaluated, trained in ask(SETUP + TAG, names=TAGGERS, texts=TEXTS, smoothing=0.0).values():
        assert whole == evaluated == pytest.approx(alone, abs=1e-5)
        assert trained < evaluated


def test_label_smoothing_of_a_crf_is_refused_instead_of_computing_another_loss(ask):
    for error in ask(SETUP + TAG, names=["tagger-crf", "tagger-bert-crf"], texts=TEXTS, smoothing=0.1).values():
        assert "a CRF computes its own loss" in error


WRITE = """
model, tokenizer = load(given["name"], "AutoModelForCausalLM")
rows = Dataset.from_dict(dict(tokenizer(["the fog comes", "on little cat feet and then it moves on"])))
collate = transformers.DataCollatorForLanguageModeling(tokenizer, mlm=False)
trainer = Trainer(model, arguments(), collate, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
trainer.train()
trainer.save_model(given["folder"])
result = trainer.evaluate()["eval_loss"]
"""
READ = """
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

model = AutoModelForSequenceClassification.from_pretrained(given["folder"], trust_remote_code=True)
body = AutoModelForCausalLM.from_pretrained(given["folder"], trust_remote_code=True).model
same = [torch.equal(ours, theirs) for ours, theirs in zip(model.model.parameters(), body.parameters(), strict=True)]
result = [type(model).__name__, all(same)]
"""


def test_a_language_model_that_it_saved_is_a_classifier_in_a_fresh_process(ask, tmp_path):
    folder = str(tmp_path / "trained")
    ask(SETUP + WRITE, name="language-model", folder=folder)
    assert ask(READ, folder=folder) == ["RecurrentForSequenceClassification", True]
