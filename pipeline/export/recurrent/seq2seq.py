"""An encoder-decoder as two graphs: the encoder reads a text, and the decoder writes another one from its outputs."""

# Shapes: B batch, S source words, T target words, W width of the encoder's states, A width of the keys, H units of the
# decoder, O vector_size, V vocabulary.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from pipeline.models.recurrent import RecurrentForSeq2SeqLM
from pipeline.models.recurrent.recurrence import Recurrence

from .cells import CELLS
from .encoder import encode, in_place
from .graph import BOOL, FLOAT, INT32, INT64, Graph, Value
from .layout import make_layout, with_words
from .pooling import LOWEST

STATES, KEYS, MASK, FED = "encoder_hidden_states", "encoder_keys", "encoder_attention_mask", "fed"


def encode_texts(graph: Graph, model: RecurrentForSeq2SeqLM) -> None:
    """Inputs: `input_ids` and `attention_mask` (B, S). The outputs are inputs of the decoder: the state before its
    first word, `past.N.hidden` and so on; with attention, `encoder_hidden_states` (B, S, W) and, if it is additive,
    `encoder_keys` (B, S, A)."""
    op, config, decoder = graph.op, model.config, model.decoder
    given, mask = (graph.input(name, INT64, "batch", "source") for name in ("input_ids", "attention_mask"))
    ids, words = with_words(op, given, op.Cast(mask, to=BOOL), config.empty_text_token_id)
    layout = make_layout(op, words)
    encoded = encode(graph, model.encoder, ids, layout)
    if decoder.attention is not None:
        rows = in_place(graph, encoded.states, config.output_size, layout)
        graph.output(STATES, _unflatten(graph, rows, ids), "batch", "source", config.output_size)
        if config.attention_type == "additive":
            keys = graph.linear(rows, cast(Any, decoder.attention.score).key_projection)
            graph.output(KEYS, _unflatten(graph, keys, ids), "batch", "source", cast(int, config.units))
    with graph.scope("decoder.bridge"):
        first = op.Tanh(graph.linear(encoded.finals[-1][0], decoder.bridge))
        parts = op.Split(first, decoder.state_sizes, axis=-1, _outputs=len(decoder.state_sizes))
    names = _state_names(model)
    for name, width, part in zip(names, decoder.state_sizes, parts if len(names) > 1 else [parts], strict=True):
        graph.output(f"past.{name}", part, "batch", width)


def write_words(graph: Graph, model: RecurrentForSeq2SeqLM) -> None:
    """Inputs: `input_ids` (B, T), the words written last; what the encoder returns; with attention, the mask of the
    source words, `encoder_attention_mask` (B, S). With input feeding, T is 1, and `past.fed` (B, O) has what was
    attended to for the word before; zeros begin a text. Outputs: logits (B, T, V), the state after the last word,
    `present.N.hidden` and so on, and with attention its weights, `cross_attentions` (B, T, S)."""
    op, config, decoder = graph.op, model.config, model.decoder
    time = 1 if config.input_feeding else "time"
    ids = graph.input("input_ids", INT64, "batch", time)
    source = _source(graph, model) if decoder.attention is not None else None
    with graph.scope("shared"):
        states = op.Gather(graph.weight(model.shared.weight), op.Transpose(ids, perm=[1, 0]))  # (T, B, E)
    if config.input_feeding:
        fed = graph.input(f"past.{FED}", FLOAT, "batch", config.vector_size)
        states = op.Concat(states, op.Unsqueeze(fed, [0]), axis=-1)
    lengths = op.Expand(op.Cast(op.Shape(ids, start=1, end=2), to=INT32), op.Shape(ids, start=0, end=1))
    cell, after = CELLS[config.cell_type], list[Value]()
    names = iter(_state_names(model))
    for index, layer in enumerate(decoder.layers):
        sizes = cast(Recurrence, layer).cell.state_sizes().values()
        past = [graph.input(f"past.{next(names)}", FLOAT, "batch", width) for width in sizes]
        with graph.scope(f"decoder.layers.{index}"):
            states, parts = cell(graph, cast(Recurrence, layer), states, lengths, past)
        after += parts
    rows = op.Reshape(op.Transpose(states, perm=[1, 0, 2]), [-1, cast(int, config.units)])  # (B*T, H)
    if source is not None:
        rows, weights = _attend(graph, model, rows, source, ids)
        graph.output("cross_attentions", weights, "batch", time, "source")
    elif decoder.projection is not None:
        rows = graph.linear(rows, decoder.projection)
    with graph.scope("lm_head"):
        logits = _unflatten(graph, graph.linear(rows, model.lm_head), ids)
    graph.output("logits", logits, "batch", time, config.vocab_size)
    for name, width, value in zip(_state_names(model), decoder.state_sizes, after, strict=True):
        graph.output(f"present.{name}", value, "batch", width)
    if config.input_feeding:
        graph.output(f"present.{FED}", rows, "batch", config.vector_size)


