#!/usr/bin/env bash
# Version: transformers 5.23.0, accelerate 1.15.0, torch 2.13.0.
# Behaviour: with label_smoothing_factor, Trainer compares the logits at position t with label t + 1 only if the name of
#   the class is in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES. Any other causal language model, such as one with code of its own
#   or a subclass with another name, is scored on the token that it has just read, and learns to repeat it. Registering
#   it with AutoModelForCausalLM does not help, and there is no warning.
# Expected: the same loss for a subclass that changes nothing, or an error.
# Observed: which loss eval_loss is
#   LlamaForCausalLM: shifted
#   MyLlamaForCausalLM, registered: not shifted
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 accelerate==1.15.0 torch==2.13.0 numpy==2.4.6 tokenizers==0.23.3

cat > "$folder/evaluate.py" <<'PYTHON'
import sys

import torch
from torch.nn.functional import cross_entropy
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments


class MyLlamaConfig(LlamaConfig):
    model_type = "my_llama"


class MyLlamaForCausalLM(LlamaForCausalLM):
    config_class = MyLlamaConfig


AutoConfig.register("my_llama", MyLlamaConfig)
AutoModelForCausalLM.register(MyLlamaConfig, MyLlamaForCausalLM)

SIZES = {"vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
torch.manual_seed(0)
texts = torch.randint(1, 20, (4, 6))
rows = [{"input_ids": text, "labels": text} for text in texts]
arguments = TrainingArguments(
    sys.argv[1], label_smoothing_factor=0.1, use_cpu=True, report_to="none", disable_tqdm=True
)


def evaluated(model):
    logits = model(texts).logits
    losses = {
        "shifted": cross_entropy(logits[:, :-1].flatten(0, 1), texts[:, 1:].flatten(), label_smoothing=0.1),
        # Trainer divides by the number of shifted labels: 5 of 6.
        "not shifted": cross_entropy(logits.flatten(0, 1), texts.flatten(), label_smoothing=0.1) * 6 / 5,
    }
    found = Trainer(model, arguments, eval_dataset=rows).evaluate()["eval_loss"]
    return next((name for name, loss in losses.items() if abs(loss.item() - found) < 1e-4), "neither")


with open(sys.argv[2], "w") as seen:
    print(f"LlamaForCausalLM: {evaluated(LlamaForCausalLM(LlamaConfig(**SIZES)).eval())}", file=seen)
    own = AutoModelForCausalLM.from_config(MyLlamaConfig(**SIZES)).eval()
    print(f"{type(own).__name__}, registered: {evaluated(own)}", file=seen)
PYTHON

"$folder/venv/bin/python" "$folder/evaluate.py" "$folder/run" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
LlamaForCausalLM: shifted
MyLlamaForCausalLM, registered: not shifted
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
