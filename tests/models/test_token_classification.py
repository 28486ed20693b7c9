"""Taggers meet the contract of recurrent models; loss, CRF and characters agree with independent computations."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from contract import ModelContract, padded, randomised, words
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForTokenClassification

from pipeline.models.recurrent import RecurrentConfig, RecurrentForTokenClassification, characters
from pipeline.models.recurrent.characters import CharacterCNN, CharacterLSTM, distinct

TAGS = ("O", "B-PER", "I-PER")
KINDS = ("cnn", "lstm")


class TestRecurrentForTokenClassification(ModelContract):
    model_class = RecurrentForTokenClassification
    auto_class = AutoModelForTokenClassification

    def outputs_of(self, model, ids, mask):
        logits = model(input_ids=ids, attention_mask=mask).logits
        return logits[torch.ones_like(ids).bool() if mask is None else mask.bool()]  # of the words, (N, C)

    def check_empty(self, model, found):
        """A row without words has no word to tag; a batch of such rows has no logits."""
        assert found.shape[1] in (0, 9)
        assert found.isfinite().all()

    @pytest.mark.parametrize("side", ["right", "left"])
    def test_the_padding_token_is_skipped_although_the_mask_includes_it(self, side):
        model = self.model(empty_text_token_id=7, bidirectional=True)
        (row,) = words([5])
        alone, padding = self.outputs_of(model, row[None], None), torch.zeros(2, dtype=torch.long)
        ids = torch.cat([row, padding] if side == "right" else [padding, row])[None]
        logits = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[ids != 0]
        torch.testing.assert_close(logits, alone, atol=1e-6, rtol=1e-6)
        only = model(input_ids=padding[None], attention_mask=torch.ones(1, 2)).logits
        assert only.shape == (1, 2, model.config.num_labels)

    def test_the_loss_is_the_mean_cross_entropy_over_the_labels(self):
        model = self.model()
        ids, mask = padded(words([5, 2]), "left")
        labels = torch.randint(0, 3, ids.shape).masked_fill(mask == 0, -100)
        labels[0, 3] = -100
        outputs = model(ids, mask, labels=labels)
        chosen = labels != -100
        torch.testing.assert_close(outputs.loss, F.cross_entropy(outputs.logits[chosen], labels[chosen]))

    def test_a_batch_without_labels_still_has_logits(self):
        ids, mask = padded(words([5, 2]), "right")
        for mode in (True, False):
            outputs = self.model().train(mode)(ids, mask, labels=torch.full_like(ids, -100))
            assert outputs.loss.isnan()  # the mean over nothing
            (outputs.logits.sum() * 0.0).backward()

    def test_the_loss_can_be_divided_by_the_labels_of_a_larger_batch(self):
        model = self.model()
        ids, mask = padded(words([5, 2]), "right")
        labels = torch.zeros_like(ids).masked_fill(mask == 0, -100)
        whole = model(ids, mask, labels=labels, num_items_in_batch=14).loss
        torch.testing.assert_close(whole, model(ids, mask, labels=labels).loss / 2)


class TestWithCrf(TestRecurrentForTokenClassification):
    """Scores of the best sequences, in evaluation, are what must not change."""

    def config(self, **changes: Any) -> RecurrentConfig:
        return super().config(**{"crf": True, "id2label": dict(enumerate(TAGS)), **changes})

    def test_the_loss_is_the_mean_cross_entropy_over_the_labels(self):
        """Without scores for transitions and with a scheme that forbids nothing, a CRF is just that."""
        model = self.model(id2label={0: "a", 1: "b", 2: "c"})
        for parameter in model.crf.parameters():
            torch.nn.init.zeros_(parameter)
        ids, mask = padded(words([5, 2]), "left")
        labels = torch.randint(0, 3, ids.shape).masked_fill(mask == 0, -100)
        labels[0, 3] = -100
        outputs = model.train()(ids, mask, labels=labels)
        chosen = labels != -100
        torch.testing.assert_close(outputs.loss, F.cross_entropy(outputs.logits[chosen], labels[chosen]))


CHARACTERS = {"char_vocab_size": 20, "char_embedding_size": 4, "char_hidden_size": 3}


def spelt(ids: torch.Tensor, width: int = 6) -> torch.Tensor:
    """(B, T, W) characters that are a function of the word: 0 to 5 of them."""
    steps = torch.arange(width)
    characters = (ids[..., None] * (steps + 3)) % 18 + 1
    return torch.where(steps < (ids % 6)[..., None], characters, 0)


class TestCharacters:
    def model(self, kind: str, **changes: Any) -> RecurrentForTokenClassification:
        sizes = {"vocab_size": 50, "embedding_size": 6, "units": 5, "num_labels": 3, "bidirectional": True}
        return randomised(
            RecurrentForTokenClassification(
                RecurrentConfig(**{**sizes, "char_encoder": kind, **CHARACTERS, "char_dropout": 0.0, **changes})
            )
        )

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("side", ["right", "left", "holes"])
    @pytest.mark.parametrize("crf", [False, True])
    def test_padding_never_changes_a_result(self, kind, side, crf):
        model = self.model(kind, crf=crf)
        rows = words([7, 1, 4, 9])
        ids, mask = padded(rows, side, extra=2)
        alone = torch.cat([model(row[None], char_ids=spelt(row[None])).logits[0] for row in rows])
        together = model(ids, mask, char_ids=spelt(ids, width=9)).logits[mask.bool()]
        torch.testing.assert_close(together, alone, atol=2e-6, rtol=1e-5)

    @pytest.mark.parametrize("kind", KINDS)
    def test_features_are_added_to_the_word_embedding_and_padding_adds_none(self, kind):
        model = self.model(kind)
        ids = torch.tensor([[6, 7, 12]])  # without characters, one, without
        states = model(ids, char_ids=spelt(ids), output_hidden_states=True).hidden_states[0]
        assert states.shape[-1] == 6 + model.config.char_output_size == model.config.input_size
        assert torch.equal(states[..., :6], model.model.embed_tokens(ids))
        assert (states[0, :, 6:] != 0).any(dim=-1).tolist() == [False, True, False]

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_saving_and_loading_keeps_the_result(self, kind, dtype, tmp_path):
        model = self.model(kind, crf=True)
        model.save_pretrained(tmp_path)
        loaded = AutoModelForTokenClassification.from_pretrained(tmp_path, dtype=dtype)
        ids = words([5])[0][None]
        ours, theirs = (m(ids, char_ids=spelt(ids)).logits for m in (model, loaded))
        assert theirs.dtype == dtype
        torch.testing.assert_close(theirs.float(), ours, atol=0.0 if dtype == torch.float32 else 0.2, rtol=0.1)

    @pytest.mark.parametrize("kind", KINDS)
    def test_encoding_distinct_words_once_changes_neither_result_nor_gradient(self, kind, monkeypatch):
        ids = torch.tensor([[9, 4, 9, 9], [4, 4, 5, 9]])
        answers = []
        for way in (distinct, lambda rows: (rows, None)):
            monkeypatch.setattr(characters, "distinct", way)
            model = self.model(kind).train()
            logits = model(ids, char_ids=spelt(ids)).logits
            logits.square().sum().backward()
            answers.append([logits, *(p.grad for p in model.parameters())])
        for one, other in zip(*answers, strict=True):
            torch.testing.assert_close(one, other)

    @pytest.mark.parametrize("kind", KINDS)
    def test_bfloat16_autocast_gives_about_the_same_result(self, kind):
        model, (row,) = self.model(kind), words([8])
        with torch.autocast("cpu", torch.bfloat16):
            rough = model(row[None], char_ids=spelt(row[None])).logits
        exact = model(row[None], char_ids=spelt(row[None])).logits
        torch.testing.assert_close(rough.float(), exact, atol=0.1, rtol=0.1)

    def test_missing_or_unused_characters_are_refused(self):
        ids = words([4])[0][None]
        with pytest.raises(ValueError, match="this model reads the characters of each word"):
            self.model("cnn")(ids)
        with pytest.raises(ValueError, match="this model does not read characters"):
            self.model(None, **dict.fromkeys(("char_embedding_size", "char_hidden_size", "char_dropout")))(
                ids, char_ids=spelt(ids)
            )

    def test_sizes_are_the_papers_unless_they_are_set(self, tmp_path):
        cnn, lstm = RecurrentConfig(char_encoder="cnn"), RecurrentConfig(char_encoder="lstm", char_hidden_size=10)
        assert (cnn.char_embedding_size, cnn.char_hidden_size, cnn.char_dropout, cnn.char_output_size) == (
            30,
            30,
            0.5,
            30,
        )
        assert (lstm.char_embedding_size, lstm.char_dropout, lstm.char_output_size) == (25, 0.0, 20)
        RecurrentConfig().save_pretrained(tmp_path)
        assert RecurrentConfig.from_pretrained(tmp_path, char_encoder="lstm").input_size == 128 + 50
        with pytest.raises(ValueError, match="`char_hidden_size` is 3; it requires `char_encoder`"):
            RecurrentConfig(char_hidden_size=3)


def test_the_cnn_is_a_convolution_of_width_three_and_the_maximum_over_the_word():
    """Ma & Hovy 2016, section 2.1, by torch's own operators on each word alone."""
    encoder = randomised(CharacterCNN(4, 3))
    word_lengths = [1, 2, 5]
    embedded = torch.randn(3, 5, 4)  # what is beyond a word is not zero
    features = encoder(embedded, torch.tensor(word_lengths))
    kernel = encoder.weight.view(3, 3, 4).transpose(1, 2)  # (H, E, 3)
    for index, length in enumerate(word_lengths):
        filtered = F.conv1d(embedded[index, :length].T[None], kernel, encoder.bias, padding=1)
        torch.testing.assert_close(features[index], filtered[0].amax(dim=-1))


def test_the_lstm_returns_the_final_state_of_each_direction_like_that_of_torch():
    encoder = randomised(CharacterLSTM(4, 3))
    reference = nn.LSTM(4, 3, bidirectional=True, batch_first=True)
    reference.load_state_dict(encoder.state_dict())
    word_lengths = [1, 2, 5]
    embedded = torch.randn(3, 5, 4)  # what is beyond a word is not zero
    features = encoder(embedded, torch.tensor(word_lengths))
    for index, length in enumerate(word_lengths):
        _, (final, _) = reference(embedded[index : index + 1, :length])
        torch.testing.assert_close(features[index], final.flatten())


def test_words_that_share_a_hash_are_still_distinguished(monkeypatch):
    rows = torch.randint(0, 9, (40, 20), generator=torch.Generator().manual_seed(0)).repeat(2, 1)
    chosen, places = distinct(rows)
    assert len(chosen) == 40
    assert torch.equal(chosen[places], rows)
    monkeypatch.setattr(torch, "unique", lambda keys, **_: (keys[:1], torch.zeros(len(keys), dtype=torch.long)))
    assert torch.equal(distinct(rows)[0], rows)
