"""The softmax over a large vocabulary of Grave et al. (2017)."""

# Shapes: N positions, W width of the states, V vocabulary, M positions whose word is in a cluster.

from __future__ import annotations

import itertools

import torch
from torch import nn

from .layout import has_values


class AdaptiveSoftmax(nn.AdaptiveLogSoftmaxWithLoss):
    """Log-probabilities of words, with rare words in clusters of fewer dimensions (Grave et al. 2017, section 4).

    The probability of a word in the head's shortlist is softmax(head)[word]; that of a rare word is softmax(head)[its
    cluster] * softmax(tail of the cluster)[word]. Parameters and values are those of torch's class. This one also works
    in half precision, and every cluster takes part in every pass, as data-parallel training requires.
    """

    def forward(self, states: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """Log-probabilities (..., V) of the whole vocabulary, given states (..., W)."""
        # The head has one column for each word of the shortlist, then one for each cluster.
        head = self.head(states).float().log_softmax(dim=-1)
        shortlist, clusters = head.split([self.shortlist_size, self.n_clusters], dim=-1)
        tails = [tail(states).float().log_softmax(dim=-1) for tail in self.tail]
        rare = [tail + cluster[..., None] for tail, cluster in zip(tails, clusters.unbind(-1), strict=True)]
        return torch.cat([shortlist, *rare], dim=-1).to(states.dtype)

    def nll(self, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Negative log-likelihoods (N,) in float32 of `targets` (N,) given states (N, W)."""
        if not has_values(targets):  # so how many words a cluster has is not known either
            return -self(states.float()).gather(1, targets[:, None]).squeeze(1)
        head = self.head(states).float().log_softmax(dim=-1)
        # `slot` is the column of the head: the word itself, or its cluster. `total` is log p(word | cluster), 0 for
        # the shortlist.
        slot, total = targets.clone(), head.new_zeros(len(targets))
        for index, (low, high) in enumerate(itertools.pairwise(self.cutoffs)):
            # Without words in the cluster these tensors are empty, and the tail's gradient is zero instead of None.
            rows = ((targets >= low) & (targets < high)).nonzero().flatten()  # (M,)
            slot[rows] = self.shortlist_size + index
            inner = self.tail[index](states[rows]).float().log_softmax(dim=-1)
            total = total.index_add(0, rows, inner.gather(1, (targets[rows] - low)[:, None]).squeeze(1))
        return -(total + head.gather(1, slot[:, None]).squeeze(1))


__all__ = ["AdaptiveSoftmax"]
