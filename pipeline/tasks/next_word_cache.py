"""Scoring a recurrent language model together with a continuous cache, see `word_cache`."""

from __future__ import annotations

from typing import Any

import torch

from pipeline.config.training import Train
from pipeline.errors import UserError
from pipeline.metrics.scores import perplexity
from pipeline.models.recurrent import RecurrentForCausalLM
from pipeline.tasks.base import Batch
from pipeline.tasks.next_word import LIKELIEST, NextWord
from pipeline.tasks.word_cache import Mixture, TrackCache, chances_of, look_up_batch, mixed, tune


class CachedNextWord(NextWord):
    """`NextWord` with a cache of the last `size` positions. `fitted` on a split, it mixes as is best there.

    An evaluation reads its batches in order and begins with empty caches, one for each track of text.

    Attributes:
        mixture: None before the task is fitted; the scores are those of the model alone then.
    """

    def __init__(self, size: int, mixture: Mixture | None = None):
        self.size, self.mixture = size, mixture
        self._tracks: list[TrackCache] = []

    def outcome(self, outputs: Any, batch: Batch) -> dict[str, Any]:
        """Per token, as `NextWord` has them: before the task is fitted also the `chances` of the cache, see
        `word_cache.chances_of`, and then its NLL and rank with the cache, and `alone`, the NLL without."""
        found, labels = super().outcome(outputs, batch), batch["labels"]
        positions = batch.get("position_ids")
        begins = torch.zeros_like(labels, dtype=torch.bool) if positions is None else positions == 0
        self._tracks = self._tracks or [TrackCache(self.size) for _ in labels]
        parts: dict[str, list[torch.Tensor]] = {}
        for row, part, similar in look_up_batch(self._tracks, outputs.hidden_states[-1], labels, begins):
            targets = labels[row, part]
            if self.mixture is None:
                own = {"chances": chances_of(similar, targets)}
            else:
                own = _outcome(mixed(outputs.logits[row, part], similar, self.mixture), targets)
            for name, values in own.items():
                parts.setdefault(name, []).append(values)
        nll, counts = found["token_nll"]
        alone = {} if self.mixture is None else {"alone": (nll, counts)}
        return {**found, **alone, **{name: (torch.cat(values), counts) for name, values in parts.items()}}

    def joined(self, outcome: dict[str, Any]) -> dict[str, Any]:
        self._tracks = []
        return super().joined(outcome)

    def fitted(self, outcome: dict[str, Any], labels: list[str], train: Train) -> CachedNextWord:
        return CachedNextWord(self.size, tune(outcome["token_nll"], outcome["chances"]))

    def scored_by(self, outcome: dict[str, Any], labels: list[str]) -> dict[str, Any]:
        """The mixture and the scores without it as well, so that rows say that they were scored with a cache."""
        settings = super().scored_by(outcome, labels)
        if self.mixture is None or "alone" not in outcome:
            return settings
        alone, tokens = outcome["alone"].sum(dtype=float), outcome["tokens"].sum()
        without = {
            "loss": float(alone / tokens),
            "perplexity_per_token": perplexity(alone / tokens),
            "perplexity_per_word": perplexity(alone / outcome["words"].sum()),
        }
        mixture = {"size": self.size, "theta": self.mixture.theta, "lambda": self.mixture.share}
        return {**settings, "cache": {**mixture, "without": without}}


def _outcome(log_probabilities: torch.Tensor, targets: torch.Tensor) -> dict[str, torch.Tensor]:
    """NLL and rank of the `targets` (T,) given `log_probabilities` (T, V)."""
    own = log_probabilities.gather(1, targets[:, None])
    rank = (log_probabilities > own).sum(dim=1).clamp(max=LIKELIEST)
    return {"token_nll": -own.squeeze(1), "rank": rank.to(torch.uint8)}


def with_cache(task: Any, model: Any, size: int) -> CachedNextWord:
    """The task of `model`, whose outputs have the states that a cache needs from now on.

    Raises:
        UserError: `model` is not a recurrent language model.
    """
    if not isinstance(task, NextWord) or not isinstance(model, RecurrentForCausalLM):
        raise UserError("cache: only for recurrent language models, which have one state for each word; leave it out")
    model.config.output_hidden_states = True
    return CachedNextWord(size)
