#!/usr/bin/env bash
# Version: pandas 3.1.1, pyarrow 26.0.1, numpy 2.4.6.
# Behaviour: a column of lists that was read from parquet, written to csv and read back with ast.literal_eval has one
#   string in place of four: pandas reads lists of parquet as NumPy arrays, whose text has no commas, and Python joins
#   strings that stand side by side. Nothing fails, and there is no warning.
# Expected: ['New', 'York', 'is', 'big'], as for the same column when it is made in Python, or an error.
# Observed:
#   made in Python: ['New', 'York', 'is', 'big']
#   read from parquet: ['NewYorkisbig']
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check pandas==3.1.1 pyarrow==26.0.1 numpy==2.4.6

cat > "$folder/lists.py" <<'PYTHON'
import ast
import io
import sys

import pandas as pd


def through_csv(frame):
    text = frame.to_csv(index=False)
    return ast.literal_eval(pd.read_csv(io.StringIO(text)).tokens[0])


made = pd.DataFrame({"tokens": [["New", "York", "is", "big"]]})
made.to_parquet(sys.argv[1])
print("made in Python:", through_csv(made))
print("read from parquet:", through_csv(pd.read_parquet(sys.argv[1])))
PYTHON

"$folder/venv/bin/python" "$folder/lists.py" "$folder/lists.parquet" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
made in Python: ['New', 'York', 'is', 'big']
read from parquet: ['NewYorkisbig']
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
