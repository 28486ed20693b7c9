"""Recurrent models: a stack of layers of one cell, with heads to classify texts, tag words and predict words."""

# Shapes: B batch, T time, E embedding_size, D directions, H units, C labels, V vocabulary; D*H is hidden_size.
# The state of a layer is a tuple of the parts that its cell names (h and, in an LSTM, c), each (B, D*H).

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndCrossAttentions,
    CausalLMOutputWithPast,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.models.auto import modeling_auto
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .activity import activity_penalty
from .adaptive_softmax import AdaptiveSoftmax
from .cache import RecurrentCache
from .characters import CharacterCNN, CharacterEncoder
from .configuration_recurrent import ADAPTIVE_DIVISOR, RecurrentConfig
from .cpu_linear import Linear
from .crf import IGNORED, LinearChainCRF, TaggerOutput, tag
from .dropout import DROPOUTS, Dropout, embed
from .layout import Layout, Packing, find_borders, has_values, make_layout, make_packing, read_mask, with_words
from .pairs import compare, separate
from .pooling import largest
from .recurrence import Recurrence, RecurrentLayer


class RecurrentPreTrainedModel(PreTrainedModel):
    """An abstract class to handle weights initialization and a simple interface for downloading and loading pretrained
    models.

    Each model names its Auto class in `_auto_class`, so that `save_pretrained` also saves this file and its siblings:
    the model can then be loaded where this package is not installed.
    """

    config_class = RecurrentConfig
    config: RecurrentConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar[list[str]] = ["RecurrentLayer"]
    _skip_keys_device_placement: ClassVar[list[str]] = ["past_key_values"]
    _is_stateful = True
    _can_record_outputs: ClassVar[dict[str, Any]] = {"hidden_states": RecurrentLayer}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, (Recurrence, CharacterEncoder, CharacterCNN, LinearChainCRF)):
            module.init_weights()
        elif isinstance(module, AttentionPooling):
            init.normal_(module.query, mean=0.0, std=self.config.initializer_range)


