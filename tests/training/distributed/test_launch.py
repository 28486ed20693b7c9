"""Launching: every file in recipes/accelerate starts what it says, and a launch that would start less is refused."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, need_deepspeed

from pipeline.errors import UserError
from pipeline.training.distributed import launch

FILES = sorted((ROOT / "recipes/accelerate").glob("*.yaml"))
LAUNCHED = {"ACCELERATE_MIXED_PRECISION": "no"}
TINY = """
from pipeline import Data, Recipe, Recurrent, Train, main
recipe = Recipe(name="tiny", task="sentiment", data=Data(source="reviews.csv"),
                model=Recurrent(hidden_size=8, embedding_size=8), train=Train(batch_size=4, max_steps=3))
if __name__ == "__main__":
    main(recipe)
"""


@pytest.fixture
def tiny(reviews) -> Path:
    """A folder with a recipe and its data."""
    (reviews.parent / "tiny.py").write_text(TINY)
    return reviews.parent


def start(place: Path, command: str) -> subprocess.Popen:
    """A launcher's command, on one machine without a GPU."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return subprocess.Popen(
        shlex.split(command),
        cwd=place,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )


def finish(*processes: subprocess.Popen) -> list[str]:
    """What each printed; all must succeed."""
    printed = [process.communicate(timeout=120) for process in processes]
    for process, (_, errors) in zip(processes, printed, strict=True):
        assert process.returncode == 0, errors[-4000:]
    return [out for out, _ in printed]


def cost(place: Path) -> dict:
    return json.loads((place / "runs/tiny/metrics.json").read_text())["train"]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_first_line_of_a_launch_file_says_its_purpose_and_how_to_start_it(file):
    first = file.read_text().splitlines()[0]
    assert re.match(
        rf"# [A-Z][^:]+: accelerate launch --config_file recipes/accelerate/{file.name} .*RECIPE\.py$", first
    )


@pytest.mark.slow  # two processes each; test_docs.py starts some as well
@pytest.mark.parametrize(
    ("command", "distributed_type"),
    [
        (f"accelerate launch --config_file {ROOT}/recipes/accelerate/cpu.yaml tiny.py", "MULTI_CPU"),
        (f"accelerate launch --config_file {ROOT}/recipes/accelerate/ddp.yaml --num_processes 2 tiny.py", "MULTI_CPU"),
        (f"accelerate launch --config_file {ROOT}/recipes/accelerate/fsdp.yaml --num_processes 2 tiny.py", "FSDP"),
        (
            f"accelerate launch --config_file {ROOT}/recipes/accelerate/deepspeed.yaml --num_processes 2 tiny.py",
            "DEEPSPEED",
        ),
        ("torchrun --standalone --nproc-per-node 2 tiny.py", "MULTI_CPU"),
    ],
)
def test_a_launcher_starts_two_connected_processes(tiny, command, distributed_type):
    if distributed_type == "DEEPSPEED":
        need_deepspeed()
    (printed,) = finish(start(tiny, command))
    assert printed.count("model: runs/tiny/model") == 1  # the first process speaks for both
    assert (cost(tiny)["processes"], cost(tiny)["distributed_type"]) == (2, distributed_type)
    assert cost(tiny)["updates"] == 3


@pytest.mark.slow  # four processes
def test_two_machines_are_one_run(tiny):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = f"accelerate launch --config_file {ROOT}/recipes/accelerate/multi-node.yaml --num_processes 4"
    where = f"--main_process_ip 127.0.0.1 --main_process_port {port}"
    finish(*[start(tiny, f"{command} --machine_rank {rank} {where} tiny.py") for rank in (0, 1)])
    assert cost(tiny)["processes"] == 4


