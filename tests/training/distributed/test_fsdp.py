"""FSDP: what is refused, and which blocks are sharded. test_equivalence.py trains sharded models."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from pipeline.errors import UserError
from pipeline.models.recurrent import RecurrentForSeq2SeqLM, RecurrentSeq2SeqConfig
from pipeline.training.distributed import fsdp

TAKEN = {"fsdp_version": 2, "activation_checkpointing": False, "cpu_ram_efficient_loading": False}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"fsdp_version": 1}, "launch: fsdp_version 1 is not supported; use the settings in recipes/accelerate/fsdp"),
        ({"activation_checkpointing": True}, "launch: fsdp_activation_checkpointing is not supported; use the"),
        ({"cpu_ram_efficient_loading": True}, "launch: fsdp_cpu_ram_efficient_loading is not supported; use the"),
        ({}, "model.lora: adapters are too small to be sharded; start the run with ddp.yaml"),
    ],
)
def test_unsupported_settings_and_models_are_refused(asked, message):
    model = torch.nn.Linear(2, 2)
    model.peft_config = {}
    plugin = SimpleNamespace(**{**TAKEN, **asked})
    with pytest.raises(UserError) as refusal:
        fsdp.shard(model, SimpleNamespace(state=SimpleNamespace(fsdp_plugin=plugin)))
    assert str(refusal.value).startswith(message)


def test_a_meta_copy_takes_no_memory_and_keeps_tied_and_frozen_parameters():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    model[1].weight = model[0].weight
    model[1].bias.requires_grad_(False)
    copy = fsdp.meta_copy(model)
    assert {parameter.device.type for parameter in copy.parameters()} == {"meta"}
    assert copy[1].weight is copy[0].weight
    assert [parameter.requires_grad for parameter in copy.parameters()] == [True, True, False]


def test_a_block_within_a_block_is_not_sharded_alone():
    model = torch.nn.Sequential(torch.nn.Sequential(torch.nn.Linear(2, 2)), torch.nn.Linear(2, 2))
    model._no_split_modules = ["Linear", "Sequential"]
    assert fsdp._blocks(model) == [model]
    model = torch.nn.ModuleList(model)
    model._no_split_modules = ["Linear", "Sequential"]
    assert fsdp._blocks(model) == list(model)


def test_a_decoder_that_reads_word_by_word_is_one_block():
    """Its layers run once a word, so processes with texts of different lengths would not gather them equally often."""
    sizes = {"vocab_size": 12, "embedding_size": 4, "units": 4}
    for input_feeding in (True, False):
        model = RecurrentForSeq2SeqLM(RecurrentSeq2SeqConfig(**sizes, input_feeding=input_feeding))
        blocks = fsdp._blocks(model)
        assert (model.decoder in blocks) == input_feeding
        assert any(layer in blocks for layer in model.decoder.layers) != input_feeding
        assert model.encoder not in blocks


def test_a_block_with_a_tied_weight_is_not_sharded_alone():
    model = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(3)))
    model._no_split_modules = ["Linear"]
    assert fsdp._blocks(model) == list(model)
    model[2].weight = model[0].weight
    assert fsdp._blocks(model) == [model[1]]
