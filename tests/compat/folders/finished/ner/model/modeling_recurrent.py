"""Recurrent models: RNN, LSTM and GRU, one-way or bidirectional, stacked, with heads for texts, words and the next."""

# Shapes: B batch, T time, E width of a layer's input, D directions, H hidden_size, C labels, V vocabulary; S segments
# of a packed batch, L the longest of them.
# A state is a tuple: h and, in an LSTM, c, each (B, D*H), forward half first.

from __future__ import annotations

import itertools
from typing import Any, ClassVar, NamedTuple

import torch
from torch import nn
from torch.nn import functional as F
from transformers import GenerationMixin, PreTrainedModel
from transformers import initialization as init
from transformers.cache_utils import Cache, LinearAttentionLayer
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPoolingAndCrossAttentions,
    CausalLMOutputWithPast,
    SequenceClassifierOutput,
    TokenClassifierOutput,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs
from transformers.utils.generic import can_return_tuple
from transformers.utils.output_capturing import capture_outputs

from .characters import CharacterCNN, CharacterEncoder, CharacterLSTM
from .configuration_recurrent import ADAPTIVE_DIVISOR, RecurrentConfig
from .crf import IGNORED, LinearChainCRF, TaggerOutput, tag

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


class Packing(NamedTuple):
    """How the rows of a packed batch are cut at the borders of documents, each piece a row of its own.

    Attributes:
        layout: of the pieces, (S, L).
        cut: (S, L) flat index of each piece's positions in the rows.
        paste: (B*T,) flat index of each position of the rows in the pieces.
        first: (S,) the row that a piece begins, whose state it starts from; B where the state is zero.
        last: (B,) the piece that ends each row.
    """

    layout: Layout
    cut: torch.Tensor
    paste: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor


def find_borders(position_ids: torch.Tensor, mask: torch.Tensor | None, goes_on: bool) -> torch.Tensor | None:
    """(B, T) bool, True where a text begins after other words of its row, or after those that a state has read
    (`goes_on`); None where there is no such place. A GPU has to wait for the answer here, and nowhere else."""
    words = torch.ones_like(position_ids, dtype=torch.bool) if mask is None else mask
    begins = (position_ids == 0) & words
    if not goes_on:
        begins &= words.cumsum(dim=1) > 1
    return begins if bool(begins.any()) else None


def make_packing(borders: torch.Tensor, mask: torch.Tensor | None) -> Packing:
    """Cut the rows at `borders` (B, T); a row's first piece goes on from its state unless the row begins with one."""
    batch, time = borders.shape
    device = borders.device
    begins = borders.clone()
    begins[:, 0] = True
    starts = begins.flatten().nonzero().flatten()  # (S,)
    lengths = torch.diff(starts, append=starts.new_tensor([batch * time]))
    steps = torch.arange(int(lengths.max()), device=device)  # (L,)
    inside = steps < lengths[:, None]
    cut = torch.where(inside, starts[:, None] + steps, starts[:, None])
    piece = begins.flatten().cumsum(0) - 1  # (B*T,)
    paste = piece * len(steps) + torch.arange(batch * time, device=device) - starts[piece]
    pieces = begins.sum(dim=1)  # (B,)
    last = pieces.cumsum(0) - 1
    first = torch.full_like(starts, batch)
    first[last - pieces + 1] = torch.where(borders[:, 0], batch, torch.arange(batch, device=device))
    words = inside if mask is None else inside & mask.flatten()[cut]
    return Packing(make_layout(words), cut, paste, first, last)


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


