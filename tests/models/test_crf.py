"""The CRF agrees with the enumeration of all tag sequences: likelihood, gradients, best paths, max-marginals."""

from __future__ import annotations

import itertools
import re
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch

from pipeline.models.recurrent import crf_inference, tag_constraints
from pipeline.models.recurrent.crf import LinearChainCRF, tag
from pipeline.models.recurrent.crf_inference import (
    IMPOSSIBLE,
    compact_rows,
    log_marginals,
    log_pair_marginals,
    log_partition,
)
from pipeline.models.recurrent.tag_constraints import read_constraints

FREE = ("NOUN", "VERB", "ADJ")
IOB2 = ("O", "B-X", "I-X", "B-Y", "I-Y")
BIOES = ("O", "B-X", "I-X", "E-X", "S-X")
SCHEMES = [FREE, IOB2, BIOES]
# All sorts of rows: full, with holes, with one word, left-padded, with none.
MASK = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]).bool()
CPU = torch.device("cpu")


def a_crf(labels, scale=1.0, dtype=torch.float64, **config):
    crf = LinearChainCRF(
        SimpleNamespace(
            **{"num_labels": len(labels), "id2label": dict(enumerate(labels)), "special_token_ids": None, **config}
        )
    )
    generator = torch.Generator().manual_seed(1)
    for parameter in crf.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).mul(scale).to(dtype)
    return crf


