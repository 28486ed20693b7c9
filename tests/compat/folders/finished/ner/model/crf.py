"""Linear-chain conditional random field over tags: exact likelihood, best path and max-marginals.

Both families of taggers import this file, and it travels with their models: only imports from the same folder do.
"""

# Shapes: B batch, T time, C tags. Recursions run over compacted rows, time first, in both directions at once: (2, B, C)
# is the forward state and the backward one, which reads each row reversed within its length. What lies beyond a
# row's length is computed and never read.

from __future__ import annotations

import functools
import itertools
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn
from transformers.utils import ModelOutput

IGNORED = -100
# Score of a tag that no possible sequence has at its place: nothing after a softmax, a number in every dtype.
IMPOSSIBLE = -1e4
# The tags of the best path stand out by this much where rounding or a tie would hide them.
MARGIN = 1e-6
# Natural logarithms up to which scores within a row may differ for float64 to hold their exponentials: what counts
# cannot be further behind than a few transitions and emissions, and exp(-700) is a normal number.
SPREAD = 100.0

TAG = re.compile(r"([BIMELSU])(?:-(.+))?")
CONTINUES = set("IMEL")  # only within an entity
UNFINISHED = set("BIM")  # in BIOES, an entity goes on after it


class Constraints(NamedTuple):
    """What is impossible: (C,) for the first tag, (C, C) from one tag to the next, (C,) for the last; bool."""

    start: torch.Tensor
    transitions: torch.Tensor
    end: torch.Tensor


@functools.lru_cache(maxsize=64)
def read_constraints(labels: tuple[str, ...], device: torch.device) -> Constraints | None:
    """What the scheme of `labels` (the names of the tags, by id) makes impossible; None where it has none.

    IOB2, tags O, B-x and I-x: I-x at the start, and after anything but B-x or I-x. BIOES, in any of its spellings
    (M for I, L for E, U for S): I-x and E-x at the start, and after anything but B-x or I-x; B-x and I-x at the end,
    and before anything but I-x or E-x. Any other set of names has no constraints, nor has one in which a tag could
    never stand in a possible sequence, such as the I-x of IOB1 without a B-x.
    """
    tags = _parse(labels)
    if tags is None:
        return None
    bioes = any(prefix in "MELSU" for prefix, _ in tags)
    continues = [prefix in CONTINUES for prefix, _ in tags]
    unfinished = [bioes and prefix in UNFINISHED for prefix, _ in tags]

    def is_forbidden(before: int, after: int) -> bool:
        is_open = tags[before][0] in UNFINISHED and tags[before][1] == tags[after][1]
        goes_on = is_open and continues[after]
        return not goes_on if unfinished[before] else continues[after] and not goes_on

    size = range(len(tags))
    transitions = [[is_forbidden(before, after) for after in size] for before in size]
    with torch.inference_mode(False):  # it is kept, and a later call may need its gradient
        return Constraints(*(torch.tensor(part, device=device) for part in (continues, transitions, unfinished)))


def _parse(labels: tuple[str, ...]) -> list[tuple[str, str | None]] | None:
    """Prefix and type of each tag, if all of them belong to one scheme and each can stand in a possible sequence."""
    names = [label for label in labels if label != "O"]
    found = [(match[1], match[2]) for match in map(TAG.fullmatch, names) if match]
    if not found or len(found) < len(names):
        return None
    prefixes: dict[str | None, set[str]] = {}
    for prefix, kind in found:
        prefixes.setdefault(kind, set()).add(prefix)
    bioes = any(prefix in "MELSU" for prefix, _ in found)
    for own in prefixes.values():
        unopened = bool(own & CONTINUES) and "B" not in own
        unclosed = bioes and "B" in own and not own & {"E", "L"}
        if unopened or unclosed:
            return None
    tags = iter(found)
    return [next(tags) if label != "O" else ("O", None) for label in labels]


