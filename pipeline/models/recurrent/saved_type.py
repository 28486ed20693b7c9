"""A configuration that is saved under a model type of transformers, so that its folder's tokenizer loads unasked."""

from __future__ import annotations

import json
import os
from typing import Any, ClassVar

from transformers import PreTrainedConfig


class SavedUnderKnownType(PreTrainedConfig):
    """A configuration whose config.json names `saved_type` in place of `model_type`.

    `AutoTokenizer.from_pretrained(folder)` reads config.json first. If it names code and a type that transformers does
    not know, it asks whether to run the code, and waits for an answer, although a tokenizer without code of its own
    does not need it. With a type that transformers knows, it goes on to the tokenizer.

    The type must be one that none of the Auto classes of models knows. They then ask about the code, or run it with
    `trust_remote_code=True`, and never build a model of transformers with random weights. Parts of other models are
    such types; those of CLVP, a text-to-speech model, are rarely used alone.
    """

    saved_type: ClassVar[str]

    def to_json_file(self, json_file_path: str | os.PathLike, use_diff: bool = True) -> None:
        """Write the file that `save_pretrained` writes, with `saved_type`."""
        values = {**json.loads(self.to_json_string(use_diff)), "model_type": self.saved_type}
        with open(json_file_path, "w", encoding="utf-8") as file:
            file.write(json.dumps(values, indent=2, sort_keys=True) + "\n")

    @classmethod
    def get_config_dict(cls, *args: Any, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The contents of a saved file, with the type of this class."""
        values, unused = super().get_config_dict(*args, **kwargs)
        return cls._with_own_type(values), unused

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs: Any) -> Any:
        return super().from_dict(cls._with_own_type(config_dict), **kwargs)

    @classmethod
    def from_json_file(cls, json_file: str | os.PathLike) -> Any:
        return cls.from_dict(cls._dict_from_json_file(json_file))

    @classmethod
    def _with_own_type(cls, values: dict[str, Any]) -> dict[str, Any]:
        return {**values, "model_type": cls.model_type} if values.get("model_type") == cls.saved_type else values


__all__ = ["SavedUnderKnownType"]
