"""Nested state in one safetensors file: tensors as they are, the structure around them as JSON in the header.

No pickle is read, so a checkpoint cannot run code. In the JSON, an object has one key, which names its type:
`{"tensor": name}`, `{"dict": [[key, value], ...]}` (JSON's own keys can only be text) or `{"tuple": [...]}`. Lists,
numbers, text and None are written as they are.
"""

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


def write(state: Any, file: Path) -> None:
    """Write dictionaries (keys are text or integers), lists, tuples, tensors, numbers, text and None.

    Raises:
        TypeError: `state` contains something else.
    """
    tensors: dict[str, Tensor] = {}
    structure = json.dumps(_encode(state, tensors))
    save_file(tensors, file, metadata={"state": structure})


def read(file: Path) -> Any:
    """What was given to `write`.

    Raises:
        SafetensorError, ValueError, LookupError, OSError: the file is damaged, or is another kind of file.
    """
    with safe_open(file, "pt") as opened:
        structure = json.loads((opened.metadata() or {})["state"])
        return _decode(structure, opened.get_tensor)


def _encode(state: Any, tensors: dict[str, Tensor]) -> Any:
    """The structure of `state` for JSON; its tensors go to `tensors`."""
    if isinstance(state, Tensor):
        name = str(len(tensors))
        tensors[name] = state.clone()  # safetensors refuses two names for the same memory
        return {TENSOR: name}
    if isinstance(state, dict):
        return {DICT: [[key, _encode(value, tensors)] for key, value in state.items()]}
    if isinstance(state, tuple):
        return {TUPLE: [_encode(value, tensors) for value in state]}
    if isinstance(state, list):
        return [_encode(value, tensors) for value in state]
    return state


def _decode(structure: Any, tensor: Callable[[str], Tensor]) -> Any:
    if isinstance(structure, list):
        return [_decode(value, tensor) for value in structure]
    if not isinstance(structure, dict):
        return structure
    ((kind, value),) = structure.items()
    return {
        TENSOR: lambda: tensor(value),
        DICT: lambda: {key: _decode(item, tensor) for key, item in value},
        TUPLE: lambda: tuple(_decode(item, tensor) for item in value),
    }[kind]()


def to_host(state: Any, is_kept: bool = True) -> Any:
    """`state` with a copy of every tensor in host memory, unaffected by later updates; shards are gathered.

    Args:
        is_kept: False on a process that only takes part in gathering; its copies are empty.
    """
    return _map(state, lambda tensor: fsdp.gather(tensor, is_kept))


def slice_rows(state: Any, start: int, stop: int) -> Any:
    """`state` with rows `start` to `stop` of each tensor, along dimension 0."""
    return _map(state, lambda tensor: tensor[start:stop].clone())


def concatenate(states: list[Any]) -> Any:
    """States of the same structure joined: tensors along dimension 0, and of numbers the largest.

    Raises:
        ValueError: the states differ in structure.
    """
    first = states[0]
    if isinstance(first, Tensor):
        return torch.cat(states)
    if isinstance(first, dict):
        return {key: concatenate([state[key] for state in states]) for key in first}
    if isinstance(first, (list, tuple)):
        if any(len(state) != len(first) for state in states):
            raise ValueError("states of different structure")
        return type(first)(concatenate(list(parts)) for parts in zip(*states, strict=True))
    return max(states)


def _map(state: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(state, Tensor):
        return change(state)
    if isinstance(state, dict):
        return {key: _map(value, change) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(_map(value, change) for value in state)
    return state
