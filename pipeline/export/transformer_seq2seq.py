"""The two ONNX graphs of a transformer with an encoder and a decoder, recorded by `torch.onnx.export` for any number of
rows and any length.

The encoder's graph also computes the keys and values that each layer of the decoder has of the source, which are the
same for each token that is written. So the decoder's graph needs nothing else of the encoder.
"""

# Shapes: B batch, S tokens of the source, T time, P tokens written before, V vocabulary, N heads, H size of a head.

from __future__ import annotations

from typing import Any

import onnx
import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache, EncoderDecoderCache, PreTrainedModel

from pipeline.errors import UserError, reason
from pipeline.export.transformer import BEFORE, LENGTH, example, layers, record, root
from pipeline.models import modes

MASK = "encoder_attention_mask"
Layers = list[tuple[torch.Tensor, torch.Tensor]]


def build(model: PreTrainedModel, opset: int) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graphs of the encoder and the decoder of `model`, in evaluation mode and float32.

    The encoder's inputs are `input_ids` and `attention_mask` (B, S). Its outputs are inputs of the decoder, the keys
    and values (B, N, S, H) of each layer, `past_key_values.0.encoder.key` and so on. The decoder also reads the
    `input_ids` (B, T) of the tokens written last, `encoder_attention_mask` (B, S), and `past_key_values.0.decoder.key`
    (B, N, P, H) and so on of those before. Its outputs are `logits` (B, T, V), `present.0.decoder.key` and so on, and
    the weights of the source in the last layer, the mean of its heads, `cross_attentions` (B, T, S).

    Raises:
        UserError: the model cannot be recorded, or its results cannot be written as ONNX.
    """
    model = model.float().eval()
    try:
        with modes.keeping_attention(model):
            return _encoder(model, opset), _decoder(model, opset)
    except Exception as error:  # of any class: it runs the code of the model
        if isinstance(error, UserError):
            raise
        raise UserError(f"model: a {type(model).__name__} cannot be exported to ONNX: {reason(root(error))}") from error


class _Encoder(nn.Module):
    """From a text to its keys and values. The decoder reads one token for them, of which nothing else is left in the
    graph."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            decoder_input_ids=input_ids[:, :1],
            use_cache=True,
            return_dict=True,
        )
        return tuple(part for layer in layers(outputs.past_key_values.cross_attention_cache) for part in layer)


class _Decoder(nn.Module):
    """From the tokens written last, and the keys and values of those before and of the source, to logits."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: torch.Tensor, encoder_attention_mask: torch.Tensor, past: Layers, source: Layers
    ) -> tuple[torch.Tensor, ...]:
        cache = EncoderDecoderCache(*(DynamicCache([tuple(layer) for layer in part]) for part in (past, source)))
        cache.is_updated = dict.fromkeys(range(len(source)), True)
        keys, _ = source[0]
        outputs = self.model(
            encoder_outputs=(keys.transpose(1, 2).flatten(2),),  # of which only the size is read
            attention_mask=encoder_attention_mask,
            decoder_input_ids=input_ids,
            past_key_values=cache,
            use_cache=True,
            output_attentions=True,
            return_dict=True,
        )
        kept = layers(outputs.past_key_values.self_attention_cache)
        return outputs.logits, outputs.cross_attentions[-1].mean(dim=1), *(part for layer in kept for part in layer)


def _encoder(model: PreTrainedModel, opset: int) -> onnx.ModelProto:
    inputs = example(model)
    shapes = {name: {0: Dim("batch"), 1: Dim("source")} for name in inputs}
    outputs = _names("past_key_values", len(_read(model)[1]), "encoder")
    return record(_Encoder(model), inputs, shapes, [*inputs], outputs, opset)


def _decoder(model: PreTrainedModel, opset: int) -> onnx.ModelProto:
    written, source = _read(model)
    past = [tuple(part[:, :, :BEFORE].clone() for part in layer) for layer in written]
    given = example(model)
    inputs = {"input_ids": given["input_ids"][:, : LENGTH - 1], MASK: given["attention_mask"]}
    shapes: dict[str, Any] = {
        "input_ids": {0: Dim("batch"), 1: Dim("time")},
        MASK: {0: Dim("batch"), 1: Dim("source")},
        "past": [({0: Dim("batch"), 2: Dim("past")},) * 2 for _ in past],
        "source": [({0: Dim("batch"), 2: Dim("source")},) * 2 for _ in source],
    }
    decoder = _names("past_key_values", len(past), "decoder")
    return record(
        _Decoder(model),
        {**inputs, "past": past, "source": source},
        shapes,
        [*inputs, *decoder, *_names("past_key_values", len(source), "encoder")],
        ["logits", "cross_attentions", *_names("present", len(past), "decoder")],
        opset,
    )


def _read(model: PreTrainedModel) -> tuple[Layers, Layers]:
    """The keys and values of a translation and of its source.

    Raises:
        UserError: the model keeps something else of what it has read.
    """
    inputs = example(model)
    with torch.no_grad():
        cache = model(**inputs, decoder_input_ids=inputs["input_ids"], use_cache=True, return_dict=True).past_key_values
    parts = (getattr(cache, f"{name}_attention_cache", None) for name in ("self", "cross"))
    written, source = map(layers, parts)
    return written, source


def _names(prefix: str, count: int, side: str) -> list[str]:
    return [f"{prefix}.{number}.{side}.{part}" for number in range(count) for part in ("key", "value")]