@pytest.mark.slow  # two processes
def test_two_processes_evaluate_a_model_to_the_same_scores_and_print_them_once(tiny):
    finish(start(tiny, f"{sys.executable} tiny.py"))
    script = tiny / "score.py"
    script.write_text("from pipeline.cli.main import entry\nentry()\n")
    arguments = f"{script} evaluate runs/tiny --data reviews.csv"
    one, two = finish(
        start(tiny, f"{sys.executable} {arguments}"),
        start(tiny, f"torchrun --standalone --nproc-per-node 2 {arguments}"),
    )
    assert json.loads(one) == json.loads(two)


def test_a_launcher_that_starts_one_process_instead_of_two_is_refused(tiny):
    process = start(tiny, "accelerate launch --cpu --num_processes 2 tiny.py")
    out, errors = process.communicate(timeout=60)
    (line,) = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: launch: accelerate was asked for several processes and has started one, as it does")
    assert "torchrun --nproc-per-node N" in line
    assert out == ""
    assert not (tiny / "runs").exists()


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({**LAUNCHED, "MASTER_ADDR": "127.0.0.1"}, "launch: accelerate was asked for several processes and has"),
        ({"SLURM_STEP_NUM_TASKS": "4"}, "launch: 4 processes were started that do not know each other, without"),
        ({"WORLD_SIZE": "2", "MASTER_ADDR": "h"}, "launch: 2 processes were started that do not know each other"),
        ({"WORLD_SIZE": "two"}, "launch: 'two' is not a number of processes; set RANK, WORLD_SIZE, LOCAL_RANK"),
        ({"WORLD_SIZE": "0"}, "launch: '0' is not a number of processes"),
        (
            {"ACCELERATE_MIXED_PRECISION": "bf16"},
            "launch: the launcher's file sets mixed_precision bf16, which train.precision decides; remove it",
        ),
        (
            {"ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "4"},
            "launch: the launcher's file sets gradient_accumulation_steps 4, which train.accumulation decides; remove",
        ),
        (
            {"ACCELERATE_GRADIENT_CLIPPING": "1.0"},
            "launch: the launcher's file sets gradient_clipping 1.0, which optim.max_grad_norm decides; remove it",
        ),
    ],
)  # fmt: skip
def test_a_launch_that_would_not_train_as_asked_is_refused(environment, message):
    with pytest.raises(UserError) as refusal:
        launch._check_launch(environment)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"SLURM_STEP_NUM_TASKS": "1", "MASTER_ADDR": "host"},
        {**LAUNCHED, "ACCELERATE_GRADIENT_CLIPPING": "none", "ACCELERATE_USE_CPU": "True"},
        {**LAUNCHED, "RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "h", "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_a_correct_launch_is_accepted(environment):
    launch._check_launch(environment)


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2"}, "launch: 2 processes were asked for, but only 1 connected; set RANK, WORLD_SIZE,"),
        (
            {"ACCELERATE_USE_FSDP": "true"},
            "launch: FSDP was asked for, but accelerate would run NO on cpu; start it on GPUs",
        ),
    ],
)
def test_fewer_processes_or_a_different_distribution_than_asked_for_are_refused(environment, message):
    with pytest.raises(UserError) as refusal:
        launch._check_world(launch.start(), environment)
    assert str(refusal.value).startswith(message)


@pytest.mark.parametrize("rank", ["0", pytest.param("1", marks=pytest.mark.slow)])
def test_a_process_does_not_wait_forever_for_one_that_never_connects(tiny, rank):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tiny / "start.py").write_text(
        "import datetime\nfrom pipeline.training.distributed import launch\nfrom pipeline.cli.main import entry\n"
        "launch.JOINING = datetime.timedelta(seconds=1)\nentry()\n"
    )
    where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    done = subprocess.run(
        [sys.executable, "start.py", "run", "tiny.py"], cwd=tiny, env={**os.environ, "PYTHONPATH": str(ROOT), **where},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "error: launch: not all 2 processes connected within 1 seconds; see the output of the others, and start all of"
        " them again"
    )
