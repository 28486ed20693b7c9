"""The `finetune` command and recipes that are run as scripts: how they begin, and with which exit code they end.

At its top this module imports next to nothing: everything else is imported where Ctrl-C ends the program in one line.
"""

from __future__ import annotations

import gc
import importlib
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from pipeline import malloc
from pipeline.cli import startup
from pipeline.cli.startup import KILLED, STOPPED
from pipeline.errors import EXIT_CTRL_C, EXIT_INTERRUPTED, EXIT_LOST, Interrupted, UserError, report, suggest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    from pipeline.config.recipe import Recipe

# Each command is a module of this name in this folder, imported when it is used -> its arguments, what it does.
COMMANDS = {
    "run": ("RECIPE [settings]", "train the model of a recipe, evaluate it and save it"),
    "evaluate": ("MODEL --data SOURCE", "score a model on new data"),
    "predict": ("MODEL [--input FILE]", "predict from texts, one per line"),
    "serve": ("MODEL [--port N]", "answer requests over HTTP with predictions"),
    "demo": ("RUN ...", "show a page on which models answer the same text"),
    "compare": ("RUN ...", "compare runs row by row, and test which differences are more than chance"),
    "study": ("FILE", "run what a study says, and compare the runs"),
    "search": ("RECIPE --trials N", "draw settings of a recipe, train with each, and keep the best"),
    "export": ("RUN --to FOLDER", "write a run's model as an ONNX graph that needs no torch"),
    "push": ("RUN REPO_ID", "push the model of a finished run to the Hub"),
    "fetch": ("RECIPE [--to FOLDER] [settings]", "download what a recipe needs, to run it without network"),
    "doctor": ("[RECIPE [settings]]", "print what this machine has, and what a recipe will do and cost"),
}

# A command that has not imported this module is connected to no other process.
LAUNCH = "pipeline.training.distributed.launch"

LOST = (
    "stopped: another process of this run has ended; see its own message for the reason. The same command resumes"
    " from the last checkpoint"
)


def main(recipe: Recipe) -> None:
    """Run `recipe`, with settings changed by the flags on the command line; then exit."""
    from pipeline.config.loading import loading

    if loading:
        raise UserError(f"main(recipe) runs while {loading[-1]} is loaded; put it under: if __name__ == '__main__':")
    _end_with(lambda: _run_script(recipe))


def entry() -> None:
    """The `finetune` command."""
    _end_with(lambda: _dispatch_until_terminated(sys.argv[1:]))


def _run_script(recipe: Recipe) -> None:
    startup.stop_on_signals()
    from pathlib import Path

    from pipeline.cli.run import train

    train(recipe, sys.argv[1:], Path(sys.argv[0]).name)


def _dispatch_until_terminated(arguments: Sequence[str]) -> None:
    signal.signal(signal.SIGTERM, _terminate)
    _dispatch(arguments)


def _dispatch(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return
    name, *rest = arguments
    if name not in COMMANDS:
        raise UserError(f"finetune {name}: no such command{suggest(name, COMMANDS)}")
    importlib.import_module(f"pipeline.cli.{name}").command(rest)


def _usage() -> str:
    width = max(len(f"{name} {arguments}") for name, (arguments, _) in COMMANDS.items())
    lines = [f"  {f'{name} {arguments}':<{width}}  {what}" for name, (arguments, what) in COMMANDS.items()]
    return "\n".join(["usage: finetune COMMAND ...", "", *lines, "", "finetune COMMAND --help describes a command."])


def _end_with(action: Callable[[], None]) -> NoReturn:
    """End the program with the exit code of `action`."""
    malloc.keep_freed_memory()
    try:
        code = exit_code(action)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # nothing is left to stop
        gc.freeze()  # the interpreter would collect all that was imported, which takes a fifth of a short command
    sys.exit(code)


def exit_code(action: Callable[[], None]) -> int:
    """The exit code of `action`.

    0 success, 1 a bug (with its traceback), 2 the user's mistake, 69 another process of the run has died, 75 stopped by
    a signal and can be resumed, 130 Ctrl-C, 141 the reader of our output has closed it.
    """
    try:
        try:
            action()
        finally:
            if sys.stdout:
                sys.stdout.flush()  # here, because a closed pipe is caught below
    except UserError as error:
        return _leave(report(error))
    except Interrupted:
        return _leave(_stopped(STOPPED, EXIT_INTERRUPTED))
    except KeyboardInterrupt as error:
        return _leave(_stopped(str(error) or KILLED, EXIT_CTRL_C))
    except BrokenPipeError:
        sys.stdout = None  # the interpreter must not flush into it again
        return _leave(141)
    except Exception as error:
        if _has_lost_another(error):
            return _leave(_stopped(LOST, EXIT_LOST))
        sys.excepthook(*sys.exc_info())
        return _leave(1)
    return _leave(0)


def _stopped(message: str, code: int) -> int:
    print(message, file=sys.stderr)
    return code


def _leave(code: int) -> int:
    """Return `code`, or end this process with it at once if other processes of the run are still connected to it."""
    if launch := sys.modules.get(LAUNCH):
        launch.leave(code)
    return code


def _has_lost_another(error: Exception) -> bool:
    launch = sys.modules.get(LAUNCH)
    return launch is not None and launch.has_lost_another(error)


def _terminate(number: int, frame: FrameType | None) -> None:
    """Exit as after an error, so that nothing half-written is left behind; training installs its own handler."""
    sys.exit(128 + number)
