"""The recurrent encoder-decoder: what it computes, against a reference that reads word by word, and what it refuses."""

from __future__ import annotations

import json

import clean_process
import pytest
import torch
from contract import ModelContract, padded, randomised, words
from safetensors.torch import load_file
from torch import nn
from transformers import AutoModelForSeq2SeqLM, DataCollatorForSeq2Seq, Seq2SeqTrainer, Seq2SeqTrainingArguments

from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentSeq2SeqConfig
from pipeline.models.recurrent.dropout import LockedDropout
from pipeline.models.recurrent.recurrence import CELLS
from pipeline.training.distributed.fsdp import _blocks

SIZES = {"vocab_size": 50, "embedding_size": 6, "units": 5, "num_hidden_layers": 2, "bos_token_id": 2}
TARGET = torch.tensor([[2, 9, 4, 7]])
KINDS = {
    "none": {"attention_type": "none"},
    "none, tied": {"attention_type": "none", "tie_word_embeddings": True},
    "multiplicative": {},
    "additive": {"attention_type": "additive", "decoder_layers": 1},
    "multiplicative, fed": {"input_feeding": True, "tie_word_embeddings": True},
    "additive, fed": {"attention_type": "additive", "input_feeding": True, "decoder_layers": 3},
}


def a_model(**changes) -> RecurrentForSeq2SeqLM:
    return randomised(RecurrentForSeq2SeqLM(RecurrentSeq2SeqConfig(**{**SIZES, **changes})))


class Seq2SeqContract(ModelContract):
    model_class = RecurrentForSeq2SeqLM
    auto_class = AutoModelForSeq2SeqLM
    kind: dict = {}  # noqa: RUF012

    # What differs is tested below: these call a model without a target text, or look for its layers elsewhere.
    test_a_row_without_words_is_read_as_the_token_for_it_and_changes_no_other = None
    test_embeddings_in_place_of_ids_give_the_same_result = None
    test_hidden_states_are_the_embeddings_and_each_layer = None
    test_an_exported_graph_holds_for_any_mask_and_any_number_of_texts = None
    test_initial_weights_are_orthogonal_with_an_open_forget_gate = None

    def config(self, **changes):
        return RecurrentSeq2SeqConfig(**{**SIZES, **self.kind, **changes})

    def outputs_of(self, model, ids, mask):
        target = TARGET.expand(len(ids), -1)
        return model(input_ids=ids, attention_mask=mask, decoder_input_ids=target).logits[..., :50]


class TestMultiplicativeAttention(Seq2SeqContract):
    test_torch_compile_gives_the_same_result = pytest.mark.slow(ModelContract.test_torch_compile_gives_the_same_result)


class TestAdditiveAttentionWithInputFeeding(Seq2SeqContract):
    kind = {"attention_type": "additive", "input_feeding": True, "source_vocab_size": 50}  # noqa: RUF012

    test_torch_compile_gives_the_same_result = None  # takes seconds; the layers are the same
    test_loading_in_another_dtype_gives_about_the_same_result = None  # likewise


# --- what is computed


def reference(model: RecurrentForSeq2SeqLM, source: torch.Tensor, target: torch.Tensor) -> tuple:
    """Logits (T, V) and weights (T, S) for a text without padding, word by word, as the papers have it."""
    config, decoder = model.config, model.decoder
    read = model.encoder(source[None])
    states, final = read.last_hidden_state[0], read.pooler_output[0]
    kinds = {"rnn": nn.RNNCell, "gru": nn.GRUCell, "lstm": nn.LSTMCell}
    cells = []
    for layer in decoder.layers:
        cell = kinds[config.cell_type](layer.weight_ih_l0.shape[1], config.units).double()
        cell.load_state_dict({name.removesuffix("_l0"): value for name, value in layer.state_dict().items()})
        cells.append(cell)
    bridged = torch.tanh(decoder.bridge(final)).view(len(cells), -1, config.units)
    carried = [tuple(part[None] for part in parts) for parts in bridged]
    fed, logits, weights = torch.zeros(config.vector_size).double(), [], []
    for word in target:
        outputs = model.shared(word)
        if config.input_feeding:
            outputs = torch.cat([outputs, fed])
        for index, cell in enumerate(cells):
            after = cell(outputs[None], carried[index] if len(carried[index]) > 1 else carried[index][0])
            carried[index] = after if isinstance(after, tuple) else (after,)
            outputs = carried[index][0][0]
        if config.attention_type != "none":
            score = decoder.attention.score
            if config.attention_type == "additive":
                keys = [score.key_projection(state) for state in states]
                scores = [score.score(torch.tanh(score.query_projection(outputs) + key))[0] for key in keys]
            else:
                scores = [state @ score.projection.weight @ outputs for state in states]
            weights.append(torch.stack(scores).softmax(0))
            context = sum(weight * state for weight, state in zip(weights[-1], states, strict=True))
            fed = outputs = torch.tanh(decoder.attention.combination.weight @ torch.cat([context, outputs]))
        elif decoder.projection is not None:
            outputs = decoder.projection(outputs)
        logits.append(model.lm_head(outputs))
    return torch.stack(logits), torch.stack(weights) if weights else None


