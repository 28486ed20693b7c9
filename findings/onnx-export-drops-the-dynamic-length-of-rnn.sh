#!/usr/bin/env bash
# Version: torch 2.13.0, onnx 1.23.2, onnxscript 0.7.2.
# Behaviour: torch.onnx.export(dynamo=True) takes a dimension that `dynamic_shapes` names, Dim("time"), as a wish. Of an
#   nn.RNN it records one step for each position of the example, declares that length in the graph's input, and reports
#   success. The same call keeps the length of an nn.LSTM dynamic.
# Expected: an error, as from torch.export.export with the same arguments: "You marked time as dynamic but your code
#   specialized it to be a constant (6)". A program that only runs its example again finds nothing wrong.
# Observed:
#   nn.LSTM: batch x time x 4
#   nn.RNN: batch x 6 x 4
#   nn.RNN in torch.export.export: Constraints violated (time)
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    torch==2.13.0 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6

cat > "$folder/export.py" <<'PYTHON'
import logging
import warnings

import torch
from torch.export import Dim

warnings.simplefilter("ignore")
logging.disable(logging.WARNING)
example = (torch.randn(2, 6, 4),)
shapes = ({0: Dim("batch"), 1: Dim("time")},)
for kind in (torch.nn.LSTM, torch.nn.RNN):
    model = kind(4, 8, batch_first=True).eval()
    program = torch.onnx.export(model, example, dynamic_shapes=shapes, dynamo=True, verbose=False)
    sizes = program.model_proto.graph.input[0].type.tensor_type.shape.dim
    print(f"nn.{kind.__name__}:", " x ".join(size.dim_param or str(size.dim_value) for size in sizes))
try:
    torch.export.export(model, example, dynamic_shapes=shapes)
except torch._dynamo.exc.UserError as error:
    print("nn.RNN in torch.export.export:", str(error).partition("!")[0])
PYTHON
"$folder/venv/bin/python" "$folder/export.py" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
nn.LSTM: batch x time x 4
nn.RNN: batch x 6 x 4
nn.RNN in torch.export.export: Constraints violated (time)
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