class Rows(NamedTuple):
    """Rows whose tagged positions are in front, as indices; see `compact_rows`.

    Attributes:
        mask: (B, T) bool, True at tagged positions.
        lengths: (B,) number of tagged positions.
        order: (B, T') positions in the order in which they are worked on: the tagged ones first.
        reverse: (T', B) reverses each row within its length; it is its own inverse.
    """

    mask: torch.Tensor
    lengths: torch.Tensor
    order: torch.Tensor
    reverse: torch.Tensor

    def gather(self, values: torch.Tensor) -> torch.Tensor:
        """`values` (B, T, ...) compacted, time first: (T', B, ...)."""
        rows = torch.arange(values.shape[0], device=values.device)
        return values[rows, self.order.T]

    def flip(self, values: torch.Tensor) -> torch.Tensor:
        """Compacted `values` (T', B, ...) with each row reversed within its length."""
        return values[self.reverse, torch.arange(values.shape[1], device=values.device)]

    def scatter(self, values: torch.Tensor, template: torch.Tensor) -> torch.Tensor:
        """The inverse of `gather`: `template` (B, T, C) with compacted `values` (T', B, C) at the tagged positions."""
        places = (self.mask.cumsum(dim=1) - 1).clamp(min=0)
        rows = torch.arange(self.mask.shape[0], device=self.mask.device)[:, None]
        return torch.where(self.mask[..., None], values[places, rows], template)


def compact_rows(mask: torch.Tensor) -> Rows:
    """The tagged positions of rows, where `mask` (B, T) is True; any pattern will do, and rows may have none."""
    lengths = mask.sum(dim=1)
    longest = int(lengths.max()) if _can_read(mask) and mask.numel() else mask.shape[1]
    order = torch.argsort(~mask, dim=1, stable=True)[:, :longest]
    steps = torch.arange(longest, device=mask.device)[:, None]
    return Rows(mask, lengths, order, torch.where(steps < lengths, lengths - 1 - steps, steps))


def _can_read(values: torch.Tensor) -> bool:
    # Reading a value back would make a GPU wait, and an exported graph holds for any value.
    return values.device.type == "cpu" and not torch.compiler.is_exporting()


