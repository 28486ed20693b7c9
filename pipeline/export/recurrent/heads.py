"""The heads of recurrent models in the graph: classify texts, tag words, predict the next word."""

# Shapes: B batch, T time, W width of the states, C labels, V vocabulary.

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

from pipeline.models.recurrent import (
    RecurrentConfig,
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
)
from pipeline.models.recurrent.adaptive_softmax import AdaptiveSoftmax
from pipeline.models.recurrent.recurrence import Recurrence

from .crf import decode, tagged
from .encoder import encode, in_place
from .graph import BOOL, FLOAT, INT64, Graph, Value
from .layout import at_least_one, make_layout, with_words
from .pooling import compare, pool


class Inputs(NamedTuple):
    """The inputs of a graph, (B, T) int64 and the mask as bool, and the characters of words, (B, T, W). If T may be 0,
    there is at least one position."""

    ids: Value
    mask: Value
    types: Value | None = None
    chars: Value | None = None


def _inputs(graph: Graph, config: RecurrentConfig, pairs: bool = False) -> Inputs:
    names = ["input_ids", "attention_mask", *["token_type_ids"] * pairs]
    given = {name: graph.input(name, INT64, "batch", "time") for name in names}
    if config.char_encoder:
        given["char_ids"] = graph.input("char_ids", INT64, "batch", "time", "chars")
    if config.empty_text_token_id is not None:
        given = dict(zip(given, at_least_one(graph.op, *given.values()), strict=True))
    mask = graph.op.Cast(given["attention_mask"], to=BOOL)
    return Inputs(given["input_ids"], mask, given.get("token_type_ids"), given.get("char_ids"))


def classify_texts(graph: Graph, model: RecurrentForSequenceClassification) -> None:
    """Output: logits (B, C)."""
    op, config = graph.op, model.config
    inputs = _inputs(graph, config, config.pairs)
    ids, mask = with_words(op, inputs.ids, inputs.mask, config.empty_text_token_id)
    if config.pairs:
        second = op.Cast(inputs.types, to=BOOL)
        # The first text of each pair, then the second of each.
        mask = op.Concat(op.And(mask, op.Not(second)), op.And(mask, second), axis=0)
        ids = op.Concat(ids, ids, axis=0)
    layout = make_layout(op, mask)
    pooled = pool(graph, model, encode(graph, model.model, ids, layout, inputs.chars), layout)
    if config.pairs:
        pooled = compare(graph, pooled)
    with graph.scope("classifier"):
        graph.output("logits", graph.linear(pooled, model.classifier), "batch", config.num_labels)


def tag_words(graph: Graph, model: RecurrentForTokenClassification) -> None:
    """Output: logits (B, T, C), with a CRF its max-marginals."""
    op, config = graph.op, model.config
    inputs = _inputs(graph, config)
    mask = inputs.mask
    if config.pad_token_id is not None and config.pad_token_id != config.eos_token_id:
        mask = op.And(mask, op.Not(op.Equal(inputs.ids, config.pad_token_id)))
    ids, words = with_words(op, inputs.ids, mask, config.empty_text_token_id)
    layout = make_layout(op, words)
    encoded = encode(graph, model.model, ids, layout, inputs.chars)
    rows = in_place(graph, encoded.states, config.output_size, layout)
    with graph.scope("classifier"):
        logits = graph.linear(rows, model.classifier)
        logits = op.Reshape(logits, op.Concat(op.Shape(ids), [config.num_labels], axis=0))
    if model.crf is not None:
        logits = decode(graph, model.crf, logits, tagged(op, inputs.ids, mask, config.special_token_ids))
    if config.empty_text_token_id is not None:  # T may be 0
        logits = op.Slice(logits, [0], op.Shape(graph.inputs[0], start=1, end=2), [1])
    graph.output("logits", logits, "batch", "time", config.num_labels)


def predict_words(graph: Graph, model: RecurrentForCausalLM) -> None:
    """Outputs: logits (B, T, V), and the parts of the state of each layer N after the last word, `present.N.hidden` and
    in an LSTM `present.N.cell` (B, W). Further inputs: the state to continue from, `past.N.hidden` and so on; zeros
    start a text. A row without words keeps its state."""
    op, config = graph.op, model.config
    ids, mask, *_ = _inputs(graph, config)
    states = [cast(Recurrence, layer).cell.state_sizes() for layer in model.model.layers]
    past = [
        [graph.input(f"past.{n}.{part}", FLOAT, "batch", width) for part, width in sizes.items()]
        for n, sizes in enumerate(states)
    ]
    layout = make_layout(op, mask)
    encoded = encode(graph, model.model, ids, layout, past=past)
    rows = in_place(graph, encoded.states, config.output_size, layout)
    if model.projection is not None:
        with graph.scope("projection"):
            rows = graph.linear(rows, model.projection)
    with graph.scope("lm_head"):
        head = model.lm_head
        logits = _adaptive_softmax(graph, head, rows) if isinstance(head, AdaptiveSoftmax) else graph.linear(rows, head)
        logits = op.Reshape(logits, op.Concat(op.Shape(ids), [config.vocab_size], axis=0))
    graph.output("logits", logits, "batch", "time", config.vocab_size)
    for n, values in enumerate(encoded.finals):
        for (part, width), value in zip(states[n].items(), values, strict=True):
            graph.output(f"present.{n}.{part}", value, "batch", width)


def _adaptive_softmax(graph: Graph, head: AdaptiveSoftmax, rows: Value) -> Value:
    """Log-probabilities (N, V) from states (N, W) (Grave et al. 2017, section 4)."""
    op = graph.op
    # The head has one column for each word of the shortlist, then one for each cluster.
    scores = op.LogSoftmax(graph.linear(rows, head.head), axis=-1)
    parts = [op.Slice(scores, [0], [head.shortlist_size], [1])]
    for index, (narrow, wide) in enumerate(cast(Any, head.tail)):
        column = head.shortlist_size + index
        within = op.LogSoftmax(graph.linear(graph.linear(rows, narrow), wide), axis=-1)
        parts.append(op.Add(within, op.Slice(scores, [column], [column + 1], [1])))
    return op.Concat(*parts, axis=-1)


HEADS: dict[type, Callable[[Graph, Any], None]] = {
    RecurrentForSequenceClassification: classify_texts,
    RecurrentForTokenClassification: tag_words,
    RecurrentForCausalLM: predict_words,
}
