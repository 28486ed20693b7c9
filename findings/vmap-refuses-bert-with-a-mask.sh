#!/usr/bin/env bash
# Version: transformers 5.23.0, torch 2.13.0.
# Behaviour: torch.func.vmap over BERT, such as for gradients of single rows, works without an attention mask and raises
#   a RuntimeError with one, whichever attention implementation is chosen. transformers looks at the values of the mask
#   to leave it out where nothing is padded, and does so under vmap, too. It does not under jit, export and compile.
# Expected: a mask is an input like any other. "eager" attention, which has no kernel to choose, works at least.
# Observed:
#   sdpa: without a mask it runs, with a mask RuntimeError
#   eager: without a mask it runs, with a mask RuntimeError
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 torch==2.13.0 numpy==2.4.6 tokenizers==0.23.3

cat > "$folder/gradients.py" <<'PYTHON'
import sys

import torch
from torch.func import functional_call, grad, vmap
from transformers import BertConfig, BertModel

SIZES = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8}
ids = torch.arange(1, 13).reshape(2, 6)  # two rows
mask = torch.ones_like(ids)
mask[1, 4:] = 0


def outcome(implementation, *inputs):
    config = BertConfig(vocab_size=20, attn_implementation=implementation, **SIZES)
    model = BertModel(config).eval()

    def output(parameters, *row):
        rows = [value[None] for value in row]
        return functional_call(model, parameters, tuple(rows)).pooler_output.sum()

    per_row = vmap(grad(output), in_dims=(None, *(0 for _ in inputs)))
    try:
        per_row(dict(model.named_parameters()), *inputs)
    except RuntimeError as error:
        assert "vmap" in str(error), error
        return "RuntimeError"
    return "it runs"


with open(sys.argv[1], "w") as seen:
    for name in ("sdpa", "eager"):
        print(f"{name}: without a mask {outcome(name, ids)}, with a mask {outcome(name, ids, mask)}", file=seen)
PYTHON

"$folder/venv/bin/python" "$folder/gradients.py" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
sdpa: without a mask it runs, with a mask RuntimeError
eager: without a mask it runs, with a mask RuntimeError
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