def read_mask(
    attention_mask: torch.Tensor | None, inputs: torch.Tensor, may_be_empty: bool = False
) -> torch.Tensor | None:
    """`attention_mask` as (B, T) bool, or None where every position is a word.

    Args:
        may_be_empty: whether rows may have no word, as those of a text that has ended, which keep their state.

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
    if empty and not may_be_empty:
        raise ValueError(NO_WORDS.format(empty[0]))
    return mask


class RecurrentLayer(GradientCheckpointingLayer):
    """One layer, in one or both directions. Parameters are named as in `torch.nn.LSTM`, so that weights interchange."""

    def __init__(self, config: RecurrentConfig, layer_idx: int):
        super().__init__()
        self.cell = CELLS[config.cell_type]
        self.hidden_size = config.hidden_size
        self.weight_dropout = config.weight_dropout
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
        layout: Layout | Packing | None = None,
        state: State | None = None,
        return_state: bool = False,
    ) -> tuple[torch.Tensor, ...]:
        """
        Args:
            hidden_states: (B, T, E).
            layout: None where every position is a word; a packing where rows hold several documents.
            state: where each direction starts; zeros if None.
            return_state: whether the final state is wanted whole, to go on from; h alone is cheaper.

        Returns:
            States at every position, (B, T, D*H), zero at padding; then each direction's state after its last word, h
            (B, D*H) and, with `return_state`, an LSTM's c. A row without words keeps the state that it started from.
        """
        if isinstance(layout, Packing):
            return self._packed(hidden_states, layout, state, return_state)
        return self._run(hidden_states, layout, state, return_state)

    def _run(
        self, hidden_states: torch.Tensor, layout: Layout | None, state: State | None, return_state: bool
    ) -> tuple[torch.Tensor, ...]:
        """The layer over rows that hold a text each."""
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

    def _packed(
        self, hidden_states: torch.Tensor, packing: Packing, state: State | None, return_state: bool
    ) -> tuple[torch.Tensor, ...]:
        """The layer over each document of a packed batch on its own; the final states are of each row's last one."""
        pieces = hidden_states.flatten(0, 1)[packing.cut]  # (S, L, E)
        if state is not None:  # row B of the padded state is zero
            state = tuple(F.pad(part, (0, 0, 0, 1))[packing.first] for part in state)
        outputs, *finals = self._run(pieces, packing.layout, state, return_state)
        pasted = outputs.flatten(0, 1)[packing.paste].view(*hidden_states.shape[:2], -1)
        return pasted, *(part[packing.last] for part in finals)

    @staticmethod
    def _reversed(states: torch.Tensor, layout: Layout | None) -> torch.Tensor:
        return states.flip(1) if layout is None else permute(states, layout.reverse, layout.reverse)

    def _weights(self, direction: int) -> list[torch.Tensor]:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        weight_ih, weight_hh, *biases = (getattr(self, name + self.suffixes[direction]) for name in names)
        if self.weight_dropout and self.training:
            weight_hh = F.dropout(weight_hh, self.weight_dropout)
        return [weight_ih, weight_hh, *biases]

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


class RecurrentCacheLayer(LinearAttentionLayer):
    """The state of one layer, batch first: h and, in an LSTM, c. A new state replaces the old one, which autograd may
    still need."""

    is_compileable = False
    cumulative_length = 0

    def get_state(self) -> State | None:
        """What the layer goes on from; None at the start."""
        if not all(self.has_previous_state.values()):
            return None
        return tuple(part for part in self.recurrent_states.values() if part is not None)

    def set_state(self, state: State, length: int) -> None:
        """Note the `state` (B, H) of each part after `length` more positions."""
        for index, part in enumerate(state):
            self.update_recurrent_state(part, index)
        self.cumulative_length += length

    def update_recurrent_state(self, recurrent_states: torch.Tensor, state_idx: int = 0, **kwargs) -> torch.Tensor:
        self.device, self.dtype = recurrent_states.device, recurrent_states.dtype
        self.recurrent_states[state_idx] = recurrent_states
        self.is_recurrent_states_initialized[state_idx] = self.has_previous_state[state_idx] = True
        return recurrent_states

    def _map(self, change) -> None:
        for index, part in self.recurrent_states.items():
            if part is not None:
                self.recurrent_states[index] = change(part)

    def detach(self) -> None:
        """Cut the graph: no gradient flows into earlier positions."""
        self._map(torch.Tensor.detach)

    def batch_repeat_interleave(self, repeats: int) -> None:
        self._map(lambda part: part.repeat_interleave(repeats, dim=0))

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        self._map(lambda part: part[indices])

    def reset(self) -> None:
        for index in self.recurrent_states:
            self.recurrent_states[index] = None
            self.is_recurrent_states_initialized[index] = self.has_previous_state[index] = False
        self.cumulative_length = 0

    def crop(self, tokens_to_remove: int) -> None:
        raise RuntimeError("crop: a recurrent state cannot be taken back to an earlier position")


