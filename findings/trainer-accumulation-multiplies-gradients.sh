#!/usr/bin/env bash
# Version: transformers 5.23.0, accelerate 1.15.0, torch 2.13.0.
# Behaviour: with gradient_accumulation_steps=4, Trainer updates BertForSequenceClassification by four times the
#   gradient of the same eight rows in one batch, and logs four times the loss. If a model's forward takes **kwargs,
#   Trainer passes it num_items_in_batch and leaves the division to the model. Many heads accept the argument, do not
#   pass it on to their loss, and average over each small batch. LlamaForCausalLM does pass it on.
# Expected: eight rows in one batch, or in four batches of two, give the same update: that is what the option is for.
#   Adam hides most of the factor; SGD, clipping and the logged loss do not.
# Observed:
#   BertForSequenceClassification: update x4.00, loss x4.00
#   BertForTokenClassification: update x4.00, loss x4.00
#   BertForMaskedLM: update x4.00, loss x4.00
#   LlamaForSequenceClassification: update x4.00, loss x4.00
#   LlamaForCausalLM: update x1.00, loss x1.00
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 accelerate==1.15.0 torch==2.13.0 numpy==2.4.6 tokenizers==0.23.3

cat > "$folder/train.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import BertConfig, LlamaConfig, Trainer, TrainingArguments

SIZES = {
    "vocab_size": 20,
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "intermediate_size": 8,
    "num_labels": 3,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": None,
}
BERT = BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
LLAMA = LlamaConfig(**SIZES)
TEXTS = [[1 + row, 2, 3] for row in range(8)]
CLASSES = [row % 3 for row in range(8)]
TAGS = [[row % 3, 1, 2] for row in range(8)]
MODELS = {
    "BertForSequenceClassification": (BERT, CLASSES),
    "BertForTokenClassification": (BERT, TAGS),
    "BertForMaskedLM": (BERT, TEXTS),
    "LlamaForSequenceClassification": (LLAMA, CLASSES),
    "LlamaForCausalLM": (LLAMA, TEXTS),
}


def weights(model):
    return torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()


def update(name, batch_size, accumulation):
    config, labels = MODELS[name]
    torch.manual_seed(0)
    model = getattr(transformers, name)(config)
    before = weights(model)
    arguments = TrainingArguments(
        sys.argv[1],
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        optim="sgd",
        learning_rate=0.1,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        use_cpu=True,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    rows = [{"input_ids": text, "labels": label} for text, label in zip(TEXTS, labels, strict=True)]
    loss = Trainer(model, arguments, train_dataset=rows).train().training_loss
    return (weights(model) - before).norm().item(), loss


with open(sys.argv[2], "w") as seen:
    for name in MODELS:
        (whole, whole_loss), (split, split_loss) = update(name, 8, 1), update(name, 2, 4)
        print(f"{name}: update x{split / whole:.2f}, loss x{split_loss / whole_loss:.2f}", file=seen)
PYTHON

"$folder/venv/bin/python" "$folder/train.py" "$folder/run" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
BertForSequenceClassification: update x4.00, loss x4.00
BertForTokenClassification: update x4.00, loss x4.00
BertForMaskedLM: update x4.00, loss x4.00
LlamaForSequenceClassification: update x4.00, loss x4.00
LlamaForCausalLM: update x1.00, loss x1.00
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
