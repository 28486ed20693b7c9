"""Recurrent encoder-decoder model: a text is read as a whole, and another one is written word by word."""

# Shapes: B batch, S source words, T target words, E embedding_size, W width of the encoder's outputs, V vocabulary.

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin
from transformers import initialization as init
from transformers.loss.loss_utils import ForCausalLMLoss
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.models.auto.modeling_auto import MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple

from .configuration_seq2seq import RecurrentSeq2SeqConfig
from .cpu_linear import Linear
from .crf import IGNORED
from .dropout import DROPOUTS, embed
from .layout import filler_places, read_mask
from .modeling_recurrent import RecurrentModel, RecurrentPreTrainedModel
from .seq2seq_decoder import RecurrentDecoder, Seq2SeqCache, Source


class RecurrentForSeq2SeqLM(RecurrentPreTrainedModel, GenerationMixin):
    """A recurrent encoder, and a decoder that attends to it, with a language modeling head.

    With a joint vocabulary, source and target words have the same embeddings. With `tie_word_embeddings`, the head
    shares those of the target words.
    """

    config_class = RecurrentSeq2SeqConfig
    config: RecurrentSeq2SeqConfig
    _auto_class = "AutoModelForSeq2SeqLM"

    def __init__(self, config: RecurrentSeq2SeqConfig):
        super().__init__(config)
        padding = config.pad_token_id if config.pad_token_id != config.eos_token_id else None
        self.shared = nn.Embedding(config.vocab_size, config.embedding_size, padding)
        self.encoder = RecurrentModel(config.encoder_config())
        self.decoder = RecurrentDecoder(config)
        self.output_dropout = DROPOUTS[config.variational_dropout](config.output_dropout)
        self.lm_head = Linear(config.vector_size, config.vocab_size)
        self._tied_weights_keys = {"lm_head.weight": "shared.weight"}  # all that can be tied
        if config.has_joint_vocabulary:
            self._tied_weights_keys["encoder.embed_tokens.weight"] = "shared.weight"
        self.post_init()
        if config.input_feeding:
            # Each layer then runs once a word, and processes that share its weights must run it equally often.
            names = [*self._no_split_modules, type(self.decoder).__name__]
            self._no_split_modules = names  # type: ignore[misc]  # as the base class does

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear) and module is not self.lm_head:  # one of the decoder
            init.xavier_uniform_(module.weight)

    def get_expanded_tied_weights_keys(self, all_submodels: bool = False) -> dict[str, str]:
        keys = dict(self._tied_weights_keys)
        if not self.config.tie_word_embeddings:
            del keys["lm_head.weight"]
        return keys

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the model creates a Seq2SeqCache

    def get_input_embeddings(self) -> nn.Embedding:
        """Those of the target words, and of the source words if the vocabulary is joint."""
        return self.shared

    def set_input_embeddings(self, value: Any) -> None:
        self.shared = value
        if self.config.has_joint_vocabulary:
            self.encoder.embed_tokens = value

    def resize_token_embeddings(self, *args: Any, **kwargs: Any) -> nn.Embedding:
        resized = super().resize_token_embeddings(*args, **kwargs)
        if self.config.has_joint_vocabulary:
            self.encoder.config.vocab_size = self.config.vocab_size
        return resized

    def prepare_decoder_input_ids_from_labels(self, labels: torch.LongTensor) -> torch.LongTensor:
        """What the decoder reads to predict `labels` (B, T): each label one position later, after the token that starts
        a text. Labels of -100 become padding.

        Raises:
            ValueError: the config names no such token, or no padding.
        """
        start, pad = self.config.decoder_start_token_id, self.config.pad_token_id
        start = self.config.bos_token_id if start is None else start
        if start is None or pad is None:
            name = "decoder_start_token_id" if start is None else "pad_token_id"
            raise ValueError(f"`{name}` is None; set it in the config to train the model on labels.")
        shifted = F.pad(labels[:, :-1], (1, 0), value=start)
        return shifted.masked_fill(shifted == IGNORED, pad)  # type: ignore[return-value]

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        decoder_input_ids: torch.LongTensor | None = None,
        decoder_attention_mask: torch.Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Seq2SeqCache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        decoder_inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> Seq2SeqLMOutput:
        """
        Args:
            input_ids (B, S): ids of the source words; or inputs_embeds (B, S, E), or encoder_outputs, in their place.
            attention_mask (B, S): 1 at source words, 0 at padding, in any pattern; None if there is no padding.
            decoder_input_ids (B, T): ids of the target words so far; or decoder_inputs_embeds (B, T, E) in their place.
                Without either, they are made from the labels.
            decoder_attention_mask (B, T): 1 at target words. Padding behind them needs no mask. It may also cover the
                words that a cache has read: only the last T columns are used.
            encoder_outputs: what the encoder returned; its `last_hidden_state` (B, S, W) is enough.
            past_key_values: the state to continue from; updated to the state after the last word.
            labels (B, T): ids of the target words, the last of them the end of the text; -100 is ignored.
            use_cache: whether to return the state; None for the config's value, but never in training or with labels.
            output_attentions: whether to return the weights of the source words.
            output_hidden_states: whether to return what each layer returns.
            kwargs: num_items_in_batch, the number to divide the summed loss by instead of the number of labels.

        Returns:
            loss, the mean, if labels are given; logits (B, T, V); past_key_values, if requested;
            encoder_last_hidden_state (B, S, W); if requested, cross_attentions, a tuple of one tensor (B, 1, T, S), and
            encoder_hidden_states and decoder_hidden_states, the embeddings and the output of each layer.

        Raises:
            ValueError: something is missing or given twice, or a shape does not match.
        """
        with_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        with_weights = self.config.output_attentions if output_attentions is None else output_attentions
        if encoder_outputs is None:
            given = {"attention_mask": attention_mask, "inputs_embeds": inputs_embeds}
            encoder_outputs = self.encoder(input_ids, **given, output_hidden_states=with_states, return_dict=True)
        if labels is not None and decoder_input_ids is None and decoder_inputs_embeds is None:
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        embedded = self._embed(decoder_input_ids, decoder_inputs_embeds)
        states = encoder_outputs[0]  # of a ModelOutput or of a tuple
        cache = Seq2SeqCache(self.decoder.config) if past_key_values is None else past_key_values
        source = self._source(states, attention_mask, is_first=cache.get_seq_length() == 0)
        mask = _target_mask(decoder_attention_mask, embedded)
        vectors, weights, hidden_states = self.decoder(embedded, source, cache, mask)
        logits, loss = self.lm_head(self.output_dropout(vectors)), None
        if labels is not None:
            items = kwargs.get("num_items_in_batch")
            loss = ForCausalLMLoss(logits, labels, logits.shape[-1], items, shift_labels=labels)
        return Seq2SeqLMOutput(
            loss=loss,
            logits=logits,
            past_key_values=cache if self._keeps_state(past_key_values, use_cache, labels) else None,
            decoder_hidden_states=hidden_states if with_states else None,
            cross_attentions=(weights[:, None],) if with_weights and weights is not None else None,
            encoder_last_hidden_state=states,
            encoder_hidden_states=getattr(encoder_outputs, "hidden_states", None),
        )

    def _embed(self, input_ids: torch.LongTensor | None, inputs_embeds: torch.FloatTensor | None) -> torch.Tensor:
        """Embeddings (B, T, E) of the target words."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError(
                "You must specify exactly one of decoder_input_ids or decoder_inputs_embeds, or labels to make them"
                " from"
            )
        if input_ids is None:
            return inputs_embeds  # type: ignore[return-value]
        return embed(self.shared, input_ids, self.config.word_dropout if self.training else 0.0)

    def _source(self, states: torch.Tensor, attention_mask: torch.Tensor | None, is_first: bool = True) -> Source:
        """What the decoder sees of the encoder's `states` (B, S, W); `is_first`: whether it has read nothing yet."""
        if attention_mask is not None and attention_mask.shape[1] == 0:  # no words: the encoder has read a token
            attention_mask = None
        words = read_mask(attention_mask, states, may_be_empty=True)
        if words is not None:
            places = filler_places(words)
            words = words if places is None else words | places
        return Source(states, self._final(states, words) if is_first else None, words)

    def _final(self, states: torch.Tensor, words: torch.Tensor | None) -> torch.Tensor:
        """The final output (B, W) of each direction of the encoder, of its `states` (B, S, W)."""
        first: Any = 0
        last: Any = -1
        if words is not None:
            numbers = words * torch.arange(1, words.shape[1] + 1, device=words.device)
            first, last = words.long().argmax(dim=1), numbers.argmax(dim=1)
        rows = torch.arange(states.shape[0], device=states.device)
        ahead, *back = states.chunk(self.config.directions, dim=-1)
        return torch.cat([ahead[rows, last], *(part[rows, first] for part in back)], dim=-1)

    def _keeps_state(self, given: Seq2SeqCache | None, wanted: bool | None, labels: torch.Tensor | None) -> bool:
        if given is not None or wanted is not None:
            return given is not None or bool(wanted)
        is_recorded = torch.compiler.is_exporting() or torch.jit.is_tracing()  # a graph can only return tensors
        return self.config.use_cache and not self.training and labels is None and not is_recorded


def _target_mask(attention_mask: torch.Tensor | None, embedded: torch.Tensor) -> torch.Tensor | None:
    """(B, T) bool, True at the target words `embedded` (B, T, E); None if every position is one."""
    if attention_mask is not None:
        attention_mask = attention_mask[:, -embedded.shape[1] :]
    return read_mask(attention_mask, embedded, may_be_empty=True)


# The Trainer's model card looks up here what a class is for.
MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES.setdefault(
    RecurrentSeq2SeqConfig.model_type, RecurrentForSeq2SeqLM.__name__
)

__all__ = ["RecurrentForSeq2SeqLM"]
