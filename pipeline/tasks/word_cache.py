"""The continuous cache of Grave et al. (2017): a word is likelier where the model's state is like one that it followed.

With the states h and the words w that followed them, of the last N positions of the same text, the cache predicts

    p_cache(w | h_t) = sum of exp(theta h_t . h_i) over i with w_i = w / sum of exp(theta h_t . h_i) over all i

and the model with it (1 - lambda) p_model + lambda p_cache (equations 4 to 6). At the beginning of a text there is
nothing to look up, and the model predicts alone.
"""

# Shapes: B rows of a batch, T positions of a window, H width of a state, V vocabulary, S states kept, K thetas.

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

# What is tried on the validation split. The smaller the states, the larger the best theta.
THETAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0)
SHARES = tuple(percent / 100 for percent in range(51))
# Positions whose similarities are computed at once, which bounds the memory.
AT_ONCE = 256


class Mixture(NamedTuple):
    """How the cache is mixed with the model: theta, and lambda, its share."""

    theta: float
    share: float


class Found(NamedTuple):
    """What T positions find in a cache.

    Attributes:
        similar: (T, S+T) h_t . h_i.
        known: (T, S+T) whether i is in the cache of t.
        words: (S+T,) that followed each state.
    """

    similar: Tensor
    known: Tensor
    words: Tensor

    def weights(self, theta: float) -> Tensor:
        """(T, S+T) exp(theta h_t . h_i) where i is in the cache of t, else 0, divided by the largest in a row."""
        largest = self.similar.masked_fill(~self.known, float("-inf")).amax(dim=1, keepdim=True)
        # Weights below e^-60 count for nothing, and numbers too small for float32 are slow. Above 0 are only states
        # that are not in the cache: their weights could be infinite.
        return ((self.similar - largest) * theta).clamp(-60.0, 0.0).exp() * self.known


class TrackCache:
    """The last `size` states of a track of text, the words that followed them, and the number of their text."""

    def __init__(self, size: int):
        self._size = size
        self._states, self._words, self._texts = torch.empty(0, 0), torch.empty(0), torch.empty(0)

    def look_up(self, states: Tensor, words: Tensor, begins: Tensor) -> Found:
        """What new positions find among those before them; their own states are kept for the next call.

        Args:
            states: (T, H). words: (T,), the word that follows each. begins: (T,) bool, True where a text begins.
        """
        if not self._states.numel():
            self._states, self._words = states[:0], words[:0]
            self._texts = torch.zeros(0, dtype=torch.long, device=words.device)
        last = self._texts[-1] if len(self._texts) else 0
        all_states, all_words = torch.cat([self._states, states]), torch.cat([self._words, words])
        texts = begins.long().cumsum(0) + last
        all_texts = torch.cat([self._texts, texts])
        place = torch.arange(len(all_words), device=words.device)
        own = place[len(self._words) :, None]  # (T, 1)
        known = (place < own) & (place >= own - self._size) & (all_texts == texts[:, None])
        self._states, self._words, self._texts = (
            kept[max(len(kept) - self._size, 0) :] for kept in (all_states, all_words, all_texts)
        )
        return Found(states @ all_states.T, known, all_words)


def chances_of(found: Found, targets: Tensor) -> Tensor:
    """(T, K) p_cache of the `targets` (T,) for each of THETAS; NaN if the cache is empty."""
    matches, chances = found.words == targets[:, None], []
    for theta in THETAS:
        weights = found.weights(theta)
        chances.append((weights * matches).sum(dim=1) / weights.sum(dim=1))
    return torch.stack(chances, dim=1)


def mixed(logits: Tensor, found: Found, mixture: Mixture) -> Tensor:
    """(T, V) log probabilities of the model, given its `logits`, with the cache."""
    own, weights = logits.float().log_softmax(dim=-1), found.weights(mixture.theta)
    words, total = found.words.expand(len(own), -1), weights.sum(dim=1, keepdim=True)
    cache = torch.zeros_like(own).scatter_add_(1, words, weights).gather(1, words)  # (T, S+T)
    both = own + math.log1p(-mixture.share)
    both.scatter_(1, words, torch.logaddexp(both.gather(1, words), (cache * (mixture.share / total)).log()))
    return torch.where(total > 0, both, own)


def tune(nll: np.ndarray, chances: np.ndarray) -> Mixture:
    """The mixture with the least NLL on a split.

    Args:
        nll: (tokens,) of the model alone. chances: (tokens, K), see `chances_of`.
    """
    own, totals = -nll.astype(np.float64), {}
    with np.errstate(divide="ignore"):  # the log of 0 is what is meant
        logs, shares = np.log(chances.T.astype(np.float64)), np.log(SHARES)
    for theta, column in zip(THETAS, logs, strict=True):
        cache = np.where(np.isnan(column), own, column)
        for share, log_share in zip(SHARES, shares, strict=True):
            both = np.logaddexp(np.log1p(-share) + own, log_share + cache)
            totals[Mixture(theta, share)] = -float(both.sum())
    return min(totals, key=lambda mixture: totals[mixture])


def look_up_batch(
    caches: list[TrackCache], states: Tensor, labels: Tensor, begins: Tensor
) -> Iterator[tuple[int, slice, Found]]:
    """For each row of a batch and each part of it, which positions they are and what they find.

    Args:
        states: (B, T, H). labels, begins: (B, T); rows end with positions without a label.
    """
    for row, cache in enumerate(caches):
        length = int((labels[row] >= 0).sum())
        for start in range(0, length, AT_ONCE):
            part = slice(start, min(start + AT_ONCE, length))
            yield row, part, cache.look_up(states[row, part].float(), labels[row, part], begins[row, part])
