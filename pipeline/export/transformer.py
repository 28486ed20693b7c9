"""The ONNX graph of a transformer, recorded by `torch.onnx.export` for any number of rows and any length.

Inputs and outputs are named as in other ONNX models on the Hub, so that its tools know what they are.
"""

# Shapes: B batch, T time, P tokens read before, C classes, V vocabulary, N heads, H size of a head.

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import onnx
import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache, PreTrainedModel, PreTrainedTokenizerBase

from pipeline.errors import UserError, reason

TYPES = "token_type_ids"
# Sizes of the batch that is recorded. All differ, so that no dimension is taken for another.
ROWS, LENGTH, BEFORE = 2, 6, 3


def build(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, opset: int) -> onnx.ModelProto:
    """The graph of `model`, in evaluation mode and float32.

    Its inputs are `input_ids` and `attention_mask`, (B, T), `token_type_ids` (B, T) if the tokenizer returns them, and
    for a language model what `_LanguageModel` adds. Its output is `logits`: (B, C), or (B, T, C) of a tagger.

    Raises:
        UserError: the model cannot be recorded, or its results cannot be written as ONNX.
    """
    model = model.float().eval()
    try:
        return _language_model(model, opset) if model.can_generate() else _classifier(model, tokenizer, opset)
    except Exception as error:  # of any class: it runs the code of the model
        if isinstance(error, UserError):
            raise
        raise UserError(f"model: a {type(model).__name__} cannot be exported to ONNX: {reason(root(error))}") from error


class _Classifier(nn.Module):
    """What is recorded of a model: from its inputs to its logits, and nothing else that it returns."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, token_type_ids: torch.Tensor | None = None
    ) -> torch.Tensor:
        types = {} if token_type_ids is None else {TYPES: token_type_ids}
        return self.model(input_ids=input_ids, attention_mask=attention_mask, **types, return_dict=True).logits


class _LanguageModel(nn.Module):
    """A language model that reads `past_key_values` (B, N, P, H) of each layer, a key and a value, and returns them
    with those of the new tokens. `attention_mask` (B, P + T) covers both."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        position_ids: torch.Tensor,
        past_key_values: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> tuple[torch.Tensor, ...]:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=DynamicCache([tuple(layer) for layer in past_key_values]),
            use_cache=True,
            return_dict=True,
        )
        return outputs.logits, *(part for layer in layers(outputs.past_key_values) for part in layer)


def _classifier(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, opset: int) -> onnx.ModelProto:
    inputs = example(model)
    if TYPES in tokenizer.model_input_names and TYPES in inspect.signature(model.forward).parameters:
        inputs[TYPES] = torch.zeros_like(inputs["input_ids"])
    shapes = {name: {0: Dim("batch"), 1: Dim("time")} for name in inputs}
    return record(_Classifier(model), inputs, shapes, [*inputs], ["logits"], opset)


def _language_model(model: PreTrainedModel, opset: int) -> onnx.ModelProto:
    inputs = example(model)
    with torch.no_grad():
        cached = layers(model(**inputs, use_cache=True, return_dict=True).past_key_values)
    past = [tuple(part[:, :, :BEFORE].clone() for part in layer) for layer in cached]
    mask = inputs["attention_mask"]
    inputs["position_ids"] = torch.arange(BEFORE, BEFORE + LENGTH).expand(ROWS, -1).clone()
    inputs["attention_mask"] = torch.cat([mask.new_ones(ROWS, BEFORE), mask], dim=1)
    shapes: dict[str, Any] = {name: {0: Dim("batch"), 1: Dim("time")} for name in inputs}
    shapes["attention_mask"] = {0: Dim("batch"), 1: Dim("total")}
    shapes["past_key_values"] = [({0: Dim("batch"), 2: Dim("past")},) * 2 for _ in past]
    names = [f"{number}.{part}" for number in range(len(past)) for part in ("key", "value")]
    return record(
        _LanguageModel(model),
        {**inputs, "past_key_values": past},
        shapes,
        [*inputs, *(f"past_key_values.{name}" for name in names)],
        ["logits", *(f"present.{name}" for name in names)],
        opset,
    )


def example(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """A batch with padding."""
    ids = torch.arange(ROWS * LENGTH).view(ROWS, LENGTH) % model.config.get_text_config().vocab_size
    mask = torch.ones_like(ids)
    mask[1, LENGTH - 2 :] = 0
    return {"input_ids": ids, "attention_mask": mask}


def layers(cache: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The keys and values of each layer of a model, (B, N, T, H), from its `cache`.

    Raises:
        UserError: the model keeps something else of what it has read.
    """
    try:
        return [(layer.keys, layer.values) for layer in cache.layers]
    except (AttributeError, TypeError) as error:
        raise UserError(
            "model: it keeps no keys and values of the tokens that it has read, so it cannot be exported to ONNX"
        ) from error


def record(
    module: nn.Module,
    inputs: dict[str, Any],
    shapes: dict[str, Any],
    input_names: list[str],
    output_names: list[str],
    opset: int,
) -> onnx.ModelProto:
    """The graph of `module`, recorded from `inputs`, whose dimensions in `shapes` may have any size."""
    with torch.no_grad():
        program = torch.onnx.export(
            module.eval(),
            (),
            kwargs=inputs,
            dynamic_shapes=shapes,
            input_names=input_names,
            output_names=output_names,
            opset_version=opset,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    proto = program.model_proto
    _forget_source(proto.graph)
    del proto.graph.value_info[:]  # as of recurrent graphs, see recurrent/graph.py
    return proto


def _forget_source(graph: onnx.GraphProto) -> None:
    """Remove where in our code, and in which folder of this machine, each node comes from."""
    del graph.metadata_props[:]
    for part in (*graph.node, *graph.initializer, *graph.value_info, *graph.input, *graph.output):
        del part.metadata_props[:]
        part.doc_string = ""
    for inner in _graphs_in(graph):
        _forget_source(inner)


def _graphs_in(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The bodies of loops and conditions."""
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield attribute.g


def root(error: BaseException) -> BaseException:
    """The exception that another one reports."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error
