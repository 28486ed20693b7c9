"""Run an ONNX graph beside the torch model that it was built from."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from contract import padded, words

from pipeline.export.recurrent.build import build


def session(source: torch.nn.Module | onnx.ModelProto | str, **options: Any) -> onnxruntime.InferenceSession:
    """ONNX Runtime on one thread, with a model, its graph or a file."""
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    graph = build(source, **options) if isinstance(source, torch.nn.Module) else source
    content = graph if isinstance(graph, str) else graph.SerializeToString()
    return onnxruntime.InferenceSession(content, settings, providers=["CPUExecutionProvider"])


def run(graph: onnxruntime.InferenceSession, **inputs: torch.Tensor) -> dict[str, torch.Tensor]:
    """The outputs of a graph by name."""
    names = [output.name for output in graph.get_outputs()]
    outputs = graph.run(None, {name: values.numpy() for name, values in inputs.items()})
    return {name: torch.from_numpy(np.asarray(values)) for name, values in zip(names, outputs, strict=True)}


def zero_state(graph: onnxruntime.InferenceSession, rows: int) -> dict[str, torch.Tensor]:
    """The inputs of a language model at the start of a text."""
    states = [given for given in graph.get_inputs() if given.name.startswith("past.")]
    return {given.name: torch.zeros(rows, given.shape[1]) for given in states}


@torch.no_grad()
def difference(model: torch.nn.Module, graph: onnxruntime.InferenceSession, **inputs: torch.Tensor) -> float:
    """The largest difference between the logits of a model and of its graph, which has all of its outputs in common
    with the shapes of the model's."""
    expected = model(**inputs).logits
    found = run(graph, **inputs, **zero_state(graph, len(inputs["input_ids"])))["logits"]
    assert found.shape == expected.shape
    assert found.dtype == torch.float32
    return float((found - expected).abs().max()) if expected.numel() else 0.0


def batches(side: str, empty: bool = False) -> list[dict[str, torch.Tensor]]:
    """Rows of several lengths, one row, and a single word; with `empty`, also a row without words."""
    made = [padded(words(lengths), side, extra) for lengths, extra in (([7, 1, 4, 9, 5], 2), ([12, 3], 0), ([1], 0))]
    if empty:
        made[0][1][2] = 0
    return [{"input_ids": ids, "attention_mask": mask} for ids, mask in made]


def with_characters(inputs: dict[str, torch.Tensor], width: int = 6, vocab_size: int = 20) -> dict[str, torch.Tensor]:
    """`inputs` and random characters for each position; some words have none, and some fill the width."""
    generator = torch.Generator().manual_seed(3)
    places = inputs["input_ids"].shape
    characters = torch.randint(1, vocab_size, (*places, width), generator=generator)
    lengths = torch.randint(0, width + 1, places, generator=generator)
    return {**inputs, "char_ids": characters * (torch.arange(width) < lengths[..., None])}
