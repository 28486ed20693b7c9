#!/usr/bin/env bash
# Version: transformers 5.23.0, accelerate 1.15.0, torch 2.13.0.
# Behaviour: on rows of T tokens, Trainer reports (T - 1) / T of the loss of a GPT2LMHeadModel, in training and in
#   evaluation, and scales its gradients likewise. A language model scores T - 1 tokens of a row. Trainer counts these
#   for models whose loss_type is ForCausalLM, which transformers reads from the name of the class. The names of GPT-2
#   and OpenAI GPT end in LMHeadModel: they have no loss_type, but compute the same loss.
# Expected: eval_loss is the model's own loss, so that exp(eval_loss) is its perplexity.
# Observed, with six tokens in a row:
#   GPT2LMHeadModel: loss_type None, eval_loss / own loss = 0.833
#   OpenAIGPTLMHeadModel: loss_type None, eval_loss / own loss = 0.833
#   LlamaForCausalLM: loss_type ForCausalLM, eval_loss / own loss = 1.000
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 accelerate==1.15.0 torch==2.13.0 numpy==2.4.6 tokenizers==0.23.3

cat > "$folder/evaluate.py" <<'PYTHON'
import sys

import torch
import transformers
from transformers import GPT2Config, LlamaConfig, OpenAIGPTConfig, Trainer, TrainingArguments

SIZES = {"n_embd": 8, "n_layer": 1, "n_head": 1}
MODELS = {
    "GPT2LMHeadModel": GPT2Config(vocab_size=20, bos_token_id=0, eos_token_id=0, **SIZES),
    "OpenAIGPTLMHeadModel": OpenAIGPTConfig(vocab_size=20, **SIZES),
    "LlamaForCausalLM": LlamaConfig(
        vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    ),
}

torch.manual_seed(0)
texts = torch.randint(1, 20, (4, 6))
rows = [{"input_ids": text, "labels": text} for text in texts]
arguments = TrainingArguments(sys.argv[1], use_cpu=True, report_to="none", disable_tqdm=True)
with open(sys.argv[2], "w") as seen:
    for name, config in MODELS.items():
        model = getattr(transformers, name)(config).eval()
        own = model(texts, labels=texts).loss.item()
        evaluated = Trainer(model, arguments, eval_dataset=rows).evaluate()["eval_loss"]
        print(f"{name}: loss_type {model.loss_type}, eval_loss / own loss = {evaluated / own:.3f}", file=seen)
PYTHON

"$folder/venv/bin/python" "$folder/evaluate.py" "$folder/run" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
GPT2LMHeadModel: loss_type None, eval_loss / own loss = 0.833
OpenAIGPTLMHeadModel: loss_type None, eval_loss / own loss = 0.833
LlamaForCausalLM: loss_type ForCausalLM, eval_loss / own loss = 1.000
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
