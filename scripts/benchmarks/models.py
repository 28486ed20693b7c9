"""Models alone: the recurrent path against PackedSequence, cells against the LSTM, and generation with a cached state
against without."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from benchmarks.common import ROOT, ROTTEN_TOMATOES, RowsOfTable, a_process, a_run, alternate, speed_printed
from pipeline import Recipe, Recurrent


def generate(pairs: int) -> RowsOfTable:
    """Tokens per CPU second of greedy search: from the cached state, and reading the whole text for each token."""
    import torch

    from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM

    torch.manual_seed(0)
    config = RecurrentConfig(vocab_size=10_000, embedding_size=200, hidden_size=200, num_hidden_layers=2)
    model, prompt, rows = RecurrentForCausalLM(config).eval(), torch.randint(1, 10_000, (4, 8)), []
    for count in (16, 512):

        def write(use_cache: bool, count: int = count) -> float:
            started = time.process_time()
            model.generate(
                input_ids=prompt, max_new_tokens=count, min_new_tokens=count, do_sample=False, use_cache=use_cache
            )
            return prompt.shape[0] * count / (time.process_time() - started)

        speed, other, ratio = alternate(lambda write=write: write(True), lambda write=write: write(False), pairs)
        row = {"cached tokens/s": speed, "recomputed tokens/s": other, "ratio": ratio}
        rows.append({"model": f"LSTM 2x200, {count} tokens for 4 texts", **row})
    return rows


def recurrent(pairs: int) -> RowsOfTable:
    """Forward and backward with embeddings and classifier: length-bucketed batches on our path, random ones packed."""
    import numpy as np

    short = a_run(Recipe("short", "sentiment", ROTTEN_TOMATOES, Recurrent())).splits["train"].lengths
    long = np.clip(np.random.default_rng(0).normal(160, 60, 2000), 16, 256).astype(np.int32)
    shapes = [("lstm", 64, 2, "fp32", short), ("lstm", 256, 1, "fp32", long), ("lstm", 256, 1, "bf16", long)]
    shapes += [("gru", 64, 2, "fp32", short), ("rnn", 64, 2, "fp32", short)]
    return [_recurrent_row(*shape, pairs) for shape in shapes]


def _recurrent_row(cell: str, units: int, layers: int, precision: str, lengths: Any, pairs: int) -> dict[str, Any]:
    import numpy as np
    import torch
    from torch import nn

    from pipeline.data.bucketing import updates
    from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification

    words, width, batches = 8000, 128, 8
    sizes = {"vocab_size": words, "embedding_size": width, "units": units, "num_hidden_layers": layers}
    model = RecurrentForSequenceClassification(RecurrentConfig(cell_type=cell, bidirectional=True, **sizes))
    kind = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}[cell]
    embed, packed = nn.Embedding(words, width, 0), kind(width, units, layers, batch_first=True, bidirectional=True)
    classify = nn.Linear(2 * units, 2)
    bucketed = updates(lengths, 32, 0, 0)[:batches]
    order = np.random.default_rng(1).permutation(len(lengths))
    random = [order[start : start + 32] for start in range(0, 32 * batches, 32)]
    labels = torch.zeros(32, dtype=torch.long)

    def batch(rows: Any) -> tuple[torch.Tensor, torch.Tensor]:
        own = torch.from_numpy(lengths[rows]).long()
        mask = torch.arange(int(own.max())) < own[:, None]
        return torch.randint(1, words, mask.shape) * mask, own

    def measure(chosen: list[Any], loss_of: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> float:
        ready = [batch(rows) for rows in chosen if len(rows) == 32]
        started = time.process_time()
        for ids, own in ready:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss = loss_of(ids, own)
            loss.backward()
            for module in (model, embed, packed, classify):
                module.zero_grad()
        return sum(int(own.sum()) for _, own in ready) / (time.process_time() - started)

    def our_loss(ids: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        return model(input_ids=ids, attention_mask=torch.arange(ids.shape[1]) < own[:, None], labels=labels).loss

    def packed_loss(ids: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        states = nn.utils.rnn.pack_padded_sequence(embed(ids), own, batch_first=True, enforce_sorted=False)
        final = packed(states)[1]
        final = final[0] if cell == "lstm" else final
        return nn.functional.cross_entropy(classify(torch.cat([final[-2], final[-1]], -1)).float(), labels)

    speed, other, ratio = alternate(lambda: measure(bucketed, our_loss), lambda: measure(random, packed_loss), pairs)
    name = f"Bi{cell.upper()} {layers}x{units}, {precision}, mean length {lengths.mean():.0f}"
    return {"model": name, "ours tokens/s": speed, "packed tokens/s": other, "ratio": ratio}


CELLS = ("mingru", "minlstm", "gru", "rnn")
# Rows, words in the longest, inputs, units, layers, and whether both ways: short and long texts, and a language model.
LAYERS = [(32, 22, 128, 64, 2, True), (32, 157, 128, 256, 1, True), (20, 35, 200, 200, 2, False)]


# Prints what `layers_alone` measures with the package of a checkout, once for each line of standard input. Malloc is
# set up as this checkout does it.
OF_A_CHECKOUT = """
import runpy, sys
runpy.run_path(sys.argv[1] + "/pipeline/malloc.py")["keep_freed_memory"]()
sys.path.insert(0, sys.argv[1] + "/scripts")
import torch
from benchmarks.models import LAYERS, layers_alone

