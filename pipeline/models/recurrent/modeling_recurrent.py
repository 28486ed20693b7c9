"""Recurrent models: RNN, LSTM and GRU, one-way or bidirectional, stacked, with classification heads."""

# Shapes: B batch, T time, E width of a layer's input, D directions, H hidden_size, C labels.
# A state is a tuple: h and, in an LSTM, c, each (B, D*H), forward half first.

from __future__ import annotations

from typing import ClassVar, NamedTuple

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput, TokenClassifierOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .characters import CharacterCNN, CharacterEncoder, CharacterLSTM
from .configuration_recurrent import RecurrentConfig
from .crf import LinearChainCRF, TaggerOutput, tag

State = tuple[torch.Tensor, ...]


class Cell(NamedTuple):
    """A recurrence: torch's fused operator, its number of gates, and the gate whose bias starts at one."""

    operator: str
    gates: int
    forget_gate: int | None = None
    has_cell_state: bool = False


CELLS = {
    "rnn": Cell("rnn_tanh", 1),
    "lstm": Cell("lstm", 4, forget_gate=1, has_cell_state=True),
    "gru": Cell("gru", 3),
}


class Layout(NamedTuple):
    """Where the words of a padded batch are; computed once per forward pass and shared by all layers.

    Attributes:
        mask: (B, T) bool, True at words.
        lengths: (B, 1) number of words.
        last: (B,) flat index of each row's last word after compacting.
        compact: two (B*T,) flat indices that move the words of each row to its front, and back; None where they are
            there already, as in a right-padded batch.
        reverse: (B*T,) flat index that reverses the words within each compacted row; it is its own inverse.
    """

    mask: torch.Tensor
    lengths: torch.Tensor
    last: torch.Tensor
    compact: tuple[torch.Tensor, torch.Tensor] | None
    reverse: torch.Tensor


class _Permute(torch.autograd.Function):
    """Rows of a matrix in another order. Its gradient is the inverse permutation, not torch's slower `index_add`."""

    @staticmethod
    def forward(ctx, rows, index, inverse):
        ctx.save_for_backward(inverse)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx, gradient):
        (inverse,) = ctx.saved_tensors
        return gradient.index_select(0, inverse), None, None