class Weights(NamedTuple):
    """Scores of the first tag (C,), of each step from one tag to the next (C, C), and of the last tag (C,)."""

    start: torch.Tensor
    transitions: torch.Tensor
    end: torch.Tensor

    def both_ways(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Where the forward and the backward recursion start, (2, 1, C), and what they step by, (2, C, C)."""
        starts = torch.stack([self.start, self.end])[:, None]
        return starts, torch.stack([self.transitions, self.transitions.T])


class _LogPartition(torch.autograd.Function):
    """Log of the sum over all tag sequences of exp(score), by the scaled forward-backward algorithm (Rabiner 1989,
    section V.A): products of matrices in place of logsumexps, in float64, and a gradient that is at hand when the
    forward pass ends. Exact while scores stay within `SPREAD`."""

    @staticmethod
    def forward(ctx, emissions, start, transitions, end, rows):
        peaks = emissions.amax(dim=-1)  # (T, B)
        local = (emissions - peaks[..., None]).double().exp()
        tops = [weights.max() for weights in (start, transitions, end)]
        weights = Weights(*(w.sub(t).double().exp() for w, t in zip((start, transitions, end), tops, strict=True)))
        first, step = weights.both_ways()
        before, states, scales = [first.expand(2, emissions.shape[1], -1)], [], []
        for emitted in torch.stack([local, rows.flip(local)], dim=1).unbind():  # (2, B, C)
            state = before[-1] * emitted
            scale = state.sum(dim=-1, keepdim=True)
            state = state / scale
            states.append(state)
            scales.append(scale[0, :, 0])
            before.append(torch.bmm(state, step))
        inside, outside = torch.stack(states), torch.stack(before[:-1])  # with and without the own emission
        forward, backward = inside[:, 0], rows.flip(inside[:, 1])
        tagged = torch.arange(len(emissions), device=emissions.device)[:, None] < rows.lengths
        marginals = forward * rows.flip(outside[:, 1])  # (T, B, C)
        marginals = (marginals / marginals.sum(dim=-1, keepdim=True)).masked_fill(~tagged[..., None], 0.0)
        # What the probability of a pair of tags is a share of.
        pairs = (outside[:, 0] * backward).sum(dim=-1, keepdim=True)
        backward = (backward / pairs).masked_fill(~tagged[..., None], 0.0)
        ctx.save_for_backward(marginals, forward, backward, weights.transitions)
        ctx.rows, ctx.dtype = rows, emissions.dtype
        at_end = (rows.flip(forward)[0] * weights.end).sum(dim=-1).log()
        total = (torch.stack(scales).log() + peaks) * tagged
        result = total.sum(dim=0) + at_end + tops[0] + tops[1] * (rows.lengths - 1) + tops[2]
        return torch.where(rows.lengths > 0, result, 0.0).to(emissions.dtype)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient):
        marginals, forward, backward, transitions = ctx.saved_tensors
        weight = gradient.double()[:, None] * (ctx.rows.lengths > 0)[:, None]  # (B, 1)
        emissions = marginals * weight
        pairs = (forward[:-1] * weight).flatten(0, 1).T @ backward[1:].flatten(0, 1)  # (C, C)
        start, end = emissions[0].sum(dim=0), ctx.rows.flip(emissions)[0].sum(dim=0)
        gradients = (emissions, start, pairs * transitions, end)
        return *(part.to(ctx.dtype) for part in gradients), None


def log_partition(emissions: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """Log of the sum over all tag sequences of exp(score), (B,); 0 for a row without tagged positions.

    Args:
        emissions: (T, B, C) compacted.
    """
    if _can_read(emissions) and _spread(emissions, weights) < SPREAD:
        return _LogPartition.apply(emissions, *weights, rows)
    state, states = weights.start + emissions[0], []
    for emitted in emissions[1:].unbind():
        states.append(state)
        state = torch.logsumexp(state[:, :, None] + weights.transitions, dim=1) + emitted
    last = rows.flip(torch.stack([*states, state]))[0]  # (B, C)
    return torch.where(rows.lengths > 0, torch.logsumexp(last + weights.end, dim=-1), 0.0)


def _spread(emissions: torch.Tensor, weights: Weights) -> float:
    """How far apart the scores of tags at one place can be; what is impossible does not count. NaN stays NaN."""
    with torch.no_grad():
        spread = (emissions.amax(dim=-1) - emissions.amin(dim=-1)).max()
        for part in weights:
            finite = part[part != float("-inf")]
            spread = spread + (finite.max() - finite.min())
        return float(spread)


def path_score(emissions: torch.Tensor, tags: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """Score of the sequences `tags` (T, B), (B,); -inf for one that is impossible."""
    tagged = torch.arange(len(emissions), device=emissions.device)[:, None] < rows.lengths
    emitted = emissions.gather(-1, tags[..., None]).squeeze(-1)
    # index_select's gradient is a fast sum; that of indexing with two tensors is not.
    steps = weights.transitions.flatten().index_select(0, (tags[:-1] * emissions.shape[-1] + tags[1:]).flatten())
    steps = steps.view(tags[1:].shape).masked_fill(~tagged[1:], 0.0)
    ends = weights.start[tags[0]] + weights.end[rows.flip(tags)[0]]
    return emitted.masked_fill(~tagged, 0.0).sum(dim=0) + steps.sum(dim=0) + ends.masked_fill(rows.lengths == 0, 0.0)


def max_marginals(emissions: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """For each place and tag the score of the best sequence through it, less that of the best of all, (T, B, C).

    The scores of one best sequence, the Viterbi path, are 0; all others are below, by `MARGIN` where they tie.
    """
    first, step = weights.both_ways()
    step = step[:, None]  # (2, 1, C, C)
    before, states = [first.expand(2, emissions.shape[1], -1)], []
    for emitted in torch.stack([emissions, rows.flip(emissions)], dim=1).unbind():
        state = before[-1] + emitted
        state = state - state.amax(dim=-1, keepdim=True)  # scores of long rows would lose their last digits
        states.append(state)
        before.append((state[..., None] + step).amax(dim=-2))
    inside, outside = torch.stack(states), torch.stack(before[:-1])
    scores = inside[:, 0] + rows.flip(outside[:, 1])
    scores = scores - scores.amax(dim=-1, keepdim=True)
    best = _trace_back(inside[:, 0], weights, rows)[..., None] == torch.arange(scores.shape[-1], device=scores.device)
    return scores.clamp(IMPOSSIBLE, -MARGIN).masked_fill(best, 0.0)


@torch.no_grad()
def _trace_back(states: torch.Tensor, weights: Weights, rows: Rows) -> torch.Tensor:
    """The Viterbi path (T, B) from the forward recursion's `states` (T, B, C), from its last tag to its first."""
    into = weights.transitions.T  # (C, C), by the later tag
    tags: list[torch.Tensor] = []
    for state in rows.flip(states).unbind():
        tags.append((state + (into[tags[-1]] if tags else weights.end)).argmax(dim=-1))
    return rows.flip(torch.stack(tags))


class Tagged(NamedTuple):
    """What a CRF answers: loss, logits (B, T, C) and each row's NLL (B,)."""

    loss: torch.Tensor | None
    logits: torch.Tensor
    nll: torch.Tensor | None


@dataclass
class TaggerOutput(ModelOutput):
    """A [`TokenClassifierOutput`] with the NLL of each row: logits that say which path is best do not tell it."""

    loss: torch.Tensor | None = None
    logits: torch.Tensor | None = None
    nll: torch.Tensor | None = None
    hidden_states: tuple[torch.Tensor, ...] | None = None
    attentions: tuple[torch.Tensor, ...] | None = None


class LinearChainCRF(nn.Module):
    """A score for each tag, for each pair of neighbouring tags, and for the first and the last one (Lafferty et al.
    2001; for taggers Lample et al. 2016, section 2.2). What the scheme of the tags makes impossible has no share in
    the likelihood and is never decoded; see `read_constraints`. Computes in float32 at least, under autocast as well.
    """

    def __init__(self, config: Any):
        super().__init__()
        self.config = config
        size = config.num_labels
        self.start_transitions = nn.Parameter(torch.empty(size))
        self.transitions = nn.Parameter(torch.empty(size, size))
        self.end_transitions = nn.Parameter(torch.empty(size))

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
            emissions: (B, T, C) scores of each position's tags.
            mask: (B, T) bool, True at the positions that are tagged where no labels say so.
            labels: (B, T) tags, -100 at the positions that the sequence passes over.
            num_items_in_batch: what to divide the loss by; None: the number of labels.

        Returns:
            The loss, the sum of the rows' NLLs by the number of labels; NaN where there are none, as the mean
            cross-entropy. In training the logits are the emissions. In evaluation they are the max-marginals at the
            positions of `mask` (labels make no difference), whose argmax is the best path; elsewhere, log-softmax.

        Raises:
            ValueError: the labels of a row are an impossible sequence. Seen on the CPU only, as a GPU would have to
                wait: the loss is infinite there.
        """
        with torch.autocast(emissions.device.type, enabled=False):
            scores = emissions if emissions.dtype == torch.float64 else emissions.float()
            weights = self._weights(scores)
            loss = nll = None
            if labels is not None:
                tagged = labels != IGNORED
                nll = self._nll(scores, labels, tagged, weights)
                loss = nll.sum() / (tagged.sum() if num_items_in_batch is None else num_items_in_batch)
            logits = emissions if self.training else self._decode(scores, mask, weights).to(emissions.dtype)
            return Tagged(loss, logits, nll)

    def _weights(self, scores: torch.Tensor) -> Weights:
        weights = [w.to(scores.dtype) for w in (self.start_transitions, self.transitions, self.end_transitions)]
        labels = tuple(str(self.config.id2label[index]) for index in range(len(weights[0])))
        constraints = read_constraints(labels, scores.device)
        if constraints is None:
            return Weights(*weights)
        return Weights(*(w.masked_fill(c, float("-inf")) for w, c in zip(weights, constraints, strict=True)))

    def _nll(self, scores: torch.Tensor, labels: torch.Tensor, tagged: torch.Tensor, weights: Weights) -> torch.Tensor:
        rows = compact_rows(tagged)
        if not rows.order.numel():
            return scores.sum(dim=(1, 2)) * 0.0
        emissions = rows.gather(scores)
        tags = rows.gather(labels).clamp(min=0)
        score = path_score(emissions, tags, weights, rows)
        if _can_read(score) and bool((score == float("-inf")).any()):
            self._refuse(tags, weights, rows, int((score == float("-inf")).nonzero()[0]))
        return log_partition(emissions, weights, rows) - score

    def _refuse(self, tags: torch.Tensor, weights: Weights, rows: Rows, row: int) -> None:
        """Raise for the first step of `row` that is impossible."""
        path = tags[: int(rows.lengths[row]), row].tolist()
        names = [self.config.id2label[tag] for tag in path]
        impossible = [bool(weights.transitions[pair] == float("-inf")) for pair in itertools.pairwise(path)]
        if weights.start[path[0]] == float("-inf"):
            step = f"{names[0]} first"
        elif True in impossible:
            at = impossible.index(True)
            step = f"{names[at + 1]} after {names[at]}"
        else:
            step = f"{names[-1]} last"
        raise ValueError(
            f"labels: row {row} of the batch has {step}, which the tags' scheme rules out; repair the tags"
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
    """What `crf` answers for a model's inputs and `emissions` (B, T, C).

    Where no labels say which positions are tagged, all are but padding and the config's `special_token_ids`. Training
    labels the same positions, every piece of a word included, so that both see the same sequences.
    """
    mask = (
        emissions.new_ones(emissions.shape[:2], dtype=torch.bool) if attention_mask is None else attention_mask.bool()
    )
    special = crf.config.special_token_ids
    if input_ids is not None and special:
        mask = mask & ~torch.isin(input_ids, torch.tensor(special, device=input_ids.device))
    return crf(emissions, mask, labels, num_items_in_batch)


__all__ = ["LinearChainCRF", "TaggerOutput"]
