"""The recurrent models keep the contract, and agree with torch.nn, with Keras and with each other."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from contract import CELLS, ModelContract, padded, randomised, words
from torch import nn
from transformers import AutoModel, AutoModelForSequenceClassification

from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification, RecurrentModel

TORCH = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}


class TestRecurrentModel(ModelContract):
    model_class = RecurrentModel
    auto_class = AutoModel

    def outputs_of(self, model, ids, mask):
        # Final states do not depend on where padding stands; the states of each word are compared below.
        return model(input_ids=ids, attention_mask=mask).pooler_output


class TestRecurrentForSequenceClassification(ModelContract):
    model_class = RecurrentForSequenceClassification
    auto_class = AutoModelForSequenceClassification

    @pytest.mark.parametrize("cell", CELLS)
    @pytest.mark.parametrize("pooling", ["last", "mean", "max", "attention"])
    @pytest.mark.parametrize("side", ["right", "left", "holes"])
    def test_padding_never_changes_what_is_pooled(self, cell, pooling, side):
        model = self.model(cell_type=cell, bidirectional=True, pooling=pooling)
        rows = words([7, 1, 4, 9])
        alone = torch.cat([self.outputs_of(model, row[None], None) for row in rows])
        torch.testing.assert_close(self.outputs_of(model, *padded(rows, side, 3)), alone, atol=1e-6, rtol=1e-6)

    def test_attention_pooling_is_the_formula_of_additive_attention(self):
        model = self.model(pooling="attention").double()
        (row,) = words([6])
        states = model.model(row[None]).last_hidden_state[0]  # (T, H)
        projection, query = model.pooler.projection, model.pooler.query
        scores = torch.stack([query @ torch.tanh(projection.weight @ h + projection.bias) for h in states])
        pooled = sum(weight * h for weight, h in zip(scores.exp() / scores.exp().sum(), states, strict=True))
        torch.testing.assert_close(model.pooler(states[None], None)[0], pooled, atol=1e-6, rtol=1e-6)

    @pytest.mark.parametrize(
        ("labels", "problem", "reference"),
        [
            (torch.tensor([0, 2]), "single_label_classification", nn.CrossEntropyLoss()),
            (torch.rand(2, 3), "multi_label_classification", nn.BCEWithLogitsLoss()),
            (torch.rand(2, 3), "regression", nn.MSELoss()),
        ],
    )
    def test_the_loss_suits_the_problem(self, labels, problem, reference):
        model = self.model(problem_type=problem)
        outputs = model(*padded(words([5, 2]), "right"), labels=labels)
        torch.testing.assert_close(outputs.loss, reference(outputs.logits, labels))


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("side", ["right", "left"])
def test_states_and_gradients_equal_the_packed_form_of_torch(cell, bidirectional, side):
    config = RecurrentConfig(
        vocab_size=50, embedding_size=6, hidden_size=5, num_hidden_layers=2, cell_type=cell, bidirectional=bidirectional
    )
    model = randomised(RecurrentModel(config))
    reference = TORCH[cell](6, 5, 2, batch_first=True, bidirectional=bidirectional)
    for index, layer in enumerate(model.layers):  # parameters go by the same names
        values = {name.replace("_l0", f"_l{index}"): value for name, value in layer.state_dict().items()}
        reference.load_state_dict(values, strict=False)
    rows = words([8, 3, 1, 5])
    ids, mask = padded(rows, side, extra=1)
    embedded = nn.utils.rnn.pad_sequence([model.embed_tokens(row).detach() for row in rows], batch_first=True)
    embedded.requires_grad_()
    lengths = torch.tensor([len(row) for row in rows])
    packed = nn.utils.rnn.pack_padded_sequence(embedded, lengths, batch_first=True, enforce_sorted=False)
    states, _ = nn.utils.rnn.pad_packed_sequence(reference(packed)[0], batch_first=True)

    inputs = model.embed_tokens(ids).detach().requires_grad_()
    ours = model(inputs_embeds=inputs, attention_mask=mask).last_hidden_state
    real, packed_real = mask.bool(), torch.arange(8) < lengths[:, None]
    torch.testing.assert_close(ours[real], states[packed_real], atol=1e-5, rtol=1e-5)
    assert ours[~real].abs().max() == 0.0

    weights = torch.randn(ours[real].shape, generator=torch.Generator().manual_seed(1))
    (ours[real] * weights).sum().backward()
    (states[packed_real] * weights).sum().backward()
    torch.testing.assert_close(inputs.grad[real], embedded.grad[packed_real], atol=1e-5, rtol=1e-5)
    theirs = dict(reference.named_parameters())
    for index, layer in enumerate(model.layers):
        for name, parameter in layer.named_parameters():
            gradient = theirs[name.replace("_l0", f"_l{index}")].grad
            torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-5)


def keras_simple_rnn(inputs, kernel, recurrent_kernel, bias, return_sequences, go_backwards=False):
    """Keras's SimpleRNN over one text (T, E), as its documentation defines it; a backward layer's states are in
    reading order of its own, as Keras's are."""
    state, states = np.zeros(len(bias)), []
    for word in inputs[::-1] if go_backwards else inputs:
        state = np.tanh(word @ kernel + bias + state @ recurrent_kernel)
        states.append(state)
    return np.stack(states) if return_sequences else state


