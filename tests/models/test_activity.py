"""AR and TAR: what the loss of a language model has beside the cross-entropy, by brute force."""

from __future__ import annotations

import pytest
import torch

from pipeline.models.recurrent import RecurrentConfig, RecurrentForCausalLM
from pipeline.models.recurrent.activity import activity_penalty
from pipeline.models.recurrent.crf import IGNORED

BOTH = {"activation_regularization": 2.0, "temporal_regularization": 3.0}


def a_config(**changes) -> RecurrentConfig:
    return RecurrentConfig(**{"vocab_size": 20, "embedding_size": 6, "units": 5, **BOTH, **changes})


def by_hand(outputs, dropped, targets, positions) -> float:
    """The sum over positions with a target, in float64, one at a time."""
    total, count = 0.0, 0
    for row, target in enumerate(targets.tolist()):
        for t, scored in enumerate(value != IGNORED for value in target):
            if scored:
                count += 1
                total += 2.0 * float(dropped[row, t].double().square().mean())
                if t and target[t - 1] != IGNORED and positions[row, t]:
                    total += 3.0 * float((outputs[row, t] - outputs[row, t - 1]).double().square().mean())
    return total / count


def test_the_penalty_is_that_of_every_scored_position_and_every_change_within_a_text():
    outputs, dropped = torch.randn(3, 7, 5), torch.randn(3, 7, 5)
    targets = torch.randint(0, 20, (3, 7))
    targets[0, 5:], targets[1, 2] = IGNORED, IGNORED
    positions = torch.ones(3, 7, dtype=torch.long)
    positions[2, 4] = 0  # a new text
    found = activity_penalty(a_config(), outputs, dropped, targets, positions, shift_labels=targets)
    assert float(found) == pytest.approx(by_hand(outputs, dropped, targets, positions), rel=1e-6)


def test_labels_that_are_not_shifted_yet_score_the_position_before():
    outputs, labels = torch.randn(2, 4, 5), torch.tensor([[3, 4, 5, 6], [7, 8, IGNORED, IGNORED]])
    shifted = torch.tensor([[4, 5, 6, IGNORED], [8, IGNORED, IGNORED, IGNORED]])
    found = activity_penalty(a_config(), outputs, outputs, labels)
    assert torch.equal(found, activity_penalty(a_config(), outputs, outputs, labels, shift_labels=shifted))


def test_the_loss_has_it_in_training_only_and_the_parts_of_a_batch_add_up():
    torch.manual_seed(0)
    model = RecurrentForCausalLM(a_config(num_hidden_layers=2)).double()
    plain = RecurrentForCausalLM(a_config(num_hidden_layers=2, **dict.fromkeys(BOTH, 0.0))).double()
    plain.load_state_dict(model.state_dict())
    ids = torch.randint(1, 20, (4, 6))
    given = {"input_ids": ids, "labels": ids, "shift_labels": ids}
    assert torch.equal(model.eval()(**given).loss, plain.eval()(**given).loss)
    whole, without = model.train()(**given).loss, plain.train()(**given).loss
    outputs = plain.model(ids).last_hidden_state
    penalty = 2.0 * outputs.square().mean() + 3.0 * 5 / 6 * (outputs[:, 1:] - outputs[:, :-1]).square().mean()
    assert float(whole - without) == pytest.approx(float(penalty), rel=1e-5)  # the head computes in float32
    halves = [
        model(**{name: value[rows] for name, value in given.items()}, num_items_in_batch=ids.numel()).loss
        for rows in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(sum(halves), whole)


def test_a_scale_below_zero_is_refused():
    with pytest.raises(ValueError, match="`temporal_regularization` is -1"):
        a_config(temporal_regularization=-1.0)
