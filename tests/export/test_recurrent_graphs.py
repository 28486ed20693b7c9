"""The ONNX graphs of recurrent models return what the models do, for any number and length of texts and any padding."""

from __future__ import annotations

import sys

import onnx
import pytest
import torch
from conftest import ROOT
from contract import padded, randomised, words
from sessions import batches, difference, run, session, with_characters, zero_state

from pipeline.config.export import OPSETS
from pipeline.errors import UserError
from pipeline.export.quantize import quantize
from pipeline.export.recurrent.build import build
from pipeline.export.recurrent.cells import CELLS
from pipeline.export.recurrent.pooling import POOLINGS
from pipeline.models.recurrent import (
    RecurrentConfig,
    RecurrentForCausalLM,
    RecurrentForSequenceClassification,
    RecurrentForTokenClassification,
    RecurrentModel,
    modeling_recurrent,
    recurrence,
)

SIDES = ["right", "left", "holes"]
SIZES = {"vocab_size": 50, "embedding_size": 6, "units": 5, "num_hidden_layers": 2, "num_labels": 3}


def a_model(model_class=RecurrentForSequenceClassification, **config):
    return randomised(model_class(RecurrentConfig(**{**SIZES, **config})))


def test_every_cell_and_pooling_has_a_graph():
    assert list(CELLS) == list(recurrence.CELLS)
    assert list(POOLINGS) == list(modeling_recurrent.POOLINGS)


