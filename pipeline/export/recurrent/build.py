"""Build the ONNX graph of a recurrent model."""

from __future__ import annotations

import onnx
import torch

from pipeline.config.export import DEFAULT_OPSET, check_opset
from pipeline.errors import UserError
from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentPreTrainedModel

from .graph import Graph
from .heads import HEADS
from .seq2seq import encode_texts, write_words


@torch.no_grad()
def build(model: RecurrentPreTrainedModel, opset: int = DEFAULT_OPSET) -> onnx.ModelProto:
    """The graph of `model` in evaluation mode, in float32. Inputs and outputs have the names that the model itself
    gives them; see `heads.py` for their shapes.

    A batch has one row or more: ONNX Runtime crashes on none. Padding may stand anywhere. A text without words is read
    as the config's `empty_text_token_id`, and T may then be 0; without such a token, its vector is zero, where the
    model raises an error.

    Args:
        opset: the version of the ONNX operators, 18 to 23.

    Raises:
        UserError: the version is out of range, or the model has no head.
    """
    check_opset(opset)
    if type(model) not in HEADS:
        heads = ", ".join(sorted(head.__name__ for head in HEADS))
        raise UserError(f"model: {type(model).__name__} has no head; load the model as one of {heads}")
    graph = Graph(model, opset)
    HEADS[type(model)](graph, model)
    return graph.finish()


@torch.no_grad()
def build_encoder_decoder(
    model: RecurrentForSeq2SeqLM, opset: int = DEFAULT_OPSET
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """The graphs of the encoder and of the decoder of `model`, as `build` makes those of other models; see `seq2seq.py`
    for their inputs and outputs.

    Raises:
        UserError: the version of the operators is out of range.
    """
    check_opset(opset)
    encoder, decoder = Graph(model, opset), Graph(model, opset)
    encode_texts(encoder, model)
    write_words(decoder, model)
    return encoder.finish(), decoder.finish()
