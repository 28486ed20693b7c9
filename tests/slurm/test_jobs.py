"""Tests of scripts/slurm on a real Slurm: jobs train as one process does, and interruptions change nothing."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import torch
from cluster import CPUS, NODES, ROOT, Cluster, running, wait_for, why_not
from conftest import NEGATIVE, POSITIVE, finetune
from safetensors.torch import load_file

from pipeline.cli.main import COMMANDS, LOST
from pipeline.config.loading import load_recipe, override
from pipeline.run import train

pytestmark = pytest.mark.slurm

TRAIN, SWEEP = ROOT / "scripts/slurm/train.sbatch", ROOT / "scripts/slurm/sweep.sbatch"
# An update of this small model takes two processes about 10 ms, so the run lasts as long as the tests need.
LONG = ("--train.epochs", "60", "--train.save-every", "100")
RECIPE = """
from pipeline import Data, Optim, Recipe, Recurrent, Train, main
recipe = Recipe(name="tiny", task="sentiment", data=Data(source="reviews.csv"), optim=Optim(learning_rate=0.01),
                model=Recurrent(hidden_size=8, embedding_size=8, bidirectional=True, layers=2),
                train=Train(batch_size=4, patience=None, log_every=1))
if __name__ == "__main__":
    main(recipe)
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with running() as started:
        yield started


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A user's folder with a recipe and its data, on a disk that all nodes see."""
    folder = tmp_path_factory.mktemp("place")
    rows = [
        f'"{texts[n % 4]} {n}",{label}' for n in range(80) for texts, label in ((POSITIVE, "yes"), (NEGATIVE, "no"))
    ]
    (folder / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    (folder / "tiny.py").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(cluster, place) -> Path:
    """The folder of a run on two nodes that nothing interrupted."""
    assert cluster.ended(submit(cluster, place, "uninterrupted")) == "COMPLETED"
    return place / "runs/uninterrupted"


def submit(
    cluster: Cluster, place: Path, name: str, *options: str, settings: tuple[str, ...] = LONG, **env: str
) -> str:
    """Submit a job on two nodes with the run folder runs/`name`, and return its number."""
    folder = ("--train.output-dir", f"runs/{name}")
    return cluster.submit(place, "--nodes=2", *options, str(TRAIN), "tiny.py", *folder, *settings, **env)


def log_of(place: Path, job: str) -> str:
    file = place / f"slurm-{job}.out"
    return file.read_text() if file.is_file() else ""


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model/model.safetensors")


def are_the_same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def step_of(run: Path) -> int:
    """The last update in the log of the run."""
    file = run / "history.jsonl"
    found = re.findall(r'"step": (\d+)', file.read_text()) if file.is_file() else []
    return int(found[-1]) if found else 0


def wait_for_update(run: Path, step: int = 30) -> None:
    wait_for(lambda: step_of(run) >= step, 180, f"update {step} of {run}")


def restarts(cluster: Cluster, job: str) -> int:
    return int(cluster.job_info(job)["Restarts"])


def test_a_job_on_two_nodes_trains_the_same_model_as_a_single_process(cluster, place, monkeypatch):
    settings = ("--train.max-steps", "40", "--model.dropout", "0", "--model.embedding-dropout", "0")
    job = submit(cluster, place, "two", settings=settings)
    assert cluster.ended(job) == "COMPLETED", log_of(place, job)
    cost = json.loads((place / "runs/two/metrics.json").read_text())["train"]
    assert (cost["processes"], cost["updates"]) == (2, 40)
    assert f"job {job}: attempt 0, 2 process(es) on node[0-1], 1 CPU(s) each" in log_of(place, job)
    monkeypatch.chdir(place)
    one = ("--train.batch-size", "8", "--train.output-dir", "runs/one")
    train(override(load_recipe("tiny.py"), [*settings, *one], "test"))
    a, b = weights(place / "runs/two"), weights(place / "runs/one")
    assert all(torch.allclose(a[name], b[name], rtol=1e-4, atol=1e-5) for name in a)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        (("--train.epochs", "0"), "train.epochs: 0 is out of range; it must be >= 1"),  # found before the ranks start
        (
            ("--data.source", "nowhere.csv"),
            "error: data.source: there is no file or folder nowhere.csv",
        ),  # by the ranks
    ],
)
def test_a_job_with_a_bad_recipe_fails_with_one_message_and_is_not_requeued(cluster, place, settings, line):
    job = submit(cluster, place, "bad", settings=settings)
    assert cluster.ended(job) == "FAILED"
    info = cluster.job_info(job)
    assert (info["ExitCode"], info["Restarts"]) == ("2:0", "0")
    assert log_of(place, job).count(line) == 1
    assert not (place / "runs/bad").exists()