def keras_bidirectional(inputs, forward, backward, return_sequences):
    """Keras's Bidirectional with merge_mode="concat": the backward states are turned round before concatenating."""
    ahead = keras_simple_rnn(inputs, *forward, return_sequences)
    back = keras_simple_rnn(inputs, *backward, return_sequences, go_backwards=True)
    return np.concatenate([ahead, back[::-1] if return_sequences else back], axis=-1)


@pytest.mark.parametrize("return_sequences", [True, False])
def test_return_sequences_means_what_it_means_in_keras(return_sequences):
    """Embedding(12), Bidirectional(SimpleRNN(16, return_sequences=True)), Bidirectional(SimpleRNN(16, ...))."""
    config = RecurrentConfig(
        vocab_size=50, embedding_size=12, hidden_size=16, num_hidden_layers=2, cell_type="rnn", bidirectional=True
    )
    model = randomised(RecurrentModel(config)).double()
    rows = words([6, 3])
    ids, mask = padded(rows, "right", extra=2)
    ours = model.encode(ids, mask, return_sequences=return_sequences)
    assert ours.shape == ((2, 8, 32) if return_sequences else (2, 32))
    for index, row in enumerate(rows):
        states = model.embed_tokens(row).detach().numpy()
        for number, layer in enumerate(model.layers):
            w = {name: value.detach().numpy() for name, value in layer.named_parameters()}
            forward, backward = (
                (w[f"weight_ih{s}"].T, w[f"weight_hh{s}"].T, w[f"bias_ih{s}"] + w[f"bias_hh{s}"])
                for s in ("_l0", "_l0_reverse")
            )
            states = keras_bidirectional(states, forward, backward, return_sequences or number == 0)
        result = ours[index, : len(row)] if return_sequences else ours[index]
        np.testing.assert_allclose(result.detach().numpy(), states, atol=1e-10)


def test_parameters_stand_one_to_three_to_four():
    sizes = {}
    for cell in CELLS:
        config = RecurrentConfig(vocab_size=9, cell_type=cell, embedding_size=6, hidden_size=5)
        sizes[cell] = sum(p.numel() for p in RecurrentModel(config).layers.parameters())
    assert sizes["gru"] == 3 * sizes["rnn"]
    assert sizes["lstm"] == 4 * sizes["rnn"]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("hiden_size", "did you mean `hidden_size`?"),
        ("units", "did you mean `hidden_size`?"),
        ("num_layers", "did you mean `num_hidden_layers`?"),
        ("zzz", "there are:"),
    ],
)
def test_a_misspelt_field_is_refused_with_the_nearest_name(wrong, hint, tmp_path):
    with pytest.raises(ValueError, match="has no field") as refusal:
        RecurrentConfig(**{wrong: 3})
    assert hint in str(refusal.value)
    RecurrentConfig().save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), wrong: 3}))
    with pytest.raises(ValueError, match="has no field"):
        RecurrentConfig.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 0},
        {"num_hidden_layers": 0},
        {"hidden_dropout": 1.5},
        {"initializer_range": -1.0},
        {"vocab_size": 0},
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line(wrong):
    with pytest.raises(ValueError, match=rf"`{next(iter(wrong))}` is .*; it must") as refusal:
        RecurrentConfig(**wrong)
    assert "\n" not in str(refusal.value)


STRANGER = """
    import importlib.abc, json, sys

    class Missing(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "pipeline":
                raise ModuleNotFoundError(name)

    sys.meta_path.insert(0, Missing())
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
    folder, text = sys.argv[1:]
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    logits = model(**tokenizer([text, "a"], return_tensors="pt", padding=True)).logits[0]
    answer = pipeline("text-classification", model=folder, trust_remote_code=True)([text, "a"], batch_size=2)[0]
    print(json.dumps({"scores": logits.softmax(-1).tolist(), "answer": answer}))
"""


def test_a_process_that_has_never_heard_of_this_package_gets_the_same_scores(tmp_path):
    from pipeline.data.vocabulary import train
    from pipeline.recipe import Data

    text = "a moving , funny film"
    tokenizer = train("word", [text, "dull mess"] * 2, Data("x"))
    config = RecurrentConfig(
        vocab_size=len(tokenizer), bidirectional=True, pooling="attention", id2label={0: "bad", 1: "good"}
    )
    model = randomised(RecurrentForSequenceClassification(config))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    done = subprocess.run(
        [sys.executable, "-I", "-c", textwrap.dedent(STRANGER), str(tmp_path), text],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    scores = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
    assert told["scores"] == pytest.approx(scores.tolist(), abs=1e-6)
    assert told["answer"]["label"] == config.id2label[int(scores.argmax())]
    assert told["answer"]["score"] == pytest.approx(float(scores.max()), abs=1e-6)


def test_saving_leaves_no_trace_for_configs_of_other_models(tmp_path):
    from transformers import BertConfig

    RecurrentModel(RecurrentConfig(vocab_size=9)).save_pretrained(tmp_path / "ours")
    BertConfig().save_pretrained(tmp_path / "bert")
    assert "auto_map" not in json.loads((tmp_path / "bert/config.json").read_text())
    assert json.loads((tmp_path / "ours/config.json").read_text())["auto_map"]["AutoModel"].endswith("RecurrentModel")
