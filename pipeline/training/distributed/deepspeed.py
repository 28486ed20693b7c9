"""An optimiser that its processes share, by DeepSpeed (ZeRO-2; Rajbhandari et al. 2020).

Each process has the whole model, and the moments of a part of it: it changes this part, and gathers the others' work.
The gradients of an update are whole until it ends, when each process keeps those of its part. DeepSpeed could give the
others' back at once, but takes for granted then that they come in the same order on each process, which they do not
where one of them has no row left. What is stored is whole, as it is without DeepSpeed (see checkpoint.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.training.distributed.backend import Exchange

MOMENTS = ("exp_avg", "exp_avg_sq")
BUCKET = 500_000_000  # DeepSpeed's default


def is_asked_for(accelerator: Accelerator) -> bool:
    """Whether the launcher wants DeepSpeed."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def share(
    model: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator, autocast: bool
) -> tuple[nn.Module, SharedOptimizer]:
    """The model as DeepSpeed runs it, and `optimizer`, whose parameters become this process's parts.

    Args:
        autocast: whether the forward passes run in bfloat16; DeepSpeed wants to switch that itself.

    Raises:
        UserError: the launcher's file asks for what is not done here.
    """
    _check(accelerator.state.deepspeed_plugin)
    import deepspeed

    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    model.to(accelerator.device)
    groups = [list(group["params"]) for group in optimizer.param_groups]
    config = {
        "train_micro_batch_size_per_gpu": 1,  # of its own statistics
        "gradient_accumulation_steps": 1,
        "steps_per_print": 10**9,
        "zero_optimization": {
            "stage": 2,
            "round_robin_gradients": False,
            "overlap_comm": False,
            "reduce_bucket_size": _bucket(groups),
        },
        "zero_allow_untested_optimizer": True,
        # The list holds modules whose gradients would be exchanged in bfloat16.
        "torch_autocast": {"enabled": autocast, "dtype": "bfloat16", "lower_precision_safe_modules": []},
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    return engine, SharedOptimizer(engine, optimizer, groups, accelerator)


def _bucket(groups: list[list[nn.Parameter]]) -> int:
    """Elements that are sent at once. DeepSpeed makes room for all that may be, 2 GB by default, on each update."""
    return min(BUCKET, sum(parameter.numel() for group in groups for parameter in group))


def _check(plugin: Any) -> None:
    for name, value, taken in (
        ("zero_stage", plugin.zero_stage, 2),
        ("offload_optimizer_device", plugin.offload_optimizer_device, "none"),
        ("deepspeed_config_file", os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none"), "none"),
    ):
        if value != taken:
            raise UserError(
                f"launch: {name} {value} is not supported; take the settings of recipes/accelerate/deepspeed.yaml"
            )


class SharedOptimizer(Exchange):
    """What training and checkpoints ask of an optimiser, and of an exchange of gradients."""

    def __init__(
        self,
        engine: Any,
        optimizer: torch.optim.Optimizer,
        groups: list[list[nn.Parameter]],
        accelerator: Accelerator,
    ):
        """`groups`: the parameters that `optimizer` had, group by group, before it was shared."""
        self._engine, self._own, self._groups = engine, optimizer, groups
        self._process, self._processes = accelerator.process_index, accelerator.num_processes
        self._keeps = accelerator.is_main_process
        self._check_layout()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """With one parameter each, this process's part of the group."""
        return self._own.param_groups

    @property
    def state(self) -> Any:
        """Of the parts."""
        return self._own.state

    @contextlib.contextmanager
    def update(self) -> Iterator[None]:
        with self._engine.coalesce_grad_reduction():
            yield
            for parameter in (parameter for group in self._groups for parameter in group):
                if parameter.grad is None:  # another process may have one
                    parameter.grad = torch.zeros_like(parameter)

    def backward(self, loss: Tensor, accelerator: Accelerator) -> None:
        self._engine.backward(loss)

    def step(
        self,
        model: nn.Module,
        optimizer: Any,
        max_grad_norm: float | None,
        accelerator: Accelerator,
    ) -> Tensor:
        self._engine.optimizer.clip_grad = max_grad_norm or 0.0
        self._engine.step()
        return torch.as_tensor(self._engine.get_global_grad_norm(), device=accelerator.device)

    def state_dict(self) -> dict[str, Any]:
        """As an optimiser's that is not shared, in host memory; on processes but the first, without the state.

        All processes have to call it.
        """
        state: dict[int, dict[str, Tensor]] = {}
        settings, first = [], 0
        for group, own in zip(self._groups, self._own.param_groups, strict=True):
            numbers = range(first, first + len(group))
            state |= self._state_of(own["params"][0], group, numbers)
            settings.append({**own, "params": list(numbers)})
            first = numbers.stop
        return {"state": state if self._keeps else {}, "param_groups": settings}

    def _state_of(self, part: Tensor, group: list[nn.Parameter], numbers: range) -> dict[int, dict[str, Tensor]]:
        kept = self._own.state.get(part)
        if not kept:
            return {}
        state = {number: {"step": kept["step"].to("cpu", copy=True)} for number in numbers}
        for name in MOMENTS:
            whole = self._gathered(kept[name])
            for number, parameter, value in zip(numbers, group, whole.split(_sizes(group, len(whole))), strict=False):
                state[number][name] = value.view(parameter.shape)
        return state

    def _gathered(self, part: Tensor) -> Tensor:
        """All processes' parts one behind another in the first one's host memory; one at a time on its device."""
        whole = []
        for process in range(self._processes):
            sent = part if process == self._process else torch.empty_like(part)
            torch.distributed.broadcast(sent, src=process)
            whole.append(sent.to("cpu", copy=True) if self._keeps else sent.new_empty(len(sent), device="meta"))
        return torch.cat(whole)

    def load_state_dict(self, whole: dict[str, Any]) -> None:
        """Take this process's part of what `state_dict` gave, and of the weights that the model has now.

        Raises:
            ValueError, LookupError: it belongs to another model.
        """
        self._engine.optimizer.refresh_fp32_params()
        numbers = iter(range(sum(map(len, self._groups))))
        for group, own, stored in zip(self._groups, self._own.param_groups, whole["param_groups"], strict=True):
            own.update({name: value for name, value in stored.items() if name != "params"})
            states = [whole["state"].get(number) for _, number in zip(group, numbers, strict=False)]
            self._take(own["params"][0], group, states)

    def _take(self, part: Tensor, group: list[nn.Parameter], states: list[dict[str, Tensor] | None]) -> None:
        """`states`: None for a parameter that has had no gradient."""
        moments = {name: torch.zeros_like(part) for name in MOMENTS}
        known = [(*place, state) for place, state in zip(_starts(group), states, strict=True) if state is not None]
        for parameter, start, state in known:
            for name, moment in moments.items():
                if state[name].shape != parameter.shape:
                    raise ValueError("the state of the optimiser belongs to another model")
                _copy_part(state[name], start - self._process * len(part), moment)
        if known:
            self._own.state[part] = {"step": known[0][2]["step"].to(part.device, copy=True), **moments}

    def _check_layout(self) -> None:
        """Hold DeepSpeed's parts to where they are looked for."""
        for group, own in zip(self._groups, self._own.param_groups, strict=True):
            (part,) = own["params"]
            expected = torch.zeros_like(part)
            for parameter, start in _starts(group):
                _copy_part(parameter.detach(), start - self._process * len(part), expected)
            if not torch.equal(part.detach(), expected):
                raise RuntimeError("this version of DeepSpeed lays out its parts in another way; use fsdp.yaml")


Optimizer = torch.optim.Optimizer | SharedOptimizer


def _sizes(group: list[nn.Parameter], total: int) -> list[int]:
    sizes = [parameter.numel() for parameter in group]
    return [*sizes, total - sum(sizes)]  # and what is there to make the parts equal


def _starts(group: list[nn.Parameter]) -> Iterator[tuple[nn.Parameter, int]]:
    """Parameters, and where each begins in a row of them all."""
    start = 0
    for parameter in group:
        yield parameter, start
        start += parameter.numel()


def _copy_part(value: Tensor, start: int, part: Tensor) -> None:
    """Copy into `part` what of `value`, which begins at `start` of it, lies within it."""
    first, last = max(start, 0), min(start + value.numel(), len(part))
    if first < last:
        part[first:last].copy_(value.reshape(-1)[first - start : last - start])