class RecurrentCache(Cache):
    """The state of a [`RecurrentModel`] after the words that it has read: its size does not grow with their number.

    Pass it as `past_key_values` to go on from there; it is then updated to the new state.
    """

    layers: list[RecurrentCacheLayer]

    def __init__(self, config: RecurrentConfig):
        states = 2 if CELLS[config.cell_type].has_cell_state else 1
        super().__init__(layers=[RecurrentCacheLayer(states) for _ in range(config.num_hidden_layers)])

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Positions read so far, padding included."""
        return self.layers[layer_idx].cumulative_length

    def detach(self) -> None:
        """Cut the graph, as at the border of two windows in truncated back-propagation through time."""
        for layer in self.layers:
            layer.detach()

    def state_dict(self) -> dict[str, Any]:
        """Each layer's state and the positions read, as tensors and a number."""
        return {"layers": [list(layer.get_state() or ()) for layer in self.layers], "length": self.get_seq_length()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        self.reset()
        for layer, parts in zip(self.layers, state["layers"], strict=True):
            layer.set_state(tuple(parts), state["length"])


class LockedDropout(nn.Dropout):
    """Dropout on states (B, T, E) with one mask for all positions of a row (Gal & Ghahramani 2016, section 3)."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p:
            return states
        return states * F.dropout(torch.ones_like(states[:, :1]), self.p)


DROPOUTS = {False: nn.Dropout, True: LockedDropout}


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
    _skip_keys_device_placement: ClassVar = ["past_key_values"]
    _is_stateful = True
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
        # Where the end of a text also pads, it is a word like others.
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
            attention_mask (B, T): 1 at words, 0 at padding, in any pattern; None where there is no padding. Columns
                before the last T, words that a cache has read, are passed over.
            char_ids (B, T, W): characters of each word in front, then zeros; for a config with `char_encoder`.
            position_ids (B, T): only where it is zero matters: a text begins there, with a state of zero, so that a row
                may hold several texts.
            past_key_values: where to go on from; updated to the state after the last word.
            use_cache: whether to return the state; None: as the config says, but not in training.

        Returns:
            last_hidden_state (B, T, D*H), zero at padding; pooler_output (B, D*H), each direction's final state;
            past_key_values, where asked for; hidden_states, where asked for: the embeddings and every layer's states.

        Raises:
            ValueError: a bidirectional model was given a cache or asked for one; a row has no words.
        """
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("You must specify exactly one of input_ids or inputs_embeds")
        cache = self._cache(past_key_values, use_cache)
        inputs: torch.Tensor = self._embed(input_ids) if inputs_embeds is None else inputs_embeds  # type: ignore[arg-type]
        layout = self._layout(inputs, attention_mask, position_ids, past_key_values is not None)
        embedded = self._with_characters(inputs, char_ids)
        hidden_states, final_state = self.embedding_dropout(embedded), None
        for index, layer in enumerate(self.layers):
            if index:
                hidden_states = self.hidden_dropout(hidden_states)
            state = None if cache is None else cache.layers[index].get_state()
            hidden_states, *state = layer(hidden_states, layout=layout, state=state, return_state=cache is not None)
            final_state = state[0]
            if cache is not None:
                cache.layers[index].set_state(tuple(state), inputs.shape[1])
        return BaseModelOutputWithPoolingAndCrossAttentions(
            last_hidden_state=hidden_states, pooler_output=final_state, past_key_values=cache
        )

    def _cache(self, given: RecurrentCache | None, wanted: bool | None) -> RecurrentCache | None:
        """The cache to go on from and to update: the one given, a new one where it is wanted, else None."""
        if self.config.bidirectional:
            if given is not None or wanted:
                raise ValueError(
                    "past_key_values: a bidirectional model reads a text from both ends and cannot go on from a state"
                )
            return None
        if given is not None:
            return given
        if wanted is None:  # a graph that is exported returns tensors
            wanted = self.config.use_cache and not self.training and not torch.compiler.is_exporting()
        return RecurrentCache(self.config) if wanted else None

    def _embed(self, input_ids: torch.LongTensor) -> torch.Tensor:
        """Embeddings (B, T, E); in training without those of a random share of the vocabulary."""
        embedded = self.embed_tokens(input_ids)
        if not self.training or not self.config.word_dropout:
            return embedded
        kept = F.dropout(embedded.new_ones(self.embed_tokens.num_embeddings), self.config.word_dropout)
        return embedded * kept[input_ids][..., None]

    @staticmethod
    def _layout(
        inputs: torch.Tensor, attention_mask: torch.Tensor | None, position_ids: torch.Tensor | None, goes_on: bool
    ) -> Layout | Packing | None:
        if goes_on and attention_mask is not None:
            attention_mask = attention_mask[:, -inputs.shape[1] :]
        mask = read_mask(attention_mask, inputs, may_be_empty=goes_on)
        if position_ids is not None:
            borders = find_borders(position_ids.expand(inputs.shape[:2]), mask, goes_on)
            if borders is not None:
                return make_packing(borders, mask)
        return None if mask is None else make_layout(mask)

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
            input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            use_cache=False,
            return_dict=True,
            **kwargs,
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
            input_ids,
            attention_mask=attention_mask,
            inputs_embeds=inputs_embeds,
            use_cache=False,
            return_dict=True,
            **kwargs,
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


class AdaptiveSoftmax(nn.AdaptiveLogSoftmaxWithLoss):
    """Log-probabilities of words from states of width W, those of rare words in clusters of fewer dimensions (Grave et
    al. 2017). Parameters and values are those of torch's class; here also in half precision, and each cluster takes
    part in each pass, as data-parallel training asks."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Log-probabilities (..., V) of the whole vocabulary for states (..., W)."""
        head = self.head(states).float().log_softmax(dim=-1)
        shortlist, clusters = head.split([self.shortlist_size, self.n_clusters], dim=-1)
        tails = [tail(states).float().log_softmax(dim=-1) for tail in self.tail]
        rare = [tail + cluster[..., None] for tail, cluster in zip(tails, clusters.unbind(-1), strict=True)]
        return torch.cat([shortlist, *rare], dim=-1).to(states.dtype)

    def nll(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihoods (N,) in float32 of `targets` (N,) given states (N, W)."""
        head = self.head(states).float().log_softmax(dim=-1)
        slot, total = targets.clone(), head.new_zeros(len(targets))
        for index, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            rows = ((targets >= low) & (targets < high)).nonzero().flatten()
            slot[rows] = self.shortlist_size + index
            inner = self.tail[index](states[rows]).float().log_softmax(dim=-1)
            total = total.index_add(0, rows, inner.gather(1, (targets[rows] - low)[:, None]).squeeze(1))
        return -(total + head.gather(1, slot[:, None]).squeeze(1))


class RecurrentForCausalLM(RecurrentPreTrainedModel, GenerationMixin):
    """A recurrent model that predicts the next word, and generates with the same work for each word.

    With `tie_word_embeddings` the head is the embedding matrix, behind a projection where the states are of another
    width. With `adaptive_cutoffs` logits are log-probabilities, which takes the whole vocabulary: in training with
    labels they are left out.
    """

    _auto_class = "AutoModelForCausalLM"
    _tied_weights_keys: ClassVar = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: RecurrentConfig):
        if config.bidirectional:
            raise ValueError(
                "`bidirectional` is True; the next word is predicted from left to right only, as the backward pass"
                " would read the answer. Set it to False."
            )
        if config.char_encoder:
            raise ValueError(
                f"`char_encoder` is {config.char_encoder!r}; the words that this model generates come as ids, without"
                " the characters to go on from. Set it to None."
            )
        super().__init__(config)
        self.model = RecurrentModel(config)
        self.output_dropout = DROPOUTS[config.variational_dropout](config.output_dropout)
        width = config.embedding_size if config.tie_word_embeddings else config.output_size
        self.projection = None if width == config.output_size else nn.Linear(config.output_size, width, bias=False)
        self.lm_head = (
            AdaptiveSoftmax(width, config.vocab_size, config.adaptive_cutoffs, ADAPTIVE_DIVISOR)
            if config.adaptive_cutoffs
            else nn.Linear(width, config.vocab_size)
        )
        self.post_init()

    @classmethod
    def _supports_default_dynamic_cache(cls) -> bool:
        return False  # the model makes its own, see RecurrentCache

    def new_cache(self) -> RecurrentCache:
        """A state from which nothing has been read."""
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
            labels (B, T): the input ids; position t is scored on label t + 1. -100 is passed over.
            logits_to_keep: the last so many positions, or the positions given; 0: all.
            kwargs: shift_labels (B, T), label t for position t, in place of moving `labels`; num_items_in_batch, the
                number that the summed loss is divided by in place of the labels counted here.

        Returns:
            loss, where labels are given: the mean; logits (B, T, V); past_key_values, where asked for; hidden_states,
            where asked for.
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
        states = self.output_dropout(outputs.last_hidden_state)[:, kept]
        if self.projection is not None:
            states = self.projection(states)
        logits, loss = None, None
        if not (self.config.adaptive_cutoffs and self.training and labels is not None):
            logits = self.lm_head(states)
        if labels is not None:
            loss = self._loss(states, logits, labels, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states
        )

    def _loss(self, states, logits, labels, shift_labels=None, num_items_in_batch=None, **kwargs) -> torch.Tensor:
        if not self.config.adaptive_cutoffs:
            given = {"shift_labels": shift_labels, "num_items_in_batch": num_items_in_batch}
            return self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **given)
        targets = F.pad(labels[:, 1:], (0, 1), value=IGNORED) if shift_labels is None else shift_labels
        scored = targets != IGNORED
        nll = self.lm_head.nll(states[scored], targets[scored])  # type: ignore[operator]
        return nll.sum() / (scored.sum() if num_items_in_batch is None else num_items_in_batch)


__all__ = [
    "RecurrentCache",
    "RecurrentForCausalLM",
    "RecurrentForSequenceClassification",
    "RecurrentForTokenClassification",
    "RecurrentModel",
    "RecurrentPreTrainedModel",
]
