"""Writing a text with the recurrent encoder-decoder: every search, any padding, and a state that can be reordered."""

from __future__ import annotations

import itertools

import pytest
import torch
from contract import padded, words
from test_seq2seq import KINDS, a_model
from transformers import GenerationConfig

from pipeline.models.recurrent import RecurrentModel
from pipeline.models.recurrent.recurrence import CELLS

SEARCHES = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_k": 20},
    "beam": {"num_beams": 3},
    "beam-sample": {"num_beams": 3, "do_sample": True},
    "several": {"num_beams": 4, "num_return_sequences": 3},
    "penalties": {"num_beams": 2, "repetition_penalty": 1.3, "no_repeat_ngram_size": 2, "length_penalty": 2.0},
}
LENGTHS = [5, 2, 7]


def a_writer(**changes):
    """A model whose next word depends on the words before and on the source, not on a bias."""
    model = a_model(**changes)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "weight_hh" not in name and "lm_head" not in name and "shared" not in name:
                parameter.mul_(4)
        model.lm_head.bias.zero_()
    return model


def write(model, ids, mask=None, **options):
    torch.manual_seed(5)
    options = {"max_new_tokens": 8, "eos_token_id": 3, **options}
    return model.generate(ids, attention_mask=mask, **options)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("search", SEARCHES)
def test_the_state_never_changes_what_is_written(kind, search):
    model = a_writer(**KINDS[kind])
    ids, mask = padded(words(LENGTHS), "left")
    with_state, without = (write(model, ids, mask, use_cache=use, **SEARCHES[search]) for use in (True, False))
    assert torch.equal(with_state, without)
    assert len(set(with_state[:, 1:].flatten().tolist())) > 3


@pytest.mark.parametrize(("cell", "kind"), zip(itertools.cycle(CELLS), KINDS, strict=False))
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_batch_writes_what_each_text_does_alone(cell, kind, side):
    model = a_writer(cell_type=cell, **KINDS[kind])
    rows = words(LENGTHS)
    for beams in (1, 3):
        together = write(model, *padded(rows, side, extra=1), num_beams=beams)
        alone = [write(model, row[None], num_beams=beams)[0] for row in rows]
        for found, expected in zip(together, alone, strict=True):
            assert torch.equal(found[: len(expected)], expected)
            assert set(found[len(expected) :].tolist()) <= {0, 3}  # padding; after beams, transformers takes the end


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_is_read_once_and_each_word_is_one_step(kind, monkeypatch):
    model = a_writer(**KINDS[kind])
    read, steps, sizes = [], [], []
    encode, decode = RecurrentModel.forward, model.decoder.forward

    def reading(self, *args, **inputs):
        read.append(1)
        return encode(self, *args, **inputs)

    def writing(embedded, source, cache, mask):
        steps.append(embedded.shape[1])
        decoded = decode(embedded, source, cache, mask)
        sizes.append(sum(part.numel() for layer in cache.layers for part in layer.get_state()))
        return decoded

    monkeypatch.setattr(RecurrentModel, "forward", reading)
    monkeypatch.setattr(model.decoder, "forward", writing)
    write(model, words([9])[0][None], num_beams=2, max_new_tokens=5, min_new_tokens=5)
    assert read == [1]
    assert steps == [1] * 5
    assert len(set(sizes)) == 1


def test_beam_search_finds_what_trying_all_texts_finds():
    """With as many beams as there are texts of two words, beam search is exhaustive."""
    model = a_writer(vocab_size=6, bos_token_id=1)
    source = torch.tensor([[1, 2, 3]])
    best = write(model, source, num_beams=6, max_new_tokens=2, length_penalty=0.0, eos_token_id=None)[0, 1:]
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    log_probabilities = model(source.expand(36, 3), labels=pairs).logits.log_softmax(-1)
    scores = log_probabilities.gather(2, pairs[..., None]).sum((1, 2))
    assert torch.equal(best, pairs[scores.argmax()])


def test_what_is_written_ends_at_the_end_token_and_starts_as_it_is_told_to():
    model = a_writer(eos_token_id=3)
    with torch.no_grad():
        model.lm_head.bias[3] = 100.0
    ids = words([4])[0][None]
    assert model.generate(ids, max_new_tokens=9).tolist() == [[2, 3]]
    given = torch.tensor([[2, 9, 9]])
    assert model.generate(ids, decoder_input_ids=given, max_new_tokens=9).tolist() == [[2, 9, 9, 3]]
    assert model.generate(ids, decoder_start_token_id=7, max_new_tokens=9).tolist() == [[7, 3]]
    assert model.generate(
        ids, GenerationConfig(forced_bos_token_id=8, max_new_tokens=9, **special(model))
    ).tolist() == [[2, 8, 3]]


def special(model) -> dict[str, int]:
    names = ("bos_token_id", "eos_token_id", "pad_token_id")
    return {name: getattr(model.config, name) for name in names}