class RecurrentModel(RecurrentPreTrainedModel):
    """Embeddings and a stack of recurrent layers.

    In Keras, `return_sequences` chooses between two outputs. This model always returns both:

    | Keras | here | shape |
    |---|---|---|
    | `LSTM(H, return_sequences=True)` | `last_hidden_state` | (B, T, D*H) |
    | `LSTM(H)`, `return_sequences=False` | `pooler_output` | (B, D*H) |
    | `Bidirectional(LSTM(H))` | `bidirectional=True`: forward at the last word, backward at the first | (B, 2*H) |
    | stacked `LSTM(H, return_sequences=True)` layers | `num_hidden_layers` | |
    | `Embedding(mask_zero=True)` | `attention_mask` | (B, T) |

    At padding, outputs are zero. Those of a one-way layer of Keras repeat the output of the word before.
    [`~RecurrentModel.encode`] takes `return_sequences` itself. Keras has one bias per layer, which is `bias_ih` here,
    with `bias_hh` zero. The GRU is that of Keras with `reset_after=True`, with the first two gates swapped.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        # If the end-of-text token is also the padding token, it is embedded like any word.
        padding = config.pad_token_id if config.pad_token_id != config.eos_token_id else None
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, padding)
        self.characters = CharacterEncoder(config) if config.char_encoder else None
        dropout = DROPOUTS[config.variational_dropout]
        self.embedding_dropout = dropout(config.embedding_dropout)
        self.layers = nn.ModuleList(RecurrentLayer(config, index) for index in range(config.num_hidden_layers))
        self.hidden_dropout = dropout(config.hidden_dropout)
        self.gradient_checkpointing = False
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        char_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: RecurrentCache | None = None,
        use_cache: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPoolingAndCrossAttentions:
        """
        Args:
            input_ids (B, T): token ids; or inputs_embeds (B, T, embedding_size) in their place.
            attention_mask (B, T): 1 at words, 0 at padding, in any pattern; None if there is no padding. It may also
                cover the words that a cache has read: only the last T columns are used. A row without words is read as
                the config's `empty_text_token_id` at its last position, also if T is 0; the outputs have T = 1 then.
            char_ids (B, T, W): the characters of each word, padded with zeros; required with `char_encoder`.
            position_ids (B, T): 0 where a new text begins inside a row, which resets the state to zero. Other values
                are not used.
            past_key_values: the state to continue from; updated to the state after the last word.
            use_cache: whether to return the state; None for the config's value, but never in training.

        Returns:
            last_hidden_state (B, T, D*H), zero at padding; pooler_output (B, D*H), the final output of each direction;
            past_key_values, if requested; hidden_states, if requested: the embeddings and the output of each layer.

        Raises:
            ValueError: a bidirectional model got a cache or was asked for one; a row has no words and there is no
                `empty_text_token_id`; the shape of the mask or of `char_ids` does not match the inputs.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        cache = self._cache(past_key_values, use_cache)
        if input_ids is not None and past_key_values is None and self.config.empty_text_token_id is not None:
            input_ids, attention_mask = with_words(input_ids, attention_mask, self.config.empty_text_token_id)
        inputs: torch.Tensor = self._embed(input_ids) if inputs_embeds is None else inputs_embeds  # type: ignore[arg-type]
        layout = self._layout(inputs, attention_mask, position_ids, past_key_values is not None)
        embedded = self._with_characters(inputs, char_ids)
        hidden_states, final_state = self.embedding_dropout(embedded), None
        for index, layer in enumerate(self.layers):
            if index:
                hidden_states = self.hidden_dropout(hidden_states)
            start = () if cache is None else cache.layers[index].get_state() or ()
            hidden_states, *state = layer(hidden_states, *start, layout=layout, return_state=cache is not None)
            final_state = state[0]
            if cache is not None:
                cache.layers[index].set_state(tuple(state), inputs.shape[1])
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden_states, pooler_output=final_state, past_key_values=cache
        )

    def _cache(self, given: RecurrentCache | None, wanted: bool | None) -> RecurrentCache | None:
        """The cache to update: the given one, a new one if one is wanted, or None."""
        if self.config.bidirectional:
            if given is not None or wanted:
                raise ValueError(
                    "past_key_values: a bidirectional model reads a text from both ends and cannot continue from a"
                    " state"
                )
            return None
        if given is not None:
            return given
        if wanted is None:  # a graph can only return tensors
            is_recorded = torch.compiler.is_exporting() or torch.jit.is_tracing()
            wanted = self.config.use_cache and not self.training and not is_recorded
        return RecurrentCache(self.config) if wanted else None

    def _with_unknown(self, input_ids: torch.Tensor) -> torch.Tensor:
        """`input_ids` (B, T) with a share of the words replaced by the unknown one, drawn anew at each position.
        Padding and other special tokens stay."""
        config = self.config
        chosen = torch.rand(input_ids.shape, device=input_ids.device) < config.unknown_dropout
        ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
        special = {config.pad_token_id, config.bos_token_id, *ends, *(config.special_token_ids or [])} - {None}
        chosen &= ~torch.isin(input_ids, torch.tensor(sorted(special), device=input_ids.device))
        return torch.where(chosen, self.config.unknown_token_id, input_ids)  # type: ignore[arg-type]

    def _embed(self, input_ids: torch.Tensor) -> torch.Tensor:
        if self.training and self.config.unknown_dropout:
            input_ids = self._with_unknown(input_ids)
        return embed(self.embed_tokens, input_ids, self.config.word_dropout if self.training else 0.0)

    @staticmethod
    def _layout(
        inputs: torch.Tensor, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None, has_past: bool
    ) -> Layout | Packing | None:
        """Where the words of `inputs` (B, T, E) are; None if every position is one."""
        if has_past and attention_mask is not None:
            # The mask also covers what the cache has read.
            attention_mask = attention_mask[:, -inputs.shape[1] :]
        mask = read_mask(attention_mask, inputs, may_be_empty=has_past)
        if position_ids is not None:
            borders = find_borders(position_ids.expand(inputs.shape[:2]), mask, has_past)
            if borders is not None:
                return make_packing(borders, mask)
        return None if mask is None else make_layout(mask)

    def _with_characters(self, embedded: torch.Tensor, char_ids: torch.Tensor | None) -> torch.Tensor:
        """`embedded` (B, T, E) followed by the character features of each word."""
        if self.characters is None:
            if char_ids is not None:
                raise ValueError("char_ids: this model does not read characters; its config has no `char_encoder`")
            return embedded
        if char_ids is not None and char_ids.shape[1] == 0 and embedded.shape[1] == 1:  # a batch of empty texts
            char_ids = char_ids.new_zeros(len(char_ids), 1, 1, dtype=torch.long)
        if char_ids is None or char_ids.shape[:2] != embedded.shape[:2]:
            raise ValueError(
                "char_ids: this model reads the characters of each word, as returned by its own tokenizer:"
                f" (batch, time, width) for inputs of {tuple(embedded.shape[:2])}"
            )
        return torch.cat([embedded, self.characters(char_ids).to(embedded.dtype)], dim=-1)

    def encode(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        return_sequences: bool = False,
    ) -> torch.Tensor:
        """The output of a Keras layer: at all positions, (B, T, D*H), with `return_sequences`, else the final one,
        (B, D*H)."""
        outputs = self(input_ids, attention_mask=attention_mask)
        return outputs.last_hidden_state if return_sequences else outputs.pooler_output


