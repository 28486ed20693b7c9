"""The recurrent models meet the contract, and agree with torch.nn, with Keras and with each other."""

from __future__ import annotations

import dataclasses
import functools
import json

import clean_process
import numpy as np
import pytest
import torch
from contract import EVERY_CELL, CacheContract, ModelContract, padded, randomised, words
from huggingface_hub.errors import StrictDataclassFieldValidationError
from torch import nn
from transformers import AutoConfig, AutoModel, AutoModelForSequenceClassification, Trainer, TrainingArguments
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from pipeline.models.recurrent import RecurrentConfig, RecurrentForSequenceClassification, RecurrentModel
from pipeline.models.recurrent.layout import make_layout
from pipeline.models.recurrent.modeling_recurrent import POOLINGS


class TestRecurrentModel(CacheContract, ModelContract):
    model_class = RecurrentModel
    auto_class = AutoModel

    def outputs_of(self, model, ids, mask):
        # Final states do not depend on where padding is; the states of each word are compared below.
        return model(input_ids=ids, attention_mask=mask).pooler_output


class TestRecurrentForSequenceClassification(ModelContract):
    model_class = RecurrentForSequenceClassification
    auto_class = AutoModelForSequenceClassification

    @pytest.mark.parametrize("pooling", POOLINGS)
    @pytest.mark.parametrize("side", ["right", "left"])
    def test_a_text_without_words_is_pooled_as_the_token_for_it(self, pooling, side):
        model = self.model(bidirectional=True, pooling=pooling, empty_text_token_id=7)
        ids, mask = padded(words([4, 1]), side)
        mask[1] = 0
        torch.testing.assert_close(model(ids, mask).logits[1:], model(torch.tensor([[7]])).logits)

    @pytest.mark.parametrize("cell", EVERY_CELL)
    @pytest.mark.parametrize("pooling", POOLINGS)
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

    def test_concat_pooling_is_the_last_state_the_maximum_and_the_mean_of_each_unit(self):
        model = self.model(pooling="concat", bidirectional=True)
        (row,) = words([6])
        outputs = model.model(row[None])
        states = outputs.last_hidden_state[0].tolist()  # (T, D*H)
        largest = [max(unit) for unit in zip(*states, strict=True)]
        means = [sum(unit) / 6 for unit in zip(*states, strict=True)]
        pooled = torch.cat([outputs.pooler_output[0], torch.tensor(largest), torch.tensor(means)])
        torch.testing.assert_close(model(row[None]).logits[0], model.classifier(pooled))

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

    @pytest.mark.parametrize("problem", ["single_label_classification", "multi_label_classification", "regression"])
    def test_the_transformers_trainer_accumulates_the_gradients_of_one_large_batch(self, problem, tmp_path):
        """20 texts in batches of 8, 8 and 4: a mean of three means would give the last one's texts double weight."""
        labels = torch.arange(20) % 3 if problem.startswith("single") else torch.eye(3)[torch.arange(20) % 3]
        ids = torch.stack(words([5] * 20))
        texts = [{"input_ids": row, "labels": label} for row, label in zip(ids, labels, strict=True)]
        trained = []
        for batch_size, accumulated in ((20, 1), (8, 3)):
            model = self.model(problem_type=problem)
            arguments = TrainingArguments(
                output_dir=tmp_path,
                use_cpu=True,
                num_train_epochs=2,
                per_device_train_batch_size=batch_size,
                gradient_accumulation_steps=accumulated,
                optim="sgd",
                learning_rate=0.1,
                save_strategy="no",
                report_to=[],
                disable_tqdm=True,
            )
            Trainer(model, arguments, train_dataset=texts).train()
            trained.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
        torch.testing.assert_close(*trained, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_row_without_words_that_cannot_be_refused_is_pooled_to_zeros(pooling):
    """A GPU does not check, as it would have to wait; its arithmetic is run here on the CPU."""
    config = RecurrentConfig(vocab_size=9, embedding_size=6, units=5, bidirectional=True, pooling=pooling)
    model = randomised(RecurrentForSequenceClassification(config))
    mask = torch.tensor([[True, True, False], [False, False, False]])
    states, final = model.model.layers[0](torch.randn(2, 3, 6), layout=make_layout(mask))
    pooled = POOLINGS[pooling](model.pooler, states, final, mask)
    assert pooled[0].abs().min() > 0.0
    assert not pooled[1].any()


def test_a_mask_of_the_wrong_shape_is_refused_with_both_shapes():
    model = RecurrentModel(RecurrentConfig(vocab_size=9))
    for shape in ((2, 3), (2, 5), (1, 4), (2, 4, 1)):
        with pytest.raises(ValueError, match=r"attention_mask has shape .*, the inputs \(batch, time\) are \(2, 4\)"):
            model(torch.ones(2, 4, dtype=torch.long), attention_mask=torch.ones(shape))


def test_word_vectors_can_be_set_and_frozen_and_padding_stays_zero():
    model = RecurrentForSequenceClassification(RecurrentConfig(vocab_size=9, embedding_size=6, pad_token_id=0))
    table, vectors = model.get_input_embeddings().weight, torch.randn(9, 6)
    with torch.no_grad():
        table[1:] = vectors[1:]
    for frozen in (False, True):
        table.requires_grad_(not frozen)
        before = table.detach().clone()
        optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1.0)
        model(torch.tensor([[3, 4, 0]]), labels=torch.tensor([1])).loss.backward()
        optimizer.step()
        assert torch.equal(table, before) == frozen
        assert table[0].abs().max() == 0.0


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
        vocab_size=50, embedding_size=12, units=16, num_hidden_layers=2, cell_type="rnn", bidirectional=True
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


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("hiden_size", "did you mean `hidden_size`?"),
        ("embedding_dim", "did you mean `embedding_size`?"),
        ("num_layers", "did you mean `num_hidden_layers`?"),
    ],
)
def test_a_misspelt_field_is_refused_with_the_nearest_name(wrong, hint, tmp_path):
    RecurrentConfig().save_pretrained(tmp_path)
    attempts = [
        lambda: RecurrentConfig(**{wrong: 3}),
        lambda: dataclasses.replace(RecurrentConfig(), **{wrong: 3}),
        lambda: RecurrentConfig.from_pretrained(tmp_path, **{wrong: 3}),
        lambda: AutoConfig.from_pretrained(tmp_path, **{wrong: 3}),
        lambda: AutoModel.from_pretrained(tmp_path, **{wrong: 3}),
    ]
    for attempt in attempts:
        with pytest.raises(ValueError, match=f"has no field `{wrong}`") as refusal:
            attempt()
        assert hint in str(refusal.value)
        assert "\n" not in str(refusal.value)
    add_to_file(tmp_path / "config.json", {wrong: 3})
    with pytest.raises(ValueError, match=f"has no field `{wrong}`"):
        RecurrentConfig.from_pretrained(tmp_path)


