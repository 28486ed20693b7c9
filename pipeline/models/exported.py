"""An exported model in place of the one it was made from: it takes torch tensors and has onnxruntime run its graph."""

# Shapes: B batch, T time, C classes or tags, V vocabulary, H units.

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import PreTrainedConfig
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils import ModelOutput

from pipeline.errors import UserError, reason
from pipeline.models import checkpoints
from pipeline.models.recurrent import CrfTaggerConfig
from pipeline.models.recurrent.crf import TaggerOutput

SETTINGS, GRAPH = "export.json", "model.onnx"
CACHE, PAST = "past_key_values", "past"


def is_export(folder: str | Path) -> bool:
    """Whether `folder` holds an export."""
    return (Path(folder) / SETTINGS).is_file()


class ExportedState:
    """What a language model carries from one window of a text to the next, as the graph returns it: the states of a
    recurrent model, or keys and values. Empty before the first token."""

    def __init__(self) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self.length = 0

    def detach(self) -> None:
        """Arrays have no gradients."""


class Exported(nn.Module):
    """What tasks call of a model in evaluation mode, run by onnxruntime on the CPU.

    Attributes:
        config: of the model that was exported.
        settings: what export.json says.
    """

    def __init__(self, folder: str | Path):
        super().__init__()
        self.config: PreTrainedConfig = checkpoints.load_config(str(folder), "model")
        self.settings = read_settings(folder)

    @property
    def device(self) -> torch.device:
        """Graphs run on the CPU."""
        return torch.device("cpu")


class ExportedModel(Exported):
    """A model that is one graph."""

    def __init__(self, folder: str | Path, threads: int | None = None):
        """
        Args:
            folder: of the export.
            threads: None: as many as torch uses.

        Raises:
            UserError: onnxruntime is not installed, or a file is missing or broken.
        """
        super().__init__(folder)
        self._session = open_session(Path(folder) / GRAPH, threads)
        self._inputs = {value.name: value.shape for value in self._session.get_inputs()}
        self._pasts = [name for name in self._inputs if name.startswith(PAST)]
        if self._pasts and not self._has_cache:  # tasks recognise a model with a carried state by this method
            self.new_cache = ExportedState
        self.eval()

    @property
    def has_crf(self) -> bool:
        """Whether the graph ends in a CRF."""
        return self.config.model_type == CrfTaggerConfig.model_type or bool(getattr(self.config, "crf", False))

    @property
    def _has_cache(self) -> bool:
        return any(name.startswith(CACHE) for name in self._pasts)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: ExportedState | None = None,
        logits_to_keep: int = 0,
        **inputs: torch.Tensor,
    ) -> ModelOutput:
        """
        Args:
            input_ids (B, T), attention_mask (B, T): as for the model that was exported.
            position_ids (B, T): of a language model; where it is 0, a text begins, which has no state before it.
            past_key_values: the state to continue from; updated to that after the last token.
            logits_to_keep: how many of the last positions have logits; 0: all.
            inputs: `token_type_ids`, `char_ids`; what the graph does not read, such as `labels`, is left out.

        Returns:
            logits: (B, C), (B, T, C) or (B, T, V); past_key_values, of a language model.
        """
        ids = as_array(input_ids)
        mask = np.ones_like(ids) if attention_mask is None else as_array(attention_mask)
        if self._pasts:
            state = ExportedState() if past_key_values is None else past_key_values
            positions = None if position_ids is None else as_array(position_ids)
            logits = self._continued(ids, mask, positions, state)[:, -logits_to_keep:]
            return CausalLMOutputWithPast(logits=as_tensor(logits, input_ids), past_key_values=state)
        feeds = {name: as_array(value) for name, value in inputs.items() if name in self._inputs}
        if "token_type_ids" in self._inputs:
            feeds.setdefault("token_type_ids", np.zeros_like(ids))
        (logits,) = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask, **feeds})
        # A CRF's graph returns its max-marginals; the NLL of labels, which training has computed, is in no graph.
        nll = torch.full((len(ids),), math.nan) if self.has_crf else None
        return TaggerOutput(logits=as_tensor(logits, input_ids), nll=nll)

    def _continued(
        self, ids: np.ndarray, mask: np.ndarray, positions: np.ndarray | None, state: ExportedState
    ) -> np.ndarray:
        """Logits (B, T, V) of tokens that follow `state`, which is updated; it is reset where a position is 0."""
        if self._has_cache or positions is None:
            return self._step(ids, mask, positions, state)
        begins = (positions == 0) & (mask > 0)
        if not state.arrays:
            begins &= mask.cumsum(axis=1) > 1  # the state before the first token is that of a new text anyway
        cuts = [0, *(column for column in np.flatnonzero(begins.any(axis=0)).tolist() if column), ids.shape[1]]
        found = []
        for start, stop in itertools.pairwise(cuts):
            for name, values in state.arrays.items():
                state.arrays[name] = np.where(begins[:, start, None], np.float32(0), values)
            found.append(self._step(ids[:, start:stop], mask[:, start:stop], None, state))
        return np.concatenate(found, axis=1)

    def _step(
        self, ids: np.ndarray, mask: np.ndarray, positions: np.ndarray | None, state: ExportedState
    ) -> np.ndarray:
        if not state.arrays:  # states of zeros, or a cache of no positions
            for name in self._pasts:
                sizes = (size if isinstance(size, int) else 0 for size in self._inputs[name][1:])
                state.arrays[name] = np.zeros((len(ids), *sizes), dtype=np.float32)
        feeds = {**state.arrays, "input_ids": ids, "attention_mask": mask}
        if "position_ids" in self._inputs:
            seen = mask.cumsum(axis=1)[:, -ids.shape[1] :] - 1
            feeds["position_ids"] = seen.clip(0) if positions is None else positions
        logits, *new = self._session.run(["logits", *map(present, self._pasts)], feeds)
        state.arrays = dict(zip(self._pasts, new, strict=True))
        state.length += ids.shape[1]
        return logits

    @torch.inference_mode()
    def generate(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        max_new_tokens: int,
        eos_token_id: int,
        **options: Any,
    ) -> torch.Tensor:
        """The tokens (B, T + new) of prompts (B, T), padded on the left, and of their most likely continuations, up to
        `eos_token_id` and with anything behind it."""
        state, mask, new = ExportedState(), attention_mask, input_ids
        tokens = input_ids
        for _ in range(max_new_tokens):
            seen = mask if self._has_cache else mask[:, -new.shape[1] :]
            best = self(new, seen, past_key_values=state, logits_to_keep=1).logits.argmax(dim=-1)
            new, tokens = best, torch.cat([tokens, best], dim=1)
            mask = torch.cat([mask, torch.ones_like(best)], dim=1)
            if (tokens[:, input_ids.shape[1] :] == eos_token_id).any(dim=1).all():
                break
        return tokens


