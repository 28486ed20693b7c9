"""The ONNX graphs of recurrent models against torch: how far their outputs differ, and how fast they are."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common import RowsOfTable, alternate

TESTS = Path(__file__).parents[2] / "tests"
sys.path += [str(TESTS / "models"), str(TESTS / "export")]

CELLS, DIRECTIONS, DEPTHS = ("rnn", "lstm", "gru", "mingru", "minlstm"), (False, True), (1, 3)
POOLINGS = ("last", "mean", "max", "attention", "concat")
SIDES = ("right", "left", "holes")
TAGS = ["O", *(f"{prefix}-{kind}" for kind in ("PER", "LOC", "ORG", "MISC") for prefix in "BIES")]
SIZES = {"vocab_size": 50, "embedding_size": 6, "units": 5, "empty_text_token_id": 7}
WORDS, LENGTH, CHARACTERS = 15_000, 24, 20


def differences(pairs: int = 1) -> RowsOfTable:
    """The largest difference between the logits of random models in torch and in ONNX Runtime, for each cell,
    direction, depth and padding: texts with each pooling, tags, tags with a CRF, and next words. Each is the maximum
    over batches of several rows, of two rows and of one word; the first has a row without words, except for next words.
    """
    rows = []
    for cell, both, depth in itertools.product(CELLS, DIRECTIONS, DEPTHS):
        config = {"cell_type": cell, "bidirectional": both, "num_hidden_layers": depth}
        columns = {name: _differences(*made, config) for name, made in _heads(both).items()}
        directions = "both" if both else "forward"
        rows += [
            {"cell": cell, "directions": directions, "layers": depth, "padding": side}
            | {name: f"{column[side]:.0e}" if column else "-" for name, column in columns.items()}
            for side in SIDES
        ]
    return rows


def _heads(bidirectional: bool) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The class of the model, None if it does not read in both directions, and its settings, for each column."""
    from pipeline.models import recurrent

    classify, tag = recurrent.RecurrentForSequenceClassification, recurrent.RecurrentForTokenClassification
    predict = None if bidirectional else recurrent.RecurrentForCausalLM
    labels = {"id2label": dict(enumerate(TAGS))}
    texts = {pooling: (classify, {"pooling": pooling, "num_labels": 3}) for pooling in POOLINGS}
    return {**texts, "tags": (tag, labels), "CRF": (tag, {**labels, "crf": True}), "next word": (predict, {})}


def _differences(model_class: Any, settings: dict[str, Any], config: dict[str, Any]) -> dict[str, float]:
    """The largest difference for each padding."""
    if model_class is None:
        return {}
    from contract import randomised
    from sessions import batches, difference, session

    from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM

    model = randomised(model_class(RecurrentConfig(**SIZES, **config, **settings)))
    graph, empty = session(model), model_class is not RecurrentForCausalLM
    return {side: max(difference(model, graph, **inputs) for inputs in batches(side, empty)) for side in SIDES}


def graphs(pairs: int) -> RowsOfTable:
    """Words per CPU second of ONNX Runtime and of torch, at batch 1 and at batch 32, padding not counted."""
    from sessions import session

    rows = []
    for name, model in _models().items():
        graph = session(model)
        for batch in (1, 32):
            inputs, count = _inputs(model, batch)
            ours = _speed(_in_graph(graph, inputs), count)
            theirs = _speed(_in_torch(model, inputs), count)
            speed, other, ratio = alternate(ours, theirs, pairs)
            rows.append(
                {"model": name, "batch": batch, "ONNX, words/s": speed, "torch, words/s": other, "ratio": ratio}
            )
    return rows


def _models() -> dict[str, Any]:
    from pipeline.models.recurrent import (
        RecurrentConfig,
        RecurrentForCausalLM,
        RecurrentForSequenceClassification,
        RecurrentForTokenClassification,
    )

    def config(**changes: Any) -> Any:
        return RecurrentConfig(vocab_size=WORDS, empty_text_token_id=1, **changes)

    tagger = {"bidirectional": True, "id2label": dict(enumerate(TAGS)), "embedding_size": 100, "units": 100}
    crf = {**tagger, "crf": True, "special_token_ids": [0]}
    models = {
        "BiLSTM 1x128, classes of texts": RecurrentForSequenceClassification(config(bidirectional=True, num_labels=2)),
        "BiGRU 2x128, attention": RecurrentForSequenceClassification(
            config(cell_type="gru", bidirectional=True, num_hidden_layers=2, pooling="attention", num_labels=2)
        ),
        "BiLSTM 1x100, tags": RecurrentForTokenClassification(config(**tagger)),
        "the same with a CRF": RecurrentForTokenClassification(config(**crf)),
        "with a CRF and a CharCNN": RecurrentForTokenClassification(config(**crf, char_encoder="cnn")),
        "with a CRF and a CharLSTM": RecurrentForTokenClassification(config(**crf, char_encoder="lstm")),
        "LSTM 2x200, next word": RecurrentForCausalLM(
            config(embedding_size=200, units=200, num_hidden_layers=2, tie_word_embeddings=True)
        ),
    }
    return {name: model.eval() for name, model in models.items()}


def _inputs(model: Any, batch: int) -> tuple[dict[str, Any], int]:
    """Rows of about as many words, as bucketing makes them, and their number of words. Words are as frequent as in a
    text, by the law of Zipf, because torch encodes the characters of a word that a batch repeats only once."""
    import torch

    generator = torch.Generator().manual_seed(0)
    lengths = torch.randint(LENGTH - 4, LENGTH + 1, (batch,), generator=generator)
    mask = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    ids = (WORDS ** torch.rand(mask.shape, generator=generator)).long().clamp(2, WORDS - 1) * mask
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.config.char_encoder:
        spelled = torch.randint(2, 100, (WORDS, CHARACTERS), generator=generator)
        length = torch.randint(1, 10, (WORDS, 1), generator=generator)
        inputs["char_ids"] = (spelled * (torch.arange(CHARACTERS) < length))[ids] * mask[..., None]
    return inputs, int(mask.sum())


def _in_graph(graph: Any, inputs: dict[str, Any]) -> Callable[[], Any]:
    from sessions import zero_state

    state = zero_state(graph, len(inputs["input_ids"]))
    given = {name: values.numpy() for name, values in {**inputs, **state}.items()}
    return lambda: graph.run(None, given)


def _in_torch(model: Any, inputs: dict[str, Any]) -> Callable[[], Any]:
    import torch

    @torch.inference_mode()
    def call() -> Any:
        return model(**inputs)

    return call


def _speed(call: Callable[[], Any], words: int) -> Callable[[], float]:
    repeats = max(1, 2_000 // words)

    def measure() -> float:
        started = time.process_time()
        for _ in range(repeats):
            call()
        return repeats * words / (time.process_time() - started)

    return measure