@pytest.mark.parametrize("kind", ["none", "multiplicative", "additive, fed"])
def test_generation_returns_scores_weights_and_states_of_each_step(kind):
    model = a_writer(**KINDS[kind])
    ids, mask = padded(words([5, 2]), "right")
    options = {"output_scores": True, "output_attentions": True, "output_hidden_states": True}
    for beams in (1, 3):
        result = write(model, ids, mask, num_beams=beams, return_dict_in_generate=True, min_new_tokens=8, **options)
        rows = 2 * beams
        assert [step.shape for step in result.scores] == [(rows, 50)] * 8
        if kind == "none":
            assert result.cross_attentions == (None,) * 8
        else:
            assert [weights.shape for (weights,) in result.cross_attentions] == [(rows, 1, 1, 5)] * 8
            torch.testing.assert_close(result.cross_attentions[3][0].sum(-1), torch.ones(rows, 1, 1))
        assert [len(states) for states in result.decoder_hidden_states] == [1 + model.config.decoder_layers] * 8
        assert [state.shape[-1] for state in result.encoder_hidden_states] == [6, 10, 10]


# --- the state


def read_to(model, ids, mask, target, cache=None):
    outputs = model(ids, mask, decoder_input_ids=target, past_key_values=cache, use_cache=True)
    return outputs.logits, outputs.past_key_values


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["right", "left", "holes"])
def test_continuing_from_a_returned_state_equals_one_call(cell, kind, side):
    model = a_model(cell_type=cell, **KINDS[kind])
    source, source_mask = padded(words([4, 2, 6]), "right")
    ids, mask = padded(words([9, 6, 8], seed=1), side, extra=1)
    whole = model(source, source_mask, decoder_input_ids=ids, decoder_attention_mask=mask)
    parts, cache = [], None
    for end in (5, 6, 10):  # the mask covers everything read so far, as in generation
        start = 0 if cache is None else cache.get_seq_length()
        given = {"decoder_input_ids": ids[:, start:end], "decoder_attention_mask": mask[:, :end]}
        outputs = model(source, source_mask, **given, past_key_values=cache, use_cache=True)
        parts, cache = [*parts, outputs.logits], outputs.past_key_values
    real = mask.bool()
    torch.testing.assert_close(torch.cat(parts, dim=1)[real], whole.logits[real], atol=1e-6, rtol=1e-6)
    for layer, other in zip(cache.layers, whole.past_key_values.layers, strict=True):
        torch.testing.assert_close(layer.get_state(), other.get_state(), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_reordered_repeated_or_selected_state_is_that_of_the_rows_in_that_order(kind):
    model = a_model(**KINDS[kind])
    ids, mask = padded(words([5, 2, 4]), "right")
    target, following = torch.stack(words([4, 4, 4], seed=1)), torch.tensor([[5], [6], [7]])
    changes = {
        "reorder_cache": (torch.tensor([2, 0, 0]), torch.tensor([2, 0, 0])),
        "batch_repeat_interleave": (2, torch.tensor([0, 0, 1, 1, 2, 2])),
        "batch_select_indices": (torch.tensor([1]), torch.tensor([1])),
    }
    for name, (argument, rows) in changes.items():
        _, cache = read_to(model, ids, mask, target)
        getattr(cache, name)(argument)
        changed, _ = read_to(model, ids[rows], mask[rows], following[rows], cache)
        _, fresh = read_to(model, ids[rows], mask[rows], target[rows])
        expected, _ = read_to(model, ids[rows], mask[rows], following[rows], fresh)
        torch.testing.assert_close(changed, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_can_be_restored_from_its_tensors_reset_and_not_rewound(kind):
    model = a_model(**KINDS[kind])
    ids, target = words([5])[0][None], words([6], seed=1)[0][None]
    _, cache = read_to(model, ids, None, target[:, :3])
    saved = cache.state_dict()
    expected, _ = read_to(model, ids, None, target[:, 3:], cache)
    cache.load_state_dict(saved)
    assert cache.get_seq_length() == 3
    assert torch.equal(read_to(model, ids, None, target[:, 3:], cache)[0], expected)
    with pytest.raises(RuntimeError, match="cannot be rewound"):
        cache.crop(-1)
    cache.reset()
    assert cache.get_seq_length() == 0
    assert torch.equal(read_to(model, ids, None, target, cache)[0], read_to(model, ids, None, target)[0])


def test_a_state_is_returned_if_the_config_says_so_but_in_training_only_if_asked_for():
    ids, target = words([5])[0][None], words([6], seed=1)[0][None]
    assert a_model()(ids, decoder_input_ids=target).past_key_values.get_seq_length() == 6
    assert a_model(use_cache=False)(ids, decoder_input_ids=target).past_key_values is None
    model = a_model().train()
    assert model(ids, decoder_input_ids=target).past_key_values is None
    assert model(ids, decoder_input_ids=target, use_cache=True).past_key_values.get_seq_length() == 6


def test_a_source_that_must_be_encoded_in_one_direction_can_be():
    model = a_writer(bidirectional=False)
    assert write(model, words([5])[0][None]).shape == (1, 9)
    assert model.get_encoder()(words([5])[0][None]).last_hidden_state.shape == (1, 5, 5)
