#!/usr/bin/env bash
# Version: transformers 5.23.0.
# Behaviour: beam search fills the rest of a finished text with the end token if the id of the padding is 0, as in T5,
#   because it computes `pad_token_id or eos_token_id`.
# Expected: padding behind the end, as from greedy search, and as from beam search with any other id.
# Observed:
#   greedy, padding 0: [2, 1, 0, 0, 0]
#   2 beams, padding 0: [2, 1, 1, 1, 1]
#   2 beams, padding 3: [2, 1, 3, 3, 3]
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    transformers==5.23.0 tokenizers==0.23.3 huggingface-hub==2.4.0 torch==2.13.0

cat > "$folder/beams.py" <<'PYTHON'
import torch
from transformers import T5Config, T5ForConditionalGeneration

torch.manual_seed(0)
config = T5Config(
    vocab_size=10, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, eos_token_id=1, decoder_start_token_id=2
)
model = T5ForConditionalGeneration(config).eval()


def written(padding, beams):
    return model.generate(
        torch.tensor([[4], [5]]),
        max_new_tokens=4,
        num_beams=beams,
        pad_token_id=padding,
        prefix_allowed_tokens_fn=lambda row, ids: [1] if row == 0 else [6, 7],  # the first text ends at once
    )[0].tolist()


print("greedy, padding 0:", written(0, beams=1))
print("2 beams, padding 0:", written(0, beams=2))
print("2 beams, padding 3:", written(3, beams=2))
PYTHON

export HF_HUB_OFFLINE=1
"$folder/venv/bin/python" "$folder/beams.py" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
greedy, padding 0: [2, 1, 0, 0, 0]
2 beams, padding 0: [2, 1, 1, 1, 1]
2 beams, padding 3: [2, 1, 3, 3, 3]
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