@pytest.mark.parametrize("cell", ["rnn", "lstm", "gru"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_decoded_as_each_text_is_word_by_word(cell, kind):
    model = a_model(cell_type=cell, **KINDS[kind]).double()
    rows, targets = words([5, 2, 7]), words([4, 4, 4], seed=1)
    ids, mask = padded(rows, "holes", extra=1)
    outputs = model(ids, mask, decoder_input_ids=torch.stack(targets), output_attentions=True)
    for index, (row, target) in enumerate(zip(rows, targets, strict=True)):
        logits, weights = reference(model, row, target)
        torch.testing.assert_close(outputs.logits[index], logits)
        if weights is not None:
            (found,) = outputs.cross_attentions  # one layer, one head
            assert found.shape == (3, 1, 4, 8)
            torch.testing.assert_close(found[index, 0, :, mask[index].bool()], weights)
            assert not found[index, 0, :, ~mask[index].bool()].any()
    assert (outputs.cross_attentions is None) == (weights is None)


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_is_that_of_labels_that_are_shifted_inside_and_ignores_what_is_marked(kind):
    model = a_model(**KINDS[kind])
    ids, mask = padded(words([5, 2]), "right")
    labels = torch.tensor([[4, 9, 1], [7, -100, -100]])
    outputs = model(ids, mask, labels=labels)
    given = torch.tensor([[2, 4, 9], [2, 7, 0]])
    assert torch.equal(model.prepare_decoder_input_ids_from_labels(labels), given)
    assert torch.equal(outputs.logits, model(ids, mask, decoder_input_ids=given).logits)
    log_probabilities = outputs.logits.double().log_softmax(-1)
    nll = -sum(log_probabilities[row, t, labels[row, t]] for row, t in ((0, 0), (0, 1), (0, 2), (1, 0)))
    torch.testing.assert_close(outputs.loss.double(), nll / 4, atol=1e-6, rtol=1e-6)
    summed = model(ids, mask, labels=labels, num_items_in_batch=torch.tensor(10)).loss
    torch.testing.assert_close(summed.double(), nll / 10, atol=1e-6, rtol=1e-6)
    assert outputs.past_key_values is None  # there is nothing to continue


def test_a_start_token_of_its_own_comes_before_the_one_for_texts():
    model = a_model(decoder_start_token_id=8)
    assert model.prepare_decoder_input_ids_from_labels(torch.tensor([[4, 5]])).tolist() == [[8, 4]]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["right", "left", "holes"])
def test_padding_among_the_target_words_changes_nothing(kind, side):
    model = a_model(**KINDS[kind])
    source, rows = words([3])[0][None], words([5, 2, 4])
    ids, mask = padded(rows, side, extra=1)
    outputs = model(source.expand(3, -1), decoder_input_ids=ids, decoder_attention_mask=mask)
    alone = torch.cat([model(source, decoder_input_ids=row[None]).logits[0] for row in rows])
    torch.testing.assert_close(outputs.logits[mask.bool()], alone, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("side", ["right", "left", "holes", None])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_decoder_starts_from_the_final_output_of_each_direction(cell, side, bidirectional):
    model = a_model(cell_type=cell, bidirectional=bidirectional)
    ids, mask = padded(words([5, 1, 4] if side else [5, 5]), side or "right", extra=1 if side else 0)
    encoded = model.get_encoder()(ids, attention_mask=mask)
    final = model._source(encoded.last_hidden_state, mask if side else None).final
    torch.testing.assert_close(final, encoded.pooler_output, atol=1e-7, rtol=1e-6)


@pytest.mark.parametrize("kind", ["none", "multiplicative", "additive, fed"])
def test_a_source_without_words_is_read_as_the_token_for_it_and_attended_to(kind):
    model = a_model(**KINDS[kind], empty_text_token_id=7)
    expected = model(torch.tensor([[7]]), decoder_input_ids=TARGET).logits
    ids, mask = padded(words([4, 3]), "left")
    mask[1] = 0
    found = model(ids, mask, decoder_input_ids=TARGET.expand(2, -1)).logits
    torch.testing.assert_close(found[1:], expected, atol=1e-6, rtol=1e-6)
    nothing = torch.zeros(1, 0)
    torch.testing.assert_close(model(nothing, nothing, decoder_input_ids=TARGET).logits, expected)


@pytest.mark.parametrize("fed", [False, True])
def test_hidden_states_are_the_embeddings_and_each_layer_of_both_sides(fed):
    model = a_model(num_hidden_layers=3, decoder_layers=1, input_feeding=fed)
    outputs = model(words([5])[0][None], decoder_input_ids=TARGET, output_hidden_states=True)
    assert [state.shape for state in outputs.encoder_hidden_states] == [(1, 5, 6), *[(1, 5, 10)] * 3]
    assert [state.shape for state in outputs.decoder_hidden_states] == [(1, 4, 6), (1, 4, 5)]
    assert torch.equal(outputs.encoder_hidden_states[-1], outputs.encoder_last_hidden_state)
    for states in (outputs.encoder_hidden_states, outputs.decoder_hidden_states):
        assert torch.autograd.grad(outputs.logits.sum(), states[0], retain_graph=True)[0].any()
    assert model(words([5])[0][None], decoder_input_ids=TARGET).decoder_hidden_states is None


@pytest.mark.parametrize("kind", ["multiplicative", "additive, fed"])
def test_embeddings_and_encoder_outputs_in_place_of_ids_give_the_same_result(kind):
    model = a_model(**KINDS[kind])
    ids, mask = padded(words([5, 2]), "right")
    target = TARGET.expand(2, -1)
    expected = model(ids, mask, decoder_input_ids=target).logits
    encoded = model.get_encoder()(ids, attention_mask=mask)
    for given in (
        {"inputs_embeds": model.shared(ids), "decoder_inputs_embeds": model.shared(target)},
        {"encoder_outputs": encoded, "decoder_input_ids": target},
        {"encoder_outputs": encoded.to_tuple(), "decoder_input_ids": target},
        {"encoder_outputs": (encoded.last_hidden_state,), "decoder_input_ids": target},
    ):
        assert torch.equal(model(attention_mask=mask, **given).logits, expected)
    assert torch.equal(model(ids, mask, decoder_input_ids=target, return_dict=False)[0], expected)


def test_an_exported_graph_holds_for_any_mask_and_any_number_of_texts():
    model = a_model(empty_text_token_id=7)
    shapes = {name: {0: torch.export.Dim("batch")} for name in ("input_ids", "attention_mask", "decoder_input_ids")}

    def inputs(lengths, side="right"):
        ids, mask = padded(words(lengths), side)
        return {"input_ids": ids, "attention_mask": mask, "decoder_input_ids": TARGET.repeat(len(ids), 1)}

    program = torch.export.export(model, (), inputs([7, 1, 4]), dynamic_shapes=shapes).module()
    for lengths in ([2, 7, 5, 3, 1], [7, 7]):
        for side in ("right", "left", "holes"):
            given = inputs(lengths, side)
            torch.testing.assert_close(program(**given).logits, model(**given).logits)


# --- what is shared, dropped and initialised


def test_a_joint_vocabulary_is_one_matrix_that_is_stored_once_and_resized_as_one(tmp_path):
    model = a_model(tie_word_embeddings=True)
    assert model.encoder.embed_tokens.weight is model.shared.weight is model.lm_head.weight
    model.save_pretrained(tmp_path)
    assert not {"encoder.embed_tokens.weight", "lm_head.weight"} & load_file(tmp_path / "model.safetensors").keys()
    loaded = RecurrentForSeq2SeqLM.from_pretrained(tmp_path)
    assert loaded.encoder.embed_tokens.weight is loaded.shared.weight is loaded.lm_head.weight
    loaded.resize_token_embeddings(60)
    assert loaded.encoder.embed_tokens.weight is loaded.shared.weight is loaded.lm_head.weight
    assert loaded.encoder.config.vocab_size == loaded.config.vocab_size == len(loaded.lm_head.bias) == 60
    untied = a_model()
    assert untied.encoder.embed_tokens.weight is untied.shared.weight is not untied.lm_head.weight


def test_separate_vocabularies_have_a_matrix_each(tmp_path):
    model = a_model(source_vocab_size=80, tie_word_embeddings=True)
    assert model._tied_weights_keys == {"lm_head.weight": "shared.weight"}  # as PEFT reads it
    model.save_pretrained(tmp_path)
    for same in (model, AutoModelForSeq2SeqLM.from_pretrained(tmp_path)):
        assert same.encoder.embed_tokens.weight.shape == (80, 6)
        assert same.lm_head.weight is same.shared.weight
        assert same(torch.tensor([[79]]), decoder_input_ids=TARGET).logits.shape == (1, 4, 50)
    model.resize_token_embeddings(60)
    assert model.encoder.embed_tokens.weight.shape == (80, 6)


def test_layers_are_sharded_alone_and_what_is_tied_stays_together():
    blocks = _blocks(a_model(tie_word_embeddings=True))
    assert [type(block).__name__ for block in blocks] == ["RecurrentLayer"] * 4


def test_initial_weights_are_orthogonal_with_an_open_forget_gate_and_start_at_zero_biases():
    torch.manual_seed(0)
    model = RecurrentForSeq2SeqLM(RecurrentSeq2SeqConfig(**SIZES))
    for layer in (*model.encoder.layers, *model.decoder.layers):
        for gate in layer.weight_hh_l0.chunk(4):
            torch.testing.assert_close(gate @ gate.T, torch.eye(5))
        assert layer.bias_ih_l0.chunk(4)[1].tolist() == [1.0] * 5
    assert not model.decoder.bridge.bias.any()
    bound = (6 / (10 + 20)) ** 0.5  # Glorot & Bengio 2010
    assert 0.8 * bound < model.decoder.bridge.weight.abs().max() <= bound


@pytest.mark.parametrize("locked", [False, True])
def test_input_feeding_draws_the_dropout_between_layers_for_a_whole_row(locked):
    model = a_model(input_feeding=True, hidden_dropout=0.5, variational_dropout=locked, units=40).train()
    assert isinstance(model.decoder.hidden_dropout, LockedDropout) == locked
    seen = []
    model.decoder.layers[1].register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0] == 0))
    model(words([5])[0][None], decoder_input_ids=TARGET)
    assert len(seen) == 4
    assert 0.2 < torch.stack(seen).float().mean() < 0.8
    assert torch.equal(seen[0], seen[1]) == locked


