"""`hidden_size` is the width of the outputs, as tools expect of any config, and `units` that of one direction."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from transformers import AutoConfig, BertConfig

from pipeline.models.recurrent import CrfTaggerConfig, RecurrentConfig, RecurrentModel

CELLS = ["rnn", "lstm", "gru"]


def sizes(config):
    return config.units, config.hidden_size


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("given", ["units", "hidden_size"])
def test_hidden_size_is_the_width_of_the_outputs_whichever_size_is_given(cell, bidirectional, given):
    config = RecurrentConfig(
        vocab_size=9, cell_type=cell, bidirectional=bidirectional, num_hidden_layers=2, **{given: 6}
    )
    outputs = RecurrentModel(config)(torch.tensor([[5, 6, 7]]))
    assert outputs.last_hidden_state.shape[-1] == outputs.pooler_output.shape[-1] == config.hidden_size
    assert config.units * (2 if bidirectional else 1) == config.hidden_size == config.output_size
    assert getattr(config, given) == 6


@pytest.mark.parametrize("directions", [1, 2])
def test_inner_units_are_those_of_all_layers_but_the_last(directions, tmp_path):
    config = RecurrentConfig(
        vocab_size=9, embedding_size=3, units=4, inner_units=7, num_hidden_layers=3, bidirectional=directions == 2
    )
    model = RecurrentModel(config)
    shapes = [tuple(layer.weight_ih_l0.shape) for layer in model.layers]
    assert shapes == [(4 * 7, 3), (4 * 7, 7 * directions), (4 * 4, 7 * directions)]
    assert model(torch.tensor([[5, 6, 7]])).last_hidden_state.shape[-1] == config.output_size == 4 * directions
    config.save_pretrained(tmp_path)
    assert AutoConfig.from_pretrained(tmp_path).inner_units == 7


def test_without_a_size_a_layer_has_128_units_per_direction():
    assert sizes(RecurrentConfig()) == (128, 128)
    assert sizes(RecurrentConfig(bidirectional=True)) == (128, 256)


def test_both_sizes_may_be_given_if_they_agree():
    assert sizes(RecurrentConfig(units=5, hidden_size=10, bidirectional=True)) == (5, 10)
    with pytest.raises(ValueError, match="`hidden_size` is 5 and `units` is 5; 2 x 5 = 10 is the width of the outputs"):
        RecurrentConfig(units=5, hidden_size=5, bidirectional=True)


def test_an_odd_width_is_refused_for_two_directions():
    for make in (
        lambda: RecurrentConfig(hidden_size=5, bidirectional=True),
        lambda: setattr(RecurrentConfig(bidirectional=True), "hidden_size", 5),
    ):
        with pytest.raises(ValueError, match="`hidden_size` is 5; it must be even, as each of the two directions"):
            make()


def test_a_size_that_changes_later_takes_the_other_along():
    config = RecurrentConfig(units=5)
    config.bidirectional = True
    assert sizes(config) == (5, 10)
    config.hidden_size = 14
    assert sizes(config) == (7, 14)
    config.units = 3
    assert sizes(config) == (3, 6)
    assert RecurrentModel(config).layers[0].weight_hh_l0.shape[-1] == 3


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, (5, 10)),
        ({"hidden_size": 8}, (4, 8)),
        ({"units": 8}, (8, 16)),
        ({"bidirectional": False}, (5, 5)),
        ({"hidden_size": 7, "bidirectional": False}, (7, 7)),
        ({"bidirectional": False, "hidden_size": 7}, (7, 7)),
    ],
)
def test_a_saved_config_is_read_with_the_sizes_given_in_place_of_its_own(given, expected, tmp_path):
    RecurrentConfig(units=5, bidirectional=True).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    assert (saved["units"], saved["hidden_size"]) == (5, 10)
    for make in (RecurrentConfig.from_pretrained, AutoConfig.from_pretrained):
        assert sizes(make(tmp_path, **given)) == expected


def test_a_config_of_an_earlier_version_gives_the_units_as_its_hidden_size(tmp_path):
    RecurrentConfig(units=5, bidirectional=True).save_pretrained(tmp_path)
    file = tmp_path / "config.json"
    earlier = {**json.loads(file.read_text(encoding="utf-8")), "hidden_size": 5}
    del earlier["units"]
    file.write_text(json.dumps(earlier), encoding="utf-8")
    read = [RecurrentConfig.from_dict(earlier), RecurrentConfig.from_json_file(file), AutoConfig.from_pretrained(file)]
    read += [RecurrentConfig.from_pretrained(tmp_path), CrfTaggerConfig(text_config=earlier).text_config]
    assert [sizes(config) for config in read] == [(5, 10)] * 5
    assert earlier["hidden_size"] == 5, "the dictionary is not changed"
    RecurrentConfig.from_pretrained(tmp_path).save_pretrained(tmp_path)
    assert sizes(RecurrentConfig.from_pretrained(tmp_path)) == (5, 10)


def test_a_copy_with_other_units_or_directions_has_another_width():
    config = RecurrentConfig(units=5)
    for change in ({"units": 3}, {"bidirectional": True}):
        changed = dataclasses.replace(config, hidden_size=None, **change)
        assert changed.hidden_size == changed.units * changed.directions


def test_the_width_of_a_crf_tagger_is_that_of_its_encoder(tmp_path):
    for encoder, width in (
        (BertConfig(hidden_size=24), 24),
        (RecurrentConfig(units=5, bidirectional=True, vocab_size=9), 10),
    ):
        CrfTaggerConfig(text_config=encoder).save_pretrained(tmp_path)
        config = CrfTaggerConfig.from_pretrained(tmp_path)
        assert config.hidden_size == width
        config.hidden_size = 8
        assert config.text_config.hidden_size == 8
