"""What a run is: frozen dataclasses that can be imported, derived with `replace`, compared and written as JSON.

Nothing here imports torch or transformers, so that a mistyped setting is refused at once. A value that is None means
"what suits the model"; everything else was chosen, and is refused where the chosen model or task would ignore it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import field
from pathlib import Path
from typing import Any

from pipeline.config.data import WHOLE_WORDS, Data
from pipeline.config.hub import Hub, is_repo_id
from pipeline.config.models import ModelSettings, Recurrent, Scratch, kind_name
from pipeline.config.schema import Settings, settings
from pipeline.config.training import Optim, Train
from pipeline.errors import shorten, suggest

# What cannot stand in the name of a folder, and the longest that every file system takes.
_NO_NAME = {"/", "\\", *map(chr, range(32))}
_LONGEST_NAME = 200
_OWN_TASK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@settings("")
class Recipe(Settings):
    """A run: task, data, model, optimiser, training, and where the model goes."""

    name: str
    """Name of the run, and of its folder under runs/."""
    task: str
    """sentiment, ner, next_word, or module:Class for a task of your own."""
    data: Data
    model: ModelSettings
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    hub: Hub = field(default_factory=Hub)

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.name) & _NO_NAME or self.name.startswith(".") or len(self.name.encode()) > _LONGEST_NAME:
            self.refuse("name", f"{shorten(repr(self.name), 80)} cannot name a folder; use letters, digits, - and _")
        if self.task not in TASKS and not _OWN_TASK.fullmatch(self.task):
            self.refuse("task", f"no task {self.task!r}{suggest(self.task, TASKS)} (or module:Class for your own)")
        refuse_unused(self.task, self.data)
        refuse_unused(self.task, self.model)
        refuse_unused(self.task, self.train)
        if self.optim.layer_decay is not None and isinstance(self.model, (Recurrent, Scratch)):
            self.optim.refuse("layer_decay", "it is for pretrained models; all layers of this one are new: remove it")
        if self.hub.push and self.hub.repo_id is None and not is_repo_id(self.name):
            self.hub.refuse("repo_id", f"the recipe's name, {self.name}, cannot name a repository; set it to user/name")
        if getattr(self.model, "crf", False):
            for name in ("class_weights", "label_smoothing"):
                if getattr(self.train, name):
                    self.train.refuse(
                        name, "a CRF scores whole sequences, not labels; remove this setting or model.crf"
                    )
        if self.model.reads_characters and self.data.tokenizer not in (None, *WHOLE_WORDS):
            self.data.refuse(
                "tokenizer", f"{self.data.tokenizer} cuts words up, which model.char_encoder reads; use word"
            )
        if self.model.default_tokenizer is None:
            for name in ("tokenizer", "vocab_size", "min_frequency", "lowercase"):
                if getattr(self.data, name) is not None:
                    self.data.refuse(name, "the pretrained model's own tokenizer fixes it; remove this setting")
        if self.task == "next_word" and self.data.tokenizer == "word":
            self.data.refuse("tokenizer", "word has no token that ends a text; next_word needs whitespace or bpe")

    @property
    def folder(self) -> Path:
        """Where the run lives."""
        return Path(self.train.output_dir or Path("runs") / self.name)

    @property
    def tokenizer(self) -> str:
        """word, bpe, wordpiece, whitespace, or where a pretrained tokenizer is."""
        default = self.model.default_tokenizer and TASK_TOKENIZERS.get(self.task, self.model.default_tokenizer)
        return self.data.tokenizer or default or self.model.checkpoint  # type: ignore[attr-defined]

    def to_json(self) -> str:
        """The recipe as JSON; the kind of model is named beside its settings."""
        values = dataclasses.asdict(self)
        values["model"] = {"kind": kind_name(type(self.model)), **values["model"]}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


# name -> where it lives; imported when a run needs it
TASKS = {
    "sentiment": "pipeline.tasks.sentiment:Sentiment",
    "ner": "pipeline.tasks.ner:Ner",
    "next_word": "pipeline.tasks.next_word:NextWord",
}


# task -> the tokenizer of its models from scratch, where theirs does not suit it
TASK_TOKENIZERS = {"next_word": "bpe"}


# setting, of all kinds of models or of one -> the tasks that use it, where not all do
USED_BY = {
    "data.text_column": {"sentiment", "next_word"},
    "data.label_column": {"sentiment"},
    "data.token_column": {"ner"},
    "data.tag_column": {"ner"},
    "data.scheme": {"ner"},
    "data.separate": {"next_word"},
    "model.bidirectional": {"sentiment", "ner"},
    "model.pooling": {"sentiment"},
    "model.char_encoder": {"ner"},
    "model.crf": {"ner"},
    "model.output_dropout": {"next_word"},
    "model.tie_embeddings": {"next_word"},
    "model.adaptive_cutoffs": {"next_word"},
    "Pretrained.dropout": {"sentiment", "ner"},
    "train.class_weights": {"sentiment", "ner"},
    "train.label_smoothing": {"sentiment", "ner"},
}


UNUSED = "the task {} does not use it; remove this setting"


# setting -> why another task does not use it, where that is not plain
WHY_UNUSED = {
    "bidirectional": "the task {} reads left to right only; set it to False",
    "pooling": "the task {} answers for each word and pools nothing; remove this setting",
    "char_encoder": "the task {} does not tag words; remove this setting",
    "crf": "the task {} does not tag words; remove this setting",
    "dropout": "the task {} has no classifier; remove this setting",
}


def refuse_unused(task: str, section: Settings) -> None:
    """Refuse what was set and `task` would not use; a task of your own may use everything."""
    fields: Any = dataclasses.fields(section)  # type: ignore[arg-type]
    for f in fields:
        names = (f"{section.section}.{f.name}", f"{type(section).__name__}.{f.name}")
        users = next((USED_BY[name] for name in names if name in USED_BY), None)
        if users and task in TASKS and task not in users and getattr(section, f.name) != f.default:
            section.refuse(f.name, WHY_UNUSED.get(f.name, UNUSED).format(task))
