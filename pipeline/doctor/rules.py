"""Settings that are unusual compared to the literature, given the data: what `finetune doctor` warns about.

A rule is a function of a `RunProfile` that returns None or one line, which begins with the setting. `RULES` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe
from pipeline.config.task_specs import TASKS
from pipeline.data.tokenization import tokenizer_choice


@dataclass(frozen=True)
class RunProfile:
    """What the rules see of a run before it starts.

    Attributes:
        lengths: (N,) tokens of each training row.
        rows: split -> number of rows.
        labels: label -> its count in the training split; empty for next_word.
        truncated: number of training rows that were truncated.
        unknown: split -> share of its tokens that are unknown, in [0, 1].
        tokenizer: the kind of tokenizer that is trained, or the name of a pretrained one.
        padding: share of padding in the batches of the first epoch, in [0, 1].
        total_updates, updates_per_epoch: optimizer steps; of a budget of time, as many as fit.
        seconds_per_update: measured.
        on_fast_gpu: whether the device is a GPU that computes bfloat16 in hardware.
        autocast: whether the run computes in bfloat16.
    """

    recipe: Recipe
    lengths: np.ndarray
    rows: Mapping[str, int]
    labels: Mapping[str, int]
    truncated: int
    unknown: Mapping[str, float]
    tokenizer: str
    padding: float
    total_updates: int
    updates_per_epoch: int
    seconds_per_update: float
    on_fast_gpu: bool
    autocast: bool


Rule = Callable[[RunProfile], "str | None"]


def find_unusual(profile: RunProfile) -> list[str]:
    """One line for each setting that is unusual."""
    return [line for line in (rule(profile) for rule in RULES) if line]


def _learning_rate(profile: RunProfile) -> str | None:
    """Devlin et al. 2019, appendix A.3: 2e-5 to 5e-5; Hu et al. 2022, appendix D: 1e-4 to 2e-3 for adapters."""
    model, rate = profile.recipe.model, profile.recipe.optim.learning_rate
    if isinstance(model, Pretrained) and model.lora is not None:
        usual, low, high = "1e-4 to 2e-3 for low-rank adapters", 5e-5, 5e-3
    elif isinstance(model, Pretrained):
        usual, low, high = "2e-5 to 5e-5 for a pretrained model, and a few times that for a small one", 5e-6, 5e-4
    elif isinstance(model, Scratch):
        usual, low, high = "1e-4 to 1e-3 for a transformer from scratch", 1e-5, 5e-3
    else:
        usual, low, high = "1e-3 to 1e-2 for a recurrent network", 1e-4, 3e-2
    return None if low <= rate <= high else f"optim.learning_rate {rate:g}: unusual; common values are {usual}"


def _warmup(profile: RunProfile) -> str | None:
    if isinstance(profile.recipe.model, Recurrent) or profile.recipe.optim.warmup_ratio > 0:
        return None
    return "optim.warmup_ratio 0: transformers often diverge without warmup (Xiong et al. 2020)"


def _clipping(profile: RunProfile) -> str | None:
    if not isinstance(profile.recipe.model, Recurrent) or profile.recipe.optim.max_grad_norm is not None:
        return None
    return "optim.max_grad_norm None: gradients of recurrent networks can explode (Pascanu et al. 2013); try 1.0"


def _epochs(profile: RunProfile) -> str | None:
    epochs = profile.total_updates / profile.updates_per_epoch
    if not isinstance(profile.recipe.model, Pretrained) or epochs <= 10:
        return None
    return f"train.epochs {epochs:.3g}: pretrained models are usually fine-tuned for 2 to 5 epochs"


def _updates(profile: RunProfile) -> str | None:
    if profile.total_updates >= 50:
        return None
    return (
        f"a run of {profile.total_updates} updates is short; raise train.epochs or train.max_steps, or lower"
        " train.batch_size"
    )


def _budget(profile: RunProfile) -> str | None:
    """A budget makes runs comparable only if it is what ends them. Times are measured, so nearly all of it will do."""
    train = profile.recipe.train
    tokens = int(profile.lengths.sum()) * train.epochs
    if train.max_tokens is not None and tokens < train.max_tokens:
        return f"train.max_tokens {train.max_tokens}: train.epochs ends the run after {tokens} tokens; raise it"
    updates = profile.updates_per_epoch * train.epochs
    if train.max_steps is not None and updates < train.max_steps:
        return f"train.max_steps {train.max_steps}: train.epochs ends the run after {updates} updates; raise it"
    seconds = updates * profile.seconds_per_update
    if train.max_seconds is not None and seconds < 0.9 * train.max_seconds:
        return (
            f"train.max_seconds {train.max_seconds:g}: train.epochs ends the run after {seconds:.0f} seconds; raise it"
        )
    return None


def _large_updates(profile: RunProfile) -> str | None:
    rows = -(-profile.rows["train"] // profile.updates_per_epoch)
    if profile.updates_per_epoch >= 10 or profile.total_updates < 50:
        return None
    return f"train.batch_size: each update uses {rows:,} of {profile.rows['train']:,} rows; use smaller batches"


def _length(profile: RunProfile) -> str | None:
    longest, allowed = int(profile.lengths.max()), profile.recipe.data.max_length
    if not isinstance(profile.recipe.model, Scratch) or allowed <= 2 * longest:
        return None
    return f"data.max_length {allowed}: the longest row has {longest} tokens, so later positions are never trained"


def _truncation(profile: RunProfile) -> str | None:
    share, data = profile.truncated / profile.rows["train"], profile.recipe.data
    if share <= 0.05 or _reads_beginnings_only(profile):
        return None
    return f"data.max_length {data.max_length}: {share:.0%} of the training rows are truncated"


def _long_texts(profile: RunProfile) -> str | None:
    """Sun et al. 2019, section 5.3.1: on reviews, the beginning and the end are better than the beginning alone."""
    if not _reads_beginnings_only(profile):
        return None
    share, allowed = profile.truncated / profile.rows["train"], profile.recipe.data.max_length
    return (
        f"data.long_texts cut: {share:.0%} of the training rows are longer than data.max_length {allowed}, and only"
        " their beginning is read; set it to tail, head+tail or windows, or raise data.max_length"
    )


def _reads_beginnings_only(profile: RunProfile) -> bool:
    """Whether more than a tenth of the rows lose their end although the task could read it."""
    recipe = profile.recipe
    has_choice = recipe.task not in TASKS or "data.long_texts" in TASKS[recipe.task].settings
    return has_choice and recipe.data.long_texts == "cut" and profile.truncated > 0.1 * profile.rows["train"]


def _unknown(profile: RunProfile) -> str | None:
    unknown = tokenizer_choice.unknown_tokens(profile.unknown)
    if unknown is None or profile.recipe.model.reads_characters:
        return None
    remedy = tokenizer_choice.unknown_remedy(profile.tokenizer)
    return f"data.tokenizer {profile.tokenizer}: {unknown} are unknown; {remedy}"


def _padding(profile: RunProfile) -> str | None:
    if profile.padding <= 0.3:
        return None
    return f"train.batch_size: {profile.padding:.0%} of the batches is padding; smaller batches have less"


def _validation(profile: RunProfile) -> str | None:
    rows = profile.rows["validation"]
    if rows >= 100:
        return None
    return f"data.validation_share: {rows} validation rows are too few to select the best weights reliably"


def _balance(profile: RunProfile) -> str | None:
    total = sum(profile.labels.values())
    if len(profile.labels) < 2 or profile.recipe.train.class_weights is not None:
        return None
    name, count = max(profile.labels.items(), key=lambda item: item[1])
    if count <= 0.9 * total:
        return None
    share = f"{count / total:.0%} of the labels are {name}"
    by_accuracy = profile.recipe.task == "sentiment" and profile.recipe.train.monitor is None
    alike = ", and train.monitor to macro_f1, to which all labels count alike" * by_accuracy
    return f"train.class_weights None: {share}; set it to balanced if others matter{alike}"


def _evaluations(profile: RunProfile) -> str | None:
    every = profile.recipe.train.eval_every
    if every is None or every < profile.total_updates:
        return None
    return f"train.eval_every {every}: the run is evaluated only at its end, after {profile.total_updates} updates"


def _lost_work(profile: RunProfile) -> str | None:
    train = profile.recipe.train
    between = (train.save_every or train.eval_every or profile.updates_per_epoch) * profile.seconds_per_update
    if between <= 1800:
        return None
    return f"train.save_every {train.save_every}: a killed run loses up to {between / 60:.0f} minutes of training"


def _precision(profile: RunProfile) -> str | None:
    if profile.autocast or not profile.on_fast_gpu:
        return None
    return "train.precision fp32: this GPU is several times faster in bf16; set it to bf16 or auto"


def _texts_to_answer(profile: RunProfile) -> str | None:
    """Tang et al. 2019, section 3.2: few texts may not suffice for a teacher to express what it knows. What it writes
    for the training rows does suffice (Kim & Rush 2016, section 5)."""
    distil = profile.recipe.distil
    if distil is None or distil.sources or distil.augment is not None or profile.recipe.task == "translation":
        return None
    return (
        "distil.unlabelled None: the teacher answers the training rows alone, from which a student learns little more"
        " than from their labels; name texts without labels, or set distil.augment to mask"
    )


def _temperature(profile: RunProfile) -> str | None:
    """Hinton et al. 2015, section 3: from 2.5 to 20; 1 leaves the teacher's probabilities as they are."""
    distil = profile.recipe.distil
    if distil is None or 1.0 <= distil.temperature <= 20.0:
        return None
    return f"distil.temperature {distil.temperature:g}: unusual; common values are 1 to 20"


RULES: tuple[Rule, ...] = (
    _learning_rate,
    _warmup,
    _clipping,
    _epochs,
    _updates,
    _budget,
    _large_updates,
    _length,
    _truncation,
    _long_texts,
    _unknown,
    _padding,
    _validation,
    _balance,
    _evaluations,
    _lost_work,
    _precision,
    _texts_to_answer,
    _temperature,
)
