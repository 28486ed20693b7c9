"""Settings of the optimizer and of training."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from pipeline.config.schema import (
    LARGEST,
    Count,
    NotNegative,
    Positive,
    Rate,
    Seed,
    Settings,
    Share,
    Tokens,
    WarmupRatio,
    settings,
)

# Settings of Train that end a run: what contenders are compared at.
BUDGETS = ("max_steps", "max_tokens", "max_seconds")
# Setting of Optim -> the only choice of another one that uses it.
USED_WITH = {
    "plateau_factor": ("schedule", "reduce-on-plateau"),
    "plateau_patience": ("schedule", "reduce-on-plateau"),
    "average_decay": ("average", "ema"),
    "average_start": ("average", "swa"),
    "average_interval": ("average", "nt-asgd"),
}


@settings("optim")
class Optim(Settings):
    """AdamW (Loshchilov & Hutter 2019) and its learning-rate schedule."""

    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay; not applied to biases, norms and embeddings."""
    schedule: Literal["linear", "cosine", "constant", "one-cycle", "reduce-on-plateau"] = "linear"
    """Learning rate after warmup: linear or cosine decay to zero, or constant. one-cycle: from a 25th of the peak up to
    it along a cosine in the warmup, then down to a 250,000th (Smith & Topin 2018, as in torch's OneCycleLR).
    reduce-on-plateau: constant, and lowered when the validation score stops improving."""
    warmup_ratio: WarmupRatio = 0.1
    """Share of the updates, or of train.max_seconds, in which the learning rate rises linearly from zero."""
    plateau_factor: Share = 0.25
    """For reduce-on-plateau: what the learning rate is multiplied by."""
    plateau_patience: Count = 1
    """For reduce-on-plateau: evaluations in a row without a better score after which it is."""
    average: Literal["ema", "swa", "nt-asgd"] | None = None
    """Average of the weights that is scored, selected and saved in their place. ema: exponential moving average; swa:
    mean from a share of the training on (Izmailov et al. 2018); nt-asgd: mean from where the validation score stops
    improving (Merity et al. 2017, section 3). None: the weights themselves."""
    average_decay: Share = 0.999
    """For ema: share of the average that stays in each update."""
    average_start: Share = 0.75
    """For swa: share of the training after which the average begins."""
    average_interval: Count = 5
    """For nt-asgd: the average begins when a score is worse than the best of all but this many scores before it."""
    layer_decay: Annotated[float, Gt(0.0), Le(1.0)] | None = None
    """For pretrained models: factor by which the learning rate falls from each layer to the one below (Clark et al.
    2020)."""
    gradual_unfreezing: Share | None = None
    """For pretrained models: share of the updates over which the layers begin to be trained, one after the other, from
    the head at first to the embeddings at the end of it (Howard & Ruder 2018, section 3.3). None: all train from the
    start."""
    max_grad_norm: Positive | None = 1.0
    """Clip the gradient norm to this value; None: no clipping."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, (setting, value) in USED_WITH.items():
            if getattr(self, setting) != value and getattr(self, name) != getattr(Optim, name):
                self.refuse(name, f"only optim.{setting} {value} uses it; set that, or remove this setting")


@settings("train")
class Train(Settings):
    """Length of training, batch sizes, evaluation and checkpoints."""

    output_dir: str | None = None
    """Folder of the run; None: runs/<recipe name>."""
    epochs: Count = 3
    """Passes over the training split."""
    max_steps: Count | None = None
    """Stop after this many updates, even in the middle of an epoch."""
    max_tokens: Tokens | None = None
    """Stop after the update that reaches this many training tokens, without padding, on all processes together."""
    max_seconds: Positive | None = None
    """Stop after this many seconds of training; evaluation and checkpoints do not count. How many updates fit depends
    on the machine and on what else it does, so the weights cannot be reproduced."""
    batch_size: Count = 32
    """Rows per process in a micro-batch."""
    accumulation: Count = 1
    """Micro-batches per update (gradient accumulation)."""
    auto_batch: bool = False
    """Before training, find the largest batch_size that fits into memory and adjust accumulation, so that an update
    still has batch_size x accumulation rows as set."""
    seed: Seed = 0
    """Seed of the initial weights, of dropout and of the order of the rows."""
    deterministic: bool = False
    """Use deterministic algorithms only: bitwise equal results on the same device; slower on some GPUs."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """fp32, bf16 autocast, or auto: bf16 if the hardware supports it."""
    eval_every: Count | None = None
    """Updates between evaluations; None: once an epoch."""
    save_every: Count | None = None
    """Updates between checkpoints; None: at each evaluation."""
    keep_checkpoints: Annotated[int, Ge(2), Le(LARGEST)] = 2
    """Number of newest checkpoints to keep, in addition to the best one; if the newest is damaged, it is skipped and
    the previous one is used."""
    patience: Count | None = 3
    """Stop after this many evaluations without a better validation score; None: never."""
    monitor: str | None = None
    """Metric of the validation split that selects the best weights, such as accuracy, macro_f1, loss or
    per_class.NAME.f1; None: that of the task."""
    class_weights: dict[str, NotNegative] | Literal["balanced"] | None = None
    """Weights of the labels in the loss: balanced (inversely proportional to their frequency), or by name, such as
    `negative 2.0`; labels without a weight get 1. The weight of an entity type applies to all of its tags. If a text
    may have several labels, it is the weight of having the label against not having it, and balanced is the ratio of
    texts without it to texts with it."""
    label_smoothing: Rate = 0.0
    """Share of the target probability that is spread over all classes (Szegedy et al. 2016)."""
    threshold: Literal["global", "per_label"] | Annotated[float, Gt(0.0), Lt(1.0)] | None = None
    """If a text may have several labels: the probability from which on it gets a label. global: one for all labels, the
    one with the best micro F1 on validation; per_label: for each label the one with its best F1; or a number. None:
    global."""
    beams: Annotated[int, Ge(1), Le(1000)] = 4
    """For translation: beams that search for the texts that the finished model is scored on, and that the saved model
    uses by default; 1 is greedy. While it trains, it always writes greedily."""
    log_every: Count = 10
    """Updates between log lines in history.jsonl."""
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = ()
    """Experiment trackers to log to, in addition to history.jsonl; each must be installed."""
    overwrite: bool = False
    """Overwrite an existing run in its folder."""

    def __post_init__(self) -> None:
        super().__post_init__()
        chosen = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(chosen) > 1:
            self.refuse(chosen[1], f"train.{chosen[0]} is a budget, too, and a run has only one; remove one of them")
        if self.max_seconds is not None and self.deterministic:
            self.refuse("max_seconds", "the number of updates is not deterministic; set train.max_tokens instead")
