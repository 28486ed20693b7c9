#!/usr/bin/env bash
# Version: peft 0.21.2, torch 2.13.0.
# Behaviour: target_modules="all-linear" adapts the Linear layers of a model with an nn.LSTM, and nothing of the LSTM:
#   its matrices are parameters, not modules. Nothing is said. Only the head then learns. Naming the matrices as
#   target_parameters adapts them, although nn.LSTM hands them to its kernel in a list of its own.
# Expected: "all-linear" covers every matrix product, or warns about a layer that holds most of the weights.
# Observed:
#   all-linear: adapters on head
#   target_parameters: adapters on lstm
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    peft==0.21.2 transformers==5.23.0 accelerate==1.15.0 torch==2.13.0 numpy==2.4.6 tokenizers==0.23.3

cat > "$folder/adapt.py" <<'PYTHON'
import sys

import torch
from peft import LoraConfig, get_peft_model


class Tagger(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = torch.nn.Embedding(20, 8)
        self.lstm = torch.nn.LSTM(8, 8, batch_first=True)
        self.head = torch.nn.Linear(8, 3)

    def forward(self, ids):
        return self.head(self.lstm(self.embeddings(ids))[0])


CHOICES = {
    "all-linear": {"target_modules": "all-linear"},
    "target_parameters": {"target_modules": [], "target_parameters": ["weight_ih_l0", "weight_hh_l0"]},
}
ids = torch.arange(1, 7)[None]
with open(sys.argv[1], "w") as seen:
    for name, targets in CHOICES.items():
        torch.manual_seed(0)
        tagger = get_peft_model(Tagger(), LoraConfig(r=2, **targets))
        before = tagger(ids)
        trained = {path: value for path, value in tagger.named_parameters() if value.requires_grad}
        with torch.no_grad():
            for value in trained.values():
                value.fill_(0.5)
        assert not torch.equal(tagger(ids), before)  # the adapters are in use
        parts = sorted({path.split(".")[2] for path in trained})
        print(f"{name}: adapters on {', '.join(parts)}", file=seen)
PYTHON

"$folder/venv/bin/python" "$folder/adapt.py" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
all-linear: adapters on head
target_parameters: adapters on lstm
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
