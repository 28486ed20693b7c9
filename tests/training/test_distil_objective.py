"""An update against a teacher is that of one large batch, however labelled and other rows are spread."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from test_step import Tagger
from torch import nn

from pipeline.config.distil import Distil
from pipeline.config.training import Optim, Train
from pipeline.tasks.base import Task
from pipeline.tasks.multi_label import MultiLabel
from pipeline.tasks.regression import Regression
from pipeline.tasks.sentiment import Sentiment
from pipeline.training.loss import DistilObjective, build_objective, mean_weight
from pipeline.training.optim import build_scheduler
from pipeline.training.step import TrainState, update, update_batches

NAMES = ["bad", "good", "odd"]
ROWS = 13
SHARE = Distil("runs/teacher", hard_share=0.3, temperature=2.0)


class Texts(Tagger):
    """Logits of texts; a label of a class, or -100."""

    def forward(self, inputs, labels):
        return SimpleNamespace(logits=self.linear(inputs), loss=None)


def a_problem() -> dict[str, torch.Tensor]:
    """Rows with and without labels; with batch size 2, micro-batches of one kind only."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(0, 3, (ROWS,), generator=generator)
    labels[4:9] = -100
    return {
        "inputs": torch.randn(ROWS, 4, generator=generator),
        "labels": labels,
        "teacher": torch.randn(ROWS, 3, generator=generator),
    }


def objective(settings: Distil = SHARE, weights=None, task: Task | None = None, labels=()) -> DistilObjective:
    task = task or Sentiment()
    train = Train(class_weights=weights, label_smoothing=0.1 if weights else 0.0)
    own = build_objective(train, NAMES, lambda: iter(labels), task.problem_type, task.output_scale)
    return DistilObjective(settings, task.teacher_losses, own, mean_weight(own, labels), task.output_scale)


def one_update(batch_size: int, given: DistilObjective, accelerator: Accelerator) -> torch.Tensor:
    """Gradient norm and weights after an update over all rows."""
    problem, model = a_problem(), accelerator.prepare(Texts())
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    state = TrainState(model, optimizer, build_scheduler(optimizer, Optim(warmup_ratio=0.0), 10), objective=given)

    def batch_of(rows):
        batch = {name: values[torch.from_numpy(rows)] for name, values in problem.items()}
        return batch, given.weight(batch, len(rows))

    def collate(batches):
        return [*map(batch_of, batches)]

    (batch,) = update_batches([np.arange(ROWS)], batch_size, collate, accelerator)
    _, norm, _ = update(accelerator, state, batch, None, autocast=False)
    return torch.cat([norm[None], *(parameter.detach().flatten() for parameter in model.parameters())])


@pytest.mark.parametrize("weights", [None, "balanced", {"good": 5.0}])
def test_the_loss_mixes_the_label_and_the_teacher_of_each_row(weights):
    """Row by row, in float64."""
    problem, share, temperature = a_problem(), SHARE.hard_share, SHARE.temperature
    outputs = SimpleNamespace(logits=Texts().linear(problem["inputs"]).detach())
    found = objective(weights=weights, labels=[problem["labels"]]).loss(outputs, problem)
    known = problem["labels"][problem["labels"] >= 0]
    chosen = {"good": 5.0} if isinstance(weights, dict) else {}
    of_class = torch.tensor([chosen.get(name, 1.0) for name in NAMES], dtype=torch.float64)
    if weights == "balanced":
        of_class = len(known) / (3 * torch.bincount(known, minlength=3).double())
    smoothing, mean, total = (0.1 if weights else 0.0), float(of_class[known].mean()), 0.0
    for logits, teacher, label in zip(
        outputs.logits.double(), problem["teacher"].double(), problem["labels"], strict=True
    ):
        p, q = ((values / temperature).softmax(dim=0) for values in (teacher, logits))
        soft = temperature**2 * float((p * (p / q).log()).sum())
        if label < 0:
            total += soft
            continue
        nll = -logits.log_softmax(dim=0)
        hard = (1 - smoothing) * of_class[label] * nll[label] + smoothing / 3 * (of_class * nll).sum()
        total += (1 - share) * soft + share * float(hard) / mean
    assert float(found) == pytest.approx(total / ROWS, rel=1e-5)


@pytest.mark.parametrize("weights", [None, "balanced"])
@pytest.mark.parametrize("batch_size", [1, 2, 5, 12])
def test_accumulation_gives_the_update_of_one_large_batch(batch_size, weights):
    given, alone = objective(weights=weights, labels=[a_problem()["labels"]]), Accelerator(cpu=True)
    torch.testing.assert_close(one_update(batch_size, given, alone), one_update(ROWS, given, alone))


TWO = """
    import os, sys
    import torch
    from accelerate import Accelerator
    sys.path.insert(0, {folder!r})
    import test_distil_objective as tests
    accelerator = Accelerator(cpu=True)
    assert accelerator.num_processes == 2
    found = [tests.one_update(size, tests.objective(), accelerator) for size in (2, tests.ROWS)]
    if accelerator.is_main_process:
        torch.save(found, {file!r})
    accelerator.wait_for_everyone()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down in the usual way
"""


def test_two_processes_give_the_update_of_one_large_batch(tmp_path):
    """With a batch of all rows, the second process has none."""
    script, file, folder = tmp_path / "two.py", tmp_path / "weights.pt", os.path.dirname(__file__)
    script.write_text(textwrap.dedent(TWO.format(folder=folder, file=str(file))))
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": "."})
    assert done.returncode == 0, done.stderr
    expected = one_update(ROWS, objective(), Accelerator(cpu=True))
    for found in torch.load(file, weights_only=True):
        torch.testing.assert_close(found, expected)


def test_the_model_does_not_see_its_teacher():
    assert set(objective().inputs(a_problem())) == {"inputs", "labels"}


def test_several_labels_cost_what_their_formula_says_and_nothing_where_they_are_unknown():
    logits, teacher = torch.tensor([[1.0, -2.0], [0.5, 0.0]]), torch.tensor([[2.0, -1.0], [0.0, 3.0]])
    labels = torch.tensor([[1.0, 0.0], [torch.nan, torch.nan]])
    batch, outputs = {"labels": labels, "teacher": teacher}, SimpleNamespace(logits=logits)
    found = objective(Distil("x", hard_share=0.25), task=MultiLabel()).loss(outputs, batch)
    p, q = teacher.double().sigmoid(), logits.double().sigmoid()
    soft = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean(dim=1)
    hard = nn.functional.binary_cross_entropy(q[0], labels[0].double())
    assert float(found) == pytest.approx(float((0.75 * soft[0] + 0.25 * hard + soft[1]) / 2), rel=1e-6)


def test_numbers_cost_their_squared_error_in_the_units_of_the_data_with_a_gradient_in_those_of_their_spread():
    task = Regression()
    task.output_scale = 10.0
    logits = torch.tensor([[4.0], [7.0]], requires_grad=True)
    batch = {"labels": torch.tensor([2.0, torch.nan]), "teacher": torch.tensor([[3.0], [5.0]])}
    loss = objective(Distil("x", hard_share=0.5), task=task).loss(SimpleNamespace(logits=logits), batch)
    assert float(loss) == pytest.approx((0.5 * 1 + 0.5 * 4 + 4) / 2)
    loss.backward()
    torch.testing.assert_close(logits.grad, torch.tensor([[(0.5 * 1 + 0.5 * 2) / 100], [2 / 100]]))