def add_to_file(file, entries):
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def test_an_unknown_field_is_refused_with_the_list_of_fields():
    with pytest.raises(ValueError, match=r"has no field `zzz`; the fields are: .*hidden_size"):
        RecurrentConfig(zzz=3)


def test_a_config_saved_by_another_version_of_transformers_is_read(tmp_path):
    RecurrentConfig(hidden_size=7).save_pretrained(tmp_path)
    add_to_file(tmp_path / "config.json", {"transformers_version": "5.99.0", "decode_plan": {"a": 1}})
    assert RecurrentConfig.from_pretrained(tmp_path).hidden_size == 7


def test_arguments_of_tokenizers_and_the_hub_are_not_refused_by_a_config(tmp_path):
    RecurrentConfig(hidden_size=7).save_pretrained(tmp_path)
    others = {"padding_side": "left", "pad_token": "[PAD]", "use_fast": True, "trust_remote_code": True}
    assert AutoConfig.from_pretrained(tmp_path, **others).hidden_size == 7
    config, unused = RecurrentConfig.from_pretrained(tmp_path, num_labels=5, foo=1, return_unused_kwargs=True)
    assert (config.num_labels, unused) == (5, {"foo": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 0},
        {"num_hidden_layers": 0},
        {"hidden_dropout": 1.5},
        {"classifier_dropout": float("nan")},
        {"initializer_range": -1.0},
        {"initializer_range": float("nan")},
        {"vocab_size": 0},
        {"pad_token_id": 30000},
    ],
)
def test_a_value_out_of_range_is_refused_in_one_line(wrong, tmp_path):
    RecurrentConfig().save_pretrained(tmp_path)
    for make in (RecurrentConfig, functools.partial(RecurrentConfig.from_pretrained, tmp_path)):
        with pytest.raises(ValueError, match=rf"`{next(iter(wrong))}` is .*; it must") as refusal:
            make(**wrong)
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("given", [{"initializer_range": 1}, {"hidden_dropout": 0}, {"thresholds": [1, 0]}])
def test_a_whole_number_is_a_number(given, tmp_path):
    RecurrentConfig(**given).save_pretrained(tmp_path)
    for config in (RecurrentConfig(**given), RecurrentConfig.from_pretrained(tmp_path)):
        assert {name: getattr(config, name) for name in given} == given


