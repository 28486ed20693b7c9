"""DeepSpeed: what is refused, and which parameters a slice holds. test_equivalence.py trains with it."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest
import torch

from pipeline.errors import UserError
from pipeline.training.distributed import deepspeed, launch


@pytest.mark.parametrize(
    ("asked", "config", "message"),
    [
        (
            {"zero_stage": 3},
            "none",
            "launch: zero_stage 3 is not supported; use the settings in recipes/accelerate/de",
        ),
        (
            {"offload_optimizer_device": "cpu"},
            "none",
            "launch: offload_optimizer_device cpu is not supported; use the",
        ),
        ({}, "ds.json", "launch: deepspeed_config_file ds.json is not supported; use the settings in recipes/acceler"),
    ],
)
def test_unsupported_settings_of_deepspeed_are_refused(asked, config, message, monkeypatch):
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", config)
    plugin = SimpleNamespace(**{"zero_stage": 2, "offload_optimizer_device": "none", **asked})
    with pytest.raises(UserError) as refusal:
        deepspeed.shard(None, None, SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin)), False)
    assert str(refusal.value).startswith(message)


def test_if_deepspeed_is_missing_the_refusal_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r'not installed; pip install "finetune-pipeline\[deepspeed\]", or use recipes'):
        launch._check_launch({"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_MIXED_PRECISION": "no"})


def test_the_bucket_for_gradients_is_no_larger_than_the_model(monkeypatch):
    groups = [[torch.nn.Parameter(torch.zeros(3, 2))], [torch.nn.Parameter(torch.zeros(5)) for _ in range(2)]]
    assert deepspeed._bucket(groups) == 16
    monkeypatch.setattr(deepspeed, "BUCKET", 10)
    assert deepspeed._bucket(groups) == 10


@pytest.mark.parametrize("size", range(1, 8))
def test_slices_of_any_size_hold_all_parameters_together(size):
    group = [torch.nn.Parameter(torch.arange(2.0).view(1, 2)), torch.nn.Parameter(torch.arange(2.0, 7.0))]
    parts = torch.full((-(-7 // size), size), -1.0)
    for number, part in enumerate(parts):
        for parameter, start in deepspeed._offsets(group):
            deepspeed._copy_overlap(parameter.detach(), start - number * size, part)
    assert parts.flatten().tolist() == [*range(7), *[-1] * (parts.numel() - 7)]