def some_emissions(labels, scale=1.0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(2)
    values = torch.randn(*MASK.shape, len(labels), generator=generator, dtype=torch.float64)
    return (values * scale).to(dtype).requires_grad_()


def iob2_is_possible(path: tuple[str, ...]) -> bool:
    """Read as a grammar: O and B-x I-x*."""
    return all(
        after[0] != "I" or before in (f"B{after[1:]}", f"I{after[1:]}")
        for before, after in itertools.pairwise(("O", *path))
    )


def bioes_is_possible(path: tuple[str, ...]) -> bool:
    """Read as a grammar, for one type: O, S and B I* E."""
    return re.fullmatch(r"(O|S|BI*E)*", "".join(label[0] for label in path)) is not None


POSSIBLE = {FREE: lambda path: True, IOB2: iob2_is_possible, BIOES: bioes_is_possible}


class Enumerated(NamedTuple):
    log_partition: torch.Tensor
    best: list[int]
    max_marginals: torch.Tensor


def enumerate_paths(crf, labels, row) -> Enumerated:
    """From the score of each possible sequence of a row's emissions (T, C), one by one."""
    paths = [
        path
        for path in itertools.product(range(len(labels)), repeat=len(row))
        if POSSIBLE[labels](tuple(labels[tag] for tag in path))
    ]
    scores = torch.stack([score(crf, row, path) for path in paths])
    best = scores.max()
    marginals = torch.full(row.shape, IMPOSSIBLE, dtype=row.dtype)
    for at, label in itertools.product(range(len(row)), range(len(labels))):
        through = [value for path, value in zip(paths, scores, strict=True) if path[at] == label]
        if through:
            marginals[at, label] = torch.stack(through).max() - best
    return Enumerated(torch.logsumexp(scores, 0), list(paths[int(scores.argmax())]), marginals.detach())


def score(crf, row, path):
    total = crf.start_transitions[path[0]] + crf.end_transitions[path[-1]]
    total = total + sum(row[at, label] for at, label in enumerate(path))
    return total + sum(crf.transitions[pair] for pair in itertools.pairwise(path))


def taggable(emissions):
    return [(index, emissions[index][MASK[index]]) for index in range(len(MASK)) if MASK[index].any()]


@pytest.mark.parametrize("labels", SCHEMES, ids=["free", "iob2", "bioes"])
@pytest.mark.parametrize("scale", [1.0, 200.0], ids=["scaled", "in logs"])
def test_the_log_partition_and_its_gradients_are_those_of_the_enumeration(labels, scale):
    crf, emissions = a_crf(labels, scale), some_emissions(labels, scale)
    expected = torch.zeros(len(MASK), dtype=torch.float64)
    for index, row in taggable(emissions):
        expected = expected.index_put((torch.tensor(index),), enumerate_paths(crf, labels, row).log_partition)
    upstream = torch.randn(len(MASK), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    inputs = [emissions, *crf.parameters()]
    reference = torch.autograd.grad(expected @ upstream, inputs)
    rows, weights = compact_rows(MASK), crf._weights(emissions)
    assert (crf_inference._spread(emissions, weights) < crf_inference.SPREAD) == (scale == 1.0)
    ours = log_partition(rows.gather(emissions), weights, rows)
    torch.testing.assert_close(ours, expected)
    for one, other in zip(torch.autograd.grad(ours @ upstream, inputs), reference, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("labels", SCHEMES, ids=["free", "iob2", "bioes"])
@pytest.mark.parametrize("scale", [1.0, 200.0])
def test_logits_are_the_max_marginals_and_their_argmax_the_best_path(labels, scale):
    crf, emissions = a_crf(labels, scale).eval(), some_emissions(labels, scale)
    logits = crf(emissions, MASK).logits
    for index, row in taggable(emissions):
        expected, ours = enumerate_paths(crf, labels, row), logits[index][MASK[index]]
        torch.testing.assert_close(ours, expected.max_marginals, atol=2e-6, rtol=1e-9)
        assert ours.argmax(dim=-1).tolist() == expected.best
    torch.testing.assert_close(logits[~MASK], emissions[~MASK].log_softmax(dim=-1))


@pytest.mark.parametrize("labels", SCHEMES, ids=["free", "iob2", "bioes"])
def test_the_loss_is_the_mean_nll_of_the_sequences_per_label(labels):
    crf, emissions = a_crf(labels), some_emissions(labels)
    tags = torch.full(MASK.shape, -100)
    expected = torch.zeros(len(MASK), dtype=torch.float64)
    for index, row in taggable(emissions):
        path = {1: (0,), 2: (1, 2), 4: (0, 1, 2, 2)}[len(row)]
        if labels == BIOES:
            path = {1: (4,), 2: (1, 3), 4: (1, 2, 3, 0)}[len(row)]
        tags[index, MASK[index]] = torch.tensor(path)
        expected[index] = enumerate_paths(crf, labels, row).log_partition - score(crf, row, path)
    for mode in (True, False):
        outputs = crf.train(mode)(emissions, torch.ones_like(MASK), tags)
        torch.testing.assert_close(outputs.nll, expected)
        torch.testing.assert_close(outputs.loss, expected.sum() / MASK.sum())
    assert torch.equal(crf.train()(emissions, MASK, tags).logits, emissions)


def test_gradients_pass_the_numerical_check():
    crf, emissions = a_crf(BIOES), some_emissions(BIOES)
    rows = compact_rows(MASK)

    def run(values, *weights):
        constraints = read_constraints(BIOES, CPU)
        start, transitions, end = (w.masked_fill(c, float("-inf")) for w, c in zip(weights, constraints, strict=True))
        return log_partition(rows.gather(values), crf_inference.Weights(start, transitions, end), rows)

    assert torch.autograd.gradcheck(run, (emissions, *crf.parameters()))


@pytest.mark.parametrize(
    ("labels", "impossible"),
    [
        (("O", "B-X", "I-X"), {("", "I-X"), ("O", "I-X")}),
        (
            ("B-X", "I-X", "B-Y", "I-Y"),
            {("", "I-X"), ("", "I-Y"), ("B-X", "I-Y"), ("I-X", "I-Y"), ("B-Y", "I-X"), ("I-Y", "I-X")},
        ),
        (
            ("O", "B-X", "E-X", "S-X"),
            {("", "E-X"), ("B-X", ""), ("O", "E-X"), ("E-X", "E-X"), ("S-X", "E-X")}
            | {("B-X", after) for after in ("O", "B-X", "S-X")},
        ),
        (("S", "B", "E"), {("", "E"), ("B", ""), ("E", "E"), ("S", "E"), ("B", "B"), ("B", "S")}),
    ],
)
def test_exactly_what_a_scheme_forbids_is_impossible(labels, impossible):
    constraints = read_constraints(labels, CPU)
    assert constraints is not None
    found = {("", label) for label, no in zip(labels, constraints.start.tolist(), strict=True) if no}
    found |= {(label, "") for label, no in zip(labels, constraints.end.tolist(), strict=True) if no}
    pairs = constraints.transitions.nonzero().tolist()
    assert found | {(labels[before], labels[after]) for before, after in pairs} == impossible


def test_spellings_of_bioes_mean_the_same():
    expected = read_constraints(BIOES, CPU)
    for spelling in ({"I": "M"}, {"E": "L", "S": "U"}):
        spelt = tuple(spelling.get(label[0], label[0]) + label[1:] for label in BIOES)
        for one, other in zip(read_constraints(spelt, CPU), expected, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "labels", [FREE, ("O",), ("O", "I-X"), ("O", "B-X", "I-Y"), ("O", "B-X", "S-X"), ("A-X", "B-X")]
)
def test_names_that_follow_no_scheme_forbid_nothing(labels):
    assert read_constraints(labels, CPU) is None


@pytest.mark.parametrize(
    ("path", "labels", "message"),
    [
        ((2, 0, 0), IOB2, "row 1 of the batch has I-X first"),
        ((0, 1, 4), IOB2, "row 1 of the batch has I-Y after B-X"),
        ((0, 0, 1), BIOES, "row 1 of the batch has B-X last"),
    ],
)
def test_labels_that_the_scheme_forbids_are_refused_with_the_step(path, labels, message):
    crf = a_crf(labels)
    with pytest.raises(ValueError, match=message):
        crf(torch.zeros(2, 3, 5, dtype=torch.float64), torch.ones(2, 3).bool(), torch.tensor([(0, 0, 0), path]))


def test_ties_are_decoded_as_one_valid_sequence():
    crf = a_crf(BIOES, scale=0.0).eval()
    decoded = crf(torch.zeros(3, 6, 5), torch.ones(3, 6).bool()).logits.argmax(dim=-1)
    for row in decoded.tolist():
        assert bioes_is_possible(tuple(BIOES[label] for label in row))


def test_a_path_through_thousands_of_words_loses_no_digit():
    crf, generator = a_crf(IOB2, dtype=torch.float32).eval(), torch.Generator().manual_seed(5)
    emissions = torch.randn(2, 3000, 5, generator=generator) * 5
    mask = torch.ones(2, 3000).bool()
    exact = a_crf(IOB2).eval()
    torch.testing.assert_close(
        crf(emissions, mask).logits.double(), exact(emissions.double(), mask).logits, atol=1e-4, rtol=1e-5
    )
    labels = torch.zeros(2, 3000, dtype=torch.long)
    ours, reference = (c(e, mask, labels).nll for c, e in ((crf, emissions), (exact, emissions.double())))
    torch.testing.assert_close(ours.double(), reference, rtol=1e-6, atol=1e-2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_and_autocast_compute_in_float32(dtype):
    crf, emissions = a_crf(IOB2, dtype=dtype).eval(), some_emissions(IOB2, dtype=dtype)
    labels = torch.where(MASK, 0, -100)
    whole = a_crf(IOB2).eval()
    for mine, theirs in zip(whole.parameters(), crf.parameters(), strict=True):
        mine.data = theirs.data.double()
    with torch.autocast("cpu", torch.bfloat16):
        outputs = crf(emissions, MASK, labels)
    expected = whole(emissions.double(), MASK, labels)
    assert (outputs.nll.dtype, outputs.logits.dtype) == (torch.float32, dtype)
    torch.testing.assert_close(outputs.nll.double(), expected.nll, rtol=1e-5, atol=1e-5)
    assert torch.equal(outputs.logits.argmax(dim=-1)[MASK], expected.logits.argmax(dim=-1)[MASK])
    outputs.loss.backward()
    assert emissions.grad.isfinite().all()


def test_special_tokens_are_skipped_like_positions_without_labels_in_training():
    """[CLS] a ##b [SEP] with pieces labelled B-X, I-X: in both cases, the sequence is that of the pieces alone."""
    crf, emissions = a_crf(IOB2, special_token_ids=[101, 102]), some_emissions(IOB2)[:1].detach()
    ids = torch.tensor([[101, 7, 8, 102]])
    trained = tag(crf.train(), emissions, ids, None, torch.tensor([[-100, 1, 2, -100]]), None)
    alone = crf(emissions[:, 1:3], torch.ones(1, 2).bool(), torch.tensor([[1, 2]]))
    torch.testing.assert_close(trained.loss, alone.loss)
    decoded = tag(crf.eval(), emissions, ids, None, None, None).logits[:, 1:3]
    torch.testing.assert_close(decoded, crf(emissions[:, 1:3], torch.ones(1, 2).bool()).logits)


def test_labels_never_change_what_is_decoded():
    crf, emissions = a_crf(IOB2).eval(), some_emissions(IOB2)
    labels = torch.full(MASK.shape, -100)
    labels[0, 1] = 1
    assert torch.equal(crf(emissions, MASK, labels).logits, crf(emissions, MASK).logits)


def test_a_model_used_in_inference_mode_can_be_trained_afterwards():
    tag_constraints._KEPT.clear()
    crf, emissions = a_crf(IOB2), some_emissions(IOB2)
    with torch.inference_mode():
        crf.eval()(emissions, MASK)
    crf.train()(emissions, MASK, torch.where(MASK, 0, -100)).loss.backward()
    assert crf.transitions.grad.isfinite().all()


def enumerate_marginals(crf, labels, row) -> tuple[torch.Tensor, torch.Tensor]:
    """(T, C) probability of each tag, and (T - 1, C, C) of each two neighbouring ones, from all possible sequences."""
    size = len(labels)
    paths = [
        path
        for path in itertools.product(range(size), repeat=len(row))
        if POSSIBLE[labels](tuple(labels[tag] for tag in path))
    ]
    probabilities = torch.stack([score(crf, row, path) for path in paths]).softmax(dim=0)
    # (paths, T, C): 1 for the tags of each path.
    one_hot = torch.nn.functional.one_hot(torch.tensor(paths), size).double()
    pairs = torch.einsum("p,pta,ptb->tab", probabilities, one_hot[:, :-1], one_hot[:, 1:])
    return torch.einsum("p,ptc->tc", probabilities, one_hot), pairs


@pytest.mark.parametrize("labels", SCHEMES, ids=["free", "iob2", "bioes"])
@pytest.mark.parametrize("scale", [1.0, 200.0], ids=["scaled", "in logs"])
def test_marginals_and_their_gradients_are_those_of_the_enumeration(labels, scale):
    crf, emissions = a_crf(labels, scale), some_emissions(labels, scale)
    rows, weights = compact_rows(MASK), crf._weights(emissions)
    assert (crf_inference._spread(emissions, weights) < crf_inference.SPREAD) == (scale == 1.0)
    gathered = rows.gather(emissions)
    ours = log_marginals(gathered, weights, rows)
    pairs = log_pair_marginals(gathered, weights, rows).exp()
    inputs, generator = [emissions, *crf.parameters()], torch.Generator().manual_seed(3)
    for index, row in taggable(emissions):
        own, (expected, expected_pairs) = ours[: len(row), index], enumerate_marginals(crf, labels, row)
        torch.testing.assert_close(own.exp(), expected)
        torch.testing.assert_close(pairs[: len(row) - 1, index], expected_pairs)
        # Of a loss as in training: the cross-entropy against some distribution over the possible tags.
        counts = expected > 1e-250  # the enumeration loses smaller ones
        target = torch.rand(expected.shape, generator=generator, dtype=torch.float64)[counts]
        losses = [-target @ own[counts], -target @ expected[counts].log()]
        # A row of one word has no transition.
        options = {"retain_graph": True, "materialize_grads": True}
        found, reference = (torch.autograd.grad(loss, inputs, **options) for loss in losses)
        for one, other in zip(found, reference, strict=True):
            torch.testing.assert_close(one, other)


def test_marginals_of_scores_beyond_float64_are_finite_in_log_space():
    crf, emissions = a_crf(FREE), some_emissions(FREE, 1000.0)
    rows = compact_rows(MASK)
    found = log_marginals(rows.gather(emissions), crf._weights(emissions), rows).detach()
    assert found.isfinite().all()
    assert float(found.min()) < -750.0  # exp(-750) is 0
