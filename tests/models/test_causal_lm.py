"""Predicting the next word: the state that is carried, the head that is shared, and what is dropped in training."""

from __future__ import annotations

import json

import clean_process
import pytest
import torch
from contract import EVERY_CELL, CacheContract, ModelContract, padded, randomised, words
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM

from pipeline.config.data import Data
from pipeline.config.models import Recurrent
from pipeline.data.tokenization.tokenizers import train
from pipeline.models.build import build
from pipeline.models.recurrent import RecurrentCache, RecurrentConfig, RecurrentForCausalLM, RecurrentModel
from pipeline.models.recurrent.dropout import LockedDropout

SIZES = {"vocab_size": 50, "embedding_size": 6, "units": 5, "num_hidden_layers": 2}
SEARCHES = {
    "greedy": {},
    "sampling": {"do_sample": True, "top_k": 20},
    "beam": {"num_beams": 3},
    "beam-sample": {"num_beams": 3, "do_sample": True},
    "several": {"do_sample": True, "num_return_sequences": 2},
}


def a_model(**changes) -> RecurrentForCausalLM:
    model = randomised(RecurrentForCausalLM(RecurrentConfig(**{**SIZES, **changes})))
    with torch.no_grad():  # so that the next word depends on the words before, not on a bias
        for layer in model.model.layers:
            for name, parameter in layer.named_parameters():
                if parameter.dim() > 1 and name.removesuffix("_l0") not in layer.cell.recurrent_weights:
                    parameter.mul_(4)
        if isinstance(model.lm_head, nn.Linear):
            model.lm_head.bias.zero_()
    return model


def generate(model, ids, mask=None, **options):
    torch.manual_seed(5)
    options = {"max_new_tokens": 8, "pad_token_id": 0, **options}
    return model.generate(ids, attention_mask=torch.ones_like(ids) if mask is None else mask, **options)


class TestRecurrentForCausalLM(CacheContract, ModelContract):
    model_class = RecurrentForCausalLM
    auto_class = AutoModelForCausalLM
    one_way_only = True

    def outputs_of(self, model, ids, mask):
        logits = model(input_ids=ids, attention_mask=mask).logits[..., :50]  # a resized vocabulary has more
        return logits.flatten(0, 1) if mask is None else logits[mask.bool()]


class TestTiedThroughAProjection(TestRecurrentForCausalLM):
    test_torch_compile_gives_the_same_result = None  # takes seconds; the layers are the same
    test_an_exported_graph_holds_for_any_mask_and_any_number_of_texts = None  # likewise

    def config(self, **changes):
        return super().config(**{**changes, "tie_word_embeddings": True})

    def test_the_matrix_is_shared_and_stored_once(self, tmp_path):
        from safetensors.torch import load_file

        model = self.model()
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert model.projection.weight.shape == (6, 5)
        model.save_pretrained(tmp_path)
        assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
        loaded = RecurrentForCausalLM.from_pretrained(tmp_path)
        assert loaded.lm_head.weight is loaded.model.embed_tokens.weight


class TestAdaptiveSoftmax(TestRecurrentForCausalLM):
    """The contract again with another head, and its agreement with torch's own class."""

    test_torch_compile_gives_the_same_result = None  # takes seconds; the layers are the same
    test_initial_weights_are_orthogonal_with_an_open_forget_gate = None  # the test counts five units

    def config(self, **changes):
        changes = {**changes, "adaptive_cutoffs": [10, 30], "units": 16, "tie_word_embeddings": False}
        return super().config(**changes)

    def test_resizing_the_vocabulary_keeps_known_words(self):
        with pytest.raises(ValueError, match="the vocabulary of an adaptive softmax cannot be resized"):
            self.model().resize_token_embeddings(60)

    def test_loss_gradients_and_log_probabilities_are_those_of_torch(self):
        model = self.model().train()
        reference = nn.AdaptiveLogSoftmaxWithLoss(16, 50, [10, 30])
        reference.load_state_dict(model.lm_head.state_dict())
        ids = torch.arange(1, 49).view(4, 12)
        states = model.model(ids).last_hidden_state
        theirs = reference(states[:, :-1].flatten(0, 1), ids[:, 1:].flatten()).loss
        outputs = model(ids, labels=ids)
        assert outputs.logits is None  # in training the whole vocabulary is never computed
        torch.testing.assert_close(outputs.loss, theirs)
        ours = torch.autograd.grad(outputs.loss, [*model.lm_head.parameters()])
        torch.testing.assert_close(ours, torch.autograd.grad(theirs, [*reference.parameters()]))
        logits = model.eval()(ids).logits
        torch.testing.assert_close(logits.flatten(0, 1), reference.log_prob(states.flatten(0, 1)))
        torch.testing.assert_close(logits.exp().sum(-1), torch.ones(4, 12))

    def test_labels_in_one_cluster_or_none_at_all_give_a_gradient_to_every_parameter(self):
        for label in (3, -100):
            model = self.model().train()
            ids = torch.full((1, 4), 3)
            loss = model(ids, labels=torch.full((1, 4), label)).loss
            loss.nan_to_num().backward()
            assert all(parameter.grad is not None for parameter in model.lm_head.parameters())


