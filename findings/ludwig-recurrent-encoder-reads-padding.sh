#!/usr/bin/env bash
# Version: ludwig 0.17.10 on torch 2.13.0, Python 3.12 (set PYTHON to an interpreter; about 6 GB on disk on Linux).
# Behaviour: the recurrent encoder of texts (`type: rnn`) does not know where a text ends. It runs over the padding, to
#   which Ludwig fills all texts up to the longest one of the data, and `reduce_output: last`, the default, takes the
#   state after it. That state has forgotten the text: with much padding, the encodings of any two texts are equal in
#   float32, so a classifier of texts that are mostly shorter than the longest stays at chance. No warning is given;
#   `forward` takes a `mask` and leaves it unused. With `reduce_output: max` the padding is read as well, but what the
#   text has left in the states before it is found.
# Expected: `last` is the state after the last word, as the comment in ReduceLast says ("the outputs after
#   sequence_length are all 0s"), or the setting is refused.
# Observed, the encodings of two texts of four words, none of them in common:
#   last, padded by 0 words: the texts differ
#   last, padded by 50 words: the texts are equal to 1e-6
#   max, padded by 0 words: the texts differ
#   max, padded by 50 words: the texts differ
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.12}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check ludwig==0.17.10 torch==2.13.0 numpy==2.5.5

cat > "$folder/encode.py" <<'PYTHON'
import sys

import torch
from ludwig.encoders.sequence_encoders import StackedRNN

words = ["<PAD>", "<UNK>", *"abcdefghijklmnop"]
texts = torch.tensor([[2, 3, 4, 5], [6, 7, 8, 9]], dtype=torch.int32)
with open(sys.argv[1], "w") as seen:
    for reduce_output in ("last", "max"):
        for padding in (0, 50):
            torch.manual_seed(0)
            encoder = StackedRNN(
                vocab=words,
                max_sequence_length=4 + padding,
                embedding_size=16,
                state_size=16,
                cell_type="lstm",
                bidirectional=True,
                reduce_output=reduce_output,
            ).eval()
            with torch.no_grad():
                one, other = encoder(torch.nn.functional.pad(texts, (0, padding)))["encoder_output"]
            difference = float((one - other).abs().max())
            found = "are equal to 1e-6" if difference < 1e-6 else "differ" if difference > 1e-2 else "are close"
            print(f"{reduce_output}, padded by {padding} words: the texts {found}", file=seen)
PYTHON

"$folder/venv/bin/python" "$folder/encode.py" "$folder/seen"
cat "$folder/seen"

cat > "$folder/expected" <<'TEXT'
last, padded by 0 words: the texts differ
last, padded by 50 words: the texts are equal to 1e-6
max, padded by 0 words: the texts differ
max, padded by 50 words: the texts differ
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
