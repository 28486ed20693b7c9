"""Recurrent models of pairs of texts meet the contract, and are the formula of InferSent over the single texts."""

from __future__ import annotations

import pytest
import torch
from contract import EVERY_CELL, ModelContract, padded, words
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from pipeline.models.recurrent import RecurrentForSequenceClassification
from pipeline.models.recurrent.modeling_recurrent import POOLINGS


def token_types(ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(B, T) the second half of each row's words is the second text; random at padding."""
    real = torch.ones_like(ids) if mask is None else mask
    types = (real.cumsum(dim=1) > (real.sum(dim=1, keepdim=True) + 1) // 2).long()
    return torch.where(real.bool(), types, ids % 2)


class TestRecurrentForPairs(ModelContract):
    model_class = RecurrentForSequenceClassification
    auto_class = AutoModelForSequenceClassification

    def config(self, **changes):
        return super().config(pairs=True, **changes)

    def outputs_of(self, model, ids, mask):
        return model(input_ids=ids, attention_mask=mask, token_type_ids=token_types(ids, mask)).logits

    @pytest.mark.parametrize("cell", EVERY_CELL)
    def test_an_exported_graph_holds_for_any_mask_and_any_number_of_texts(self, cell):
        model = self.model(cell_type=cell, bidirectional=True)
        ids, mask = padded(words([7, 2, 4]), "right")
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": token_types(ids, mask)}
        batch = {0: torch.export.Dim("batch")}
        program = torch.export.export(model, (), inputs, dynamic_shapes=dict.fromkeys(inputs, batch)).module()
        for lengths in ([2, 7, 5, 3, 1], [7, 7]):
            for side in ("right", "left", "holes"):
                ids, mask = padded(words(lengths), side)
                torch.testing.assert_close(self.outputs_of(program, ids, mask), self.outputs_of(model, ids, mask))

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize("pooling", POOLINGS)
    @pytest.mark.parametrize("side", ["right", "left", "holes"])
    def test_the_logits_are_those_of_the_formula_over_single_texts(self, cell, pooling, side):
        model = self.model(cell_type=cell, bidirectional=True, pooling=pooling)
        rows = words([7, 2, 9])
        ids, mask = padded(rows, side, extra=2)
        expected = []
        for row in rows:
            middle = (len(row) + 1) // 2
            u, v = (self.pooled(model, text[None]) for text in (row[:middle], row[middle:]))
            expected.append(model.classifier(torch.cat([u, v, (u - v).abs(), u * v], dim=-1)))
        torch.testing.assert_close(self.outputs_of(model, ids, mask), torch.cat(expected), atol=1e-6, rtol=1e-6)

    def pooled(self, model: PreTrainedModel, text: torch.Tensor) -> torch.Tensor:
        outputs = model.model(text)
        pooling = POOLINGS[model.config.pooling]
        return pooling(model.pooler, outputs.last_hidden_state, outputs.pooler_output, None)

    @pytest.mark.parametrize("pooling", POOLINGS)
    def test_a_text_without_words_is_a_vector_of_zeros(self, pooling):
        model = self.model(pooling=pooling)
        (text,) = words([4])
        u = self.pooled(model, text[None])
        nothing = torch.zeros_like(u)
        for first in (True, False):
            types = torch.full((1, 4), 0 if first else 1)
            one, other = (u, nothing) if first else (nothing, u)
            expected = model.classifier(torch.cat([one, other, u.abs(), nothing], dim=-1))
            torch.testing.assert_close(model(text[None], token_type_ids=types).logits, expected)
        torch.testing.assert_close(model(text[None]).logits, model(text[None], token_type_ids=torch.zeros(1, 4)).logits)

    def test_a_text_without_words_has_no_gradient(self):
        model = self.model().train()
        ids, mask = padded(words([4, 3]), "right")
        (lonely,) = words([1], seed=5)
        ids[0, 0] = lonely
        model(ids, mask, token_type_ids=torch.ones_like(ids)).logits.sum().backward()
        assert all(parameter.grad.isfinite().all() for parameter in model.parameters() if parameter.grad is not None)

    def test_equal_texts_have_the_same_vector(self):
        model = self.model()
        (text,) = words([5])
        with torch.no_grad():
            model.classifier.weight[:, :10] = 0.0  # what is left are |u - v| and u * v
            model.classifier.weight[:, 15:] = 0.0
            model.classifier.bias.zero_()
        ids, types = torch.cat([text, text])[None], torch.tensor([[0] * 5 + [1] * 5])
        assert model(ids, token_type_ids=types).logits.abs().max() == 0.0

    def test_without_pairs_token_types_change_nothing(self):
        model = RecurrentForSequenceClassification(super().config()).eval()
        ids, mask = padded(words([5, 2]), "right")
        assert torch.equal(model(ids, mask).logits, model(ids, mask, token_type_ids=token_types(ids, mask)).logits)