def _last(pooler, states, final_state, mask):
    return final_state


def _mean(pooler, states, final_state, mask):
    # States are zero at padding. The clamp gives a row without words zeros instead of NaN.
    return states.mean(dim=1) if mask is None else states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def _max(pooler, states, final_state, mask):
    if mask is None:
        return largest(states)
    # A sum takes half the time of `masked_fill`, and its gradient none.
    lowest = torch.zeros_like(mask, dtype=states.dtype).masked_fill(~mask, torch.finfo(states.dtype).min)  # (B, T)
    found = largest(states + lowest[..., None])
    return found.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


def _attention(pooler, states, final_state, mask):
    return pooler(states, mask)


def _concat(pooler, states, final_state, mask):
    """Howard & Ruder 2018, section 3.3."""
    parts = [final_state, _max(pooler, states, final_state, mask), _mean(pooler, states, final_state, mask)]
    return torch.cat(parts, dim=-1)


POOLINGS = {"last": _last, "mean": _mean, "max": _max, "attention": _attention, "concat": _concat}
# Times the width of a state that a pooling returns, if more than once.
POOLED_WIDTHS = {"concat": 3}


class AttentionPooling(nn.Module):
    """Additive attention over states (B, T, W) with a learned query: the weights are softmax(q . tanh(W h + b)), in
    float32 (Yang et al. 2016, section 2.2)."""

    def __init__(self, width: int):
        super().__init__()
        self.projection = nn.Linear(width, width)
        self.query = nn.Parameter(torch.empty(width))

    def forward(self, states: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        scores = (torch.tanh(self.projection(states)) @ self.query.to(states.dtype)).float()  # (B, T)
        if mask is not None:
            scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1).to(states.dtype)
        return (weights[:, None] @ states).squeeze(1)  # (B, W)


