"""Characters of words as features: the CNN of Ma & Hovy (2016) and the bidirectional LSTM of Lample et al. (2016)."""

# Shapes: B batch, T time, N distinct words, W characters of a word, E width of their embeddings, H char_hidden_size.

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from .configuration_recurrent import RecurrentConfig


class CharacterCNN(nn.Module):
    """Windows of three characters through H filters, and the maximum over the word (Ma & Hovy 2016, section 2.1)."""

    def __init__(self, embedding_size: int, hidden_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size, 3 * embedding_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))

    def forward(self, embedded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Features (N, H) of words with `embedded` (N, W, E) characters, of which `lengths` (N,) count."""
        beyond = (torch.arange(embedded.shape[1], device=lengths.device) >= lengths[:, None])[..., None]
        padded = F.pad(embedded.masked_fill(beyond, 0.0), (0, 0, 1, 1))
        windows = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=-1)  # (N, W, 3*E)
        filtered = F.linear(windows, self.weight, self.bias)
        return filtered.masked_fill(beyond, torch.finfo(filtered.dtype).min).amax(dim=1)


class CharacterLSTM(nn.Module):
    """The final state of an LSTM in each direction (Lample et al. 2016, section 4.1), named as `torch.nn.LSTM`'s."""

    def __init__(self, embedding_size: int, hidden_size: int):
        super().__init__()
        self.hidden_size = hidden_size
        gates = 4 * hidden_size
        for suffix in ("_l0", "_l0_reverse"):
            self.register_parameter(f"weight_ih{suffix}", nn.Parameter(torch.empty(gates, embedding_size)))
            self.register_parameter(f"weight_hh{suffix}", nn.Parameter(torch.empty(gates, hidden_size)))
            self.register_parameter(f"bias_ih{suffix}", nn.Parameter(torch.empty(gates)))
            self.register_parameter(f"bias_hh{suffix}", nn.Parameter(torch.empty(gates)))

    def forward(self, embedded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Features (N, 2*H), forward half first, of words with `embedded` (N, W, E) characters."""
        last = (lengths - 1).clamp(min=0)[:, None]
        steps = torch.arange(embedded.shape[1], device=lengths.device)
        rows = torch.arange(len(lengths), device=lengths.device)
        reverse = torch.where(steps <= last, last - steps, steps)  # (N, W)
        weights: list[torch.Tensor] = list(self.parameters())
        zero = embedded.new_zeros(1, len(lengths), self.hidden_size, dtype=weights[0].dtype)
        finals = []
        for inputs, own in ((embedded, weights[:4]), (embedded[rows[:, None], reverse], weights[4:])):
            states, _, _ = torch.lstm(inputs, (zero, zero), own, True, 1, 0.0, False, False, True)
            finals.append(states[rows, last[:, 0]])
        return torch.cat(finals, dim=-1)


ENCODERS: dict[str, type[CharacterCNN] | type[CharacterLSTM]] = {"cnn": CharacterCNN, "lstm": CharacterLSTM}


class CharacterEncoder(nn.Module):
    """Features of words from their characters; zeros for what has none, as padding. A word is encoded once a batch."""

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        kind, size, hidden_size = config.char_encoder, config.char_embedding_size, config.char_hidden_size
        if kind is None or size is None or hidden_size is None:
            raise ValueError("`char_encoder` is None; there are no characters to encode.")
        self.width = config.char_output_size
        self.embedding = nn.Embedding(config.char_vocab_size, size, padding_idx=0)
        self.dropout = nn.Dropout(config.char_dropout or 0.0)
        self.encoder = ENCODERS[kind](size, hidden_size)

    def init_embedding(self) -> None:
        """Uniform with the bound of Ma & Hovy 2016, section 3.1; padding is zero."""
        bound = math.sqrt(3.0 / self.embedding.embedding_dim)
        value = torch.empty_like(self.embedding.weight, dtype=torch.float32).uniform_(-bound, bound)
        value[0] = 0.0
        init.copy_(self.embedding.weight, value)

    # Which words are distinct is read back, and Dynamo cannot trace the fused LSTM.
    @torch.compiler.disable
    def forward(self, char_ids: torch.Tensor) -> torch.Tensor:
        """`char_ids` (B, T, W), each word's characters and then zeros, to features (B, T, H) or (B, T, 2*H)."""
        words, places = distinct(char_ids.flatten(0, 1))
        lengths = (words != 0).sum(dim=-1)
        longest = int(lengths.max()) if _can_read(words) and words.numel() else words.shape[1]
        embedded = self.dropout(self.embedding(words[:, : max(longest, 1)]))
        features = self.encoder(embedded, lengths).masked_fill(lengths[:, None] == 0, 0.0)
        features = features if places is None else features.index_select(0, places)
        return features.view(*char_ids.shape[:2], self.width)


def _can_read(values: torch.Tensor) -> bool:
    # Reading a value back would make a GPU wait, and an exported graph holds for any value.
    return values.device.type == "cpu" and not torch.compiler.is_exporting()


def distinct(words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The distinct rows (N, W) of `words` and the place of each row among them; None: they are the rows themselves.

    Rows are told apart by a 64-bit hash, which sorts several times faster than rows do; should two of them ever share
    one, all rows are taken. So they are where counting them is no use: on a GPU, which would wait, and in an export.
    """
    if not _can_read(words) or not words.numel():
        return words, None
    # Any odd multiplier keeps all bits; this one is Knuth's golden ratio at 64 bits.
    factors = torch.full((words.shape[1],), -7046029254386353131).cumprod(0)
    keys, places = torch.unique((words * factors).sum(dim=-1), return_inverse=True)
    first = torch.empty(len(keys), dtype=torch.long).scatter_(0, places, torch.arange(len(words)))
    chosen = words[first]
    return (chosen, places) if torch.equal(chosen[places], words) else (words, None)


__all__ = ["CharacterEncoder"]
