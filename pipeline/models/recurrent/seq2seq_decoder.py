"""The decoder of an encoder-decoder: recurrent layers, attention over the source words, and what is kept of both."""

# Shapes: B batch, T target words, S source words, E embedding_size, H units, W width of the encoder's states, A width
# of the keys, O vector_size.

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from .cache import RecurrentCache, RecurrentCacheLayer
from .configuration_seq2seq import RecurrentSeq2SeqConfig
from .cpu_linear import Linear
from .dropout import DROPOUTS
from .layout import make_layout
from .recurrence import RecurrentLayer, State


class Source(NamedTuple):
    """What the decoder sees of the source texts.

    Attributes:
        states: (B, S, W), the encoder's states.
        final: (B, W), the final output of each of its directions; None if the decoder has begun.
        words: (B, S) bool, True at words; None if every position is one.
    """

    states: torch.Tensor
    final: torch.Tensor | None
    words: torch.Tensor | None


class Decoded(NamedTuple):
    """What the decoder returns.

    Attributes:
        vectors: (B, T, O), what the output layer reads.
        weights: (B, T, S), those of the source words; None without attention.
        hidden_states: the embeddings and what each layer returns, (B, T, width).
    """

    vectors: torch.Tensor
    weights: torch.Tensor | None
    hidden_states: tuple[torch.Tensor, ...]


class Seq2SeqCache(RecurrentCache):
    """The state of the decoder after the words that it has read. Its size does not grow with their number.

    After the layers of the decoder, one layer holds what else the next word needs: the keys of the source words, if
    computing them takes a product, and the vector that is fed back.
    """

    def __init__(self, config: RecurrentSeq2SeqConfig):
        super().__init__(config)
        kept = (config.attention_type == "additive") + config.input_feeding
        if kept:
            self.layers.append(RecurrentCacheLayer(kept))

    def state_of(self, layer_idx: int) -> State:
        """The parts that a layer holds, which is not empty."""
        state = self.layers[layer_idx].get_state()
        assert state is not None
        return state


class MultiplicativeScore(nn.Module):
    """h W s (Luong et al. 2015, section 3.1, "general")."""

    def __init__(self, query_size: int, source_size: int):
        super().__init__()
        self.projection = Linear(query_size, source_size, bias=False)

    def keys(self, source: torch.Tensor) -> torch.Tensor:
        """What is computed once of the `source` (B, S, W)."""
        return source

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """The scores (B, T, S) of states (B, T, H) with the keys (B, S, A)."""
        return self.projection(queries) @ keys.transpose(1, 2)


class AdditiveScore(nn.Module):
    """v tanh(W h + U s + b) (Bahdanau et al. 2015, appendix A.1.2)."""

    def __init__(self, query_size: int, source_size: int):
        super().__init__()
        self.query_projection = Linear(query_size, query_size, bias=False)
        self.key_projection = Linear(source_size, query_size)
        self.score = Linear(query_size, 1, bias=False)

    def keys(self, source: torch.Tensor) -> torch.Tensor:
        """What is computed once of the `source` (B, S, W)."""
        return self.key_projection(source)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
        """The scores (B, T, S) of states (B, T, H) with the keys (B, S, A)."""
        sums = self.query_projection(queries)[:, :, None] + keys[:, None]  # (B, T, S, A)
        return self.score(torch.tanh(sums)).squeeze(-1)


SCORES: dict[str, type[AdditiveScore] | type[MultiplicativeScore]] = {
    "additive": AdditiveScore,
    "multiplicative": MultiplicativeScore,
}


