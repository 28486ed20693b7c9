"""What is said about the scores of a teacher."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from pipeline.config.data import Data
from pipeline.config.sources import ResolvedSource
from pipeline.distil import scores


def warned(monkeypatch, student: Data, teacher: Data) -> bool:
    """Whether a student is told that the teacher has seen other splits of the same data."""
    monkeypatch.setattr(scores, "_run_on", lambda *given: SimpleNamespace(data=teacher))
    prepared = SimpleNamespace(source=ResolvedSource(student, "files"))
    return bool(scores.warnings(SimpleNamespace(name="teacher"), student, prepared))


@pytest.mark.parametrize(
    "settings",
    [
        {"split_seed": 1}, {"validation_share": 0.2}, {"test_share": 0.2}, {"limit": 9}, {"subset": "b"},
        {"separate": False}, {"missing_labels": ("unknown",)},
    ],
)  # fmt: skip
def test_a_setting_that_decides_which_rows_are_in_a_split_is_warned_about(settings, monkeypatch):
    assert warned(monkeypatch, Data("a.csv"), Data("a.csv", **settings))


@pytest.mark.parametrize(
    "settings",
    [
        {"scheme": "bioes"}, {"long_texts": "windows"}, {"text_column": "text", "label_column": "label"},
        {"encoding": "utf-8"}, {"problem_type": "single_label_classification"}, {"tokenizer": "bpe", "max_length": 9},
        {"validation_share": 0.1}, {"separate": True}, {"label_names": ("0=negative",)},
    ],
)  # fmt: skip
def test_a_setting_that_does_not_is_not_warned_about(settings, monkeypatch):
    assert not warned(monkeypatch, Data("a.csv"), Data("b.csv", **settings))
