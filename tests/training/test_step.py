"""One update: the gradient of one large batch, however its labels are spread over micro-batches and processes."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from pipeline.config.training import Optim
from pipeline.training.loss import Objective
from pipeline.training.optim import build_scheduler
from pipeline.training.step import TrainState, micro_batch_rows, update, update_batches


class Outputs:
    def __init__(self, logits, labels):
        self.logits = logits
        self.loss = nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten(), ignore_index=-100)


class Tagger(nn.Module):
    """One label per position; -100 is ignored, so micro-batches have unequal numbers of labels."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 3)

    def forward(self, inputs, labels):
        return Outputs(self.linear(inputs), labels)


def a_problem(rows: int = 13) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(rows, 5, 4, generator=generator)
    labels = torch.randint(0, 3, (rows, 5), generator=generator)
    labels[torch.rand(rows, 5, generator=generator) < 0.5] = -100
    labels[4:6] = -100  # rows, and with batch size 2 a micro-batch, without a label
    return inputs, labels


def one_update(batch_size: int, objective: Objective | None = None) -> tuple[float, torch.Tensor]:
    """Loss, then gradient norm and weights, after one update over all rows."""
    objective = objective or Objective()
    inputs, labels = a_problem()
    model = Tagger()
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    scheduler = build_scheduler(optimizer, Optim(warmup_ratio=0.0), 10)
    state = TrainState(model, optimizer, scheduler, objective=objective)

    def batch_of(rows):
        chosen = torch.from_numpy(rows)
        batch = {"inputs": inputs[chosen], "labels": labels[chosen]}
        return batch, objective.weight(batch, int((batch["labels"] != -100).sum()))

    def collate(batches):
        return [*map(batch_of, batches)]

    (batch,) = update_batches([np.arange(13)], batch_size, collate, Accelerator(cpu=True))
    loss, norm, _ = update(Accelerator(cpu=True), state, batch, None, autocast=False)
    weights = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    return float(loss), torch.cat([norm[None], weights])


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 12])
def test_accumulation_gives_the_update_of_one_large_batch(batch_size):
    loss, result = one_update(batch_size)
    large_loss, large = one_update(13)
    assert loss == pytest.approx(large_loss, abs=1e-6)
    torch.testing.assert_close(result, large, atol=1e-6, rtol=1e-6)


def test_the_large_batch_is_the_mean_over_its_labels():
    inputs, labels = a_problem()
    model = Tagger()
    loss = nn.functional.cross_entropy(model.linear(inputs)[labels != -100], labels[labels != -100])
    assert one_update(13)[0] == pytest.approx(float(loss), abs=1e-6)


TWO = """
    import os, sys
    import numpy as np, torch
    from accelerate import Accelerator
    sys.path.insert(0, {folder!r})
    import test_step
    from pipeline.config.training import Optim
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    inputs, labels = test_step.a_problem()
    def batch_of(rows):
        chosen = torch.from_numpy(rows)
        return {{"inputs": inputs[chosen], "labels": labels[chosen]}}, int((labels[chosen] != -100).sum())
    def collate(batches):
        return [*map(batch_of, batches)]
    found = {{}}
    for batch_size in {batch_sizes}:
        model = accelerator.prepare(test_step.Tagger())
        optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
        schedule = test_step.build_scheduler(optimizer, Optim(warmup_ratio=0.0), 10)
        state = test_step.TrainState(model, optimizer, schedule)
        (batch,) = test_step.update_batches([np.arange(13)], batch_size, collate, accelerator)
        _, norm, _ = test_step.update(accelerator, state, batch, None, autocast=False)
        found[batch_size] = torch.cat([norm[None], *(weight.detach().flatten() for weight in model.parameters())])
    if accelerator.is_main_process:
        torch.save(found, {file!r})
    accelerator.wait_for_everyone()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down in the usual way
"""


def test_two_processes_give_the_update_of_one_large_batch(tmp_path):
    """Two real gloo processes; with batch size 13 the second has no row at all."""
    script, file = tmp_path / "two.py", tmp_path / "weights.pt"
    folder = os.path.dirname(__file__)
    script.write_text(textwrap.dedent(TWO.format(folder=folder, batch_sizes=(2, 5, 13), file=str(file))))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    for result in torch.load(file, weights_only=True).values():
        torch.testing.assert_close(result, one_update(13)[1], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("processes", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [1, 5, 8, 13])
def test_each_process_gets_as_many_micro_batches_and_each_row_is_used_once(processes, rows):
    shares = [micro_batch_rows(np.arange(rows), 2, process, processes) for process in range(processes)]
    assert len({len(share) for share in shares}) == 1
    assert sorted(row for share in shares for batch in share for row in batch) == list(range(rows))