@pytest.mark.parametrize("head", [{}, {"tie_word_embeddings": True}, {"adaptive_cutoffs": [10]}])
def test_the_loss_is_that_of_shifted_labels_and_ignores_what_is_marked(head):
    model = a_model(**head)
    ids, mask = padded(words([6, 3]), "right")
    labels = ids.masked_fill(mask == 0, -100)
    labels[0, 2] = -100
    outputs = model(ids, mask, labels=labels)
    chosen = [(row, t) for row in range(2) for t in range(5) if labels[row, t + 1] != -100]
    nll = [-outputs.logits.double().log_softmax(-1)[row, t, labels[row, t + 1]] for row, t in chosen]
    torch.testing.assert_close(outputs.loss.double(), torch.stack(nll).mean(), atol=1e-6, rtol=1e-6)
    summed = model(ids, mask, labels=labels, num_items_in_batch=torch.tensor(100)).loss
    torch.testing.assert_close(summed, outputs.loss * len(nll) / 100)
    shifted = F.pad(labels[:, 1:], (0, 1), value=-100)
    assert torch.equal(model(ids, mask, labels=labels, shift_labels=shifted).loss, outputs.loss)


def test_only_the_requested_logits_are_computed():
    model = a_model()
    (row,) = words([7])
    logits = model(row[None]).logits
    torch.testing.assert_close(model(row[None], logits_to_keep=1).logits, logits[:, -1:])
    torch.testing.assert_close(model(row[None], logits_to_keep=torch.tensor([1, 4])).logits, logits[:, [1, 4]])


def test_reading_in_both_directions_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="from left to right only, as a backward direction would read the answer"):
        RecurrentForCausalLM(RecurrentConfig(bidirectional=True))
    model = RecurrentModel(RecurrentConfig(**SIZES, bidirectional=True))
    for asked in ({"use_cache": True}, {"past_key_values": RecurrentCache(model.config)}):
        with pytest.raises(ValueError, match="bidirectional model reads a text from both ends"):
            model(torch.ones(1, 2, dtype=torch.long), **asked)


def test_reading_characters_is_refused_because_generated_words_have_none():
    with pytest.raises(ValueError, match="`char_encoder` is 'cnn'; this model generates ids, without the characters"):
        RecurrentForCausalLM(RecurrentConfig(char_encoder="cnn"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"adaptive_cutoffs": []}, "must be ids from 1 to 49 in increasing order"),
        ({"adaptive_cutoffs": [30, 10]}, "must be ids from 1 to 49 in increasing order"),
        ({"adaptive_cutoffs": [50]}, "must be ids from 1 to 49 in increasing order"),
        ({"adaptive_cutoffs": [10, 20]}, "5 units are too few for that many clusters"),
        ({"adaptive_cutoffs": [10], "tie_word_embeddings": True}, "an adaptive softmax has no matrix to share"),
        ({"weight_dropout": 1.0}, "`weight_dropout` is 1.0"),
    ],
)
def test_an_impossible_setting_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        RecurrentConfig(**SIZES, **wrong)


# --- the carried state


@pytest.mark.parametrize("cell", EVERY_CELL)
@pytest.mark.parametrize("search", SEARCHES)
def test_the_state_never_changes_what_is_generated(cell, search):
    model = a_model(cell_type=cell)
    ids, mask = padded(words([5, 2, 7]), "left")
    with_state, without = (generate(model, ids, mask, use_cache=use, **SEARCHES[search]) for use in (True, False))
    assert torch.equal(with_state, without)
    assert len(set(with_state[:, ids.shape[1] :].flatten().tolist())) > 1