def test_gradients_reach_every_parameter_of_every_kind():
    for kind in KINDS.values():
        model = a_model(**kind).train()
        model(words([5])[0][None], labels=TARGET).loss.backward()
        assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_cell_can_decode_every_kind(cell, kind):
    model = a_model(cell_type=cell, **KINDS[kind])
    assert model(words([5])[0][None], labels=TARGET).loss.isfinite()


# --- what is refused


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crf": True}, "`crf` is True; a model that translates does not use it"),
        ({"char_encoder": "cnn"}, "`char_encoder` is cnn; a model that translates does not use it"),
        ({"adaptive_cutoffs": [10]}, "a model that translates does not use it"),
        ({"attention_type": "none", "input_feeding": True}, "without attention there is nothing to feed"),
        ({"input_feeding": True, "weight_dropout": 0.1}, "`weight_dropout` is 0.1; its mask must be the same"),
        ({"decoder_layers": 0}, "`decoder_layers` is 0; it must be at least 1"),
        ({"source_vocab_size": 0}, "`source_vocab_size` is 0; it must be at least 1"),
        ({"attention": "none"}, "did you mean `attention_type`"),
    ],
)
def test_an_impossible_configuration_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        RecurrentSeq2SeqConfig(**SIZES, **wrong)


def test_a_missing_target_or_start_token_is_refused_with_the_reason():
    with pytest.raises(ValueError, match="exactly one of decoder_input_ids or decoder_inputs_embeds, or labels"):
        a_model()(TARGET)
    for field in ("bos_token_id", "pad_token_id"):
        with pytest.raises(ValueError, match="is None; set it in the config to train the model on labels"):
            a_model(**{field: None})(TARGET, labels=TARGET)


