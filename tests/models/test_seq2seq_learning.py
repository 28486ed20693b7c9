"""What attention is for: with it, a model learns to copy and to reverse 20 symbols, and without it not as fast."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentSeq2SeqConfig

SYMBOLS, LENGTH, START, END = range(4, 30), 20, 1, 2
Turn = Callable[[torch.Tensor], torch.Tensor]


def accuracy_after_training(turn: Turn, updates: int, **kind) -> float:
    """The share of symbols that greedy search writes rightly for new texts, after this many updates of 64 texts."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 30, "embedding_size": 64, "units": 64, "bos_token_id": START, "eos_token_id": END}
    model = RecurrentForSeq2SeqLM(RecurrentSeq2SeqConfig(**sizes, **kind))
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, updates)
    for _ in range(updates):
        sources, targets = texts(64, turn)
        optimizer.zero_grad()
        model(sources, labels=targets).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    sources, targets = texts(200, turn)
    written = model.eval().generate(sources, max_new_tokens=LENGTH + 1, min_new_tokens=LENGTH)[:, 1 : LENGTH + 1]
    return (written == targets[:, :LENGTH]).float().mean().item()


def texts(count: int, turn: Turn) -> tuple[torch.Tensor, torch.Tensor]:
    sources = torch.randint(SYMBOLS.start, SYMBOLS.stop, (count, LENGTH))
    return sources, torch.cat([turn(sources), torch.full((count, 1), END)], dim=1)


@pytest.mark.slow  # about twenty seconds of training each
@pytest.mark.parametrize("kind", [{"cell_type": "lstm"}, {"cell_type": "gru", "attention_type": "additive"}], ids=str)
@pytest.mark.parametrize("turn", [torch.Tensor.clone, lambda sources: sources.flip(1)], ids=["copy", "reverse"])
def test_twenty_symbols_are_copied_and_reversed_with_attention(turn, kind):
    assert accuracy_after_training(turn, 600, **kind) >= 0.99


@pytest.mark.slow  # about twenty seconds of training
def test_twenty_symbols_do_not_fit_into_one_vector_after_as_many_updates():
    assert accuracy_after_training(torch.Tensor.clone, 600, attention_type="none") < 0.5
