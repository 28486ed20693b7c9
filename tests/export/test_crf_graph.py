"""The CRF in a graph agrees with the enumeration of all tag sequences, and finds the tags that torch's finds."""

from __future__ import annotations

import re

import pytest
import torch
from contract import padded, randomised, words
from sessions import batches, difference, run, session

from pipeline.export.recurrent.crf import decode
from pipeline.export.recurrent.graph import BOOL, FLOAT, Graph
from pipeline.models.recurrent import RecurrentConfig, RecurrentForTokenClassification
from pipeline.models.recurrent.crf import LinearChainCRF
from pipeline.models.recurrent.crf_inference import IMPOSSIBLE

FREE = ("NOUN", "VERB", "ADJ")
IOB2 = ("O", "B-X", "I-X", "B-Y", "I-Y")
BIOES = ("O", "B-X", "I-X", "E-X", "S-X")
# All sorts of rows: full, with holes, with one word, left-padded, with none.
MASK = torch.tensor([[1, 1, 1, 1], [0, 1, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0]]).bool()


def config(labels, **changes):
    return RecurrentConfig(**{"vocab_size": 50, "id2label": dict(enumerate(labels)), "crf": True, **changes})


def a_tagger(labels, **changes):
    sizes = {"embedding_size": 6, "units": 5, "bidirectional": True, "empty_text_token_id": 7}
    return randomised(RecurrentForTokenClassification(config(labels, **sizes, **changes)))


def decoded(crf, emissions, mask):
    """The logits of a graph that holds the CRF alone."""
    graph = Graph(crf, 18)
    given = graph.input("emissions", FLOAT, "batch", "time", emissions.shape[2])
    places = graph.input("mask", BOOL, "batch", "time")
    graph.output("logits", decode(graph, crf, given, places), "batch", "time", emissions.shape[2])
    return run(session(graph.finish()), emissions=emissions, mask=mask)["logits"]


@pytest.mark.parametrize("labels", [FREE, IOB2, BIOES], ids=["free", "IOB2", "BIOES"])
def test_the_logits_are_the_max_marginals_of_all_sequences(labels):
    crf = randomised(LinearChainCRF(config(labels)))
    emissions = torch.randn(*MASK.shape, len(labels), generator=torch.Generator().manual_seed(2))
    found = decoded(crf, emissions, MASK)
    weights = crf._weights(emissions)
    for row, mask in enumerate(MASK):
        positions = mask.nonzero().flatten()
        elsewhere = emissions[row, ~mask].log_softmax(dim=-1)
        torch.testing.assert_close(found[row, ~mask], elsewhere, atol=1e-5, rtol=0)
        if not len(positions):
            continue
        paths = torch.cartesian_prod(*[torch.arange(len(labels))] * len(positions)).view(-1, len(positions))
        scores = weights.start[paths[:, 0]] + emissions[row, positions, paths].sum(dim=1) + weights.end[paths[:, -1]]
        scores = scores + weights.transitions[paths[:, :-1], paths[:, 1:]].sum(dim=1)
        scores = scores - scores.max()
        for step, position in enumerate(positions):
            best = torch.stack([scores[paths[:, step] == tag].max() for tag in range(len(labels))])
            torch.testing.assert_close(found[row, position], best.clamp(min=IMPOSSIBLE), atol=1e-5, rtol=0)
        assert found[row, positions].argmax(dim=-1).tolist() == paths[scores.argmax()].tolist()


@pytest.mark.parametrize("special", [None, [3, 4]])
@pytest.mark.parametrize("side", ["right", "left", "holes"])
def test_special_tokens_and_padding_are_skipped(special, side):
    model = a_tagger(BIOES, special_token_ids=special)
    graph = session(model)
    for inputs in batches(side, empty=True):
        inputs["input_ids"][0, ::3] = 3  # the first row without any tagged position, if it has one word
        assert difference(model, graph, **inputs) <= 1e-5


def test_a_batch_without_any_tagged_position_or_without_positions_is_answered():
    model = a_tagger(IOB2, special_token_ids=[3])
    graph = session(model)
    ids = torch.full((2, 4), 3)
    assert difference(model, graph, input_ids=ids, attention_mask=torch.ones_like(ids)) <= 1e-5
    nothing = torch.zeros(2, 0, dtype=torch.long)
    assert difference(model, graph, input_ids=nothing, attention_mask=nothing) == 0.0


@pytest.mark.parametrize("labels", [IOB2, BIOES], ids=["IOB2", "BIOES"])
def test_the_tags_of_ten_thousand_random_words_and_of_rows_of_one_word_are_those_of_torch(labels):
    model = a_tagger(labels)
    graph = session(model)
    generator = torch.Generator().manual_seed(5)
    lengths = torch.randint(1, 60, (340,), generator=generator).tolist()
    assert sum(lengths) > 10_000
    rows = words(lengths)
    starts = range(0, len(rows), 20)
    for batch in [*(rows[start : start + 20] for start in starts), *(row[None, :1] for row in rows[:50])]:
        ids, mask = padded(list(batch), "right")
        with torch.no_grad():
            expected = model(input_ids=ids, attention_mask=mask).logits.argmax(dim=-1)
        tags = run(graph, input_ids=ids, attention_mask=mask)["logits"].argmax(dim=-1)
        assert torch.equal(tags[mask.bool()], expected[mask.bool()])
        if labels is BIOES:
            for row, real in zip(tags, mask.bool(), strict=True):
                letters = "".join(labels[tag][0] for tag in row[real])
                assert re.fullmatch(r"(O|S|BI*E)*", letters)


def test_the_scores_of_a_long_row_keep_their_digits():
    model = a_tagger(BIOES)
    ids = torch.stack(words([3000]))
    assert difference(model, session(model), input_ids=ids, attention_mask=torch.ones_like(ids)) <= 1e-4


def test_tags_that_tie_are_a_valid_sequence():
    """Zeros make all allowed sequences equally good."""
    crf = LinearChainCRF(config(BIOES))
    crf.init_weights()
    logits = decoded(crf, torch.zeros(1, 6, len(BIOES)), torch.ones(1, 6, dtype=torch.bool))
    tags = logits[0].argmax(dim=-1)
    assert (logits[0].sort(dim=-1).values[:, -2] < 0).all()  # one stands out at each position
    assert re.fullmatch(r"(O|S|BI*E)*", "".join(BIOES[tag][0] for tag in tags))
