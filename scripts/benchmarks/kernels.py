"""Choices that depend on the device and their alternatives: precision, optimiser, attention, recurrence, compiler."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from benchmarks.common import RowsOfTable, alternate

ROWS, LENGTH, WORDS, STEPS = 32, 128, 8000, 3
# On a GPU the size of a real run; on a CPU small.
SIZES = {
    "cuda": {"hidden_size": 768, "layers": 12, "units": 512},
    "cpu": {"hidden_size": 128, "layers": 2, "units": 64},
}
Step = Callable[[], Any]


def kernels(pairs: int, device: str = "cpu") -> RowsOfTable:
    """Steps per second of wall time with each choice and its alternative; the device is synchronised."""
    sides: dict[str, Callable[[str], tuple[Step, Step]]] = {
        "BERT, forward and backward: bf16 autocast against fp32": _precision,
        "BERT, AdamW: one fused kernel against a kernel for each operation (foreach)": _optimizer,
        "BERT, bf16: SDPA against attention in plain operators": _attention,
        "BiLSTM, ragged rows: padded and reversed, as here, against a PackedSequence (cuDNN on a GPU)": _recurrence,
        "BERT, bf16: torch.compile against not": _compiled,
    }
    rows = []
    for what, build in sides.items():
        one, other = (_speed(step, device) for step in build(device))
        speed, alternative, ratio = alternate(one, other, pairs)
        rows.append({"what": what, "steps/s": speed, "other steps/s": alternative, "ratio": ratio})
    return rows


def _speed(step: Step, device: str) -> Callable[[], float]:
    import torch

    def synchronize() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def measure() -> float:
        synchronize()
        started = time.perf_counter()
        for _ in range(STEPS):
            step()
        synchronize()
        return STEPS / (time.perf_counter() - started)

    return measure


def _bert(device: str, attention: str = "sdpa") -> Any:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    size = SIZES[device]
    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=size["hidden_size"],
        num_hidden_layers=size["layers"],
        num_attention_heads=size["hidden_size"] // 64,
        intermediate_size=4 * size["hidden_size"],
        attn_implementation=attention,
    )
    return BertForSequenceClassification(config).to(device).train()


def _batch(device: str) -> dict[str, Any]:
    """Rows of 16 to LENGTH words."""
    import torch

    torch.manual_seed(0)
    lengths = torch.randint(16, LENGTH + 1, (ROWS,))
    lengths[0] = LENGTH
    mask = (torch.arange(LENGTH) < lengths[:, None]).long()
    ids = torch.randint(1, WORDS, mask.shape) * mask
    batch = {"input_ids": ids, "attention_mask": mask, "labels": torch.zeros(ROWS, dtype=torch.long)}
    return {name: value.to(device) for name, value in batch.items()}


def _backward(model: Any, batch: dict[str, Any], device: str, bf16: bool) -> Step:
    import torch

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = model(**batch).loss
        loss.backward()
        model.zero_grad()

    return step


def _precision(device: str) -> tuple[Step, Step]:
    model, batch = _bert(device), _batch(device)
    return _backward(model, batch, device, True), _backward(model, batch, device, False)


def _optimizer(device: str) -> tuple[Step, Step]:
    import torch

    def adamw(**kind: bool) -> Step:
        model = _bert(device)
        model(**_batch(device)).loss.backward()
        return torch.optim.AdamW(model.parameters(), **kind).step

    return adamw(fused=True), adamw(foreach=True)


def _attention(device: str) -> tuple[Step, Step]:
    batch = _batch(device)
    return _backward(_bert(device), batch, device, True), _backward(_bert(device, "eager"), batch, device, True)


def _compiled(device: str) -> tuple[Step, Step]:
    import torch

    model, batch = _bert(device), _batch(device)
    return _backward(torch.compile(model), batch, device, True), _backward(model, batch, device, True)


def _recurrence(device: str) -> tuple[Step, Step]:
    """The same layers over the same rows, from ids to classes."""
    import torch
    from torch import nn

    from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification

    units, width, batch = SIZES[device]["units"], 128, _batch(device)
    config = RecurrentConfig(
        vocab_size=WORDS, embedding_size=width, units=units, num_hidden_layers=2, bidirectional=True
    )
    ours = RecurrentForSequenceClassification(config).to(device).train()
    embed, classify = nn.Embedding(WORDS, width, 0).to(device), nn.Linear(2 * units, 2).to(device)
    layers = nn.LSTM(width, units, 2, batch_first=True, bidirectional=True).to(device)
    lengths = batch["attention_mask"].sum(1).cpu()  # PackedSequence wants them on the host

    def packed() -> None:
        states = nn.utils.rnn.pack_padded_sequence(
            embed(batch["input_ids"]), lengths, batch_first=True, enforce_sorted=False
        )
        final = layers(states)[1][0]
        nn.functional.cross_entropy(classify(torch.cat([final[-2], final[-1]], -1)), batch["labels"]).backward()
        for module in (embed, layers, classify):
            module.zero_grad()

    return _backward(ours, batch, device, False), packed
