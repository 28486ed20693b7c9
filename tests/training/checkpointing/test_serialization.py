"""Nested state in a file: read as it was written, and untouched by what is trained afterwards."""

from __future__ import annotations

import torch

from pipeline.training.checkpointing import serialization


def test_further_training_does_not_change_a_copy_in_host_memory():
    tensor = torch.zeros(3)
    copy = serialization.to_host({"a": [tensor, (tensor,)]})
    tensor += 1
    assert copy["a"][0].sum() == copy["a"][1][0].sum() == 0


def test_nested_state_is_read_as_it_was_written(tmp_path):
    state = {"a": {0: torch.arange(3), 7: [torch.ones(2, dtype=torch.bfloat16)]}, "b": (0.1, None, True, "x", [], {})}
    serialization.write(state, tmp_path / "file")
    again = serialization.read(tmp_path / "file")
    assert again["b"] == state["b"]
    assert list(again["a"]) == [0, 7]
    assert torch.equal(again["a"][0], state["a"][0])
    assert torch.equal(again["a"][7][0], state["a"][7][0])