@pytest.mark.parametrize("cell", EVERY_CELL)
def test_a_left_padded_batch_generates_what_each_row_does_alone(cell):
    model = a_model(cell_type=cell)
    rows = words([5, 2, 7])
    together = generate(model, *padded(rows, "left", extra=1))[:, -8:]
    assert torch.equal(together, torch.cat([generate(model, row[None])[:, -8:] for row in rows]))


def test_beam_search_finds_what_trying_all_continuations_finds():
    """With as many beams as there are continuations of two words, beam search is exhaustive."""
    model = a_model(vocab_size=6)
    prompt = torch.tensor([[1, 2, 3]])
    best = generate(model, prompt, num_beams=6, max_new_tokens=2, length_penalty=0.0)[0, 3:]
    pairs = torch.cartesian_prod(torch.arange(6), torch.arange(6))
    log_probabilities = model(torch.cat([prompt.expand(36, 3), pairs], dim=1)).logits.log_softmax(-1)
    scores = log_probabilities[:, 2:4].gather(2, pairs[..., None]).sum((1, 2))
    assert torch.equal(best, pairs[scores.argmax()])


def test_each_generated_word_is_one_step_and_the_state_keeps_its_size(monkeypatch):
    model = a_model()
    seen, sizes = [], []
    forward = RecurrentModel.forward

    def watched(self, input_ids, **inputs):
        seen.append(input_ids.shape[1])
        outputs = forward(self, input_ids, **inputs)
        layers = outputs.past_key_values.layers
        sizes.append(sum(part.numel() for layer in layers for part in layer.recurrent_states.values()))
        return outputs

    monkeypatch.setattr(RecurrentModel, "forward", watched)
    generate(model, words([9])[0][None], max_new_tokens=5)
    assert seen == [9, 1, 1, 1, 1]
    assert set(sizes) == {2 * 2 * 5}


def test_generation_continues_from_a_returned_state():
    model = a_model()
    ids, mask = padded(words([9, 6]), "left")
    cache = model(ids[:, :5], mask[:, :5]).past_key_values
    assert torch.equal(generate(model, ids, mask, past_key_values=cache), generate(model, ids, mask))