# --- with the tools of transformers


def test_the_transformers_trainer_smooths_labels_and_accumulates_the_gradients_of_one_large_batch(tmp_path):
    texts = [{"input_ids": row, "labels": row[: 2 + index % 3]} for index, row in enumerate(words([5] * 20))]
    tokenizer = _WordTokenizer()
    trained = []
    for batch_size, accumulated in ((20, 1), (8, 3)):
        model = a_model()
        arguments = Seq2SeqTrainingArguments(
            output_dir=tmp_path,
            use_cpu=True,
            num_train_epochs=2,
            per_device_train_batch_size=batch_size,
            gradient_accumulation_steps=accumulated,
            label_smoothing_factor=0.1,
            optim="sgd",
            learning_rate=0.1,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        )
        collator = DataCollatorForSeq2Seq(tokenizer, model=model)
        Seq2SeqTrainer(model, arguments, train_dataset=texts, data_collator=collator).train()
        trained.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(*trained, atol=1e-6, rtol=1e-6)
    assert not torch.equal(trained[0], torch.cat([parameter.flatten() for parameter in a_model().parameters()]))


def test_the_transformers_trainer_predicts_what_generate_writes(tmp_path):
    model, rows = a_model(eos_token_id=1), words([5] * 6)
    arguments = Seq2SeqTrainingArguments(
        tmp_path, use_cpu=True, per_device_eval_batch_size=3, predict_with_generate=True, report_to=[]
    )
    trainer = Seq2SeqTrainer(model, arguments, data_collator=DataCollatorForSeq2Seq(_WordTokenizer(), model=model))
    found = trainer.predict([{"input_ids": row, "labels": row} for row in rows], max_new_tokens=6)
    ids = torch.stack(rows)
    expected = model.generate(ids, max_new_tokens=6)
    assert found.predictions[:, : expected.shape[1]].tolist() == expected.tolist()
    assert found.metrics["test_loss"] == pytest.approx(model(ids, labels=ids).loss.item(), abs=1e-6)


class _WordTokenizer:
    """As much of a tokenizer as the collator asks for."""

    padding_side = "right"
    deprecation_warnings: dict = {}  # noqa: RUF012

    def pad(self, features, return_tensors, **options):
        ids = torch.stack([torch.as_tensor(feature["input_ids"]) for feature in features])
        return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


STRANGER = """
    import json, sys
    import torch
    from transformers import AutoModelForSeq2SeqLM
    model = AutoModelForSeq2SeqLM.from_pretrained(sys.argv[1], trust_remote_code=True)
    ids = torch.tensor([json.loads(sys.argv[2])])
    print(json.dumps(model.generate(ids, max_new_tokens=8, num_beams=2).tolist()))
"""


@pytest.mark.slow  # seconds of imports, and test_matrix.py asks one such process about every kind of model
def test_a_process_without_this_package_generates_the_same(tmp_path):
    model = a_model(tie_word_embeddings=True, attention_type="additive", input_feeding=True)
    model.save_pretrained(tmp_path)
    (row,) = words([5])
    printed = clean_process.printed_by(STRANGER, str(tmp_path), json.dumps(row.tolist()), folder=tmp_path)
    assert json.loads(printed) == model.generate(row[None], max_new_tokens=8, num_beams=2).tolist()