def permute(states: torch.Tensor, index: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
    """`states` (B, T, E) with its B*T positions in the order of `index`."""
    return _Permute.apply(states.reshape(-1, states.shape[-1]), index, inverse).view(states.shape)


def make_layout(mask: torch.Tensor) -> Layout:
    """The layout of a batch whose words are where `mask` (B, T) is True; any pattern of padding will do."""
    batch, time = mask.shape
    rows = torch.arange(batch, device=mask.device)[:, None] * time  # (B, 1)
    steps = torch.arange(time, device=mask.device)  # (T,)
    lengths = mask.sum(dim=1, keepdim=True)  # (B, 1)
    compact = None
    if not _is_right_padded(mask, lengths, steps):
        places = torch.where(mask, mask.cumsum(dim=1), lengths + (~mask).cumsum(dim=1)) - 1
        compact = ((rows + torch.argsort(places, dim=1)).flatten(), (rows + places).flatten())
    reverse = torch.where(steps < lengths, lengths - 1 - steps, steps)
    last = rows + (lengths - 1).clamp(min=0)
    return Layout(mask, lengths, last.flatten(), compact, (rows + reverse).flatten())


def _is_right_padded(mask: torch.Tensor, lengths: torch.Tensor, steps: torch.Tensor) -> bool:
    return _can_read(mask) and bool(torch.equal(mask, steps < lengths))


def _can_read(mask: torch.Tensor) -> bool:
    # Reading a value back would make a GPU wait, and an exported graph holds for any value.
    return mask.device.type == "cpu" and not torch.compiler.is_exporting()


NO_WORDS = "attention_mask: row {} of the batch has no words; drop it or give it one token"


def read_mask(attention_mask: torch.Tensor | None, inputs: torch.Tensor) -> torch.Tensor | None:
    """`attention_mask` as (B, T) bool, or None where every position is a word.

    Raises:
        ValueError: the shape does not fit, or a row has no word. What the mask says is seen on the CPU only, as a GPU
            would have to wait: a row without words is pooled to zeros there, and in an exported model.
    """
    if inputs.shape[1] == 0:
        raise ValueError(NO_WORDS.format(0))
    if attention_mask is None:
        return None
    if attention_mask.shape != inputs.shape[:2]:
        raise ValueError(
            f"attention_mask has shape {tuple(attention_mask.shape)}, the inputs (batch, time) are"
            f" {tuple(inputs.shape[:2])}"
        )
    mask = attention_mask.bool()
    if not _can_read(mask):
        return mask
    if bool(mask.all()):
        return None
    empty = (~mask.any(dim=1)).nonzero().flatten().tolist()
    if empty:
        raise ValueError(NO_WORDS.format(empty[0]))
    return mask


class RecurrentLayer(GradientCheckpointingLayer):
    """One layer, in one or both directions. Parameters are named as in `torch.nn.LSTM`, so that weights interchange."""

    def __init__(self, config: RecurrentConfig, layer_idx: int):
        super().__init__()
        self.cell = CELLS[config.cell_type]
        self.hidden_size = config.hidden_size
        self.suffixes = ("_l0", "_l0_reverse") if config.bidirectional else ("_l0",)
        input_size = config.input_size if layer_idx == 0 else config.output_size
        width = self.cell.gates * config.hidden_size
        for suffix in self.suffixes:
            self.register_parameter(f"weight_ih{suffix}", nn.Parameter(torch.empty(width, input_size)))
            self.register_parameter(f"weight_hh{suffix}", nn.Parameter(torch.empty(width, config.hidden_size)))
            self.register_parameter(f"bias_ih{suffix}", nn.Parameter(torch.empty(width)))
            self.register_parameter(f"bias_hh{suffix}", nn.Parameter(torch.empty(width)))

    def forward(
        self,
        hidden_states: torch.Tensor,
        layout: Layout | None = None,
        state: State | None = None,
        return_state: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            hidden_states: (B, T, E).
            layout: None where every position is a word.
            state: where each direction starts; zeros if None.
            return_state: whether the final state is wanted whole, to go on from; h alone is cheaper.

        Returns:
            States at every position, (B, T, D*H), zero at padding; then each direction's state after its last word, h
            (B, D*H) and, with `return_state`, an LSTM's c. A row without words keeps the state that it started from.
        """
        if layout is not None and layout.compact is not None:
            hidden_states = permute(hidden_states, *layout.compact)
        outputs, finals = [], []
        for direction, start in enumerate(self._starts(hidden_states, state)):
            inputs = self._reversed(hidden_states, layout) if direction else hidden_states
            states, final = run_direction(self.cell, inputs, self._weights(direction), start, layout, return_state)
            outputs.append(self._reversed(states, layout) if direction else states)
            finals.append(final)
        output = _join(outputs)
        if layout is not None:
            if layout.compact is not None:
                output = permute(output, *reversed(layout.compact))
            output = output.masked_fill(~layout.mask[..., None], 0.0)
        # Flat, as reentrant checkpointing finds only the tensors at the top.
        return output, *(_join(parts) for parts in zip(*finals, strict=True))

    @staticmethod
    def _reversed(states: torch.Tensor, layout: Layout | None) -> torch.Tensor:
        return states.flip(1) if layout is None else permute(states, layout.reverse, layout.reverse)

    def _weights(self, direction: int) -> list[torch.Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        return [getattr(self, name + self.suffixes[direction]) for name in names]

    def _starts(self, inputs: torch.Tensor, state: State | None) -> list[State]:
        """The state that each direction starts from."""
        if state is None:
            zero = inputs.new_zeros(inputs.shape[0], self.hidden_size, dtype=self.weight_hh_l0.dtype)
            return [(zero, zero) if self.cell.has_cell_state else (zero,)] * len(self.suffixes)
        return list(zip(*(part.chunk(len(self.suffixes), dim=-1) for part in state), strict=True))


def _join(parts: list[torch.Tensor] | tuple[torch.Tensor, ...]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=-1)


@torch.compiler.disable
def run_direction(
    cell: Cell,
    inputs: torch.Tensor,
    weights: list[torch.Tensor],
    start: State,
    layout: Layout | None,
    return_state: bool,
) -> tuple[torch.Tensor, State]:
    """A recurrence over compacted `inputs` (B, T, E), left to right, by torch's fused operator.

    This is where another device's best path would be chosen. On the CPU it is the padded operator: PackedSequence
    takes several times as long. On CUDA it has not been measured. Dynamo cannot trace the fused operators, hence the
    break in the graph.

    Returns:
        States (B, T, H), those at padding meaningless; and h (B, H) after each row's last word, with c if
        `return_state`.
    """
    if return_state and cell.has_cell_state and layout is not None:
        inputs, weights = hold_cell_state(inputs, weights, layout.lengths)
    state = [part[None] for part in start]
    # (input, state, weights, has_biases, num_layers, dropout, train, bidirectional, batch_first)
    operator = getattr(torch, cell.operator)
    states, *final = operator(
        inputs, state if cell.has_cell_state else state[0], weights, True, 1, 0.0, False, False, True
    )
    h, *c = (part[0] for part in final)
    if layout is not None:
        at_last_word = states.flatten(0, 1).index_select(0, layout.last)
        h = torch.where(layout.lengths > 0, at_last_word, start[0].to(states.dtype))
    return states, (h, *c) if return_state else (h,)


def hold_cell_state(
    inputs: torch.Tensor, weights: list[torch.Tensor], lengths: torch.Tensor
) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """Inputs and weights with a column more, which makes an LSTM's c pass through padding unchanged.

    The fused operator returns c at the last step only, which is padding in a shorter row. The column is one at
    padding and its weights shut the input gate and open the forget gate: c' = 1 * c + 0 * g.
    """
    padding = torch.arange(inputs.shape[1], device=inputs.device) >= lengths  # (B, T)
    input_gate, forget_gate, *others = torch.zeros_like(weights[0][:, :1]).chunk(4)
    # Large enough to saturate the gate whatever else it is fed, and still a number in float16.
    column = torch.cat([input_gate - 1e4, forget_gate + 1e4, *others])
    inputs = torch.cat([inputs, padding[..., None].to(inputs.dtype)], dim=-1)
    return inputs, [torch.cat([weights[0], column], dim=1), *weights[1:]]


class RecurrentPreTrainedModel(PreTrainedModel):
    """Weights initialisation and loading, shared by the base model and its heads.

    Each class names in `_auto_class` the Auto class that loads it: `save_pretrained` then writes this file along, and
    the model loads where this package is not installed.
    """

    config_class = RecurrentConfig
    config: RecurrentConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules: ClassVar = ["RecurrentLayer"]
    _can_record_outputs: ClassVar = {"hidden_states": RecurrentLayer}

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, RecurrentLayer):
            for name, parameter in module.named_parameters(recurse=False):
                init.copy_(parameter, _initial(name, parameter, module.cell))
        elif isinstance(module, AttentionPooling):
            init.normal_(module.query, mean=0.0, std=self.config.initializer_range)
        elif isinstance(module, CharacterEncoder):
            module.init_embedding()
        elif isinstance(module, CharacterCNN):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, CharacterLSTM):
            for name, parameter in module.named_parameters(recurse=False):
                init.copy_(parameter, _initial(name, parameter, CELLS["lstm"]))
        elif isinstance(module, LinearChainCRF):
            for parameter in module.parameters():
                init.zeros_(parameter)


def _initial(name: str, parameter: torch.Tensor, cell: Cell) -> torch.Tensor:
    """Initial value of a layer's parameter, in float32: orthogonal matrices cannot be computed in half precision."""
    value = torch.zeros(parameter.shape, dtype=torch.float32, device=parameter.device)
    for gate, block in enumerate(value.chunk(cell.gates)):
        if name.startswith("weight_hh"):
            nn.init.orthogonal_(block)
        elif name.startswith("weight_ih"):
            nn.init.xavier_uniform_(block)
        elif name.startswith("bias_ih") and gate == cell.forget_gate:
            block.fill_(1.0)
    return value


class RecurrentModel(RecurrentPreTrainedModel):
    """Embeddings and a stack of recurrent layers.

    Keras asks for one of two answers with `return_sequences`; this model always gives both:

    | Keras | here | shape |
    |---|---|---|
    | `LSTM(H, return_sequences=True)` | `last_hidden_state` | (B, T, D*H) |
    | `LSTM(H)`, `return_sequences=False` | `pooler_output` | (B, D*H) |
    | `Bidirectional(LSTM(H))` | `bidirectional=True`: forward at the last word, backward at the first | (B, 2*H) |
    | stacked `LSTM(H, return_sequences=True)` layers | `num_hidden_layers` | |
    | `Embedding(mask_zero=True)` | `attention_mask` | (B, T) |

    [`~RecurrentModel.encode`] has the switch itself. Biases: Keras's one bias is `bias_ih`, with `bias_hh` zero; a
    GRU is Keras's with `reset_after=True` and its first two gates in the other order.
    """

    _auto_class = "AutoModel"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.embedding_size, config.pad_token_id)
        self.characters = CharacterEncoder(config) if config.char_encoder else None
        self.embedding_dropout = nn.Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList(RecurrentLayer(config, index) for index in range(config.num_hidden_layers))
        self.hidden_dropout = nn.Dropout(config.hidden_dropout)
        self.gradient_checkpointing = False
        self.post_init()

    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        char_ids: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPooling:
        """
        Args:
            input_ids (B, T): token ids; or inputs_embeds (B, T, embedding_size) in their place.
            attention_mask (B, T): 1 at words, 0 at padding, in any pattern; None where there is no padding.
            char_ids (B, T, W): characters of each word in front, then zeros; for a config with `char_encoder`.

        Returns:
            last_hidden_state (B, T, D*H), zero at padding; pooler_output (B, D*H), each direction's final state;
            hidden_states, where asked for: the embeddings and every layer's states.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        mask = read_mask(attention_mask, inputs_embeds)
        layout = None if mask is None else make_layout(mask)
        embedded = self._with_characters(inputs_embeds, char_ids)
        hidden_states, final_state = self.embedding_dropout(embedded), None
        for index, layer in enumerate(self.layers):
            if index:
                hidden_states = self.hidden_dropout(hidden_states)
            hidden_states, final_state = layer(hidden_states, layout=layout)
        return BaseModelOutputWithPooling(last_hidden_state=hidden_states, pooler_output=final_state)

    def _with_characters(self, embedded: torch.Tensor, char_ids: torch.Tensor | None) -> torch.Tensor:
        """`embedded` (B, T, E) with what the characters of each word add to it."""
        if self.characters is None:
            if char_ids is not None:
                raise ValueError("char_ids: this model reads no characters; its config has no `char_encoder`")
            return embedded
        if char_ids is None or char_ids.shape[:2] != embedded.shape[:2]:
            raise ValueError(
                f"char_ids: this model reads the characters of each word, (batch, time, width) for inputs of"
                f" {tuple(embedded.shape[:2])}, as its own tokenizer gives them"
            )
        return torch.cat([embedded, self.characters(char_ids).to(embedded.dtype)], dim=-1)

    def encode(
        self,
        input_ids: torch.LongTensor,
        attention_mask: torch.Tensor | None = None,
        return_sequences: bool = False,
    ) -> torch.Tensor:
        """Keras's contract: all states (B, T, D*H) with `return_sequences`, else the final one (B, D*H)."""
        outputs = self(input_ids, attention_mask=attention_mask)
        return outputs.last_hidden_state if return_sequences else outputs.pooler_output


def _last(pooler, states, final_state, mask):
    return final_state


def _mean(pooler, states, final_state, mask):
    # States are zero at padding already.
    return states.mean(dim=1) if mask is None else states.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)


