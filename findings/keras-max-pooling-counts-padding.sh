#!/usr/bin/env bash
# Version: keras 3.15.1 on torch 2.13.0.
# Behaviour: after Embedding(mask_zero=True) and a bidirectional LSTM, GlobalMaxPooling1D takes the maximum over padding,
#   too. The LSTM returns zeros there, so a text whose outputs are below zero is pooled to zeros if it is padded, and a
#   classifier's answer depends on the longest text of the batch. GlobalAveragePooling1D, in the same place, leaves
#   padding out. The maximum comes with a warning that layers behind it will not see the mask, not that it has counted
#   the padding itself.
# Expected: layers that receive a mask use it, or refuse it; the two pooling layers treat it alike.
# Observed, the same text alone and padded by two zeros:
#   GlobalMaxPooling1D: another result
#   GlobalAveragePooling1D: the same result
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check keras==3.15.1 torch==2.13.0 numpy==2.4.6

cat > "$folder/pool.py" <<'PYTHON'
import sys

import keras
import numpy as np
from keras import layers

alone, padded = np.array([[5, 6]]), np.array([[5, 6, 0, 0]])
with open(sys.argv[1], "w") as seen:
    for pooling in (layers.GlobalMaxPooling1D, layers.GlobalAveragePooling1D):
        keras.utils.set_random_seed(0)
        model = keras.Sequential(
            [
                layers.Embedding(9, 4, mask_zero=True),
                layers.Bidirectional(layers.LSTM(8, return_sequences=True)),
                pooling(),
            ]
        )
        results = [keras.ops.convert_to_numpy(model(ids)) for ids in (alone, padded)]
        same = np.allclose(*results, atol=1e-6)
        print(f"{pooling.__name__}: {'the same' if same else 'another'} result", file=seen)
PYTHON

KERAS_BACKEND=torch "$folder/venv/bin/python" "$folder/pool.py" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
GlobalMaxPooling1D: another result
GlobalAveragePooling1D: the same result
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
