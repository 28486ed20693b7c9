"""Nested state as one safetensors file: the tensors as they are, what is around them as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from pipeline.training.distributed import fsdp

TENSOR, DICT, TUPLE = "tensor", "dict", "tuple"


def on_host(state: Any, is_kept: bool = True) -> Any:
    """`state` with a copy in host memory of every tensor, whole where it was sharded: what is trained on afterwards
    does not reach it. `is_kept`: False where a process only helps others to gather theirs."""
    return _map(state, lambda tensor: fsdp.gather(tensor, is_kept))


def _map(state: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, dict):
        return {key: _map(value, change) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(_map(value, change) for value in state)
    return state


def write(state: Any, file: Path) -> None:
    """Write dictionaries (keys are text or whole numbers), lists, tuples, tensors, numbers, text and None.

    Raises:
        TypeError: something else is in `state`.
    """
    tensors: dict[str, Tensor] = {}
    around = json.dumps(_described(state, tensors))
    save_file(tensors, file, metadata={"state": around})


def read(file: Path) -> Any:
    """What `write` was given.

    Raises:
        SafetensorError, ValueError, LookupError, OSError: the file is damaged, or another kind of file.
    """
    with safe_open(file, "pt") as opened:
        around = json.loads((opened.metadata() or {})["state"])
        return _restored(around, opened.get_tensor)


def _described(state: Any, tensors: dict[str, Tensor]) -> Any:
    if isinstance(state, Tensor):
        name = str(len(tensors))
        tensors[name] = state.clone()  # of its own memory: two names for the same memory are refused
        return {TENSOR: name}
    if isinstance(state, dict):
        return {DICT: [[key, _described(value, tensors)] for key, value in state.items()]}
    if isinstance(state, tuple):
        return {TUPLE: [_described(value, tensors) for value in state]}
    if isinstance(state, list):
        return [_described(value, tensors) for value in state]
    return state


def _restored(around: Any, tensor: Callable[[str], Tensor]) -> Any:
    if isinstance(around, list):
        return [_restored(value, tensor) for value in around]
    if not isinstance(around, dict):
        return around
    ((kind, value),) = around.items()
    return {
        TENSOR: lambda: tensor(value),
        DICT: lambda: {key: _restored(item, tensor) for key, item in value},
        TUPLE: lambda: tuple(_restored(item, tensor) for item in value),
    }[kind]()


def joined(states: list[Any]) -> Any:
    """Structures of one form as one: tensors joined along rows, dimension 0; of numbers, the largest.

    Raises:
        ValueError: they are of different forms.
    """
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(states)
    if isinstance(first, dict):
        return {key: joined([state[key] for state in states]) for key in first}
    if isinstance(first, (list, tuple)):
        if any(len(state) != len(first) for state in states):
            raise ValueError("states of different forms")
        return type(first)(joined(list(parts)) for parts in zip(*states, strict=True))
    return max(states)


def rows_of(state: Any, start: int, stop: int) -> Any:
    """`state` with rows `start` to `stop` of each tensor."""
    return _map(state, lambda tensor: tensor[start:stop].clone())