class CrossAttention(nn.Module):
    """Attention after the state: tanh(W [c; h]), where c is the mean of the source's states, weighted by the softmax of
    their scores, in float32 (Luong et al. 2015, section 3, equation 5)."""

    def __init__(self, config: RecurrentSeq2SeqConfig):
        super().__init__()
        units: int = config.units  # type: ignore[assignment]  # never None
        self.score = SCORES[config.attention_type](units, config.output_size)
        self.combination = Linear(config.output_size + units, config.vector_size, bias=False)

    def forward(self, states: torch.Tensor, source: Source, keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The vectors (B, T, O) for the decoder's `states` (B, T, H), and the weights (B, T, S)."""
        scores = self.score(states, keys).float()
        if source.words is not None:
            scores = scores.masked_fill(~source.words[:, None], torch.finfo(scores.dtype).min)
        weights = scores.softmax(dim=-1).to(source.states.dtype)
        contexts = weights @ source.states  # (B, T, W)
        return torch.tanh(self.combination(torch.cat([contexts, states.to(contexts.dtype)], dim=-1))), weights


class RecurrentDecoder(nn.Module):
    """Recurrent layers that read the target words from left to right, and attention over the source words.

    Without input feeding, no state depends on what the decoder attends to, so each layer runs over all target words in
    one call, and then all of them attend at once. With input feeding, they do so word by word.
    """

    def __init__(self, config: RecurrentSeq2SeqConfig):
        super().__init__()
        self.config = config.decoder_config()
        self.vector_size = config.vector_size
        layers = [RecurrentLayer(self.config, index) for index in range(self.config.num_hidden_layers)]
        self.cells = [layer.cell for layer in layers]
        self.layers = nn.ModuleList(layers)
        dropout = DROPOUTS[config.variational_dropout]
        self.embedding_dropout = dropout(config.embedding_dropout)
        self.hidden_dropout = dropout(config.hidden_dropout)
        self.state_sizes = [size for cell in self.cells for size in cell.state_sizes().values()]
        self.bridge = Linear(config.output_size, sum(self.state_sizes))
        units: int = config.units  # type: ignore[assignment]  # never None
        is_wider = config.attention_type == "none" and config.vector_size != units
        self.attention = None if config.attention_type == "none" else CrossAttention(config)
        self.projection = Linear(units, config.vector_size, bias=False) if is_wider else None

    def forward(
        self, embedded: torch.Tensor, source: Source, cache: Seq2SeqCache, mask: torch.Tensor | None = None
    ) -> Decoded:
        """
        Args:
            embedded: (B, T, E), embeddings of the target words.
            source: what the encoder has read.
            cache: the state to start from, if it has one; updated to that after the last word.
            mask: (B, T) bool, True at words; None if every position is one.
        """
        if cache.get_seq_length() == 0:
            self._fill(cache, source)
        embedded = self.embedding_dropout(embedded)
        if not self.config.input_feeding:
            return self._read(embedded, source, cache, mask)
        # Dropout is drawn for all words beforehand, as its mask may have to be the same for each of them.
        shapes = [(*embedded.shape[:2], cell.hidden_size) for cell in self.cells[:-1]]
        dropped = [self.hidden_dropout(embedded.new_ones(shape)) for shape in shapes]
        *keys, fed = cache.state_of(-1)
        steps = []
        for time in range(embedded.shape[1]):
            inputs = torch.cat([embedded[:, time], fed], dim=-1)[:, None]
            own_mask = None if mask is None else mask[:, time, None]
            step = self._read(inputs, source, cache, own_mask, [factors[:, time, None] for factors in dropped])
            vectors = step.vectors[:, 0]
            fed = vectors if own_mask is None else torch.where(own_mask, vectors, fed)
            cache.layers[-1].set_state((*keys, fed), 1)
            steps.append((step.vectors, step.weights, *step.hidden_states[1:]))
        vectors, weights, *hidden_states = (torch.cat(parts, dim=1) for parts in zip(*steps, strict=True))
        return Decoded(vectors, weights, (embedded, *hidden_states))

    def _fill(self, cache: Seq2SeqCache, source: Source) -> None:
        """The state before the first word: tanh(V c + b) of the encoder's final output c (Cho et al. 2014, appendix
        A)."""
        assert source.final is not None
        dtype = self.bridge.weight.dtype  # not one that autocast may have lowered
        parts = iter(torch.tanh(self.bridge(source.final)).to(dtype).split(self.state_sizes, dim=-1))
        for index, cell in enumerate(self.cells):
            cache.layers[index].set_state(tuple(next(parts) for _ in cell.state_sizes()), 0)
        others = []
        if self.attention is not None and self.config.attention_type == "additive":
            others.append(self.attention.score.keys(source.states))
        if self.config.input_feeding:
            others.append(source.final.new_zeros(len(source.final), self.vector_size))
        if others:
            cache.layers[-1].set_state(tuple(others), 0)

    def _read(
        self,
        inputs: torch.Tensor,
        source: Source,
        cache: Seq2SeqCache,
        mask: torch.Tensor | None,
        dropped: Sequence[torch.Tensor] | None = None,
    ) -> Decoded:
        """Run each layer over all `inputs` (B, T, width), and let all outputs of the last one attend at once.

        `dropped` are the factors (B, T, H) by which dropout multiplies the outputs of each layer except the last; None
        to draw them.
        """
        layout = None if mask is None else make_layout(mask)
        hidden_states = [inputs]
        for index, layer in enumerate(self.layers):
            states = hidden_states[-1]
            if index:
                states = self.hidden_dropout(states) if dropped is None else states * dropped[index - 1]
            outputs, *state = layer(states, *cache.state_of(index), layout=layout, return_state=True)
            cache.layers[index].set_state(tuple(state), inputs.shape[1])
            hidden_states.append(outputs)
        if self.attention is None:
            vectors = outputs if self.projection is None else self.projection(outputs)
            return Decoded(vectors, None, tuple(hidden_states))
        is_additive = self.config.attention_type == "additive"
        vectors, weights = self.attention(outputs, source, cache.state_of(-1)[0] if is_additive else source.states)
        return Decoded(vectors, weights, tuple(hidden_states))


__all__ = ["Decoded", "RecurrentDecoder", "Seq2SeqCache", "Source"]
