"""Character encoders of words: the CNN of Ma & Hovy (2016) and the bidirectional LSTM of Lample et al. (2016)."""

# Shapes: B batch, T time, N distinct words, W characters of a word, E char_embedding_size, H char_hidden_size.

from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init

from .cells import LSTMCell
from .configuration_recurrent import RecurrentConfig
from .dropout import Dropout
from .layout import can_read, right_padded
from .recurrence import Recurrence


class CharacterCNN(nn.Module):
    """H filters over windows of three characters, and the maximum over the word (Ma & Hovy 2016, section 2.1).

    The convolution is one matrix product, over windows whose characters are concatenated.
    """

    def __init__(self, embedding_size: int, hidden_size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(hidden_size, 3 * embedding_size))
        self.bias = nn.Parameter(torch.empty(hidden_size))

    def init_weights(self) -> None:
        init.xavier_uniform_(self.weight)
        init.zeros_(self.bias)

    def forward(self, embedded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Features (N, H) of words from their characters, `embedded` (N, W, E), of which the first `lengths` (N,) are
        not padding."""
        beyond = (torch.arange(embedded.shape[1], device=lengths.device) >= lengths[:, None])[..., None]
        # Zeros at both ends, so that the first and the last character are each the centre of a window.
        padded = F.pad(embedded.masked_fill(beyond, 0.0), (0, 0, 1, 1))  # (N, W+2, E)
        windows = torch.cat([padded[:, :-2], padded[:, 1:-1], padded[:, 2:]], dim=-1)  # (N, W, 3*E)
        filtered = F.linear(windows, self.weight, self.bias)  # (N, W, H)
        return filtered.masked_fill(beyond, torch.finfo(filtered.dtype).min).amax(dim=1)


class CharacterLSTM(Recurrence):
    """The final outputs of an LSTM in each direction (Lample et al. 2016, section 4.1)."""

    def __init__(self, embedding_size: int, hidden_size: int):
        super().__init__(LSTMCell(embedding_size, hidden_size), bidirectional=True)

    def forward(self, embedded: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """Features (N, 2*H), forward half first, of words from their characters, `embedded` (N, W, E), of which the
        first `lengths` (N,) are not padding."""
        layout = right_padded(lengths[:, None], embedded.shape[1])
        _, (final,) = self.run_directions(embedded, layout)
        return final


ENCODERS: dict[str, type[CharacterCNN] | type[CharacterLSTM]] = {"cnn": CharacterCNN, "lstm": CharacterLSTM}


class CharacterEncoder(nn.Module):
    """Features of words from their characters, zeros for words that have none, such as padding. A word that a batch
    repeats is encoded once."""

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        kind, size, hidden_size = config.char_encoder, config.char_embedding_size, config.char_hidden_size
        if kind is None or size is None or hidden_size is None:
            raise ValueError("`char_encoder` is None; there are no characters to encode.")
        self.width = config.char_output_size
        self.embedding = nn.Embedding(config.char_vocab_size, size, padding_idx=0)
        self.dropout = Dropout(config.char_dropout or 0.0)
        self.encoder = ENCODERS[kind](size, hidden_size)

    def init_weights(self) -> None:
        """Embeddings start uniform in +-sqrt(3 / E) (Ma & Hovy 2016, section 3.1), that of padding at zero."""
        bound = math.sqrt(3.0 / self.embedding.embedding_dim)
        value = torch.empty_like(self.embedding.weight, dtype=torch.float32).uniform_(-bound, bound)
        value[0] = 0.0
        init.copy_(self.embedding.weight, value)

    # The number of distinct words depends on the values, which Dynamo cannot trace.
    @torch.compiler.disable
    def forward(self, char_ids: torch.Tensor) -> torch.Tensor:
        """Features (B, T, H), or (B, T, 2*H) of the LSTM, from `char_ids` (B, T, W), each word padded with zeros."""
        words, places = distinct(char_ids.flatten(0, 1))
        lengths = (words != 0).sum(dim=-1)
        longest = int(lengths.max()) if can_read(words) and words.numel() else words.shape[1]
        embedded = self.dropout(self.embedding(words[:, : max(longest, 1)]))
        # A word without characters has run over padding alone; its features are set to zero.
        features = self.encoder(embedded, lengths).masked_fill(lengths[:, None] == 0, 0.0)
        features = features if places is None else features.index_select(0, places)
        return features.view(*char_ids.shape[:2], self.width)


def distinct(words: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The distinct rows (N, W) of `words` (B*T, W), and the index of each row among them.

    Rows are compared by a 64-bit hash, which is several times faster to sort than the rows themselves. In three cases
    all rows are returned, with None for the index: if two different rows share a hash; on a GPU, which would have to
    wait for N; and in an exported graph, whose shapes are fixed.
    """
    if not can_read(words) or not words.numel():
        return words, None
    # A polynomial hash modulo 2**64, sum of c_i * m**i. An odd m has an inverse, so no bit is lost; this one is
    # 2**64 divided by the golden ratio, as a signed number (Knuth, The Art of Computer Programming 3, section 6.4).
    factors = torch.full((words.shape[1],), -7046029254386353131).cumprod(0)
    keys, places = torch.unique((words * factors).sum(dim=-1), return_inverse=True)
    # Of the rows that share a hash, any one can represent all; `torch.equal` below checks that they are the same.
    first = torch.empty(len(keys), dtype=torch.long).scatter_(0, places, torch.arange(len(words)))
    chosen = words[first]
    return (chosen, places) if torch.equal(chosen[places], words) else (words, None)


__all__ = ["CharacterEncoder"]
