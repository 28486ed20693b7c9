#!/usr/bin/env bash
# Version: torch 2.13.0.
# Behaviour: on an x86 processor without AVX-512, a forward pass of nn.LSTM in bfloat16 autocast raises a RuntimeError.
#   nn.Linear and nn.RNN run there in bfloat16, which is emulated, and nn.GRU runs too, but returns float32. An LSTM
#   whose weights are in bfloat16 runs without autocast.
# Expected: as for the other modules, slow or in float32, but a result. A training script that works with a GRU, or on
#   another machine of the same cluster, ends in its first update.
# Observed (with the instructions of AVX-512 switched off, which a processor without them does not need):
#   nn.Linear: autocast torch.bfloat16; weights in bfloat16 torch.bfloat16
#   nn.RNN: autocast torch.bfloat16; weights in bfloat16 torch.bfloat16
#   nn.GRU: autocast torch.float32; weights in bfloat16 torch.bfloat16
#   nn.LSTM: autocast RuntimeError; weights in bfloat16 torch.bfloat16
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6

cat > "$folder/look.py" <<'PYTHON'
import torch
from torch import nn


def look(module, inputs):
    """The type of the outputs, or of the error."""
    try:
        outputs = module(inputs)
    except RuntimeError as error:
        return type(error).__name__
    return (outputs[0] if isinstance(outputs, tuple) else outputs).dtype


inputs = torch.randn(2, 3, 8)
for kind in (nn.Linear, nn.RNN, nn.GRU, nn.LSTM):
    module = kind(8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        autocast = look(module, inputs)
    print(f"nn.{kind.__name__}: autocast {autocast}; weights in bfloat16 {look(module.bfloat16(), inputs.bfloat16())}")
PYTHON

export ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 OMP_NUM_THREADS=1
"$folder/venv/bin/python" "$folder/look.py" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
nn.Linear: autocast torch.bfloat16; weights in bfloat16 torch.bfloat16
nn.RNN: autocast torch.bfloat16; weights in bfloat16 torch.bfloat16
nn.GRU: autocast torch.float32; weights in bfloat16 torch.bfloat16
nn.LSTM: autocast RuntimeError; weights in bfloat16 torch.bfloat16
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
