"""Gradients through time: against finite differences, a product of Jacobians, and the model itself."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification
from pipeline.studies.claims import gradients

IDS = torch.tensor([[3, 7, 1, 4, 9], [2, 2, 8, 5, 6]])
LABELS = torch.tensor([1, 2])


def classifier(cell: str, **changes) -> RecurrentForSequenceClassification:
    torch.manual_seed(0)
    config = RecurrentConfig(vocab_size=12, embedding_size=4, units=3, cell_type=cell, num_labels=3, **changes)
    model = RecurrentForSequenceClassification(config).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.6)
    return model


def loss_from(model, state: torch.Tensor, ids: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """The loss of texts of which `ids` are still to be read from `state` (P, N, H)."""
    cell, layer = model.model.layers[0].cell, model.model.layers[0]
    for word in ids.unbind(1):
        value = F.linear(model.model.embed_tokens(word), layer.weight_ih_l0, layer.bias_ih_l0)
        state, _ = cell.step(state, value, [layer.weight_hh_l0, layer.bias_hh_l0])
    return F.cross_entropy(model.classifier(state[0]), labels, reduction="sum")


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_gradient_is_that_of_finite_differences_in_every_state(cell):
    model = classifier(cell)
    found = gradients.state_gradients(model, IDS, LABELS)
    states = gradients._states(model, IDS)
    step = 1e-6
    with torch.no_grad():
        for time, state in enumerate(states):
            numeric = torch.zeros_like(state)
            for place in np.ndindex(*state.shape):
                moved = [state.clone(), state.clone()]
                moved[0][place] += step
                moved[1][place] -= step
                up, down = (loss_from(model, each, IDS[:, time + 1 :], LABELS) for each in moved)
                numeric[place] = (up - down) / (2 * step)
            torch.testing.assert_close(found[time], numeric, atol=1e-8, rtol=1e-5)


def test_the_gradient_of_an_rnn_is_the_product_of_its_jacobians():
    model = classifier("rnn")
    found = gradients.state_gradients(model, IDS, LABELS)[:, 0]  # (T, N, H)
    states = [state[0].detach() for state in gradients._states(model, IDS)]
    probabilities = model.classifier(states[-1]).softmax(-1)
    expected = (probabilities - F.one_hot(LABELS, 3)) @ model.classifier.weight
    for time in reversed(range(len(states))):
        torch.testing.assert_close(found[time], expected)
        # Pascanu et al. (2013), equation 5: W_hh^T diag(1 - h^2).
        expected = (expected * (1 - states[time] ** 2)) @ model.model.layers[0].weight_hh_l0


@pytest.mark.parametrize("cell", ["rnn", "gru", "lstm"])
def test_the_states_are_those_of_the_model(cell):
    model = classifier(cell)
    states = torch.stack([state[0] for state in gradients._states(model, IDS)], dim=1)
    torch.testing.assert_close(states, model.model(IDS).last_hidden_state)


@pytest.mark.parametrize("change", [{"bidirectional": True}, {"num_hidden_layers": 2}, {"pooling": "max"}])
def test_a_model_that_reads_otherwise_is_refused(change):
    with pytest.raises(ValueError, match="one layer"):
        gradients.state_gradients(classifier("rnn", **change), IDS, LABELS)


def test_norms_are_relative_to_the_last_word_and_by_distance():
    given = torch.zeros(3, 2, 1, 2)  # (T, P, N, H)
    given[2, 0, 0] = torch.tensor([3.0, 4.0])
    given[1, 0, 0, 0], given[1, 1, 0, 0] = 0.3, 0.4
    given[0, 1, 0, 1] = 0.05
    np.testing.assert_allclose(gradients.norms_by_distance(given)[:, 0], [1.0, 0.1, 0.01])
    np.testing.assert_allclose(gradients.norms_by_distance(given, part=0)[:, 0], [1.0, 0.06, 0.0])


def test_the_reach_ends_before_the_first_distance_that_is_below_the_share():
    assert gradients.reach(np.array([1.0, 0.5, 0.009, 0.5]), 0.01) == 1
    assert gradients.reach(np.array([1.0, 0.5, 0.01]), 0.01) == 2
    assert gradients.reach(np.array([1.0, np.nan, 0.5]), 0.01) == 0


def test_torchs_start_is_uniform_within_its_bound():
    model = classifier("rnn")
    gradients.start_like_torch(model)
    layer = model.model.layers[0]
    largest = max(parameter.detach().abs().max() for parameter in layer.parameters())
    assert 0.4 < float(largest) <= 1 / np.sqrt(3)
    assert layer.bias_hh_l0.any()
