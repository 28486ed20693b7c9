"""Answers requests to Inference Endpoints of the Hub with the exported model, without torch.

Inference Endpoints load `EndpointHandler` from the handler.py at the top of a repository, and install what its
requirements.txt names. The export is beside this file, or in a folder onnx/ beside it.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


class EndpointHandler:
    """Answers with the model in the folder `path`."""

    def __init__(self, path: str = ""):
        folder = Path(path)
        folder = folder if (folder / "export.json").is_file() else folder / "onnx"
        sys.path.insert(0, str(folder))
        self.model = importlib.import_module("runner").load(folder)

    def __call__(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        """An answer for each text.

        Args:
            data: `inputs`, a text or a list of texts, where one of a pair is {"text": ..., "text_pair": ...}; and
                `parameters`, such as {"generate": 20} for a language model.

        Raises:
            ValueError: there are no inputs, or they are not of these forms.
        """
        inputs = data.get("inputs")
        texts = [_content(text) for text in (inputs if isinstance(inputs, list) else [inputs])]
        return self.model(texts, **data.get("parameters") or {})


def _content(given: Any) -> Any:
    """A text, two texts, or a list of words, as the runner takes them."""
    if isinstance(given, dict) and "text" in given:
        given = [given[name] for name in ("text", "text_pair") if name in given]
        given = given[0] if len(given) == 1 else given
    if isinstance(given, str) or (isinstance(given, list) and all(isinstance(part, str) for part in given)):
        return given
    raise ValueError('inputs: expected a text, a list of texts, or {"text": ..., "text_pair": ...}')
