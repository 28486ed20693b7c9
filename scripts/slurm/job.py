"""Prepares a Slurm job before its ranks start and decides what to do after they have exited; train.sbatch calls it.

python job.py begin LOGS ACCELERATE_CONFIG RECIPE [settings]   # writes what the shell needs to LOGS/begun.sh
python job.py end LOGS [ATTEMPT RANKS]   # reports how the attempt ended; exits with 75 if the job should be requeued
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline import run_folder, storage
from pipeline.config.loading import load_recipe, override
from pipeline.errors import EXIT_INTERRUPTED, EXIT_LOST, EXIT_USER_ERROR, UserError, reason, report

JOB = f"job {os.environ.get('SLURM_JOB_ID', '?')}"
# Files in LOGS. Slurm copies train.sbatch when a job is submitted, so these names and the arguments must not change.
STATE_FILE, SHELL_FILE, START_MARKER = "job.json", "begun.sh", "begun"
SIGNAL_BASE = 128  # a shell reports a process killed by signal N as 128 + N
KILLED_BY_SIGINT = SIGNAL_BASE + signal.SIGINT
NOT_STARTED = -1
LOG_LINES = 12  # shown of a rank's log


@dataclass
class JobState:
    """What a job remembers between attempts.

    Attributes:
        run: the run's folder.
        latest_checkpoint: the name of the run's latest checkpoint at the last requeue.
        requeues_without_progress: the number of requeues in a row without a new checkpoint.
    """

    run: str
    latest_checkpoint: str | None = None
    requeues_without_progress: int = 0

    def write(self, logs: Path) -> None:
        values = {"folder": self.run, "newest": self.latest_checkpoint, "idle": self.requeues_without_progress}
        storage.write(logs / STATE_FILE, json.dumps(values))

    @classmethod
    def read(cls, logs: Path) -> JobState:
        values = json.loads((logs / STATE_FILE).read_text(encoding="utf-8"))
        return cls(values["folder"], values["newest"], values["idle"])


def begin(logs: Path, accelerate_config: str, file: str, *settings: str) -> int:
    """Check the recipe as `finetune run` would, and write the variables that train.sbatch needs to SHELL_FILE.

    A run that this job has finished is not started again, and one that it has started is resumed: train.overwrite only
    applies to the first attempt. The variables go to a file because a recipe, or a module it imports, may print to
    stdout, and the shell must not run that.
    """
    recipe = override(load_recipe(file), settings, f"sbatch train.sbatch {file}")
    marker = logs / START_MARKER
    if not (logs / STATE_FILE).is_file():
        marker.touch()  # takes its time from the disk that holds the run's files, so the two can be compared
        JobState(str(recipe.folder), _latest_checkpoint(recipe.folder)).write(logs)
    finished_here = _is_newer(recipe.folder / run_folder.METRICS, marker)
    started_here = _is_newer(recipe.folder / run_folder.RECIPE, marker)
    finished = finished_here or (
        "SKIP_FINISHED" in os.environ and not recipe.train.overwrite and (recipe.folder / run_folder.METRICS).is_file()
    )
    if finished:
        print(f"{JOB}: the run in {recipe.folder} is already finished", file=sys.stderr)
    resume = ["--train.no-overwrite"] if recipe.train.overwrite and started_here else []
    variables = accelerate_environment(accelerate_config)
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
    lines.append(f"settings=({shlex.join([*settings, *resume])}) finished={'yes' if finished else 'no'}")
    storage.write(logs / SHELL_FILE, "\n".join(lines) + "\n")
    return 0


def _latest_checkpoint(run: Path) -> str | None:
    return max((path.name for path in (run / run_folder.CHECKPOINTS).glob("step-*")), default=None)


def _is_newer(file: Path, marker: Path) -> bool:
    return file.is_file() and file.stat().st_mtime_ns > marker.stat().st_mtime_ns


def accelerate_environment(config_file: str) -> dict[str, str]:
    """The environment variables that `accelerate launch --config_file FILE` sets for its processes.

    Accelerate's own code reads the file.

    Raises:
        UserError: the file does not exist, accelerate cannot read it, or its distributed_type is not supported.
    """
    if not config_file:
        return {}
    if not Path(config_file).is_file():
        raise UserError(f"ACCELERATE_CONFIG: there is no file {config_file}")
    from accelerate.commands import launch
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
    from yaml import YAMLError

    # Slurm decides these; any valid values will do here.
    placeholders = ["--num_machines", "1", "--num_processes", "2", "--main_process_port", "0"]
    try:
        arguments, defaults, _ = launch._validate_launch_command(
            launch.launch_command_parser().parse_args(["--config_file", config_file, *placeholders, "recipe.py"])
        )
    except (AttributeError, TypeError, ValueError, YAMLError) as error:
        raise UserError(f"ACCELERATE_CONFIG: {config_file}: {reason(error)}") from error
    if not (arguments.multi_gpu or arguments.use_fsdp or arguments.use_deepspeed):
        raise UserError(
            f"ACCELERATE_CONFIG: {config_file}: distributed_type must be MULTI_GPU, FSDP or DEEPSPEED;"
            " see recipes/accelerate"
        )
    if arguments.use_deepspeed:
        # accelerate's launch_command does the same
        arguments.deepspeed_fields_from_accelerate_config = ",".join(defaults.deepspeed_config)
        variables = prepare_deepspeed_cmd_env(arguments)[1]
    else:
        variables = prepare_multi_gpu_env(arguments)
    return {
        name: value
        for name, value in variables.items()
        if name.startswith(("ACCELERATE_", "FSDP_")) and value != "None"
    }


def end(logs: Path, *started: str) -> int:
    """Report how the attempt ended.

    Args:
        started: the attempt's folder and its number of ranks; nothing if it was stopped before the ranks started.

    Returns:
        0 if the run is finished, 75 if the job should be requeued, otherwise the exit code for the failed job.
    """
    state = JobState.read(logs)
    if not started:
        print(f"{JOB}: stopped before its ranks started", flush=True)
        return _requeue_or_fail(state, logs)
    attempt, ranks = Path(started[0]), int(started[1])
    rank, code = root_cause(exit_codes(attempt, ranks))
    if code == 0:
        print(f"{JOB}: done\n{_last_lines(attempt, 0)}", flush=True)
        return 0
    print(f"{JOB}: {_describe(rank, code)}\n{_last_lines(attempt, rank)}", flush=True)
    if is_retryable(code):
        return _requeue_or_fail(state, logs)
    return 1 if code in (None, NOT_STARTED) else code


def _requeue_or_fail(state: JobState, logs: Path) -> int:
    """75, or 1 if more than MAX_REQUEUES attempts in a row have brought no new checkpoint."""
    latest = _latest_checkpoint(Path(state.run))
    state.requeues_without_progress = 0 if latest != state.latest_checkpoint else state.requeues_without_progress + 1
    state.latest_checkpoint = latest
    state.write(logs)
    if state.requeues_without_progress <= int(os.environ.get("MAX_REQUEUES", "3")):
        start = f"resumes from {latest}" if latest else "starts from the beginning"
        print(f"{JOB}: the next attempt {start}", flush=True)
        return EXIT_INTERRUPTED
    print(
        f"{JOB}: no new checkpoint in {state.requeues_without_progress} attempts, so it is not requeued (MAX_REQUEUES)",
        flush=True,
    )
    return 1


def exit_codes(attempt: Path, ranks: int) -> list[int | None]:
    """The exit code of each rank; None if it started but left no code, NOT_STARTED if it did not start.

    A rank that did not start is not retried: Slurm itself requeues a job whose nodes fail, and anything else that
    prevents a step from starting would do so again.
    """
    files = [attempt / str(rank) for rank in range(ranks)]
    texts = [file.read_text().strip() if file.is_file() else str(NOT_STARTED) for file in files]
    return [int(text) if text else None for text in texts]


def is_retryable(code: int | None) -> bool:
    """Whether the next attempt may succeed: the rank was stopped, killed, or exited because another rank died."""
    return code is None or code in (EXIT_INTERRUPTED, EXIT_LOST) or (code > SIGNAL_BASE and code != KILLED_BY_SIGINT)


def root_cause(codes: list[int | None]) -> tuple[int, int | None]:
    """The rank that caused the end of the attempt, and its exit code; (0, 0) if all ranks succeeded.

    One failing rank makes the others fail, so the most specific failure wins: a user error, then a bug, a rank that did
    not start, a killed rank, one without an exit code, one that lost another rank (69), and one that was stopped (75).
    """
    by_priority: list[Callable[[int | None], bool]] = [
        lambda code: code == EXIT_USER_ERROR,
        lambda code: not is_retryable(code) and code not in (0, NOT_STARTED),
        lambda code: code == NOT_STARTED,
        lambda code: code is not None and code > SIGNAL_BASE,
        lambda code: code is None,
        lambda code: code == EXIT_LOST,
        lambda code: code == EXIT_INTERRUPTED,
    ]
    for matches in by_priority:
        found = [rank for rank, code in enumerate(codes) if matches(code)]
        if found:
            return found[0], codes[found[0]]
    return 0, 0


def _describe(rank: int, code: int | None) -> str:
    if code is None:
        return f"rank {rank} left no exit code"
    if code == NOT_STARTED:
        return f"rank {rank} did not start; see srun's error above"
    if code > SIGNAL_BASE:
        return f"rank {rank} was killed by {signal.Signals(code - SIGNAL_BASE).name}"
    return f"rank {rank} exited with code {code}"


def _last_lines(attempt: Path, rank: int) -> str:
    """The last lines of a rank's log, indented."""
    file = attempt / f"rank-{rank}.log"
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return "\n".join(f"    {line}" for line in lines[-LOG_LINES:]) or f"    no output in {file}"


if __name__ == "__main__":
    verb, logs, *rest = sys.argv[1:]
    try:
        sys.exit({"begin": begin, "end": end}[verb](Path(logs), *rest))
    except UserError as error:
        sys.exit(report(error))