def _max(pooler, states, final_state, mask):
    if mask is None:
        return states.amax(dim=1)
    largest = states.masked_fill(~mask[..., None], torch.finfo(states.dtype).min).amax(dim=1)
    return largest.masked_fill(~mask.any(dim=1, keepdim=True), 0.0)


def _attention(pooler, states, final_state, mask):
    return pooler(states, mask)


POOLINGS = {"last": _last, "mean": _mean, "max": _max, "attention": _attention}


class AttentionPooling(nn.Module):
    """Additive attention over states (B, T, W) with a learned query: softmax(q . tanh(W h + b)), weights in float32."""

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
    """A recurrent model that gives each text one label: pooled states, dropout, a linear classifier.

    `pooling="last"` is Keras's `return_sequences=False` before `Dense`; `"mean"`, `"max"` and `"attention"` are
    `return_sequences=True` before `GlobalAveragePooling1D`, `GlobalMaxPooling1D` and an attention layer.
    """

    _auto_class = "AutoModelForSequenceClassification"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = RecurrentModel(config)
        self.pooler = AttentionPooling(config.output_size) if config.pooling == "attention" else None
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> SequenceClassifierOutput:
        """
        Args:
            input_ids, attention_mask, inputs_embeds: see [`RecurrentModel`].
            labels (B,) class ids; (B,) or (B, C) floats for regression and multi-label problems.
            num_items_in_batch: how many labels the loss is a mean over, where this batch is a part of a larger one;
                the Trainer says so when it accumulates gradients, and then sums what it is given.

        Returns:
            loss, where labels are given: the mean; logits (B, C); hidden_states, where asked for.
        """
        outputs = self.model(
            input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **kwargs
        )
        states = outputs.last_hidden_state
        mask = None if attention_mask is None else attention_mask.bool()
        pooled = POOLINGS[self.config.pooling](self.pooler, states, outputs.pooler_output, mask)
        logits = self.classifier(self.dropout(pooled))
        loss = None
        if labels is not None:
            loss = self.loss_function(labels=labels, pooled_logits=logits, config=self.config)
            num_items_in_batch = kwargs.get("num_items_in_batch")
            if num_items_in_batch is not None:
                # Here, as transformers' losses for regression and multi-label problems do not.
                loss = loss * labels.ne(-100).sum() / num_items_in_batch
        return SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


