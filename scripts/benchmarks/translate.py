"""Writing translations with a recurrent encoder-decoder: from the carried state, and in batches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import RowsOfTable, alternate

KINDS: dict[str, dict[str, Any]] = {
    "multiplicative": {},
    "additive, input feeding": {"attention_type": "additive", "input_feeding": True},
}
WORDS, TOKENS = 30, 40


def translate(pairs: int) -> RowsOfTable:
    """Texts per CPU second of greedy search: from the carried state against reading again what has been written, and a
    batch of 32 against single texts."""
    rows = []
    for name, kind in KINDS.items():
        for count in (1, 32):
            sides = _writing(kind, count, True), _writing(kind, count, False)
            rows.append(_row(f"{name}, {count} at once: state against reading again", *sides, pairs))
        sides = _writing(kind, 32, True), _writing(kind, 1, True)
        rows.append(_row(f"{name}: 32 at once against 1", *sides, pairs))
    return rows


def _row(name: str, ours: Callable[[], float], other: Callable[[], float], pairs: int) -> dict[str, Any]:
    one, two, ratio = alternate(ours, other, pairs)
    return {"LSTM 1x256, both ways": name, "texts/s": one, "other, texts/s": two, "ratio": ratio}


def _writing(kind: dict[str, Any], count: int, use_cache: bool) -> Callable[[], float]:
    """Texts per CPU second if this many are written at once."""
    import torch

    from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentSeq2SeqConfig

    torch.manual_seed(0)
    sizes = {"vocab_size": 8000, "embedding_size": 256, "units": 256, "bos_token_id": 1, "tie_word_embeddings": True}
    model = RecurrentForSeq2SeqLM(RecurrentSeq2SeqConfig(**sizes, **kind)).eval()
    sources = torch.randint(3, 8000, (count, WORDS))
    repeats = 4 if count == 1 else 1

    def write() -> float:
        started = time.process_time()
        for _ in range(repeats):
            model.generate(sources, max_new_tokens=TOKENS, min_new_tokens=TOKENS, use_cache=use_cache)
        return repeats * count / (time.process_time() - started)

    return write
