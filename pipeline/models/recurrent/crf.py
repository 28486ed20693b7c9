"""Linear-chain conditional random field over tags, as a layer on top of a tagger.

Both families of taggers import this file, and it is saved with their models, which only works for files in one folder.
"""

# Shapes: B batch, T time, C tags.

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from .crf_inference import Rows, Weights, compact_rows, log_partition, max_marginals, path_score
from .layout import can_read
from .per_sample import refuse_hooks
from .tag_constraints import read_constraints
from .tag_labels import learned_labels

# The label of positions that have none, as in `torch.nn.functional.cross_entropy`.
IGNORED = -100


class Chain(NamedTuple):
    """What makes the emissions of a CRF a distribution over sequences: the mask (B, T) of the positions to tag and the
    scores of its `Weights`, -inf where the tagging scheme forbids a tag."""

    mask: torch.Tensor
    start: torch.Tensor
    transitions: torch.Tensor
    end: torch.Tensor


class Tagged(NamedTuple):
    """What a CRF returns: the loss, logits (B, T, C), the NLL of each row (B,), and in training the chain."""

    loss: torch.Tensor | None
    logits: torch.Tensor
    nll: torch.Tensor | None
    chain: Chain | None


@dataclass
class TaggerOutput(ModelOutput):
    """A [`TokenClassifierOutput`] with what the logits of a CRF do not determine: the NLL of each row, (B,), and in
    training the [`Chain`] whose emissions the logits are."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    nll: torch.Tensor | None = None
    chain: Chain | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class LinearChainCRF(nn.Module):
    """Scores for pairs of neighbouring tags and for the first and the last tag, on top of a tagger's emissions (Lample
    et al. 2016, section 2.2). Sequences that the tagging scheme forbids have probability zero and are never decoded;
    see [`read_constraints`]. Computes in float32 or float64, also under autocast.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        size = config.num_labels
        self.start_transitions = nn.Parameter(torch.empty(size))
        self.transitions = nn.Parameter(torch.empty(size, size))
        self.end_transitions = nn.Parameter(torch.empty(size))

    def init_weights(self) -> None:
        """Zeros: an untrained CRF tags as the emissions alone do."""
        for parameter in self.parameters():
            init.zeros_(parameter)

    @torch.compiler.disable
    def forward(
        self,
        emissions: torch.Tensor,
        mask: torch.Tensor,
        labels: torch.Tensor | None = None,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Tagged:
        """
        Args:
            emissions: (B, T, C) score of each tag at each position.
            mask: (B, T) bool, True at the positions to decode.
            labels: (B, T) tags, -100 at positions outside the sequence.
            num_items_in_batch: what to divide the loss by; None for the number of labels.

        Returns:
            The loss, the sum of the NLLs of the rows divided by the number of labels; NaN if there are no labels, as
            the mean cross-entropy. The logits: in training, the emissions, with their chain; in evaluation, the
            max-marginals at the positions of `mask`, whose argmax is the best path, and the log-softmax elsewhere.
            Labels do not change them.

        Raises:
            ValueError: the labels of a row are a forbidden sequence. Only detected on the CPU: on a GPU the loss is
                infinite.
        """
        refuse_hooks(self)
        with torch.autocast(emissions.device.type, enabled=False):
            scores = emissions if emissions.dtype == torch.float64 else emissions.float()
            weights = self._weights(scores)
            loss = nll = None
            if labels is not None:
                tagged = labels != IGNORED
                nll = self._nll(scores, labels, tagged, weights)
                loss = nll.sum() / (tagged.sum() if num_items_in_batch is None else num_items_in_batch)
            if self.training:
                return Tagged(loss, emissions, nll, Chain(mask, *weights))
            return Tagged(loss, self._decode(scores, mask, weights).to(emissions.dtype), nll, None)

    def _weights(self, scores: torch.Tensor) -> Weights:
        weights = [w.to(scores.dtype) for w in (self.start_transitions, self.transitions, self.end_transitions)]
        constraints = read_constraints(tuple(learned_labels(self.config)), scores.device)
        if constraints is None:
            return Weights(*weights)
        # exp(-inf) is 0: what is forbidden adds nothing to the partition.
        return Weights(*(w.masked_fill(c, float("-inf")) for w, c in zip(weights, constraints, strict=True)))

    def _nll(self, scores: torch.Tensor, labels: torch.Tensor, tagged: torch.Tensor, weights: Weights) -> torch.Tensor:
        rows = compact_rows(tagged)
        if not rows.order.numel():
            return scores.sum(dim=(1, 2)) * 0.0
        emissions = rows.gather(scores)
        tags = rows.gather(labels).clamp(min=0)
        score = path_score(emissions, tags, weights, rows)
        if can_read(score) and bool((score == float("-inf")).any()):
            self._refuse(tags, weights, rows, int((score == float("-inf")).nonzero()[0]))
        return log_partition(emissions, weights, rows) - score

    def _refuse(self, tags: torch.Tensor, weights: Weights, rows: Rows, row: int) -> None:
        """Raise an error that names the first forbidden step of `row`."""
        path = tags[: int(rows.lengths[row]), row].tolist()
        names = [learned_labels(self.config)[tag] for tag in path]
        forbidden = [bool(weights.transitions[pair] == float("-inf")) for pair in itertools.pairwise(path)]
        if weights.start[path[0]] == float("-inf"):
            step = f"{names[0]} first"
        elif True in forbidden:
            at = forbidden.index(True)
            step = f"{names[at + 1]} after {names[at]}"
        else:
            step = f"{names[-1]} last"
        raise ValueError(
            f"labels: row {row} of the batch has {step}, which the tagging scheme forbids; correct the labels"
        )

    @staticmethod
    def _decode(scores: torch.Tensor, mask: torch.Tensor, weights: Weights) -> torch.Tensor:
        rows = compact_rows(mask)
        elsewhere = scores.log_softmax(dim=-1)
        if not rows.order.numel():
            return elsewhere
        return rows.scatter(max_marginals(rows.gather(scores), weights, rows), elsewhere)


def tag(
    crf: LinearChainCRF,
    emissions: torch.Tensor,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor | None,
    labels: torch.Tensor | None,
    num_items_in_batch: torch.Tensor | int | None,
) -> Tagged:
    """Run `crf` on the `emissions` (B, T, C) of a model, given the model's inputs.

    All positions are decoded except padding and the config's `special_token_ids`. Training labels the same positions,
    including every piece of a word, so that both work on the same sequences.

    Raises:
        ValueError: there is a number of labels, but none are given. transformers' Trainer does so if it computes the
            loss from the logits, which are not those of a softmax here.
    """
    if labels is None and num_items_in_batch is not None:
        raise ValueError(
            "labels: a CRF computes its own loss and needs them; a Trainer with `label_smoothing_factor` or"
            " `compute_loss_func` keeps them to itself. Remove this option, or the CRF (`crf=False`)"
        )
    mask = (
        emissions.new_ones(emissions.shape[:2], dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    )
    special = crf.config.special_token_ids
    if input_ids is not None and special:
        # Not `torch.isin`, which ONNX does not have.
        mask = mask & (input_ids[..., None] != torch.tensor(special, device=input_ids.device)).all(dim=-1)
    return crf(emissions, mask, labels, num_items_in_batch)


__all__ = ["IGNORED", "Chain", "LinearChainCRF", "TaggerOutput", "tag"]