@pytest.mark.parametrize("wrong", [{"cell_type": "lstmm"}, {"pooling": "sum"}, {"hidden_size": 2.5}, {"units": "8"}])
def test_a_value_of_the_wrong_type_is_refused_with_the_expected_one(wrong):
    with pytest.raises(StrictDataclassFieldValidationError, match="expected"):
        RecurrentConfig(**wrong)


STRANGER = """
    import json, sys
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline
    folder, text = sys.argv[1:]
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    logits = model(**tokenizer([text, "a"], return_tensors="pt", padding=True)).logits[0]
    answer = pipeline("text-classification", model=folder, trust_remote_code=True)([text, "a"], batch_size=2)[0]
    print(json.dumps({"scores": logits.softmax(-1).tolist(), "answer": answer}))
"""


@pytest.mark.slow  # seconds of imports, and test_matrix.py asks one such process about every kind of model
def test_a_process_without_this_package_gets_the_same_scores(tmp_path):
    from pipeline.config.data import Data
    from pipeline.data.tokenization.tokenizers import train

    text = "a moving , funny film"
    tokenizer = train("word", [text, "dull mess"] * 2, Data("x"))
    config = RecurrentConfig(
        vocab_size=len(tokenizer), bidirectional=True, pooling="attention", id2label={0: "bad", 1: "good"}
    )
    model = randomised(RecurrentForSequenceClassification(config))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    printed = clean_process.printed_by(STRANGER, str(tmp_path), text, folder=tmp_path)
    result = json.loads(printed)
    scores = model(**tokenizer(text, return_tensors="pt")).logits[0].softmax(-1)
    assert result["scores"] == pytest.approx(scores.tolist(), abs=1e-6)
    assert result["answer"]["label"] == config.id2label[int(scores.argmax())]
    assert result["answer"]["score"] == pytest.approx(scores.max().item(), abs=1e-6)


def test_a_model_loaded_without_this_package_can_be_saved_and_loaded_again(tmp_path):
    ids = words([4])[0][None]
    model = randomised(RecurrentForSequenceClassification(RecurrentConfig(vocab_size=50, pooling="max")))
    model.save_pretrained(tmp_path / "ours")
    name = "modeling_recurrent.RecurrentForSequenceClassification"
    stranger = get_class_from_dynamic_module(name, str(tmp_path / "ours"))
    assert stranger is not RecurrentForSequenceClassification
    stranger.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    assert (tmp_path / "theirs/modeling_recurrent.py").is_file()
    again = RecurrentForSequenceClassification.from_pretrained(tmp_path / "theirs")
    assert torch.equal(again(ids).logits, model(ids).logits)


class Renamed(RecurrentForSequenceClassification):
    """A user's own class on top of ours."""


def test_a_users_subclass_is_saved_with_its_own_file(tmp_path):
    Renamed(RecurrentConfig(vocab_size=9)).save_pretrained(tmp_path)
    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    assert auto_map["AutoModelForSequenceClassification"] == "test_recurrent.Renamed"
    assert Renamed.from_pretrained(tmp_path).config.vocab_size == 9


def test_saving_leaves_no_trace_for_configs_of_other_models(tmp_path):
    from transformers import BertConfig

    RecurrentModel(RecurrentConfig(vocab_size=9)).save_pretrained(tmp_path / "ours")
    BertConfig().save_pretrained(tmp_path / "bert")
    assert "auto_map" not in json.loads((tmp_path / "bert/config.json").read_text())
    assert json.loads((tmp_path / "ours/config.json").read_text())["auto_map"]["AutoModel"].endswith("RecurrentModel")