def present(past: str) -> str:
    """The name under which a graph returns what it reads as `past`."""
    return f"present.{past.partition('.')[2]}"


def as_array(values: torch.Tensor) -> np.ndarray:
    """Integers as a graph reads them."""
    return values.cpu().numpy().astype(np.int64)


def as_tensor(values: np.ndarray, like: torch.Tensor) -> torch.Tensor:
    """What a graph has returned, on the device of `like`."""
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)


def read_settings(folder: str | Path) -> dict[str, Any]:
    """What export.json in `folder` says.

    Raises:
        UserError: it is not there, or is not what `finetune export` writes.
    """
    file = Path(folder) / SETTINGS
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"model: {file} cannot be read: {reason(error)}; export the model again") from error
    if not isinstance(settings, dict) or "task" not in settings:
        raise UserError(f"model: {file} names no task; export the model again")
    return settings


def open_session(graph: Path, threads: int | None = None) -> Any:
    """ONNX Runtime with the file `graph`, on as many `threads`; None: on as many as torch uses.

    Raises:
        UserError: onnxruntime is not installed, or the file is missing or broken.
    """
    if not graph.is_file():
        raise UserError(f"model: there is no {graph.name} in {graph.parent}; export the model again")
    try:
        import onnxruntime
    except ImportError as error:
        raise UserError(
            f"model: {graph.parent} is an export, which needs onnxruntime; run: pip install 'finetune-pipeline[export]'"
        ) from error
    options = onnxruntime.SessionOptions()
    threads = threads or torch.get_num_threads()
    options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
    try:
        return onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its own exceptions have no common class
        raise UserError(f"model: {graph} cannot be loaded: {reason(error)}; export the model again") from error
