#!/usr/bin/env bash
# Version: onnxruntime 1.32.0, onnx 1.23.2.
# Behaviour: where `sequence_lens` is 0, the operators RNN, GRU and LSTM return zeros as the final state Y_h and Y_c of
#   the row, whatever initial_h and initial_c are.
# Expected: the initial state, which no step has changed. When the streams of a batch are read in chunks, one that has
#   nothing new in a chunk starts again from zeros at the next, without an error. Keep its state with a Where.
# Observed, with initial_h = 0.5 and initial_c = 0.25:
#   RNN: Y_h 0.0
#   GRU: Y_h 0.0
#   LSTM: Y_h 0.0, Y_c 0.0
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check onnxruntime==1.32.0 onnx==1.23.2 numpy==2.4.6

cat > "$folder/empty_row.py" <<'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper

UNITS, INPUTS = 3, 2
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def graph_of(operator):
    """The operator with all weights as inputs, and its final state as outputs."""
    parts = ["h", "c"] if operator == "LSTM" else ["h"]
    initial, final = [f"initial_{part}" for part in parts], [f"Y_{part}" for part in parts]
    names = ["X", "W", "R", "", "sequence_lens", *initial]
    node = helper.make_node(operator, names, ["", *final], hidden_size=UNITS)
    gates = GATES[operator] * UNITS
    shapes = {"X": ["time", "batch", INPUTS], "W": [1, gates, INPUTS], "R": [1, gates, UNITS], "sequence_lens": ["batch"]}
    shapes |= dict.fromkeys(initial, [1, "batch", UNITS])
    kinds = {"sequence_lens": TensorProto.INT32}
    inputs = [helper.make_tensor_value_info(name, kinds.get(name, TensorProto.FLOAT), shapes[name]) for name in shapes]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, "batch", UNITS]) for name in final]
    graph = helper.make_graph([node], "one_layer", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    checker.check_model(model, full_check=True)
    return model


for operator, gates in GATES.items():
    session = onnxruntime.InferenceSession(graph_of(operator).SerializeToString())
    given = {
        "X": np.ones((4, 2, INPUTS)),
        "W": np.ones((1, gates * UNITS, INPUTS)),
        "R": np.ones((1, gates * UNITS, UNITS)),
        "initial_h": np.full((1, 2, UNITS), 0.5),
        "initial_c": np.full((1, 2, UNITS), 0.25),
    }
    read = {value.name for value in session.get_inputs()}
    feeds = {name: values.astype(np.float32) for name, values in given.items() if name in read}
    states = session.run(None, {**feeds, "sequence_lens": np.array([4, 0], dtype=np.int32)})
    assert all(state[0, 0].all() for state in states)  # the other row has one
    names = [value.name for value in session.get_outputs()]
    print(f"{operator}:", ", ".join(f"{name} {state[0, 1].max()}" for name, state in zip(names, states)))
PYTHON
"$folder/venv/bin/python" "$folder/empty_row.py" | tee "$folder/seen"

cat > "$folder/expected" <<'TEXT'
RNN: Y_h 0.0
GRU: Y_h 0.0
LSTM: Y_h 0.0, Y_c 0.0
TEXT
if ! diff "$folder/expected" "$folder/seen"; then
    echo "the behaviour has changed" >&2
    exit 1
fi