def test_no_cell_direction_depth_pooling_or_padding_differs_from_torch(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    from benchmarks import graphs

    rows = graphs.differences()
    assert len(rows) == len(recurrence.CELLS) * 2 * len(graphs.DEPTHS) * len(SIDES)
    assert {*modeling_recurrent.POOLINGS, "tags", "CRF", "next word"} <= set(rows[0])
    found = [float(value) for row in rows for value in list(row.values())[4:] if value != "-"]
    assert len(found) == len(rows) * 7 + len(rows) // 2  # only one direction predicts the next word
    assert max(found) <= 1e-5


@pytest.mark.parametrize("pooling", modeling_recurrent.POOLINGS)
@pytest.mark.parametrize("token", [None, 7])
def test_two_texts_in_a_row_are_read_on_their_own_and_compared(pooling, token):
    model = a_model(pairs=True, bidirectional=True, pooling=pooling, empty_text_token_id=token)
    graph = session(model)
    generator = torch.Generator().manual_seed(1)
    for side in SIDES:
        for inputs in batches(side, empty=token is not None):
            types = torch.randint(0, 2, inputs["input_ids"].shape, generator=generator)
            types[0] = 0  # no second text
            assert difference(model, graph, **inputs, token_type_ids=types) <= 1e-5


@pytest.mark.parametrize("model_class", [RecurrentForSequenceClassification, RecurrentForTokenClassification])
@pytest.mark.parametrize("cell", recurrence.CELLS)
def test_a_batch_without_any_position_is_read_as_texts_without_words(model_class, cell):
    model = a_model(model_class, cell_type=cell, bidirectional=True, empty_text_token_id=7, char_encoder="cnn")
    nothing = torch.zeros(2, 0, dtype=torch.long)
    inputs = {"input_ids": nothing, "attention_mask": nothing, "char_ids": torch.zeros(2, 0, 6, dtype=torch.long)}
    assert difference(model, session(model), **inputs) <= 1e-5


@pytest.mark.parametrize("pooling", modeling_recurrent.POOLINGS)
def test_a_text_without_words_has_the_vector_zero_if_no_token_stands_for_it(pooling):
    """ONNX leaves open what its operators return for a row of length 0."""
    model = a_model(pooling=pooling, bidirectional=True)
    ids, mask = padded(words([5, 2, 3]), "right")
    before = run(session(model), input_ids=ids, attention_mask=mask)["logits"]
    mask[1] = 0
    after = run(session(model), input_ids=ids, attention_mask=mask)["logits"]
    torch.testing.assert_close(after[1], model.classifier.bias.detach())
    assert torch.equal(after[[0, 2]], before[[0, 2]])


@pytest.mark.parametrize("encoder", ["cnn", "lstm"])
@pytest.mark.parametrize("side", SIDES)
def test_the_characters_of_words_are_read(encoder, side):
    for model_class in (RecurrentForSequenceClassification, RecurrentForTokenClassification):
        model = a_model(model_class, char_encoder=encoder, char_vocab_size=20, empty_text_token_id=7)
        graph = session(model)
        for inputs in batches(side, empty=True):
            assert difference(model, graph, **with_characters(inputs)) <= 1e-5


@pytest.mark.parametrize("end", [None, 0])
def test_a_tagger_does_not_read_its_padding_token_unless_that_also_ends_texts(end):
    model = a_model(RecurrentForTokenClassification, bidirectional=True, pad_token_id=0, eos_token_id=end)
    ids, mask = torch.tensor([[4, 0, 5, 0]]), torch.tensor([[1, 1, 1, 0]])
    graph = session(model)
    assert difference(model, graph, input_ids=ids, attention_mask=mask) <= 1e-5
    as_word = run(graph, input_ids=ids, attention_mask=mask)["logits"]
    as_padding = run(graph, input_ids=ids, attention_mask=torch.tensor([[1, 0, 1, 0]]))["logits"]
    assert torch.equal(as_word, as_padding) == (end is None)


@pytest.mark.parametrize("cell", ["mingru", "minlstm"])
@pytest.mark.parametrize("side", SIDES)
def test_a_convolution_in_front_of_each_layer_reads_the_words_before(cell, side):
    model = a_model(cell_type=cell, conv_kernel=4, bidirectional=True, empty_text_token_id=7)
    graph = session(model)
    for inputs in batches(side, empty=True):
        assert difference(model, graph, **inputs) <= 1e-5


HEADS_OF_WORDS = [
    {},
    {"tie_word_embeddings": True},
    {"adaptive_cutoffs": [10, 20], "units": 16},
    {"tie_word_embeddings": True, "units": 6, "inner_units": 9},
]


@pytest.mark.parametrize(
    ("cell", "more"), [*((cell, {}) for cell in recurrence.CELLS), ("mingru", {"conv_kernel": 3})], ids=str
)
@pytest.mark.parametrize("head", HEADS_OF_WORDS, ids=["linear", "tied", "adaptive", "wide"])
@pytest.mark.parametrize("side", SIDES)
def test_a_language_model_goes_on_from_the_state_after_the_words_before(cell, more, head, side):
    model = a_model(RecurrentForCausalLM, cell_type=cell, **more, **head)
    graph = session(model)
    ids, mask = padded(words([7, 3, 9]), side, extra=2)
    later, later_mask = padded(words([4, 6, 5], seed=1), side)
    first = run(graph, input_ids=ids, attention_mask=mask, **zero_state(graph, 3))
    second = run(graph, input_ids=later, attention_mask=later_mask, **as_past(first))
    with torch.no_grad():
        expected = model(input_ids=ids, attention_mask=mask, use_cache=True)
        torch.testing.assert_close(first["logits"], expected.logits, atol=1e-5, rtol=0)
        cache = expected.past_key_values
        expected = model(input_ids=later, attention_mask=later_mask, past_key_values=cache)
    torch.testing.assert_close(second["logits"], expected.logits, atol=1e-5, rtol=0)
    state = [part for layer in cache.layers for part in layer.get_state()]
    assert len(state) == len(as_past(second)) == 2 * len(model.model.layers[0].cell.state_sizes())
    for found, part in zip(as_past(second).values(), state, strict=True):
        torch.testing.assert_close(found, part, atol=1e-5, rtol=0)


def as_past(outputs):
    return {name.replace("present", "past"): part for name, part in outputs.items() if name.startswith("present")}


@pytest.mark.parametrize("cell", recurrence.CELLS)
def test_chunks_of_a_text_give_the_same_as_the_whole(cell):
    graph = session(a_model(RecurrentForCausalLM, cell_type=cell))
    ids = torch.stack(words([12, 12]))
    whole = run(graph, input_ids=ids, attention_mask=torch.ones_like(ids), **zero_state(graph, 2))
    for size in (1, 5):
        state, logits = zero_state(graph, 2), []
        for chunk in ids.split(size, dim=1):
            outputs = run(graph, input_ids=chunk, attention_mask=torch.ones_like(chunk), **state)
            state = as_past(outputs)
            logits.append(outputs["logits"])
        torch.testing.assert_close(torch.cat(logits, dim=1), whole["logits"], atol=1e-6, rtol=0)
        for name, part in as_past(whole).items():
            torch.testing.assert_close(state[name], part, atol=1e-6, rtol=0)


@pytest.mark.parametrize("cell", recurrence.CELLS)
def test_a_row_without_words_keeps_its_state(cell):
    graph = session(a_model(RecurrentForCausalLM, cell_type=cell))
    state = {name: torch.rand(part.shape) for name, part in zero_state(graph, 2).items()}
    ids, mask = torch.tensor([[3, 4], [5, 6]]), torch.tensor([[1, 1], [0, 0]])
    after = as_past(run(graph, input_ids=ids, attention_mask=mask, **state))
    for name, part in state.items():
        assert torch.equal(after[name][1], part[1])
        assert not torch.equal(after[name][0], part[0])


@pytest.mark.parametrize("opset", OPSETS)
def test_a_graph_of_each_version_of_the_operators_gives_the_same(opset):
    for model_class in (RecurrentForTokenClassification, RecurrentForSequenceClassification):
        model = a_model(model_class, pooling="concat", bidirectional=True, char_encoder="cnn", char_vocab_size=20)
        model.config.crf = model_class is RecurrentForTokenClassification
        model = randomised(model_class(model.config))
        graph = build(model, opset)
        assert [imported.version for imported in graph.opset_import] == [opset]
        for inputs in batches("holes"):
            assert difference(model, session(graph), **with_characters(inputs)) <= 1e-5


@pytest.mark.parametrize("opset", [17, 24])
def test_another_version_is_refused_with_the_range(opset):
    with pytest.raises(UserError, match=f"^opset: {opset} is out of range; it must be from 18 to 23$"):
        build(a_model(), opset)


def test_a_model_without_a_head_is_refused_with_those_that_have_one():
    with pytest.raises(UserError, match=r"^model: RecurrentModel has no head; load the model as one of Recurrent"):
        build(a_model(RecurrentModel), 18)


def test_a_model_in_half_precision_and_in_training_mode_is_built_in_float32_without_dropout():
    rates = {"embedding_dropout": 0.5, "hidden_dropout": 0.5, "weight_dropout": 0.5, "classifier_dropout": 0.5}
    model = a_model(**rates).bfloat16().train()
    graph = session(model)
    for inputs in batches("left"):
        assert difference(model.float().eval(), graph, **inputs) <= 1e-5


def test_initializers_have_the_names_of_the_state_dict_and_none_is_there_twice():
    model = a_model(RecurrentForCausalLM, tie_word_embeddings=True)
    graph = build(model)
    names = {tensor.name for tensor in graph.graph.initializer if not tensor.name.startswith("const_")}
    layers = {f"model.layers.{n}.{name}" for n in range(2) for name in ("weight_ih", "weight_hh", "bias")}
    assert names == {"model.embed_tokens.weight", "projection.weight", "lm_head.bias", *layers}
    stored = sum(onnx.numpy_helper.to_array(tensor).size for tensor in graph.graph.initializer)
    assert stored - sum(parameter.numel() for parameter in model.parameters()) < 50  # constants
    assert "model.layers.1/LSTM" in "".join(node.name for node in graph.graph.node)


OF_8_BITS = {
    "attention": (RecurrentForSequenceClassification, {"cell_type": "gru", "pooling": "attention"}),
    "tags": (RecurrentForTokenClassification, {"bidirectional": True, "crf": True, "char_encoder": "cnn"}),
    "next word": (RecurrentForCausalLM, {"adaptive_cutoffs": [100, 200]}),
}


@pytest.mark.parametrize("kind", OF_8_BITS)
def test_a_graph_with_weights_of_8_bits_gives_about_the_same(kind, tmp_path):
    model_class, config = OF_8_BITS[kind]
    model = a_model(model_class, **{"embedding_size": 32, "units": 64, "vocab_size": 2000, **config})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.2)
    whole, small = tmp_path / "whole.onnx", tmp_path / "small.onnx"
    onnx.save(build(model), whole)
    quantize(whole, small)
    assert small.stat().st_size < 0.7 * whole.stat().st_size  # ONNX Runtime has no GRU of 8 bits
    graph = session(str(small))
    for inputs in batches("right"):
        given = with_characters(inputs) if "char_encoder" in config else inputs
        assert difference(model, graph, **given) < 0.2
