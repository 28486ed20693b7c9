"""A configuration that is saved under a model type of transformers, so that its folder's tokenizer loads unasked, and
that names the classes of its family there, so that each Auto class loads the folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
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
    # Auto class -> module and class of the model that it loads from the folder of any model of this family.
    auto_classes: ClassVar[dict[str, str]]

    def to_json_file(self, json_file_path: str | os.PathLike, use_diff: bool = True) -> None:
        """Write the file that `save_pretrained` writes, with `saved_type` and the `auto_map` of the whole family."""
        values = {**json.loads(self.to_json_string(use_diff)), "model_type": self.saved_type}
        if "auto_map" in values:
            values["auto_map"] = self._family(values, Path(json_file_path).parent)
        with open(json_file_path, "w", encoding="utf-8") as file:
            file.write(json.dumps(values, indent=2) + "\n")

    def _family(self, values: dict[str, Any], folder: Path) -> dict[str, str]:
        """The `auto_map` of `values`, where transformers has put the saved class alone, with the other classes whose
        code lies in `folder`. The saved class comes first: tools such as accelerate take the first head."""
        siblings = {auto: place for auto, place in self.auto_classes.items() if _file(folder, place).is_file()}
        places = {**siblings, **values["auto_map"]}
        saved = (values.get("architectures") or [None])[0]
        return dict(sorted(places.items(), key=lambda entry: (entry[1].split(".")[-1] != saved, entry[0])))

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


def _file(folder: Path, place: str) -> Path:
    return folder / f"{place.split('.')[0]}.py"


__all__ = ["SavedUnderKnownType"]