class RecurrentForSequenceClassification(RecurrentPreTrainedModel):
    """A recurrent model with a text classification head: pooled states, dropout and a linear layer.

    `pooling="last"` corresponds to `return_sequences=False` followed by `Dense` in Keras; `"mean"`, `"max"` and
    `"attention"` to `return_sequences=True` followed by `GlobalAveragePooling1D`, `GlobalMaxPooling1D` and an attention
    layer. Here padding never counts. In Keras, `GlobalMaxPooling1D` has no mask, and the maximum also runs over what a
    layer returns at padding: zeros if it is `Bidirectional` or reads the padding first, else its last output.

    With `config.pairs`, each of the two texts of a row is pooled on its own, and the linear layer reads the comparison
    of both; see [`compare`].
    """

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = RecurrentModel(config)
        self.pooler = AttentionPooling(config.output_size) if config.pooling == "attention" else None
        self.dropout = Dropout(config.classifier_dropout)
        width = config.output_size * POOLED_WIDTHS.get(config.pooling, 1)
        self.classifier = nn.Linear(width * (4 if config.pairs else 1), config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        token_type_ids: torch.Tensor | None = None,
        char_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """
        Args:
            input_ids, attention_mask, inputs_embeds, char_ids: see [`RecurrentModel`].
            token_type_ids (B, T): with `config.pairs`, 0 in the first text of a row and 1 in the second; None: the
                second text is empty. Without, they are not used.
            labels (B,): class ids; (B,) or (B, C) floats for regression and multi-label problems.
            num_items_in_batch: the number of labels to average the loss over if this batch is a part of a larger one.
                The Trainer passes it when it accumulates gradients, and sums the losses.

        Returns:
            loss, the mean, if labels are given; logits (B, C); hidden_states, if requested, of the first texts of all
            pairs and then of the second.
        """
        if input_ids is not None and self.config.empty_text_token_id is not None:
            input_ids, attention_mask = with_words(input_ids, attention_mask, self.config.empty_text_token_id)
            if token_type_ids is not None and token_type_ids.shape != input_ids.shape:  # of a batch of empty texts
                token_type_ids = None
        if self.config.pairs:
            texts = separate(input_ids, inputs_embeds, attention_mask, token_type_ids)
            input_ids, inputs_embeds, attention_mask, empty = texts  # type: ignore[assignment]
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            char_ids=char_ids,
            use_cache=False,
            return_dict=True,
            **kwargs,
        )
        states = outputs.last_hidden_state
        mask = None if attention_mask is None else attention_mask.bool()
        pooled = POOLINGS[self.config.pooling](self.pooler, states, outputs.pooler_output, mask)
        if self.config.pairs:
            pooled = compare(pooled, empty)
        logits = self.classifier(self.dropout(pooled))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
            num_items_in_batch = kwargs.get("num_items_in_batch")
            if num_items_in_batch is not None:
                # transformers' losses for regression and multi-label problems do not take num_items_in_batch.
                loss = loss * labels.ne(IGNORED).sum() / num_items_in_batch
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class RecurrentForTokenClassification(RecurrentPreTrainedModel):
    """A recurrent model with a token classification head: the states of the last layer, dropout and a linear layer.

    With `config.crf`, a linear-chain CRF scores whole sequences of tags; see [`LinearChainCRF`] for its loss and
    logits.
    """

    _auto_class = "AutoModelForTokenClassification"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = RecurrentModel(config)
        self.dropout = Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.crf = LinearChainCRF(config) if config.crf else None
        self.post_init()

    def add_crf(self) -> None:
        """Add an untrained CRF to a model that has none."""
        if self.crf is None:
            self.config.crf = True
            self.crf = LinearChainCRF(self.config).to(self.classifier.weight)
            self._init_weights(self.crf)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        char_ids: torch.LongTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> TokenClassifierOutput | TaggerOutput:
        """
        Args:
            input_ids, attention_mask, inputs_embeds, char_ids, position_ids: see [`RecurrentModel`].
            labels (B, T): tags; -100 at positions without one.
            num_items_in_batch: the number to divide the summed loss by; None for the number of labels.

        Returns:
            loss, the mean NLL per label, if labels are given; logits (B, T, C); hidden_states, if requested; with a
            CRF and labels, also the nll of each row (B,), and with a CRF in training its chain.
        """
        pad = self.config.pad_token_id if self.config.pad_token_id != self.config.eos_token_id else None
        if input_ids is not None and attention_mask is not None and pad is not None:
            # The tokenizer may end each text with padding, so that one without words has a token.
            attention_mask = attention_mask.bool() & (input_ids != pad)
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            char_ids=char_ids,
            position_ids=position_ids,
            use_cache=False,
            return_dict=True,
            **kwargs,
        )
        states = outputs.last_hidden_state
        if input_ids is not None:
            states = states[:, : input_ids.shape[1]]  # none for a batch without tokens
        logits = self.classifier(self.dropout(states))
        items = kwargs.get("num_items_in_batch")
        if self.crf is not None and logits.shape[1]:
            tagged = tag(self.crf, logits, input_ids, attention_mask, labels, items)
            return TaggerOutput(*tagged, hidden_states=outputs.hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config, num_items_in_batch=items)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class RecurrentForCausalLM(RecurrentPreTrainedModel, GenerationMixin):
    """A recurrent model with a language modeling head. Generating a word takes the same time however long the text is.

    With `tie_word_embeddings`, the head shares the embedding matrix, after a projection if the states have another
    width. With `adaptive_cutoffs`, the logits are log-probabilities; as they take the whole vocabulary, they are not
    computed in training with labels.
    """

    _auto_class = "AutoModelForCausalLM"
    _tied_weights_keys: ClassVar[dict[str, str]] = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: RecurrentConfig):
        if config.bidirectional:
            raise ValueError(
                "`bidirectional` is True; the next word is predicted from left to right only, as a backward direction"
                " would read the answer. Set it to False."
            )
        if config.char_encoder:
            raise ValueError(
                f"`char_encoder` is {config.char_encoder!r}; this model generates ids, without the characters to"
                " continue from. Set it to None."
            )
        super().__init__(config)
        self.model = RecurrentModel(config)
        self.output_dropout = DROPOUTS[config.variational_dropout](config.output_dropout)
        width = config.embedding_size if config.tie_word_embeddings else config.output_size
        self.projection = None if width == config.output_size else nn.Linear(config.output_size, width, bias=False)
        self.lm_head = (
            AdaptiveSoftmax(width, config.vocab_size, config.adaptive_cutoffs, ADAPTIVE_DIVISOR)
            if config.adaptive_cutoffs
            else Linear(width, config.vocab_size)
        )
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the model creates a RecurrentCache

    def new_cache(self) -> RecurrentCache:
        """An empty cache."""
        return RecurrentCache(self.config)

    def get_output_embeddings(self) -> nn.Module | None:
        return None if self.config.adaptive_cutoffs else self.lm_head

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args, **kwargs) -> nn.Embedding:
        if self.config.adaptive_cutoffs and new_num_tokens not in (None, self.config.vocab_size):
            raise ValueError("`adaptive_cutoffs`: the vocabulary of an adaptive softmax cannot be resized.")
        return super().resize_token_embeddings(new_num_tokens, *args, **kwargs)

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: RecurrentCache | None = None,
        use_cache: bool | None = None,
        labels: torch.LongTensor | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Unpack[TransformersKwargs],
    ) -> CausalLMOutputWithPast:
        """
        Args:
            input_ids, attention_mask, inputs_embeds, position_ids, past_key_values, use_cache: see [`RecurrentModel`].
            labels (B, T): the input ids. Position t is scored on label t + 1; -100 is ignored.
            logits_to_keep: how many of the last positions to compute logits for (0 for all), or their indices.
            kwargs: shift_labels (B, T), labels that are shifted already, with label t for position t;
                num_items_in_batch, the number to divide the summed loss by instead of the number of labels.

        Returns:
            loss, the mean, if labels are given; logits (B, T, V); past_key_values and hidden_states, if requested.
        """
        outputs = self.model(
            input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache,
            return_dict=True,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        dropped = self.output_dropout(outputs.last_hidden_state)
        states = dropped[:, kept]
        if self.projection is not None:
            states = self.projection(states)
        logits, loss = None, None
        if not (self.config.adaptive_cutoffs and self.training and labels is not None):
            logits = self.lm_head(states)
        if labels is not None:
            loss = self._loss(states, logits, labels, **kwargs)
            if self.training and self.config.regularizes_activity:
                states = outputs.last_hidden_state
                loss = loss + activity_penalty(self.config, states, dropped, labels, position_ids, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states
        )

    def _loss(self, states, logits, labels, shift_labels=None, num_items_in_batch=None, **kwargs) -> torch.Tensor:
        if not self.config.adaptive_cutoffs:
            given = {"shift_labels": shift_labels, "num_items_in_batch": num_items_in_batch}
            return self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **given)
        targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED) if shift_labels is None else shift_labels
        scored = targets != IGNORED
        items = scored.sum() if num_items_in_batch is None else num_items_in_batch
        if not has_values(targets):  # nor which positions are scored
            nll = self.lm_head.nll(states.flatten(0, 1), targets.flatten().clamp(min=0))  # type: ignore[operator]
            return (nll * scored.flatten()).sum() / items
        return self.lm_head.nll(states[scored], targets[scored]).sum() / items  # type: ignore[operator]


# The Trainer looks up here what a class is for. Its model card names the task. Its label smoothing compares position t
# with label t + 1 only for models that predict words: others would learn to repeat the word that they have just read.
TABLES: dict[str, type[RecurrentPreTrainedModel]] = {
    "MODEL_MAPPING_NAMES": RecurrentModel,
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": RecurrentForCausalLM,
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": RecurrentForSequenceClassification,
    "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES": RecurrentForTokenClassification,
}
for _table, _model in TABLES.items():
    getattr(modeling_auto, _table).setdefault(RecurrentConfig.model_type, _model.__name__)

__all__ = [
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentForTokenClassification",
    "RecurrentModel",
    "RecurrentPreTrainedModel",
]