@pytest.mark.parametrize(
    ("call", "environment", "line"),
    [
        ((), {}, "no recipe given: sbatch --nodes 2 --gpus-per-node 8 scripts/slurm/train.sbatch RECIPE [settings]"),
        (("tiny.py",), {"PYTHON": "/no/python"}, "PYTHON: /no/python on "),
        (("tiny.py",), {"PYTHON": "python3 -S"}, "cannot run finetune: ModuleNotFoundError: No module named"),
        (("tiny.py",), {"ACCELERATE_CONFIG": "x.yaml"}, "ACCELERATE_CONFIG: needs more than one process; request more"),
    ],
)
def test_a_job_that_cannot_start_says_why_in_one_line(cluster, place, call, environment, line):
    job = cluster.submit(place, str(TRAIN), *call, **environment)
    assert cluster.ended(job) == "FAILED"
    info = cluster.job_info(job)
    assert (info["ExitCode"], info["Restarts"]) == ("2:0", "0")
    (printed,) = log_of(place, job).splitlines()
    assert line in printed


@pytest.mark.slow
def test_folders_files_and_settings_may_contain_spaces(cluster, place):
    folder = place / "a folder"
    shutil.copytree(TRAIN.parent, folder / "scripts/some slurm", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("tiny.py", "reviews.csv"):
        shutil.copy(place / name, folder)
    (folder / "of all.txt").write_text('--name "it\'s  *"\n')
    steps = ("--train.max-steps", "2")
    job = cluster.submit(folder, "scripts/some slurm/train.sbatch", "tiny.py", *steps, "--train.output-dir", "runs/a b")
    sweep = cluster.submit(folder, "--array=0", "scripts/some slurm/sweep.sbatch", "tiny.py", "of all.txt", *steps)
    assert [cluster.ended(job), cluster.ended(f"{sweep}_0")] == ["COMPLETED"] * 2, log_of(folder, job)
    assert (folder / "runs/a b/metrics.json").is_file()
    assert json.loads((folder / f"runs/sweep-{sweep}/1-seed-0/recipe.json").read_text())["name"] == "it's  *"


def term(cluster: Cluster, job: str) -> None:
    cluster.ask("scancel", "--signal=TERM", job)


def requeue(cluster: Cluster, job: str) -> None:
    cluster.ask("scontrol", "requeue", job)


def signal_script(cluster: Cluster, job: str) -> None:
    cluster.ask("scancel", "--batch", "--signal=USR1", job)


def preempt_without_grace(cluster: Cluster, job: str) -> None:
    try:
        cluster.ask("scontrol", "update", "PartitionName=low", "GraceTime=0", check=True)
        preempt(cluster, job)
    finally:
        cluster.ask("scontrol", "update", "PartitionName=low", "GraceTime=120", check=True)


def preempt(cluster: Cluster, job: str) -> None:
    options = ("--partition=high", f"--nodes={NODES}", f"--cpus-per-task={CPUS}", "--output=/dev/null")
    assert cluster.ended(cluster.submit(cluster.folder, *options, "--wrap", "sleep 1")) == "COMPLETED"


def kill_a_rank(cluster: Cluster, job: str) -> None:
    os.kill(process_of(job, 1), signal.SIGKILL)


def process_of(job: str, rank: int) -> int:
    """The process id of the Python process of a rank, not of the shell that started it."""
    for process in psutil.process_iter(["cmdline", "environ"]):
        environment = process.info["environ"] or {}
        trains = process.info["cmdline"][1:4] == ["-m", "pipeline", "run"]
        if trains and (environment.get("SLURM_JOB_ID"), environment.get("RANK")) == (job, str(rank)):
            return process.pid
    raise LookupError(f"rank {rank} of job {job} is not running")


INTERRUPTIONS = [
    pytest.param(term, "exited with code 75", id="scancel --signal=TERM"),
    pytest.param(signal_script, "exited with code 75", id="signal to the script", marks=pytest.mark.slow),
    pytest.param(requeue, "", id="scontrol requeue", marks=pytest.mark.slow),
    pytest.param(preempt, "exited with code 75", id="preemption", marks=pytest.mark.slow),
    pytest.param(preempt_without_grace, "", id="preemption without GraceTime", marks=pytest.mark.slow),
    pytest.param(kill_a_rank, "rank 1 was killed by SIGKILL", id="killed rank", marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("interrupt", "report"), INTERRUPTIONS)
def test_an_interrupted_job_is_requeued_and_ends_with_the_same_weights(
    cluster, place, uninterrupted, interrupt: Callable[[Cluster, str], None], report: str
):
    name = interrupt.__name__
    job = submit(cluster, place, name)
    run = place / f"runs/{name}"
    wait_for_update(run, 120)
    interrupt(cluster, job)
    assert cluster.ended(job) == "COMPLETED", log_of(place, job)
    assert restarts(cluster, job) == 1
    assert are_the_same(run, uninterrupted)
    assert report in log_of(place, job)
    first = [(place / f"logs/{job}/attempt-0" / rank).read_text().strip() for rank in "01"]
    assert first == (["69", "137"] if interrupt is kill_a_rank else ["75", "75"])
    if interrupt is kill_a_rank:
        assert LOST in (place / f"logs/{job}/attempt-0/rank-0.log").read_text()


@pytest.mark.slow  # Slurm checks time limits twice a minute
def test_a_job_that_reaches_its_time_limit_is_requeued_until_the_run_is_finished(cluster, place):
    """The limit of one minute is shorter than the signal's lead time, so Slurm signals each attempt within 30 s."""
    longer = ("--train.epochs", "400", "--train.save-every", "500")
    assert cluster.ended(submit(cluster, place, "without-limit", settings=longer)) == "COMPLETED"
    job = submit(cluster, place, "with-limit", "--time=1", settings=longer)
    assert cluster.ended(job, 600) == "COMPLETED", log_of(place, job)
    assert restarts(cluster, job) >= 1
    assert are_the_same(place / "runs/with-limit", place / "runs/without-limit")


@pytest.mark.slow
def test_a_run_resumes_on_more_processes_that_shard_the_model(cluster, place):
    """From DDP on two processes to FSDP on four, with the stand-ins for GPUs."""
    job = submit(cluster, place, "moved")
    run = place / "runs/moved"
    wait_for_update(run)
    cluster.ask("scancel", job)
    assert cluster.ended(job) == "CANCELLED"
    reached = step_of(run)
    four = (*LONG, "--train.batch-size", "2")
    job = submit(cluster, place, "moved", "--gpus-per-node=2", "--cpus-per-gpu=2", settings=four,
                 ACCELERATE_CONFIG=str(ROOT / "recipes/accelerate/fsdp.yaml"))  # fmt: skip
    assert cluster.ended(job) == "COMPLETED", log_of(place, job)
    assert "attempt 0, 4 process(es) on node[0-1], 2 CPU(s) each" in log_of(place, job)
    cost = json.loads((run / "metrics.json").read_text())["train"]
    assert (cost["processes"], cost["distributed_type"], cost["updates"]) == (4, "FSDP", 960)
    assert 30 <= reached < 960


@pytest.mark.slow
def test_a_cancelled_job_writes_a_checkpoint_and_is_not_requeued(cluster, place):
    job = submit(cluster, place, "cancelled")
    wait_for_update(place / "runs/cancelled")
    cluster.ask("scancel", job)
    assert cluster.ended(job) == "CANCELLED"
    wait_for(lambda: cluster.ask("squeue", "-h", "-j", job, "-o", "%T") == "", 60, "the end of the cancelled job")
    time.sleep(2)
    assert (cluster.state(job), restarts(cluster, job)) == ("CANCELLED", 0)
    assert list((place / "runs/cancelled/checkpoints").glob("step-*"))


@pytest.mark.slow
def test_a_job_that_makes_no_progress_fails_after_max_requeues(cluster, place):
    (place / "dies.py").write_text("import os, signal\nif 'RANK' in os.environ: os.kill(os.getpid(), signal.SIGKILL)\n"
                                   + RECIPE)  # fmt: skip
    job = cluster.submit(place, "--nodes=2", str(TRAIN), "dies.py", "--train.output-dir", "runs/dies", MAX_REQUEUES="1")
    assert cluster.ended(job) == "FAILED"
    assert restarts(cluster, job) == 1
    assert log_of(place, job).count("rank 0 was killed by SIGKILL") == 2
    assert "no new checkpoint in 2 attempts, so it is not requeued" in log_of(place, job)


@pytest.mark.slow
def test_a_new_job_refuses_a_finished_run_and_a_requeued_job_that_finished_it_succeeds(cluster, place, uninterrupted):
    job = submit(cluster, place, "uninterrupted")
    assert cluster.ended(job) == "FAILED"
    assert "holds a finished run; name another folder or add --train.overwrite" in log_of(place, job)
    job = submit(cluster, place, "overwritten", settings=(*LONG, "--train.overwrite"))
    wait_for_update(place / "runs/overwritten", 120)
    requeue(cluster, job)
    assert cluster.ended(job) == "COMPLETED", log_of(place, job)
    assert are_the_same(place / "runs/overwritten", uninterrupted)
    kept = (place / "runs/overwritten/metrics.json").stat().st_mtime_ns
    requeue(cluster, job)
    wait_for(lambda: restarts(cluster, job) == 2, 60, "the second requeue")
    assert cluster.ended(job) == "COMPLETED"
    assert (place / "runs/overwritten/metrics.json").stat().st_mtime_ns == kept
    assert "the run in runs/overwritten is already finished" in log_of(place, job)


@pytest.mark.slow
def test_a_sweep_runs_each_line_with_each_seed_and_skips_finished_runs(cluster, place):
    (place / "settings.txt").write_text("# two rates\n--optim.learning-rate 1e-2\n\n--optim.learning-rate '1e-3'\n")
    call = (str(SWEEP), "tiny.py", "settings.txt", "--train.max-steps", "10")
    job = cluster.submit(place, "--array=0-2", *call, SEEDS="3 4")
    assert [cluster.ended(f"{job}_{task}") for task in range(3)] == ["COMPLETED"] * 3
    sweep = place / f"runs/sweep-{job}"
    assert sorted(run.name for run in sweep.glob("[!.]*")) == ["1-seed-3", "1-seed-4", "2-seed-3"]
    kept = (sweep / "1-seed-3/metrics.json").stat().st_mtime_ns
    again = cluster.submit(place, "--array=0-4", *call, SEEDS="3 4", SWEEP=f"runs/{sweep.name}")
    assert [cluster.ended(f"{again}_{task}") for task in range(5)] == [*["COMPLETED"] * 4, "FAILED"]
    assert (sweep / "1-seed-3/metrics.json").stat().st_mtime_ns == kept
    log = (place / f"slurm-{again}_4.out").read_text()
    assert "no task 4 in 2 variants x 2 seeds; use --array=0-3" in log
    table = finetune("compare", "--over-seeds", *sorted(sweep.glob("[!.]*"))).stdout
    assert re.findall(r"optim.learning_rate (\S+) +│ +(\d) ", table) == [("0.01", "2"), ("0.001", "2")]


@pytest.mark.slow
def test_a_sweep_survives_the_requeue_of_one_of_its_tasks(cluster, place):
    (place / "one.txt").write_text("--optim.learning-rate 1e-2\n")
    job = cluster.submit(place, "--array=0-3", str(SWEEP), "tiny.py", "one.txt", "--train.epochs", "100")
    sweep = place / f"runs/sweep-{job}"
    wait_for_update(sweep / "1-seed-3")
    cluster.ask("scancel", "--signal=TERM", f"{job}_3")  # the last, whose number is that of the array
    assert [cluster.ended(f"{job}_{task}") for task in range(4)] == ["COMPLETED"] * 4
    assert [restarts(cluster, f"{job}_{task}") for task in range(4)] == [0, 0, 0, 1]
    settings = ("--train.epochs", "100", "--train.seed", "3", "--train.output-dir", "runs/seed-3")
    assert finetune("run", "tiny.py", *settings, cwd=place).returncode == 0
    assert are_the_same(sweep / "1-seed-3", place / "runs/seed-3")
    assert not are_the_same(sweep / "1-seed-3", sweep / "1-seed-2")


STUDY = """
from pipeline import Study
print("a study may print")
study = Study(name="cells", recipes=["tiny.py"], grid={{"model.cell": {cells}, "train.epochs": [{epochs}]}}, seeds=[0])
"""


@pytest.mark.skipif("study" not in COMMANDS, reason="needs finetune study")
def test_a_study_is_an_array_whose_finished_runs_are_skipped(cluster, place):
    (place / "study.py").write_text(STUDY.format(cells=["gru", "rnn"], epochs=1))
    job = cluster.submit(place, "--array=1-2", str(SWEEP), "study.py", SWEEP="runs/of two")
    assert [cluster.ended(f"{job}_{task}") for task in (1, 2)] == ["COMPLETED", "FAILED"]
    assert "there is no run 2 in this study" in (place / f"slurm-{job}_2.out").read_text()
    (recipe,) = (place / "runs/of two").glob("*/recipe.json")
    assert json.loads(recipe.read_text())["model"]["cell"] == "rnn"
    kept = recipe.with_name("metrics.json").stat().st_mtime_ns
    again = cluster.submit(place, "--array=1", str(SWEEP), "study.py", SWEEP="runs/of two")
    assert cluster.ended(f"{again}_1") == "COMPLETED"
    assert "is already finished" in (place / f"slurm-{again}_1.out").read_text()
    assert recipe.with_name("metrics.json").stat().st_mtime_ns == kept


@pytest.mark.slow
@pytest.mark.skipif("study" not in COMMANDS, reason="needs finetune study")
def test_a_run_of_a_study_survives_its_requeue(cluster, place):
    (place / "long.py").write_text(STUDY.format(cells=["gru"], epochs=100))
    job = cluster.submit(place, "--array=0", str(SWEEP), "long.py", SWEEP="runs/long")
    wait_for(lambda: any((place / "runs/long").glob("*/history.jsonl")), 180, "the run of the study")
    (run,) = (file.parent for file in (place / "runs/long").glob("*/history.jsonl"))
    wait_for_update(run)
    cluster.ask("scancel", "--signal=TERM", f"{job}_0")
    assert cluster.ended(f"{job}_0") == "COMPLETED", (place / f"slurm-{job}_0.out").read_text()
    assert restarts(cluster, f"{job}_0") == 1
    settings = ("--train.epochs", "100", "--model.cell", "gru", "--train.output-dir", "runs/undisturbed")
    assert finetune("run", "tiny.py", *settings, cwd=place).returncode == 0
    assert are_the_same(run, place / "runs/undisturbed")


@pytest.mark.slow
@pytest.mark.skipif("fetch" not in COMMANDS, reason="needs finetune fetch")
def test_a_recipe_fetched_on_a_login_node_trains_without_network(cluster, place):
    call = [str(ROOT / "scripts/slurm/fetch.sh"), "tiny.py", "fetched", "--train.max-steps", "5"]
    done = subprocess.run(call, cwd=place, env=cluster.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    environment, command = done.stdout.splitlines()[-1].removeprefix("submit it: ").split(" sbatch ")
    assert environment == "HF_HUB_OFFLINE=1"
    assert command == f"--nodes 1 --gpus-per-node 1 {TRAIN} fetched/recipe.json"
    job = cluster.submit(place, *command.split(), HF_HUB_OFFLINE="1")
    assert cluster.ended(job) == "COMPLETED", log_of(place, job)


def test_a_sweep_must_be_submitted_as_a_job_array(cluster, place):
    job = cluster.submit(place, str(SWEEP), "tiny.py", "settings.txt")
    assert cluster.ended(job) == "FAILED"
    assert "submit a sweep as a job array: sbatch --array=0-N" in log_of(place, job)


@pytest.mark.slow
def test_a_job_whose_node_fails_resumes_on_other_nodes(cluster, place, uninterrupted):
    job = submit(cluster, place, "failing")
    wait_for_update(place / "runs/failing", 120)
    cluster.ask("scontrol", "update", "NodeName=node1", "State=DOWN", "Reason=test", check=True)
    wait_for(lambda: restarts(cluster, job) == 1, 60, "the requeue")
    cluster.ask("scontrol", "update", "NodeName=node1", "State=RESUME")  # unless it has recovered by itself
    assert cluster.ended(job) == "COMPLETED", log_of(place, job)
    assert are_the_same(place / "runs/failing", uninterrupted)


@pytest.mark.slow  # srun kills the other ranks after a minute
def test_a_rank_that_hangs_after_another_has_died_does_not_block_the_job(cluster, place):
    (place / "hangs.py").write_text(
        "import os, signal, time\n"
        "if os.environ.get('RANK') == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if os.environ.get('RANK') == '0': signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)\n" + RECIPE
    )
    job = cluster.submit(place, "--nodes=2", str(TRAIN), "hangs.py", MAX_REQUEUES="0")
    assert cluster.ended(job) == "FAILED"
    assert "rank 1 was killed by SIGKILL" in log_of(place, job)
    assert [(place / f"logs/{job}/attempt-0" / rank).read_text().strip() for rank in "01"] == ["", "137"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--nodes=2", "--mincpus=4"), "2 process(es) on node[0-1], 4 CPU(s) each"),
        (("--nodes=2", "--exclusive"), "4 process(es) on node[0-1], 2 CPU(s) each"),  # this allocates the GPUs, too
        (("--nodes=1", "--ntasks=2", "--cpus-per-task=2"), "2 process(es) on node0, 2 CPU(s) each"),
        (("--nodes=1", "--gpus-per-node=2"), "2 processes share 1 CPU(s) per node; try --cpus-per-gpu 4"),
        (("--nodes=2", "--ntasks=3"), "nodes have different numbers of tasks (2,1); use --nodes and"),
    ],
)
def test_the_allocation_decides_the_number_of_processes_and_their_cpus(cluster, place, options, message):
    settings = ("--train.max-steps", "2", "--train.output-dir", f"runs/{'-'.join(options)}")
    job = cluster.submit(place, *options, str(TRAIN), "tiny.py", *settings)
    assert cluster.ended(job) == ("FAILED" if "different" in message else "COMPLETED"), log_of(place, job)
    assert message in log_of(place, job)


@pytest.mark.slow
def test_a_rank_that_sees_one_gpu_uses_it(cluster, place):
    shown = "import os\nprint('sees', os.environ.get('CUDA_VISIBLE_DEVICES'), os.environ.get('LOCAL_RANK'))\n"
    (place / "shows.py").write_text(shown + RECIPE)
    for options, expected in (
        (("--gpus-per-node=2",), ["sees 0,1 0", "sees 0,1 1"]),
        (("--ntasks=2", "--gpus-per-task=1"), ["sees 0 0", "sees 1 0"]),
    ):
        settings = ("--train.max-steps", "2", "--train.overwrite", "--train.output-dir", "runs/shows")
        job = cluster.submit(place, "--nodes=1", *options, str(TRAIN), "shows.py", *settings)
        assert cluster.ended(job) == "COMPLETED", log_of(place, job)
        logs = [(place / f"logs/{job}/attempt-0/rank-{rank}.log").read_text() for rank in (0, 1)]
        assert sorted(log.splitlines()[0] for log in logs) == expected


@pytest.mark.slow
def test_a_signal_to_the_script_before_the_ranks_start_requeues_the_job_at_once(cluster, place):
    (place / "slow.py").write_text(f"import os, time\ntime.sleep(0 if 'SLURM_STEP_ID' in os.environ else 5)\n{RECIPE}")
    job = cluster.submit(place, "--nodes=2", str(TRAIN), "slow.py", "--train.max-steps", "5",
                         "--train.output-dir", "runs/slow")  # fmt: skip
    wait_for((place / f"logs/{job}/attempt-0").is_dir, 60, f"the start of job {job}")
    cluster.ask("scancel", "--batch", "--signal=USR1", job)
    wait_for(lambda: restarts(cluster, job) == 1, 60, "the requeue")
    assert list((place / f"logs/{job}/attempt-0").iterdir()) == []
    report = f"job {job}: stopped before its ranks started\njob {job}: the next attempt starts from the beginning\n"
    assert log_of(place, job).startswith(report)
    assert cluster.ended(job) == "COMPLETED", log_of(place, job)
