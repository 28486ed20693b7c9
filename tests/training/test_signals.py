"""Signals at any time, to a single process or to one of two."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time

import psutil
import pytest
from accelerate import Accelerator
from conftest import ROOT, need_deepspeed
from test_hidden_state import a_recipe as a_streaming_recipe
from test_hidden_state import text  # noqa: F401 - a fixture
from test_trainer import a_recipe, assert_same_weights, history, wait_for_step

from pipeline import assembly, rehearsal, saving
from pipeline import run as runs
from pipeline.cli.main import LOST
from pipeline.cli.startup import STOPPED
from pipeline.errors import EXIT_LOST, STOPPING, Interrupted, UserError
from pipeline.run import train
from pipeline.training import trainer
from pipeline.training.checkpointing import checkpoint
from pipeline.training.signals import StopRequest


def stopped_in(monkeypatch, name: str, number: int, module=runs) -> None:
    """Let the signal come when `name` is called for the first time."""
    function = getattr(module, name)

    def stopped(*arguments):
        monkeypatch.setattr(module, name, function)
        signal.raise_signal(number)
        return function(*arguments)

    monkeypatch.setattr(module, name, stopped)


PHASES = [(assembly, "prepare_for"), (assembly, "build_for"), (rehearsal, "rehearse"), (runs, "_scores")]


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize(("module", "phase"), PHASES)
def test_a_signal_outside_training_stops_at_once_and_the_same_call_resumes(
    reviews, tmp_path, monkeypatch, module, phase, number
):
    train(a_recipe(reviews, tmp_path, output_dir=str(tmp_path / "undisturbed")))
    before = signal.getsignal(number)
    stopped_in(monkeypatch, phase, number, module)
    with pytest.raises(Interrupted):
        train(a_recipe(reviews, tmp_path))
    assert signal.getsignal(number) == before
    assert not (tmp_path / "run/metrics.json").exists()
    train(a_recipe(reviews, tmp_path))
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_before_training_exits_with_the_same_code_as_in_training(tmp_path, number):
    recipe = tmp_path / "slow.py"
    recipe.write_text("import pathlib, time\npathlib.Path('begun').touch()\ntime.sleep(60)\n")
    command = [sys.executable, "-c", "from pipeline.cli.main import entry; entry()", "run", "slow.py"]
    process = subprocess.Popen(command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
    while not (tmp_path / "begun").exists():
        time.sleep(0.01)
    process.send_signal(number)
    printed = process.communicate(timeout=30)
    assert (process.returncode, printed) == (75, ("", f"{STOPPED}\n"))


def test_a_second_sigint_stops_at_once_unless_torchrun_forwarded_it(monkeypatch):
    with pytest.raises(KeyboardInterrupt, match="if the run has saved a checkpoint"), StopRequest():  # noqa: PT012
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGINT)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    with StopRequest() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert stop.requested


@pytest.mark.parametrize("number", STOPPING)
@pytest.mark.parametrize("asked_at", ["the update before", "the second batch"])
def test_a_stop_does_not_wait_for_validation_and_the_resumed_run_begins_with_it(
    reviews, tmp_path, monkeypatch, number, asked_at
):
    """It may take longer than a scheduler waits."""
    settings = {"epochs": 3, "batch_size": 4, "patience": None, "save_every": 100}
    train(a_recipe(reviews, tmp_path, output_dir=str(tmp_path / "undisturbed"), **settings))
    evaluate, asked = trainer.Run.evaluate, []

    def asked_while_scoring(run, split):
        collate, batches = run.task.collate, []

        def collate_and_ask(rows, tokenizer):
            batches.append(rows)
            if asked_at == "the second batch" and len(batches) == 2 and run.progress.epoch == 2 and not asked:
                asked.append(run.progress.step)
                signal.raise_signal(number)
            return collate(rows, tokenizer)

        monkeypatch.setattr(run.task, "collate", collate_and_ask)
        scores = evaluate(run, split)
        monkeypatch.setattr(run.task, "collate", collate)
        return scores

    advance = trainer._advance

    def advance_and_ask(run):
        advance(run)
        if asked_at == "the update before" and (run.progress.epoch, run.progress.position) == (2, 0):
            asked.append(run.progress.step)
            signal.raise_signal(number)

    monkeypatch.setattr(trainer.Run, "evaluate", asked_while_scoring)
    monkeypatch.setattr(trainer, "_advance", advance_and_ask)
    with pytest.raises(Interrupted):
        train(a_recipe(reviews, tmp_path, **settings))
    monkeypatch.undo()
    newest = checkpoint.newest(tmp_path / "run")
    assert newest == checkpoint.folder_of(tmp_path / "run", asked[0])
    scored = [line["step"] for line in history(tmp_path / "run") if line["kind"] == "validation"]
    assert scored == [asked[0] // 2]
    train(a_recipe(reviews, tmp_path, **settings))
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
    validations = [
        [line for line in history(tmp_path / name) if line["kind"] == "validation"] for name in ("run", "undisturbed")
    ]
    assert validations[0] == validations[1]


def test_a_stop_asked_for_at_the_end_of_validation_comes_before_the_next_update(reviews, tmp_path, monkeypatch):
    settings = {"epochs": 3, "batch_size": 4, "patience": None, "save_every": 100}
    train(a_recipe(reviews, tmp_path, output_dir=str(tmp_path / "undisturbed"), **settings))
    stopped_in(monkeypatch, "_remember", signal.SIGTERM, trainer)
    with pytest.raises(Interrupted):
        train(a_recipe(reviews, tmp_path, **settings))
    monkeypatch.undo()
    scored = [line["step"] for line in history(tmp_path / "run") if line["kind"] == "validation"]
    assert checkpoint.newest(tmp_path / "run") == checkpoint.folder_of(tmp_path / "run", scored[0])
    train(a_recipe(reviews, tmp_path, **settings))
    assert_same_weights(tmp_path / "run", tmp_path / "undisturbed")
    validations = [
        [line["step"] for line in history(tmp_path / name) if line["kind"] == "validation"]
        for name in ("run", "undisturbed")
    ]
    assert validations[0] == validations[1]


def test_a_signal_while_the_model_is_saved_does_not_interrupt_saving(reviews, tmp_path, monkeypatch):
    def rehearsed(*arguments):
        rehearse(*arguments)
        stopped_in(monkeypatch, "save", signal.SIGTERM, saving)  # the second time, when the model is trained

    rehearse = rehearsal.rehearse
    monkeypatch.setattr(rehearsal, "rehearse", rehearsed)
    train(a_recipe(reviews, tmp_path))
    assert (tmp_path / "run/metrics.json").is_file()


def spread(recipe, tmp_path, processes: int) -> list[subprocess.Popen]:
    """One process per task, the way srun starts them."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    file = tmp_path / "spread.json"
    file.write_text(recipe.to_json())
    world = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return [
        subprocess.Popen(
            [sys.executable, "-c", "from pipeline.cli.main import entry; entry()", "run", str(file)],
            env={**os.environ, "PYTHONPATH": str(ROOT), **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def ended(processes: list[subprocess.Popen]) -> list[int]:
    printed = [process.communicate(timeout=90)[1] for process in processes]
    codes = [process.returncode for process in processes]
    return codes if set(codes) <= {0, 75} else pytest.fail("\n".join(printed))


def test_two_processes_agree_to_stop_and_one_resumes_from_their_states(text, tmp_path):  # noqa: F811
    """The signal reaches one of them; without dropout, on one process the run ends as if it had never been on two."""
    dropped = {"dropout": 0.0, "embedding_dropout": 0.0}
    settings = {"epochs": 12, "save_every": 10}
    two = a_streaming_recipe(text, tmp_path, batch_size=2, accumulation=2, model=dict(dropped), **settings)
    processes = spread(two, tmp_path, 2)
    wait_for_step(tmp_path / "run", 5)
    processes[1].send_signal(signal.SIGUSR1)
    assert ended(processes) == [75, 75]
    assert checkpoint.newest(tmp_path / "run") is not None

    with pytest.raises(UserError, match=r"an update of this run has 8 rows \(2 rows x 2 micro-batches x 2 processes\)"):
        train(two)
    one = a_streaming_recipe(text, tmp_path, batch_size=4, accumulation=2, model=dict(dropped), **settings)
    metrics = train(one)
    whole = a_streaming_recipe(
        text, tmp_path, batch_size=8, model=dict(dropped), output_dir=str(tmp_path / "whole"), **settings
    )
    assert metrics["validation"]["loss"] == pytest.approx(train(whole)["validation"]["loss"], abs=2e-4)


def test_if_a_process_dies_the_other_ends_as_well_and_leaves_a_whole_checkpoint(reviews, tmp_path):
    settings = {"epochs": 60, "log_every": 1, "save_every": 5, "patience": None, "batch_size": 4}
    recipe = a_recipe(reviews, tmp_path, **settings)
    processes = spread(recipe, tmp_path, 2)
    wait_for_step(tmp_path / "run", 12)
    processes[1].kill()
    _, printed = processes[0].communicate(timeout=30)
    processes[1].communicate()
    assert processes[0].returncode == EXIT_LOST
    assert [line for line in printed.splitlines() if not line.startswith("[")] == [LOST]
    assert checkpoint.newest_whole(tmp_path / "run", Accelerator(cpu=True)) is not None


TORCHRUN = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ACCELERATE = ["accelerate.commands.launch", "--main_process_port", "0", "--num_processes", "2", "--config_file"]
SHARED = [*ACCELERATE, f"{ROOT}/recipes/accelerate/fsdp.yaml"]
ZERO = [*ACCELERATE, f"{ROOT}/recipes/accelerate/deepspeed.yaml"]


def torchrun(recipe, tmp_path, launcher=TORCHRUN) -> subprocess.Popen:
    """Two processes under torchrun, or another launcher, which is the leader of their process group."""
    (tmp_path / "spread.json").write_text(recipe.to_json())
    (tmp_path / "start.py").write_text("from pipeline.cli.main import entry\nentry()\n")
    return subprocess.Popen(
        [sys.executable, "-m", *launcher, "start.py", "run", "spread.json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.mark.slow  # two processes, three times
@pytest.mark.parametrize("ask", [lambda pid: os.kill(pid, signal.SIGTERM), lambda pid: os.killpg(pid, signal.SIGINT)],
                         ids=["SIGTERM to torchrun", "Ctrl-C in its terminal"])  # fmt: skip
def test_under_torchrun_a_stopped_run_resumes_to_the_same_weights(reviews, tmp_path, ask):
    settings = {"epochs": 30, "log_every": 1, "patience": None, "batch_size": 4}
    assert torchrun(a_recipe(reviews, tmp_path, output_dir="whole", **settings), tmp_path).wait(120) == 0
    recipe = a_recipe(reviews, tmp_path, output_dir="run", **settings)
    process = torchrun(recipe, tmp_path)
    wait_for_step(tmp_path / "run", 8)
    ask(process.pid)
    _, printed = process.communicate(timeout=60)
    assert printed.count(STOPPED) == 2, printed
    newest = checkpoint.newest(tmp_path / "run")
    assert newest is not None
    assert int(newest.name.removeprefix("step-")) >= 8
    assert not (tmp_path / "run/metrics.json").exists()
    assert torchrun(recipe, tmp_path).wait(120) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow  # two processes, three times
def test_under_torchrun_a_process_that_dies_ends_the_run_and_the_same_command_resumes_it(reviews, tmp_path):
    settings = {"epochs": 30, "log_every": 1, "save_every": 5, "patience": None, "batch_size": 4}
    assert torchrun(a_recipe(reviews, tmp_path, output_dir="whole", **settings), tmp_path).wait(120) == 0
    recipe = a_recipe(reviews, tmp_path, output_dir="run", **settings)
    process = torchrun(recipe, tmp_path)
    wait_for_step(tmp_path / "run", 12)
    worker = psutil.Process(process.pid).children()[-1]
    worker.kill()
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 1
    assert printed.count(LOST) == 1
    assert "Traceback" not in printed.split(LOST)[0]
    assert torchrun(recipe, tmp_path).wait(120) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")


@pytest.mark.slow  # two processes, four times
@pytest.mark.parametrize("launcher", [TORCHRUN, SHARED, ZERO], ids=["whole", "shared", "DeepSpeed"])
def test_a_run_whose_processes_are_all_killed_resumes_to_the_same_weights(reviews, tmp_path, launcher):
    """When a kill happens depends on the machine; with dropout, each process's random state counts."""
    if launcher is ZERO:
        need_deepspeed()
    settings = {"epochs": 30, "log_every": 1, "save_every": 3, "patience": None, "batch_size": 2, "accumulation": 2}
    assert torchrun(a_recipe(reviews, tmp_path, output_dir="whole", **settings), tmp_path, launcher).wait(120) == 0
    recipe = a_recipe(reviews, tmp_path, output_dir="run", **settings)
    for step in (8, 21):
        process = torchrun(recipe, tmp_path, launcher)
        wait_for_step(tmp_path / "run", step)
        for victim in (process, *psutil.Process(process.pid).children(recursive=True)):
            victim.kill()
        process.communicate()
        assert not (tmp_path / "run/metrics.json").exists()
    assert torchrun(recipe, tmp_path, launcher).wait(120) == 0
    assert_same_weights(tmp_path / "run", tmp_path / "whole")
