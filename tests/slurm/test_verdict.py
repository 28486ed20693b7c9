"""Tests of job.py without a cluster: the settings of each attempt, and the verdict on how its ranks exited."""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cluster
import pytest
from conftest import ROOT

JOB = ROOT / "scripts/slurm/job.py"
LAUNCH_FILES = ROOT / "recipes/accelerate"
RECIPE = """
from pipeline import Data, Recipe, Recurrent, Train
recipe = Recipe(name="x", task="sentiment", data=Data(source="x.csv"), model=Recurrent(), train=Train())
"""


def job(place: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(JOB), *arguments],
        cwd=place,
        env={**os.environ, "PYTHONPATH": str(ROOT), "SLURM_JOB_ID": "7", **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def begin(place: Path, *settings: str, config: str = "", **environment: str) -> tuple[dict[str, str], list[str]]:
    """The variables that the shell sets, and the settings that the ranks get."""
    done = job(place, "begin", "logs", config, "recipe.py", *settings, **environment)
    assert done.returncode == 0, done.stderr
    *exports, last = (place / "logs/begun.sh").read_text().splitlines()
    words, _, finished = last.removeprefix("settings=(").rpartition(") finished=")
    variables = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    return {**variables, "finished": finished}, shlex.split(words)


def end(place: Path, *codes: str | None, **environment: str) -> tuple[int, str]:
    """Exit code and output after ranks that exited with `codes`; "" left no exit code, and None did not start."""
    attempt = place / "logs/attempt"
    attempt.mkdir(exist_ok=True)
    for rank, code in enumerate(codes):
        (attempt / str(rank)).unlink(missing_ok=True)
        if code is not None:
            (attempt / str(rank)).write_text(code)
        (attempt / f"rank-{rank}.log").write_text(f"last line of rank {rank}\n")
    done = job(place, "end", "logs", "logs/attempt", str(len(codes)), **environment)
    assert done.stderr == ""
    return done.returncode, done.stdout


@pytest.fixture
def place(tmp_path) -> Path:
    """A folder in which a job has started."""
    (tmp_path / "recipe.py").write_text(RECIPE)
    (tmp_path / "logs").mkdir()
    begin(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("codes", "verdict", "report"),
    [
        (("0", "0"), 0, "done\n    last line of rank 0"),
        (("75", "75"), 75, "rank 0 exited with code 75\n    last line of rank 0"),
        (("69", "137"), 75, "rank 1 was killed by SIGKILL\n    last line of rank 1"),
        (("69", "134"), 75, "rank 1 was killed by SIGABRT"),
        (("69", ""), 75, "rank 1 left no exit code\n    last line of rank 1"),
        (("75", "143"), 75, "rank 1 was killed by SIGTERM"),
        (("0", "69"), 75, "rank 1 exited with code 69"),
        (("69", "2"), 2, "rank 1 exited with code 2\n    last line of rank 1"),
        (("137", "2"), 2, "rank 1 exited with code 2"),
        (("69", "1"), 1, "rank 1 exited with code 1"),
        (("134", "1"), 1, "rank 1 exited with code 1"),
        (("", "1"), 1, "rank 1 exited with code 1"),
        (("127", "75"), 127, "rank 0 exited with code 127"),
        (("130", "75"), 130, "rank 0 was killed by SIGINT"),
        ((None, None), 1, "rank 0 did not start; see srun's error above"),
        (("75", None), 1, "rank 1 did not start; see srun's error above"),
    ],
)
def test_an_interrupted_job_is_requeued_and_one_with_a_mistake_or_a_bug_is_not(place, codes, verdict, report):
    code, output = end(place, *codes)
    assert code == verdict
    assert output.startswith(f"job 7: {report}")


def test_a_job_is_not_requeued_after_too_many_attempts_without_a_new_checkpoint(place):
    for step in ("step-00000010", "step-00000020"):
        (place / "runs/x/checkpoints" / step).mkdir(parents=True)
        assert [end(place, "75", MAX_REQUEUES="2")[0] for _ in range(3)] == [75, 75, 75]
    code, output = end(place, "75", MAX_REQUEUES="2")
    assert code == 1
    assert "no new checkpoint in 3 attempts, so it is not requeued (MAX_REQUEUES)" in output


def test_a_job_that_is_always_stopped_before_its_ranks_start_is_not_requeued_forever(place):
    ends = [job(place, "end", "logs", MAX_REQUEUES="1") for _ in range(2)]
    assert [end.returncode for end in ends] == [75, 1]
    assert [end.stdout.splitlines()[0] for end in ends] == ["job 7: stopped before its ranks started"] * 2
    assert "no new checkpoint in 2 attempts" in ends[1].stdout


def test_a_job_that_started_with_the_previous_version_keeps_its_state(place):
    (place / "runs/x/checkpoints/step-00000010").mkdir(parents=True)
    (place / "logs/job.json").write_text('{"folder": "runs/x", "newest": "step-00000010", "idle": 2}')
    assert end(place, "75", MAX_REQUEUES="3")[0] == 75
    assert (place / "logs/job.json").read_text() == '{"folder": "runs/x", "newest": "step-00000010", "idle": 3}'
    assert end(place, "75", MAX_REQUEUES="3")[0] == 1


def test_overwrite_applies_only_until_the_job_has_restarted_the_run(place):
    overwrite = ["--train.overwrite"]
    (place / "runs/x").mkdir(parents=True)
    for name in ("recipe.json", "metrics.json"):
        (place / "runs/x" / name).touch()
        os.utime(place / "runs/x" / name, ns=(0, 0))  # from an earlier job
    assert begin(place, *overwrite) == ({"finished": "no"}, overwrite)
    (place / "runs/x/recipe.json").touch()
    assert begin(place, *overwrite) == ({"finished": "no"}, [*overwrite, "--train.no-overwrite"])
    (place / "runs/x/metrics.json").touch()
    assert begin(place, *overwrite)[0] == {"finished": "yes"}


def test_only_a_sweep_skips_a_run_that_an_earlier_job_has_finished(place):
    (place / "runs/x").mkdir(parents=True)
    (place / "runs/x/metrics.json").touch()
    os.utime(place / "runs/x/metrics.json", ns=(0, 0))
    assert begin(place)[0] == {"finished": "no"}
    assert begin(place, SKIP_FINISHED="1")[0] == {"finished": "yes"}
    assert begin(place, "--train.overwrite", SKIP_FINISHED="1")[0] == {"finished": "no"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "recipe.py", "--train.epochz", "3"), "--train.epochz"),
        (("", "nobody.py"), "error: nobody.py: no such file; there are: recipe.py"),
        (("nobody.yaml", "recipe.py"), "error: ACCELERATE_CONFIG: there is no file nobody.yaml"),
        (
            ("bad.yaml", "recipe.py"),
            "error: ACCELERATE_CONFIG: bad.yaml: while parsing a flow node expected the node con",
        ),
        (("tpu.yaml", "recipe.py"), "error: ACCELERATE_CONFIG: tpu.yaml: distributed_type must be MULTI_GPU, FSDP or"),
    ],
)
def test_a_mistake_is_reported_before_any_rank_starts(place, arguments, message):
    (place / "bad.yaml").write_text("distributed_type: [\n")
    (place / "tpu.yaml").write_text("distributed_type: XLA\n")
    done = job(place, "begin", "logs", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_shell_never_runs_what_a_recipe_prints(place):
    (place / "recipe.py").write_text(f"print('rm -rf ~')\n{RECIPE}")
    assert begin(place) == ({"finished": "no"}, [])
    assert "rm" not in (place / "logs/begun.sh").read_text()


@pytest.mark.parametrize("script", ["train.sbatch", "sweep.sbatch"])
def test_a_script_that_is_run_without_slurm_says_how_to_submit_it(script, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}
    call = ["bash", str(JOB.parent / script), "recipe.py", "settings.txt"]
    done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert ": sbatch " in line
    assert list(tmp_path.iterdir()) == []


def test_settings_with_spaces_and_quotes_reach_the_ranks_unchanged(place):
    name = ["--name", "it's mine; $HOME"]
    assert begin(place, *name)[1] == name


@pytest.mark.parametrize("name", sorted(file.name for file in LAUNCH_FILES.glob("*.yaml")))
def test_ranks_get_the_same_environment_as_the_processes_of_accelerate_launch(name, place, monkeypatch):
    from accelerate.commands import launch

    launched: dict[str, str] = {}
    monkeypatch.setattr(launch, "is_deepspeed_available", lambda: True)
    monkeypatch.setitem(sys.modules, "deepspeed.launcher.runner", SimpleNamespace(DEEPSPEED_ENVIRONMENT_NAME=""))
    monkeypatch.setattr("torch.distributed.run.run", lambda arguments: launched.update(os.environ))  # would start them
    placeholders = ["--num_machines", "1", "--num_processes", "2", "--main_process_port", "0"]
    file = str(LAUNCH_FILES / name)
    launch.launch_command(launch.launch_command_parser().parse_args(["--config_file", file, *placeholders, "x.py"]))
    expected = {key: value for key, value in launched.items() if key.startswith(("ACCELERATE_", "FSDP_"))}
    ours, _ = begin(place, config=file)
    assert ours.pop("finished") == "no"
    sharding = {"fsdp.yaml": ["ACCELERATE_USE_FSDP"], "deepspeed.yaml": ["ACCELERATE_USE_DEEPSPEED"]}
    assert [key for key in ours if key.startswith("ACCELERATE_USE_")] == sharding.get(name, [])
    assert ours == {key: value for key, value in expected.items() if value != "None"}


def test_the_docstring_of_job_py_lists_both_of_its_commands(place):
    assert all(f"python job.py {verb} " in runpy.run_path(str(JOB))["__doc__"] for verb in ("begin", "end"))


def test_a_machine_without_slurm_reports_why_no_cluster_can_start(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cluster.why_not() == "Slurm's daemons need root"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setenv("PATH", "")
    assert cluster.why_not() == "slurm-wlm and munge are not installed, and apt-get is not available"
