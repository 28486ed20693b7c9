"""An exported encoder-decoder in place of its model: `generate` of transformers runs its two graphs."""

# Shapes: B batch, S tokens of a text, T tokens of a translation, V vocabulary.

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import GenerationConfig, GenerationMixin
from transformers.modeling_outputs import Seq2SeqLMOutput

from pipeline.models.exported import Exported, ExportedState, as_array, as_tensor, open_session, present
from pipeline.models.recurrent.crf import IGNORED

ENCODER, DECODER = "encoder.onnx", "decoder.onnx"
MASK = "encoder_attention_mask"
# Their decoder begins with the token at the end of a text, which names its language.
BEGINS_WITH_LAST = ("mbart", "plbart")


class DecoderState(ExportedState):
    """What a decoder keeps of the tokens that it has read, as its graph returns it."""

    is_compileable = False

    def get_seq_length(self) -> int:
        return self.length

    def reorder_cache(self, beam_idx: torch.Tensor) -> None:
        """Let the row of each beam be that of the beam in `beam_idx` (B,)."""
        rows = beam_idx.cpu().numpy()
        self.arrays = {name: values[rows] for name, values in self.arrays.items()}


class ExportedEncoder(nn.Module):
    """The graph of the encoder. Only the decoder reads what it returns: a dict of its outputs, and the mask."""

    main_input_name = "input_ids"

    def __init__(self, session: Any):
        super().__init__()
        self._session = session
        self._outputs = [value.name for value in session.get_outputs()]

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor | None = None, **options: Any
    ) -> dict[str, torch.Tensor]:
        ids = as_array(input_ids)
        mask = np.ones_like(ids) if attention_mask is None else as_array(attention_mask)
        found = self._session.run(self._outputs, {"input_ids": ids, "attention_mask": mask})
        read = {MASK: mask, **dict(zip(self._outputs, found, strict=True))}
        return {name: as_tensor(values, input_ids) for name, values in read.items()}


class ExportedSeq2SeqLM(Exported, GenerationMixin):
    """An encoder-decoder, which is two graphs.

    Attributes:
        generation_config: of the model that was exported.
    """

    main_input_name = "input_ids"
    base_model_prefix = "model"
    _is_stateful = True  # a recurrent decoder cannot go back

    def __init__(self, folder: str | Path, threads: int | None = None):
        """
        Args:
            folder: of the export.
            threads: None: as many as torch uses.

        Raises:
            UserError: onnxruntime is not installed, or a file is missing or broken.
        """
        super().__init__(folder)
        self.generation_config = GenerationConfig.from_pretrained(folder)
        self.encoder = ExportedEncoder(open_session(Path(folder) / ENCODER, threads))
        self._decoder = open_session(Path(folder) / DECODER, threads)
        self._inputs = {value.name: value.shape for value in self._decoder.get_inputs()}
        self._outputs = [value.name for value in self._decoder.get_outputs()]
        # What the decoder keeps: its name as an input -> as an output.
        self._kept = {name: new for name in self._inputs if (new := present(name)) in self._outputs}
        self.eval()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the model creates a DecoderState

    @classmethod
    def is_remote_code(cls) -> bool:
        return False

    def can_generate(self) -> bool:
        return True

    def get_encoder(self, modality: str | None = None) -> ExportedEncoder:
        return self.encoder

    def set_attn_implementation(self, name: str) -> None:
        """The graph has its own."""

    def get_experts_implementation(self) -> dict[str, str]:
        """There are no experts."""
        return {}

    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.Tensor | None = None,
        encoder_outputs: dict[str, torch.Tensor] | None = None,
        past_key_values: DecoderState | None = None,
        labels: torch.Tensor | None = None,
        **options: Any,
    ) -> Seq2SeqLMOutput:
        """
        Args:
            input_ids (B, S), attention_mask (B, S): the texts; or what `encoder` has returned for them.
            decoder_input_ids (B, T): the tokens written so far, of which those behind `past_key_values` are given.
                Without them, they are made from `labels` (B, T), the tokens of true translations, IGNORED behind them.
            past_key_values: what is kept of the tokens before; updated to that after the last one.

        Returns:
            logits (B, T, V), past_key_values, and if the graph returns them cross_attentions, a tuple of one (B, 1, T,
            S).
        """
        if encoder_outputs is None:
            assert input_ids is not None
            encoder_outputs = self.encoder(input_ids, attention_mask)
        if decoder_input_ids is None:
            assert labels is not None
            decoder_input_ids = self.shifted(labels)
        source = {name: values.numpy() for name, values in encoder_outputs.items()}
        state = DecoderState() if past_key_values is None else past_key_values
        ids = as_array(decoder_input_ids)
        step = 1 if self._inputs["input_ids"][1] == 1 else ids.shape[1]
        steps = [self._step(ids[:, at : at + step], source, state) for at in range(0, ids.shape[1], step)]
        found = {name: np.concatenate([own[name] for own in steps], axis=1) for name in steps[0]}
        weights = found.get("cross_attentions")
        return Seq2SeqLMOutput(
            logits=as_tensor(found["logits"], decoder_input_ids),
            past_key_values=state,
            cross_attentions=None if weights is None else (torch.from_numpy(weights)[:, None],),
        )

    def _step(self, ids: np.ndarray, source: dict[str, np.ndarray], state: DecoderState) -> dict[str, np.ndarray]:
        """What the decoder returns for tokens (B, T) that follow `state`, which is updated."""
        if not state.arrays:  # what the encoder returned; zeros, or keys and values of no tokens
            for name in self._kept:
                sizes = (size if isinstance(size, int) else 0 for size in self._inputs[name][1:])
                state.arrays[name] = source.get(name, np.zeros((len(ids), *sizes), dtype=np.float32))
        given = {**source, **state.arrays, "input_ids": ids}
        found = self._decoder.run(self._outputs, {name: given[name] for name in self._inputs})
        returned = dict(zip(self._outputs, found, strict=True))
        state.arrays = {name: returned.pop(new) for name, new in self._kept.items()}
        state.length += ids.shape[1]
        return returned

    def shifted(self, labels: torch.Tensor) -> torch.Tensor:
        """Each of the labels (B, T) one position later, as the model has read them in training."""
        pad, start = self.config.pad_token_id, self.config.decoder_start_token_id
        shifted = labels.roll(1, dims=1)
        if self.config.model_type in BEGINS_WITH_LAST:
            lengths = (labels != IGNORED).sum(dim=1, keepdim=True)
            shifted[:, :1] = labels.gather(1, lengths - 1)
        else:
            shifted[:, 0] = self.config.bos_token_id if start is None else start
        return shifted.masked_fill(shifted == IGNORED, pad)
