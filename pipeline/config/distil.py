"""Settings of knowledge distillation: the teacher, the texts that it answers, and the loss against its answers."""

from __future__ import annotations

import dataclasses
import re
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from pipeline.config.data import Data
from pipeline.config.schema import Count, Positive, Settings, settings

# Settings of a source that say which texts are read; the others are those of the student's own data.
OF_TEXTS = (
    *("source", "revision", "subset", "streaming", "limit", "text_column", "text_pair_column", "token_column"),
    *("separate", "format", "separator", "quoting", "header", "encoding"),
)
UNLABELLED = "distil.unlabelled"
_OF_DATA = re.compile(rf"\bdata\.(?=(?:{'|'.join(field.name for field in dataclasses.fields(Data))})\b)")


def named_for_texts(message: str) -> str:
    """A message about the data of a recipe, with the names that the settings have for texts without labels."""
    return _OF_DATA.sub(f"{UNLABELLED}.", message)


@settings("distil")
class Distil(Settings):
    """Train the model (the student) on the answers of another one (the teacher), which is better and slower (Hinton et
    al. 2015; for BERT and an LSTM, Tang et al. 2019)."""

    teacher: str
    """Folder of a run or of a model, Hub id, or the file of a recipe, whose run is trained first if it has not
    finished."""
    revision: str | None = None
    """Commit, tag or branch of a teacher on the Hub; pin a commit so that its answers cannot change."""
    trust_remote_code: bool = False
    """Run the code that comes with the teacher; on the Hub only at a commit in `revision`."""
    allow_pickle: bool = False
    """Read weights from pytorch_model.bin if the teacher has no safetensors; unpickling can run code."""
    unlabelled: Data | tuple[Data, ...] | None = None
    """Sources of texts without labels, which the teacher answers and the student learns from, too. Rows that equal one
    of the data are left out."""
    augment: Literal["mask"] | None = None
    """Where there are no such texts: mask makes them from the training rows, by masking words and sampling n-grams
    (Tang et al. 2019, section 3.2)."""
    limit: Count = 50_000
    """Rows without labels at most, from `unlabelled` or `augment`."""
    loss: Literal["kl", "mse"] = "kl"
    """kl: the divergence of the student's probabilities from the teacher's; mse: the squared difference of their
    logits, for answers to whole texts. A number has no probabilities, so both are its squared difference."""
    temperature: Positive = 1.0
    """For kl: divides the logits of both before they become probabilities; the loss is multiplied by its square, so
    that gradients keep their size (Hinton et al. 2015, section 2)."""
    hard_share: Annotated[float, Ge(0.0), Lt(1.0)] = 0.0
    """Share of the loss against the labels in that of a row that has them; the rest is the loss against the
    teacher."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.unlabelled == ():
            self.refuse("unlabelled", "it names no source; leave it out")
        if self.unlabelled is not None and self.augment is not None:
            self.refuse("augment", "it replaces texts that are missing, and distil.unlabelled has them; remove one")
        if self.unlabelled is None and self.augment is None and self.limit != Distil.limit:
            self.refuse("limit", "it counts rows without labels; set distil.unlabelled or distil.augment, or remove it")
        if self.loss == "mse" and self.temperature != 1.0:
            self.refuse("temperature", "mse compares logits, not probabilities; remove this setting, or set loss to kl")

        for source in self.sources:
            if source.limit is not None and not source.streaming:
                self.refuse("unlabelled.limit", "the texts are drawn from all rows; set distil.limit instead")
            for f in dataclasses.fields(source):
                if f.name not in OF_TEXTS and getattr(source, f.name) != f.default:
                    self.refuse(f"unlabelled.{f.name}", "it is not used of texts without labels; remove this setting")

    @property
    def sources(self) -> tuple[Data, ...]:
        """The sources of texts without labels."""
        if self.unlabelled is None:
            return ()
        return self.unlabelled if isinstance(self.unlabelled, tuple) else (self.unlabelled,)
