"""What a job does before its ranks start and after they have ended; train.sbatch calls it.

python job.py begin LOGS ACCELERATE_CONFIG RECIPE [settings]   # leaves what the shell reads in LOGS/begun.sh
python job.py end LOGS [ATTEMPT RANKS]   # says how it went, if it has begun; exits with 75 for a requeue
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline import run_folder, storage
from pipeline.config.loading import load_recipe, override
from pipeline.errors import EXIT_INTERRUPTED, EXIT_LOST, EXIT_USER_ERROR, UserError, reason, report

JOB = f"job {os.environ.get('SLURM_JOB_ID', '?')}"
STATE, BEGUN = "job.json", "begun.sh"
# Ends that the next attempt may not meet again: stopped, alone left, killed, gone without a word.
KILLED = 128
BY_HAND = KILLED + signal.SIGINT
NEVER_BEGAN = -1
TAIL = 12  # lines of a log


@dataclass
class State:
    """What a job remembers from attempt to attempt.

    Attributes:
        folder: of the run. newest: its last checkpoint, as far as was seen. idle: requeues in a row that brought none.
    """

    folder: str
    newest: str | None = None
    idle: int = 0

    def write(self, logs: Path) -> None:
        storage.write(logs / STATE, json.dumps(asdict(self)))

    @classmethod
    def read(cls, logs: Path) -> State:
        return cls(**json.loads((logs / STATE).read_text(encoding="utf-8")))


def begin(logs: Path, accelerate_config: str, file: str, *settings: str) -> int:
    """Refuse what `finetune run` would refuse at once, and leave in BEGUN what the shell needs to know.

    A run that this job has finished or begun is not begun again: train.overwrite counts for the first attempt. Nothing
    is told on stdout: a recipe, or what it imports, may print there what the shell must not run.
    """
    recipe = override(load_recipe(file), settings, f"sbatch train.sbatch {file}")
    first, marker = not (logs / STATE).is_file(), logs / "begun"
    if first:
        marker.touch()  # by the clock of the disk that the run's files get their times from
        State(str(recipe.folder), _newest(recipe.folder)).write(logs)
    ours = [name for name in (run_folder.METRICS, run_folder.RECIPE) if _is_newer(recipe.folder / name, marker)]
    finished = run_folder.METRICS in ours or (
        "SKIP_FINISHED" in os.environ and not recipe.train.overwrite and (recipe.folder / run_folder.METRICS).is_file()
    )
    if finished:
        print(f"{JOB}: {recipe.folder} holds the finished run", file=sys.stderr)
    goes_on = ["--train.no-overwrite"] if recipe.train.overwrite and run_folder.RECIPE in ours else []
    lines = [f"export {name}={shlex.quote(value)}" for name, value in sharding(accelerate_config).items()]
    lines.append(f"settings=({shlex.join([*settings, *goes_on])}) finished={'yes' if finished else 'no'}")
    storage.write(logs / BEGUN, "\n".join(lines) + "\n")
    return 0


def _newest(folder: Path) -> str | None:
    return max((path.name for path in (folder / run_folder.CHECKPOINTS).glob("step-*")), default=None)


def _is_newer(file: Path, marker: Path) -> bool:
    return file.is_file() and file.stat().st_mtime_ns > marker.stat().st_mtime_ns


def sharding(file: str) -> dict[str, str]:
    """What `accelerate launch --config_file FILE` tells its processes, by accelerate's own reading of the file.

    Raises:
        UserError: there is no such file, accelerate cannot read it, or it asks for something else than DDP, FSDP or
            DeepSpeed.
    """
    if not file:
        return {}
    if not Path(file).is_file():
        raise UserError(f"ACCELERATE_CONFIG: there is no file {file}")
    from accelerate.commands import launch
    from accelerate.utils.launch import prepare_deepspeed_cmd_env, prepare_multi_gpu_env
    from yaml import YAMLError

    calm = ["--num_machines", "1", "--num_processes", "2", "--main_process_port", "0"]  # these are Slurm's business
    try:
        arguments, read, _ = launch._validate_launch_command(
            launch.launch_command_parser().parse_args(["--config_file", file, *calm, "recipe.py"])
        )
    except (AttributeError, TypeError, ValueError, YAMLError) as error:
        raise UserError(f"ACCELERATE_CONFIG: {file}: {reason(error)}") from error
    if not (arguments.multi_gpu or arguments.use_fsdp or arguments.use_deepspeed):
        raise UserError(
            f"ACCELERATE_CONFIG: {file} asks for none of MULTI_GPU, FSDP and DEEPSPEED; see recipes/accelerate"
        )
    if arguments.use_deepspeed:
        arguments.deepspeed_fields_from_accelerate_config = ",".join(read.deepspeed_config)  # as launch_command does
        told = prepare_deepspeed_cmd_env(arguments)[1]
    else:
        told = prepare_multi_gpu_env(arguments)
    return {name: told[name] for name in told if name.startswith(("ACCELERATE_", "FSDP_")) and told[name] != "None"}


def end(logs: Path, *begun: str) -> int:
    """Say how the attempt went.

    Args:
        begun: folder of the attempt and number of its ranks; nothing where it was stopped before.

    Returns:
        0 done; 75 to be started again; else what the job fails with.
    """
    state = State.read(logs)
    if not begun:
        print(f"{JOB}: stopped before its ranks have begun", flush=True)
        return _again(state, logs)
    attempt, codes = Path(begun[0]), endings(Path(begun[0]), int(begun[1]))
    rank, code = decisive(codes)
    if code == 0:
        print(f"{JOB}: done\n{_tail(attempt, 0)}", flush=True)
        return 0
    print(f"{JOB}: {_told(rank, code)}\n{_tail(attempt, rank)}", flush=True)
    if is_passing(code):
        return _again(state, logs)
    return 1 if code in (None, NEVER_BEGAN) else code


def _again(state: State, logs: Path) -> int:
    """75, unless the run has not come further for too long."""
    newest = _newest(Path(state.folder))
    state.idle = 0 if newest != state.newest else state.idle + 1
    state.newest = newest
    state.write(logs)
    limit = int(os.environ.get("MAX_REQUEUES", "3"))
    if state.idle <= limit:
        print(f"{JOB}: to be continued from {newest or 'the beginning'}", flush=True)
        return EXIT_INTERRUPTED
    print(f"{JOB}: no new checkpoint in {state.idle} attempts, so it is not requeued (MAX_REQUEUES)", flush=True)
    return 1


def endings(attempt: Path, ranks: int) -> list[int | None]:
    """Exit code of each rank; None: it began and left none.

    One that never began is a fault: Slurm itself requeues a job whose nodes fail, and what else keeps a step from
    starting stays.
    """
    files = [attempt / str(rank) for rank in range(ranks)]
    told = [file.read_text().strip() if file.is_file() else str(NEVER_BEGAN) for file in files]
    return [int(code) if code else None for code in told]


def is_passing(code: int | None) -> bool:
    """Whether the next attempt may go better than one that a rank left with `code`."""
    return code is None or code in (EXIT_INTERRUPTED, EXIT_LOST) or (code > KILLED and code != BY_HAND)


def decisive(codes: list[int | None]) -> tuple[int, int | None]:
    """The rank that the others fell with, and its code.

    A mistake comes before a fault, a fault before a death, a death before those that it left alone, they before a stop.
    """
    order: list[Callable[[int | None], bool]] = [
        lambda code: code == EXIT_USER_ERROR,
        lambda code: not is_passing(code) and code not in (0, NEVER_BEGAN),
        lambda code: code == NEVER_BEGAN,
        lambda code: code is not None and code > KILLED,
        lambda code: code is None,
        lambda code: code == EXIT_LOST,
        lambda code: code == EXIT_INTERRUPTED,
    ]
    for matches in order:
        found = [rank for rank, code in enumerate(codes) if matches(code)]
        if found:
            return found[0], codes[found[0]]
    return 0, 0


def _told(rank: int, code: int | None) -> str:
    if code is None:
        return f"rank {rank} is gone without an exit code"
    if code == NEVER_BEGAN:
        return f"rank {rank} has not begun; srun has said why"
    if code > KILLED:
        return f"rank {rank} was killed by {signal.Signals(code - KILLED).name}"
    return f"rank {rank} ended with {code}"


def _tail(attempt: Path, rank: int) -> str:
    """The end of a rank's log, indented: what is wrong is said there."""
    file = attempt / f"rank-{rank}.log"
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else []
    return "\n".join(f"    {line}" for line in lines[-TAIL:]) or f"    nothing in {file}"


if __name__ == "__main__":
    verb, logs, *rest = sys.argv[1:]
    try:
        sys.exit({"begin": begin, "end": end}[verb](Path(logs), *rest))
    except UserError as error:
        sys.exit(report(error))
