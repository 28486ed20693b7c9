#!/usr/bin/env bash
# Version: torch 2.13.0.
# Behaviour: a tensor that a cached function makes for the first time during torch.export.export is a FakeTensor, and
#   stays in the cache. The exported program is right, but from then on the original model returns FakeTensors, which
#   have a shape and no values, in the whole process and without an error or a warning. If the model has run once before
#   the export, the cache holds a real tensor, and all is well.
# Expected: exporting a model does not change what it returns. Masks, positions and rotary tables are often cached so.
# Observed:
#   exported first: the model then returns a FakeTensor
#   run first: the model then returns a Tensor
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 numpy==2.4.6

cat > "$folder/export.py" <<'PYTHON'
import functools
import sys

import torch


@functools.lru_cache
def positions(length):
    return torch.arange(length)


class AddPositions(torch.nn.Module):
    def forward(self, values):
        return values + positions(values.shape[-1])


model, values = AddPositions(), torch.ones(3)
with open(sys.argv[1], "w") as seen:
    for order in ("exported first", "run first"):
        positions.cache_clear()
        if order == "run first":
            model(values)
        program = torch.export.export(model, (values,))
        assert program.module()(values).tolist() == [1.0, 2.0, 3.0]
        print(f"{order}: the model then returns a {type(model(values)).__name__}", file=seen)
PYTHON

"$folder/venv/bin/python" "$folder/export.py" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
exported first: the model then returns a FakeTensor
run first: the model then returns a Tensor
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
