"""A finished export: what was checked and measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.config.export import PACKAGES, Quantization
from pipeline.export.checks import Checked

VERSIONS = ("torch", "transformers", "tokenizers", *PACKAGES)


@dataclass(frozen=True)
class Exported:
    """An export that has been made.

    Attributes:
        quantization: int8; None: its weights are float32.
        checked: what it scores, and how far it is from the model.
        latency: see `latency.measure`.
        bytes: size of the weights `before`, and of the graph with its weights `after`.
        processor: on which the latency was measured.
        warning: what is wrong with it although it was asked for.
    """

    folder: Path
    quantization: Quantization | None
    opset: int
    checked: Checked
    latency: dict[str, dict[str, dict[str, float]]]
    bytes: dict[str, int]
    processor: str
    warning: str | None

    def to_json(self) -> dict[str, Any]:
        """What export.json says about it."""
        found = {name: value for name, value in asdict(self).items() if name != "folder"}
        return {**found, "versions": {name: metadata.version(name) for name in VERSIONS}}