class RecurrentForTokenClassification(RecurrentPreTrainedModel):
    """A recurrent model that gives each word a tag: the states of the last layer, dropout, a linear classifier.

    With `config.crf` a linear-chain CRF scores the sequence of tags as a whole; see [`LinearChainCRF`] for what loss
    and logits are then.
    """

    _auto_class = "AutoModelForTokenClassification"

    def __init__(self, config: RecurrentConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.model = RecurrentModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.output_size, config.num_labels)
        self.crf = LinearChainCRF(config) if config.crf else None
        self.post_init()

    def add_crf(self) -> None:
        """Put a CRF, not trained yet, on top of a model that has none."""
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
        **kwargs: Unpack[TransformersKwargs],
    ) -> TokenClassifierOutput | TaggerOutput:
        """
        Args:
            input_ids, attention_mask, inputs_embeds, char_ids: see [`RecurrentModel`].
            labels (B, T): tags; -100 at positions that have none.

        Returns:
            loss, where labels are given: the mean NLL per label; logits (B, T, C); hidden_states, where asked for;
            with a CRF and labels also nll (B,), that of each row.
        """
        outputs = self.model(
            input_ids, attention_mask=attention_mask, inputs_embeds=inputs_embeds, return_dict=True, **kwargs
        )
        logits = self.classifier(self.dropout(outputs.last_hidden_state))
        items = kwargs.get("num_items_in_batch")
        if self.crf is not None:
            tagged = tag(self.crf, logits, input_ids, attention_mask, labels, items)
            return TaggerOutput(*tagged, hidden_states=outputs.hidden_states)
        loss = None
        if labels is not None:
            loss = self.loss_function(logits, labels, self.config, num_items_in_batch=items)
        return TokenClassifierOutput(loss=loss, logits=logits, hidden_states=outputs.hidden_states)


__all__ = [
    "RecurrentForSequenceClassification",
    "RecurrentForTokenClassification",
    "RecurrentModel",
    "RecurrentPreTrainedModel",
]
