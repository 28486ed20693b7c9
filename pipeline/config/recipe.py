"""A recipe: the settings of a run, as frozen dataclasses that can be imported, derived with `replace` and compared.

Nothing here imports torch or transformers, so a mistyped setting is refused at once. None means "the default of
the model and task"; any other value was chosen, and is refused if the model or task would ignore it.
"""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import field
from pathlib import Path
from typing import Any

from pipeline.config.data import OF_TRAINED, WHOLE_WORDS, Data
from pipeline.config.distil import Distil
from pipeline.config.hub import Hub, is_repo_id
from pipeline.config.models import ENCODER_DECODERS, ModelSettings, Recurrent, Scratch, kind_name
from pipeline.config.schema import Settings, settings
from pipeline.config.task_specs import TASKS
from pipeline.config.training import Optim, Train
from pipeline.errors import shorten, suggest

# Characters that a folder name cannot contain, and its greatest length on every file system, in bytes.
_NO_NAME = {"/", "\\", *map(chr, range(32))}
_LONGEST_NAME = 200
_OWN_TASK = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


@settings("")
class Recipe(Settings):
    """A run: task, data, model, optimizer, training, where the model is pushed, and the teacher that it learns from."""

    name: str
    """Name of the run and of its folder under runs/."""
    task: str
    """sentiment, ner, next_word, translation, or module:Class for your own task."""
    data: Data
    model: ModelSettings
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    hub: Hub = field(default_factory=Hub)
    distil: Distil | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.name) & _NO_NAME or self.name.startswith(".") or len(self.name.encode()) > _LONGEST_NAME:
            self.refuse("name", f"{shorten(repr(self.name), 80)} cannot name a folder; use letters, digits, - and _")
        if self.task not in TASKS and not _OWN_TASK.fullmatch(self.task):
            self.refuse("task", f"unknown task {self.task!r}{suggest(self.task, TASKS)} (or module:Class for your own)")
        for section in (self.data, self.model, self.train):
            refuse_unused(self.task, section)
        if isinstance(self.model, (Recurrent, Scratch)):
            for name in ("layer_decay", "gradual_unfreezing"):
                if getattr(self.optim, name) is not None:
                    self.optim.refuse(name, "only for pretrained models; all layers of this model are new: remove it")
        if self.optim.gradual_unfreezing is not None and self.train.max_seconds is not None:
            self.optim.refuse(
                "gradual_unfreezing",
                "it is a share of the updates, whose number train.max_seconds leaves open"
                "; set train.max_steps or train.max_tokens instead",
            )
        if self.hub.push and self.hub.repo_id is None and not is_repo_id(self.name):
            self.hub.refuse("repo_id", f"the recipe's name, {self.name}, cannot name a repository; set it to user/name")
        self._refuse_architecture()
        self._refuse_with_crf()
        self._refuse_with_teacher()
        self._refuse_tokenizer()
        self._refuse_monitor()
        self._refuse_early_stop()

    def _refuse_monitor(self) -> None:
        """Refuse a score that the task reports for no data; which of its scores there are, only the data can tell."""
        chosen, spec = self.train.monitor, TASKS.get(self.task)
        if chosen and spec and chosen.partition(".")[0] not in spec.monitors:
            near = suggest(chosen, (f"{name}.NAME.f1" if name.startswith("per_") else name for name in spec.monitors))
            self.train.refuse("monitor", f"the task {self.task} reports no score {chosen!r}{near}")

    def _refuse_architecture(self) -> None:
        """Refuse a transformer from scratch that has no decoder, or one too many, for the task."""
        spec = TASKS.get(self.task)
        if spec is None or not isinstance(self.model, Scratch):
            return
        writes = spec.head == "Seq2SeqLM"
        if writes != (self.model.architecture in ENCODER_DECODERS):
            fitting = " or ".join(ENCODER_DECODERS) if writes else "bert or gpt2"
            self.model.refuse(
                "architecture", f"{self.model.architecture} does not suit the task {self.task}; use {fitting}"
            )

    def _refuse_early_stop(self) -> None:
        """Refuse a patience that ends the run before what waits for scores that do not improve."""
        for setting, choice, name in (
            ("schedule", "reduce-on-plateau", "plateau_patience"),
            ("average", "nt-asgd", "average_interval"),
        ):
            patience, least = self.train.patience, getattr(self.optim, name)
            if getattr(self.optim, setting) == choice and patience is not None and patience <= least:
                self.train.refuse(
                    "patience",
                    f"{patience} ends the run before {choice} begins (optim.{name} {least}); raise it, or set it to"
                    " None",
                )

    def _refuse_with_crf(self) -> None:
        if getattr(self.model, "crf", False):
            for name in ("class_weights", "label_smoothing"):
                if getattr(self.train, name):
                    self.train.refuse(
                        name, "a CRF scores whole sequences, not labels; remove this setting or model.crf"
                    )

    def _refuse_with_teacher(self) -> None:
        """Refuse settings of the labels' loss if no label is trained on, and losses that the model or the task does not
        have."""
        if self.distil is None:
            return
        if self.task == "next_word":
            for name in ("loss", "temperature"):
                if getattr(self.distil, name) != getattr(Distil, name):
                    self.distil.refuse(
                        name, "a teacher of next_word gives the probabilities of some tokens only; remove this setting"
                    )
        if self.task == "translation":
            self._refuse_losses_of_numbers(self.distil)
            return
        if self.task == "ner" and self.distil.loss == "mse":
            self.distil.refuse("loss", "mse compares logits, and a teacher of ner gives probabilities; set it to kl")
        if getattr(self.model, "adaptive_cutoffs", None):
            self.model.refuse(
                "adaptive_cutoffs", "in training it computes the probability of no other word; remove it, or distil"
            )
        for name in ("activation_regularization", "temporal_regularization"):
            if getattr(self.model, name, None):
                self.model.refuse(name, "it is a part of the loss of labels; remove it, or distil")
        if not self.distil.hard_share:
            for name in ("class_weights", "label_smoothing"):
                if getattr(self.train, name):
                    self.train.refuse(
                        name,
                        "it is about the loss of labels, which distil.hard_share 0 leaves out; raise that, or remove"
                        " this setting",
                    )

    def _refuse_losses_of_numbers(self, distil: Distil) -> None:
        """Refuse what only applies to answers that are numbers: those of a teacher of translation are texts."""
        for name in ("loss", "temperature", "hard_share"):
            if getattr(distil, name) != getattr(Distil, name):
                distil.refuse(
                    name,
                    "a teacher of translation answers with texts, which take the place of those in the data; remove"
                    " this setting",
                )

    def _refuse_tokenizer(self) -> None:
        """Refuse a tokenizer that does not suit the model or the task."""
        chosen, spec = self.data.tokenizer, TASKS.get(self.task)
        if self.model.reads_characters and chosen not in (None, *WHOLE_WORDS):
            self.data.refuse("tokenizer", f"{chosen} splits words, but model.char_encoder reads whole ones; use word")
        if getattr(self.model, "unknown_dropout", 0.0) and self.tokenizer == "bpe":
            self.model.refuse(
                "unknown_dropout", "no word is unknown to the tokenizer bpe; remove it, or use another one"
            )
        if self.model.default_tokenizer is None:
            for name in ("tokenizer", *OF_TRAINED):
                if getattr(self.data, name) is not None:
                    self.data.refuse(name, "the pretrained model's own tokenizer determines it; remove this setting")
        if spec and chosen and (reason := spec.unfit_tokenizers.get(chosen)):
            self.data.refuse("tokenizer", reason)
        if self.data.separate_vocabs:
            self._refuse_with_separate_vocabularies()

    def _refuse_with_separate_vocabularies(self) -> None:
        if isinstance(self.model, Scratch):
            self.data.refuse(
                "separate_vocabs", f"{self.model.architecture} has one vocabulary for both sides; remove this setting"
            )
        if getattr(self.model, "vectors", None):
            self.model.refuse("vectors", "they would be those of one side; remove them, or data.separate_vocabs")

    @property
    def folder(self) -> Path:
        """Folder of the run."""
        return Path(self.train.output_dir or Path("runs") / self.name)

    @property
    def tokenizer(self) -> str:
        """word, bpe, wordpiece, whitespace, or the folder or Hub id of a pretrained tokenizer."""
        spec, default = TASKS.get(self.task), self.model.default_tokenizer
        if spec and default:
            default = spec.tokenizer or default
        return self.data.tokenizer or default or self.model.checkpoint  # type: ignore[attr-defined]

    def to_json(self) -> str:
        """The recipe as JSON, with the kind of model as `model.kind`."""
        values = dataclasses.asdict(self)
        values["model"] = {"kind": kind_name(type(self.model)), **values["model"]}
        return json.dumps(values, indent=2, ensure_ascii=False) + "\n"


