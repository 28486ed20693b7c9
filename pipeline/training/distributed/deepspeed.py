"""An optimiser sharded over the processes, by DeepSpeed (ZeRO-2; Rajbhandari et al. 2020).

Each process has the full model, but the optimiser's moments for only a part of it: it updates this part and gathers the
others. Gradients stay full until the update ends, when each process keeps those of its part. DeepSpeed could free the
rest at once, but then expects them in the same order on each process, which fails if one of them has no row left.

A part is a slice of a flat vector: DeepSpeed joins the parameters of a group one after the other, pads the vector to a
multiple of the number of processes and gives process p the p-th slice of equal length. Checkpoints hold full moments,
as they do without DeepSpeed, so this module cuts moments into slices and joins slices to moments.

Shapes: L elements of a slice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import Tensor, nn

from pipeline.errors import UserError
from pipeline.training.distributed.backend import Backend

MOMENTS = ("exp_avg", "exp_avg_sq")
BUCKET = 500_000_000  # DeepSpeed's default


def is_asked_for(accelerator: Accelerator) -> bool:
    """Whether the launcher asked for DeepSpeed."""
    return accelerator.distributed_type == DistributedType.DEEPSPEED


def shard(
    model: nn.Module, optimizer: torch.optim.Optimizer, accelerator: Accelerator, autocast: bool
) -> tuple[nn.Module, ShardedOptimizer]:
    """The model in DeepSpeed's engine, and `optimizer` with its parameters replaced by this process's slices.

    Args:
        autocast: whether forward passes run in bfloat16; DeepSpeed turns autocast on and off itself.

    Raises:
        UserError: the launcher's file asks for something unsupported.
    """
    _check(accelerator.state.deepspeed_plugin)
    import deepspeed

    model.to(accelerator.device)
    groups = [list(group["params"]) for group in optimizer.param_groups]
    config = {
        "train_micro_batch_size_per_gpu": 1,  # used in DeepSpeed's own statistics only
        "gradient_accumulation_steps": 1,
        "steps_per_print": 10**9,
        "zero_optimization": {
            "stage": 2,
            "round_robin_gradients": False,
            "overlap_comm": False,
            "reduce_bucket_size": _bucket(groups),
        },
        "zero_allow_untested_optimizer": True,
        # The list names modules whose gradients would be reduced in bfloat16.
        "torch_autocast": {"enabled": autocast, "dtype": "bfloat16", "lower_precision_safe_modules": []},
    }
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, config=config)
    return engine, ShardedOptimizer(engine, optimizer, groups, accelerator)


def _bucket(groups: list[list[nn.Parameter]]) -> int:
    """Elements that are sent at once. DeepSpeed allocates a full bucket, 2 GB by default, in each update."""
    return min(BUCKET, sum(parameter.numel() for group in groups for parameter in group))


def _check(plugin: Any) -> None:
    for name, value, supported in (
        ("zero_stage", plugin.zero_stage, 2),
        ("offload_optimizer_device", plugin.offload_optimizer_device, "none"),
        ("deepspeed_config_file", os.environ.get("ACCELERATE_DEEPSPEED_CONFIG_FILE", "none"), "none"),
    ):
        if value != supported:
            raise UserError(
                f"launch: {name} {value} is not supported; use the settings in recipes/accelerate/deepspeed.yaml"
            )


class ShardedOptimizer(Backend):
    """The optimiser of the slices, with the interface of an optimiser, and the backend that gives it gradients."""

    def __init__(
        self,
        engine: Any,
        optimizer: torch.optim.Optimizer,
        groups: list[list[nn.Parameter]],
        accelerator: Accelerator,
    ):
        """`groups`: the parameters that `optimizer` had, group by group, before DeepSpeed replaced them."""
        self._engine, self._own, self._groups = engine, optimizer, groups
        self._process, self._processes = accelerator.process_index, accelerator.num_processes
        self._keeps = accelerator.is_main_process
        self._check_layout()

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Each with one parameter (L,), this process's slice of the group."""
        return self._own.param_groups

    @property
    def state(self) -> Any:
        """The moments of the slices."""
        return self._own.state

    @contextlib.contextmanager
    def accumulate(self) -> Iterator[None]:
        with self._engine.coalesce_grad_reduction():
            yield
            for parameter in (parameter for group in self._groups for parameter in group):
                if parameter.grad is None:  # another process may have one, and all must reduce the same tensors
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
        self._engine.optimizer.clip_grad = max_grad_norm or 0.0  # DeepSpeed never clips at 0
        self._engine.step()
        return torch.as_tensor(self._engine.get_global_grad_norm(), device=accelerator.device)

    def state_dict(self) -> dict[str, Any]:
        """The state dict that the optimiser would have if it were not sharded, in host memory.

        All processes must call this; only the first gets the moments.
        """
        state: dict[int, dict[str, Tensor]] = {}
        settings, first = [], 0
        for group, own in zip(self._groups, self._own.param_groups, strict=True):
            numbers = range(first, first + len(group))  # torch numbers parameters over all groups
            state |= self._full_state(own["params"][0], group, numbers)
            settings.append({**own, "params": list(numbers)})
            first = numbers.stop
        return {"state": state if self._keeps else {}, "param_groups": settings}

    def _full_state(self, part: Tensor, group: list[nn.Parameter], numbers: range) -> dict[int, dict[str, Tensor]]:
        """The state of each parameter of `group`, gathered from all slices; `part`: (L,) this process's slice."""
        kept = self._own.state.get(part)
        if not kept:
            return {}
        state = {number: {"step": kept["step"].to("cpu", copy=True)} for number in numbers}
        for name in MOMENTS:
            flat = self._gather(kept[name])
            for number, parameter, value in zip(numbers, group, flat.split(_sizes(group, len(flat))), strict=False):
                state[number][name] = value.view(parameter.shape)
        return state

    def _gather(self, part: Tensor) -> Tensor:
        """(processes * L,) all slices in the host memory of the first process; its device holds one more at a time."""
        parts = []
        for process in range(self._processes):
            sent = part if process == self._process else torch.empty_like(part)
            torch.distributed.broadcast(sent, src=process)
            parts.append(sent.to("cpu", copy=True) if self._keeps else sent.new_empty(len(sent), device="meta"))
        return torch.cat(parts)

    def load_state_dict(self, full: dict[str, Any]) -> None:
        """Take this process's slices of what `state_dict` returned, and of the weights that the model has now.

        Raises:
            ValueError, LookupError: it belongs to another model.
        """
        self._engine.optimizer.refresh_fp32_params()
        numbers = iter(range(sum(map(len, self._groups))))
        for group, own, stored in zip(self._groups, self._own.param_groups, full["param_groups"], strict=True):
            own.update({name: value for name, value in stored.items() if name != "params"})
            states = [full["state"].get(number) for _, number in zip(group, numbers, strict=False)]
            self._load_slice(own["params"][0], group, states)

    def _load_slice(self, part: Tensor, group: list[nn.Parameter], states: list[dict[str, Tensor] | None]) -> None:
        """Cut the moments of `group` to this process's slice.

        Args:
            part: (L,) the parameter of the slice.
            states: full, one of each parameter of `group`; None for one that has had no gradient yet.
        """
        moments = {name: torch.zeros_like(part) for name in MOMENTS}
        known = [(*place, state) for place, state in zip(_offsets(group), states, strict=True) if state is not None]
        for parameter, offset, state in known:
            for name, moment in moments.items():
                if state[name].shape != parameter.shape:
                    raise ValueError("the state of the optimiser belongs to another model")
                _copy_overlap(state[name], offset - self._process * len(part), moment)
        if known:
            self._own.state[part] = {"step": known[0][2]["step"].to(part.device, copy=True), **moments}

    def _check_layout(self) -> None:
        """Check that DeepSpeed's slices contain what this module expects."""
        for group, own in zip(self._groups, self._own.param_groups, strict=True):
            (part,) = own["params"]
            expected = torch.zeros_like(part)
            for parameter, offset in _offsets(group):
                _copy_overlap(parameter.detach(), offset - self._process * len(part), expected)
            if not torch.equal(part.detach(), expected):
                raise RuntimeError("this version of DeepSpeed partitions parameters differently; use fsdp.yaml")


Optimizer = torch.optim.Optimizer | ShardedOptimizer


def _sizes(group: list[nn.Parameter], total: int) -> list[int]:
    """Elements of each parameter of `group`, and of the padding up to `total`."""
    sizes = [parameter.numel() for parameter in group]
    return [*sizes, total - sum(sizes)]


def _offsets(group: list[nn.Parameter]) -> Iterator[tuple[nn.Parameter, int]]:
    """Parameters of `group`, and where each begins in the flat vector of them all."""
    offset = 0
    for parameter in group:
        yield parameter, offset
        offset += parameter.numel()


def _copy_overlap(value: Tensor, offset: int, part: Tensor) -> None:
    """Copy into `part` (L,) the elements of `value` that lie within it.

    Args:
        offset: where in `part` the first element of `value` lies; negative if before it, at least L if behind it.
    """
    first, last = max(offset, 0), min(offset + value.numel(), len(part))
    if first < last:
        part[first:last].copy_(value.reshape(-1)[first - offset : last - offset])