torch.set_num_threads(1)
measure = layers_alone(sys.argv[2], *LAYERS[int(sys.argv[3])])
for _ in sys.stdin:
    print(measure(), flush=True)
"""


def cells(pairs: int, against: Path | None = None) -> RowsOfTable:
    """Forward and backward of the layers alone, over right-padded rows: each cell against our LSTM of equal width, or
    against the same cell of another checkout."""
    rows, side = [], "LSTM" if against is None else "other"
    has_minimal = against is None or (against / "pipeline/models/recurrent/minimal_cells.py").exists()
    names = [name for name in CELLS if has_minimal or not name.startswith("min")]
    for index, (_, length, _, units, layers, both) in enumerate(LAYERS):
        for cell in names:
            other = (ROOT, "lstm") if against is None else (against, cell)
            with _layers_of(ROOT, cell, index) as ours, _layers_of(*other, index) as theirs:
                speed, others, ratio = alternate(speed_printed(ours), speed_printed(theirs), pairs)
            name = f"{cell} {layers}x{units}, {'both ways' if both else 'one way'}, {length} words"
            rows.append({"layers": name, "tokens/s": speed, f"{side}, tokens/s": others, "ratio": ratio})
    return rows


def _layers_of(checkout: Path, cell: str, index: int) -> AbstractContextManager[subprocess.Popen[str]]:
    return a_process(checkout, OF_A_CHECKOUT, str(ROOT), cell, str(index))


def layers_alone(
    cell: str, batch: int, length: int, width: int, units: int, layers: int, both: bool
) -> Callable[[], float]:
    """Tokens per CPU second of the layers of a model."""
    import torch

    from pipeline.models.recurrent import RecurrentConfig, RecurrentModel
    from pipeline.models.recurrent.layout import make_layout

    sizes = {"vocab_size": 2, "embedding_size": width, "units": units, "num_hidden_layers": layers}
    model = RecurrentModel(RecurrentConfig(cell_type=cell, bidirectional=both, **sizes))
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(batch, length, width, generator=generator, requires_grad=True)
    lengths = torch.randint(int(0.85 * length), length + 1, (batch, 1), generator=generator)
    mask = torch.arange(length) < lengths.index_fill(0, torch.tensor([0]), length)
    layout, repeats = make_layout(mask), max(1, 30_000 // mask.numel())

    def measure() -> float:
        started = time.process_time()
        for _ in range(repeats):
            states = inputs
            for layer in model.layers:
                states = layer(states, layout=layout)[0]
            states.sum().backward()
        return repeats * int(mask.sum()) / (time.process_time() - started)

    return measure