UNUSED = "the task {} does not use it; remove this setting"


# setting -> why a task does not use it, if that is not obvious
WHY_UNUSED = {
    "bidirectional": "the task {} reads left to right only; set it to False",
    "pooling": "the task {} makes a prediction for each word and pools nothing; remove this setting",
    "char_encoder": "the task {} does not tag words; remove this setting",
    "crf": "the task {} does not tag words; remove this setting",
    "dropout": "the task {} has no classifier; remove this setting",
    **dict.fromkeys(
        ("attention", "input_feeding", "decoder_layers"),
        "the task {} writes no text from another one; remove this setting",
    ),
}

# The settings that not every task uses.
_CHOSEN_BY_TASK = frozenset().union(*(spec.settings for spec in TASKS.values()))


def refuse_unused(task: str, section: Settings) -> None:
    """Refuse a setting that was changed and that `task` would ignore; a task of your own may use all of them."""
    if task not in TASKS:
        return
    fields: Any = dataclasses.fields(section)  # type: ignore[arg-type]
    for f in fields:
        names = {f"{section.section}.{f.name}", f"{type(section).__name__}.{f.name}"} & _CHOSEN_BY_TASK
        if names and not names & TASKS[task].settings and getattr(section, f.name) != f.default:
            section.refuse(f.name, WHY_UNUSED.get(f.name, UNUSED).format(task))
