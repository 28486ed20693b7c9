"""Settings of the optimiser and of training."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from pipeline.config.schema import LARGEST, Count, NotNegative, Positive, Rate, Seed, Settings, WarmupRatio, settings


@settings("optim")
class Optim(Settings):
    """AdamW (Loshchilov & Hutter 2019) and its schedule."""

    learning_rate: Positive = 1e-3
    """Peak learning rate."""
    weight_decay: NotNegative = 0.01
    """Decoupled weight decay; biases, norms and embeddings are spared."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """What the learning rate does after warm-up: fall to zero linearly or along a cosine, or stay."""
    warmup_ratio: WarmupRatio = 0.1
    """Share of the updates over which the learning rate rises from zero."""
    layer_decay: Annotated[float, Gt(0.0), Le(1.0)] | None = None
    """For pretrained models: each layer learns at so much of the rate of the one above (Clark et al. 2020)."""
    max_grad_norm: Positive | None = 1.0
    """Gradients are scaled down to this norm; None: never."""


@settings("train")
class Train(Settings):
    """How long, how much at once, and what is kept."""

    output_dir: str | None = None
    """Folder of the run; None: runs/<recipe name>."""
    epochs: Count = 3
    """Passes over the training split."""
    max_steps: Count | None = None
    """Stop after so many updates, however many epochs that is."""
    batch_size: Count = 32
    """Rows per process and micro-batch."""
    accumulation: Count = 1
    """Micro-batches per update."""
    auto_batch: bool = False
    """Before the run, find the largest batch_size that fits into memory, and set accumulation so that an update has as
    many rows as these two say."""
    seed: Seed = 0
    """Seed of the weights, of dropout and of the order of the rows."""
    deterministic: bool = False
    """Take only algorithms that give the same bits each time on the same device; on a GPU some are slower."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """fp32, bf16 autocast, or auto: bf16 where this machine's hardware has it."""
    eval_every: Count | None = None
    """Updates between evaluations; None: once an epoch."""
    save_every: Count | None = None
    """Updates between checkpoints; None: at each evaluation."""
    keep_checkpoints: Annotated[int, Ge(2), Le(LARGEST)] = 2
    """So many of the newest checkpoints stay, and the best: a damaged one is passed over for the one before."""
    patience: Count | None = 3
    """Stop after so many evaluations without a better validation score; None: never."""
    class_weights: dict[str, NotNegative] | Literal["balanced"] | None = None
    """What labels count in the loss: balanced (the rarer, the more), or weights by name, such as `negative 2.0`, 1 for
    others; an entity's type stands for all of its tags."""
    label_smoothing: Rate = 0.0
    """Share of each label that is spread over all classes (Szegedy et al. 2016)."""
    log_every: Count = 10
    """Updates between lines of history.jsonl."""
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb", "trackio"], ...] = ()
    """Dashboards that the figures go to beside history.jsonl, each of which has to be installed."""
    overwrite: bool = False
    """Replace the run that is in the output folder."""