def test_a_row_that_has_ended_keeps_its_state():
    model = a_model()
    rows = words([9, 3])
    ids, mask = padded(rows, "right")
    cache = model(ids[:, :4], mask[:, :4]).past_key_values
    cache = model(ids[:, 4:], mask, past_key_values=cache).past_key_values
    for index, row in enumerate(rows):
        alone = model(row[None]).past_key_values
        for layer, own in zip(cache.layers, alone.layers, strict=True):
            states = [part[index] for part in layer.get_state()]
            torch.testing.assert_close(states, [part[0] for part in own.get_state()], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", EVERY_CELL)
@pytest.mark.parametrize("detached", [False, True])
def test_gradients_flow_through_two_chunks_unless_the_state_is_detached(cell, detached):
    model = a_model(cell_type=cell).train()
    ids = torch.stack(words([10, 10]))
    first = model(ids[:, :5], use_cache=True)
    if detached:
        first.past_key_values.detach()
    second = model(ids[:, 5:], past_key_values=first.past_key_values)
    (first.logits.sum() * 0 + second.logits.sum()).backward()
    chunks = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model(ids).logits[:, 5:].sum().backward()
    whole = [parameter.grad for parameter in model.parameters()]
    same = [torch.allclose(a, b, atol=1e-5, rtol=1e-4) for a, b in zip(chunks, whole, strict=True)]
    assert all(same) != detached


def test_a_state_can_be_reset_repeated_and_selected_but_not_rewound():
    model = a_model()
    ids = torch.stack(words([4, 4]))
    cache = model(ids).past_key_values
    before = cache.layers[0].get_state()
    cache.batch_repeat_interleave(2)
    assert torch.equal(cache.layers[0].get_state()[1], before[1][[0, 0, 1, 1]])
    cache.batch_select_indices(torch.tensor([2]))
    assert torch.equal(cache.layers[0].get_state()[0], before[0][[1]])
    with pytest.raises(RuntimeError, match="cannot be rewound"):
        cache.crop(-1)
    cache.reset()
    assert cache.get_seq_length() == 0
    torch.testing.assert_close(model(ids, past_key_values=cache).logits, model(ids).logits)


def test_a_state_restored_from_its_tensors_can_be_continued():
    model = a_model()
    ids = torch.stack(words([9, 9]))
    saved = model(ids[:, :5]).past_key_values.state_dict()
    cache = model.new_cache()
    cache.load_state_dict(cache.state_dict())  # nothing has been read, so nothing is restored
    assert cache.get_seq_length() == 0
    model(ids[:, :3], past_key_values=cache)
    cache.load_state_dict(saved)
    assert cache.get_seq_length() == 5
    torch.testing.assert_close(model(ids[:, 5:], past_key_values=cache).logits, model(ids).logits[:, 5:])


@pytest.mark.parametrize("encoder", ["cnn", "lstm"])
def test_a_model_that_reads_characters_continues_from_a_state_and_keeps_texts_of_a_row_apart(encoder):
    model = randomised(RecurrentModel(RecurrentConfig(**SIZES, char_encoder=encoder, char_vocab_size=9)))
    ids = torch.stack(words([7, 7]))
    char_ids = torch.randint(1, 9, (2, 7, 4), generator=torch.Generator().manual_seed(1))
    whole = model(ids, char_ids=char_ids)
    cache = model(ids[:, :4], char_ids=char_ids[:, :4]).past_key_values
    later = model(ids[:, 4:], char_ids=char_ids[:, 4:], past_key_values=cache)
    torch.testing.assert_close(later.last_hidden_state, whole.last_hidden_state[:, 4:])
    packed = model(ids.view(1, 14), char_ids=char_ids.view(1, 14, 4), position_ids=torch.arange(7).repeat(1, 2))
    torch.testing.assert_close(packed.last_hidden_state.view(2, 7, 5), whole.last_hidden_state)


# --- several texts in a row


@pytest.mark.parametrize("cell", EVERY_CELL)
@pytest.mark.parametrize("side", ["right", "left", "none"])
def test_texts_that_share_a_row_do_not_see_each_other(cell, side):
    """Rows that begin in the middle of a text continue from its state; the others start from zeros."""
    model = a_model(cell_type=cell)
    texts = words([4, 3, 1, 6, 2])
    ids, mask = padded([torch.cat(texts[:3]), torch.cat(texts[3:])], "right" if side == "none" else side)
    positions = torch.full_like(ids, 9)
    positions[mask.bool()] = torch.cat([torch.arange(len(text)) for text in texts])
    begun = words([5], seed=3)[0]
    cache = model(begun[None].repeat(2, 1)).past_key_values
    positions[1, mask[1].nonzero()[0]] = 7  # the second row continues
    inputs = {"attention_mask": None if side == "none" and mask.all() else mask, "position_ids": positions}
    outputs = model(ids, past_key_values=cache, **inputs)
    alone = [model(text[None]).logits[0] for text in texts]
    alone[3] = model(torch.cat([begun, texts[3]])[None]).logits[0, 5:]
    torch.testing.assert_close(outputs.logits[mask.bool()], torch.cat(alone), atol=1e-6, rtol=1e-6)
    for index, text in ((0, texts[2]), (1, texts[4])):
        state = model(text[None]).past_key_values.layers[1].get_state()
        torch.testing.assert_close(outputs.past_key_values.layers[1].get_state()[0][index], state[0][0])


def test_gradients_of_texts_that_share_a_row_are_those_of_separate_texts():
    model = a_model().train()
    texts = words([4, 3, 5])
    positions = torch.cat([torch.arange(len(text)) for text in texts])[None]
    gradients = []
    for logits in (
        [model(torch.cat(texts)[None], position_ids=positions).logits],
        [model(t[None]).logits for t in texts],
    ):
        model.zero_grad()
        sum(part.square().sum() for part in logits).backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    torch.testing.assert_close(*gradients, atol=1e-4, rtol=1e-4)


# --- what is dropped in training


def test_locked_dropout_draws_one_mask_for_all_positions_of_a_row():
    dropped = LockedDropout(0.5)(torch.ones(8, 5, 40))
    assert set(dropped.flatten().tolist()) == {0.0, 2.0}
    assert torch.equal(dropped, dropped[:, :1].expand(8, 5, 40))
    assert not torch.equal(dropped[0], dropped[1])
    assert 0.4 < (dropped == 0).float().mean() < 0.6


def test_a_variational_model_locks_its_masks_on_embeddings_and_states():
    model = a_model(variational_dropout=True, embedding_dropout=0.5, hidden_dropout=0.5, output_dropout=0.5)
    kinds = [model.model.embedding_dropout, model.model.hidden_dropout, model.output_dropout]
    assert [type(kind) for kind in kinds] == [LockedDropout] * 3
    assert [kind.p for kind in kinds] == [0.5] * 3


def test_word_dropout_drops_every_occurrence_of_a_word():
    model = a_model(word_dropout=0.5).train().model
    ids = torch.randint(1, 50, (4, 60))
    embedded = model._embed(ids)
    factors = embedded / model.embed_tokens(ids)
    torch.testing.assert_close(factors, factors[..., :1].expand_as(factors))
    by_word = {word: set(factors[ids == word].round().flatten().tolist()) for word in ids.unique().tolist()}
    assert all(len(found) == 1 for found in by_word.values())
    assert set().union(*by_word.values()) == {0.0, 2.0}
    assert torch.equal(model.eval()._embed(ids), model.embed_tokens(ids))


def test_unknown_dropout_reads_a_share_of_the_words_as_the_unknown_one_and_leaves_special_tokens():
    special = {"bos_token_id": 46, "eos_token_id": [47, 48], "special_token_ids": [49]}
    model = a_model(unknown_dropout=0.25, unknown_token_id=1, **special).train().model
    ids = torch.randint(2, 46, (40, 60))
    ids[:, 50:] = torch.tensor([0, 46, 47, 48, 49]).repeat(2)
    embedded = model._embed(ids)
    is_unknown = (embedded == model.embed_tokens.weight[1]).all(dim=-1)
    torch.testing.assert_close(embedded, model.embed_tokens(ids.masked_fill(is_unknown, 1)))
    assert 0.2 < is_unknown[:, :50].float().mean() < 0.3
    assert not is_unknown[:, 50:].any()
    assert torch.equal(model.eval()._embed(ids), model.embed_tokens(ids))


def test_unknown_dropout_in_a_recipe_leaves_the_special_tokens_of_its_tokenizer():
    tokenizer = train("wordpiece", ["a b", "b a"], Data("x"))
    model, _ = build(Recurrent(unknown_dropout=0.9), "SequenceClassification", ["x", "y"], tokenizer, 32, 0)
    special = ["[CLS]", "[SEP]", "[MASK]", "[PAD]"]
    ids = torch.tensor([tokenizer.convert_tokens_to_ids([*special, "a"]) * 20])
    left = model.train().model._with_unknown(ids).view(20, 5)
    assert torch.equal(left[:, :4], ids.view(20, 5)[:, :4])
    assert (left[:, 4] == tokenizer.unk_token_id).sum() > 10


def test_unknown_dropout_without_an_unknown_word_is_refused():
    with pytest.raises(ValueError, match=r"`unknown_dropout` is 0\.1; it requires `unknown_token_id`"):
        RecurrentConfig(**SIZES, unknown_dropout=0.1)


def test_an_end_token_that_is_also_the_padding_token_is_a_word_like_any_other():
    shared = RecurrentModel(RecurrentConfig(**SIZES, pad_token_id=3, eos_token_id=3))
    assert shared.embed_tokens.weight[3].abs().sum() > 0
    assert RecurrentModel(RecurrentConfig(**SIZES, pad_token_id=3)).embed_tokens.weight[3].abs().sum() == 0


STRANGER = """
    import json, sys
    import torch
    from transformers import AutoModelForCausalLM
    model = AutoModelForCausalLM.from_pretrained(sys.argv[1], trust_remote_code=True)
    ids = torch.tensor([json.loads(sys.argv[2])])
    print(json.dumps(model.generate(ids, max_new_tokens=8, num_beams=2, pad_token_id=0).tolist()))
"""


@pytest.mark.slow  # seconds of imports, and test_matrix.py asks one such process about every kind of model
def test_a_process_without_this_package_generates_the_same(tmp_path):
    model = a_model(tie_word_embeddings=True)
    model.save_pretrained(tmp_path)
    (row,) = words([5])
    printed = clean_process.printed_by(STRANGER, str(tmp_path), json.dumps(row.tolist()), folder=tmp_path)
    assert json.loads(printed) == generate(model, row[None], num_beams=2).tolist()