class _Source(NamedTuple):
    """What the decoder attends to: `states` (B, S, W), `keys` (B, S, A), and `words` (B, S), True at words."""

    states: Value
    keys: Value
    words: Value


def _source(graph: Graph, model: RecurrentForSeq2SeqLM) -> _Source:
    op, config = graph.op, model.config
    mask = graph.input(MASK, INT64, "batch", "source")
    _, words = with_words(op, mask, op.Cast(mask, to=BOOL), config.empty_text_token_id)
    states = graph.input(STATES, FLOAT, "batch", "source", config.output_size)
    is_additive = config.attention_type == "additive"
    keys = graph.input(KEYS, FLOAT, "batch", "source", cast(int, config.units)) if is_additive else states
    return _Source(states, keys, words)


def _attend(
    graph: Graph, model: RecurrentForSeq2SeqLM, rows: Value, source: _Source, ids: Value
) -> tuple[Value, Value]:
    """The vectors (B*T, O) for the decoder's states `rows` (B*T, H), and the weights (B, T, S)."""
    op, attention = graph.op, cast(Any, model.decoder.attention)
    with graph.scope("decoder.attention"):
        scores = SCORES[model.config.attention_type](graph, attention.score, rows, source.keys, ids)
        scores = op.Where(op.Unsqueeze(source.words, [1]), scores, LOWEST)
        weights = op.Softmax(scores, axis=-1)
        contexts = op.Reshape(op.MatMul(weights, source.states), [-1, model.config.output_size])
        return op.Tanh(graph.linear(op.Concat(contexts, rows, axis=-1), attention.combination)), weights


def _multiplicative(graph: Graph, score: Any, rows: Value, keys: Value, ids: Value) -> Value:
    queries = _unflatten(graph, graph.linear(rows, score.projection), ids)  # (B, T, A)
    return graph.op.MatMul(queries, graph.op.Transpose(keys, perm=[0, 2, 1]))


def _additive(graph: Graph, score: Any, rows: Value, keys: Value, ids: Value) -> Value:
    op = graph.op
    queries = _unflatten(graph, graph.linear(rows, score.query_projection), ids)
    sums = op.Tanh(op.Add(op.Unsqueeze(queries, [2]), op.Unsqueeze(keys, [1])))  # (B, T, S, A)
    # Not a MatMul: see `pooling._attention`.
    return op.ReduceSum(op.Mul(sums, graph.weight(score.score.weight)), [3], keepdims=0)


# The scores (B, T, S) of states (B*T, H) with keys (B, S, A).
SCORES: dict[str, Callable[[Graph, Any, Value, Value, Value], Value]] = {
    "additive": _additive,
    "multiplicative": _multiplicative,
}


def _state_names(model: RecurrentForSeq2SeqLM) -> list[str]:
    """N.hidden and so on of each layer N of the decoder."""
    return [f"{n}.{part}" for n, cell in enumerate(model.decoder.cells) for part in cell.state_sizes()]


def _unflatten(graph: Graph, rows: Value, like: Value) -> Value:
    """`rows` (B*T, W) as (B, T, W), of the size of `like` (B, T)."""
    return graph.op.Reshape(rows, graph.op.Concat(graph.op.Shape(like), [-1], axis=0))
