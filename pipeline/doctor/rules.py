"""Settings of a recipe that the field would not choose, given its data: what `finetune doctor` warns of.

A rule is a function of the facts that returns one line, setting first, or None. A new one joins RULES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.config.models import Pretrained, Recurrent, Scratch
from pipeline.config.recipe import Recipe


@dataclass(frozen=True)
class Facts:
    """What rules look at.

    Attributes:
        lengths: (N,) tokens of each row of the training split.
        rows: number of rows of each split.
        labels: how often each label occurs in the training split; empty where there are none.
        truncated: rows of the training split whose end was cut off.
        padding: share of padding in the batches of the first epoch.
        total_updates, updates_per_epoch: of the run.
        seconds_per_update: as measured.
        on_fast_gpu, autocast: whether the device is a GPU that computes in bfloat16, and whether the run does.
    """

    recipe: Recipe
    lengths: np.ndarray
    rows: Mapping[str, int]
    labels: Mapping[str, int]
    truncated: int
    padding: float
    total_updates: int
    updates_per_epoch: int
    seconds_per_update: float
    on_fast_gpu: bool
    autocast: bool


Rule = Callable[[Facts], "str | None"]


def unusual(facts: Facts) -> list[str]:
    """A line for each setting that stands out."""
    return [line for line in (rule(facts) for rule in RULES) if line]


def _learning_rate(facts: Facts) -> str | None:
    """Devlin et al. 2019, appendix A.3: 2e-5 to 5e-5; Hu et al. 2022, appendix D: 1e-4 to 2e-3 for adapters."""
    model, rate = facts.recipe.model, facts.recipe.optim.learning_rate
    if isinstance(model, Pretrained) and model.lora is not None:
        usual, low, high = "1e-4 to 2e-3 for low-rank adapters", 5e-5, 5e-3
    elif isinstance(model, Pretrained):
        usual, low, high = "2e-5 to 5e-5 for a pretrained model, a few times that for a small one", 5e-6, 5e-4
    elif isinstance(model, Scratch):
        usual, low, high = "1e-4 to 1e-3 for a transformer from scratch", 1e-5, 5e-3
    else:
        usual, low, high = "1e-3 to 1e-2 for a recurrent network", 1e-4, 3e-2
    return None if low <= rate <= high else f"optim.learning_rate {rate:g}: usual is {usual}"


def _warmup(facts: Facts) -> str | None:
    if isinstance(facts.recipe.model, Recurrent) or facts.recipe.optim.warmup_ratio > 0:
        return None
    return "optim.warmup_ratio 0: a transformer without warm-up often diverges (Xiong et al. 2020)"


def _clipping(facts: Facts) -> str | None:
    if not isinstance(facts.recipe.model, Recurrent) or facts.recipe.optim.max_grad_norm is not None:
        return None
    return "optim.max_grad_norm None: the gradients of recurrent networks explode now and then (Pascanu et al. 2013)"


def _epochs(facts: Facts) -> str | None:
    epochs = facts.total_updates / facts.updates_per_epoch
    if not isinstance(facts.recipe.model, Pretrained) or epochs <= 10:
        return None
    return f"train.epochs {epochs:.3g}: a pretrained model is usually tuned for 2 to 5"


def _updates(facts: Facts) -> str | None:
    if facts.total_updates >= 50:
        return None
    return (
        f"{facts.total_updates} updates are few to learn from; raise train.epochs or train.max_steps, or lower"
        " train.batch_size"
    )


def _large_updates(facts: Facts) -> str | None:
    rows = -(-facts.rows["train"] // facts.updates_per_epoch)
    if facts.updates_per_epoch >= 10 or facts.total_updates < 50:
        return None
    return f"train.batch_size: an update sees {rows:,} of {facts.rows['train']:,} rows"


def _length(facts: Facts) -> str | None:
    longest, allowed = int(facts.lengths.max()), facts.recipe.data.max_length
    if not isinstance(facts.recipe.model, Scratch) or allowed <= 2 * longest:
        return None
    return f"data.max_length {allowed}: the longest row has {longest} tokens; the positions beyond are never trained"


def _truncation(facts: Facts) -> str | None:
    share = facts.truncated / facts.rows["train"]
    if share <= 0.05:
        return None
    return f"data.max_length {facts.recipe.data.max_length}: {share:.0%} of the training rows lose their end"


def _padding(facts: Facts) -> str | None:
    if facts.padding <= 0.3:
        return None
    return f"train.batch_size: {facts.padding:.0%} of what is computed is padding; smaller batches have less"


def _validation(facts: Facts) -> str | None:
    rows = facts.rows["validation"]
    if rows >= 100:
        return None
    return f"data.validation_share: on {rows} rows of validation, which weights are the best is left to chance"


def _balance(facts: Facts) -> str | None:
    total = sum(facts.labels.values())
    if len(facts.labels) < 2 or facts.recipe.train.class_weights is not None:
        return None
    name, count = max(facts.labels.items(), key=lambda item: item[1])
    if count <= 0.9 * total:
        return None
    return f"train.class_weights None: {count / total:.0%} of the labels are {name}; set balanced if the others matter"


def _evaluations(facts: Facts) -> str | None:
    every = facts.recipe.train.eval_every
    if every is None or every < facts.total_updates:
        return None
    return f"train.eval_every {every}: the run has {facts.total_updates} updates, and is scored at its end only"


def _loss_of_work(facts: Facts) -> str | None:
    train = facts.recipe.train
    between = (train.save_every or train.eval_every or facts.updates_per_epoch) * facts.seconds_per_update
    if between <= 1800:
        return None
    return f"train.save_every {train.save_every}: a run that is killed loses up to {between / 60:.0f} minutes"


def _precision(facts: Facts) -> str | None:
    if facts.autocast or not facts.on_fast_gpu:
        return None
    return "train.precision fp32: this GPU is several times as fast in bf16; set bf16 or auto"


RULES: tuple[Rule, ...] = (
    _learning_rate,
    _warmup,
    _clipping,
    _epochs,
    _updates,
    _large_updates,
    _length,
    _truncation,
    _padding,
    _validation,
    _balance,
    _evaluations,
    _loss_of_work,
    _precision,
)
